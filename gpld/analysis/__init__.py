"""What is made of finished and running runs."""

from .figures import learning_curve as learning_curve
