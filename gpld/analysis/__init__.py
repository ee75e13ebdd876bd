"""What is made of finished and running runs."""

from .figures import learning_curve as learning_curve, sensitivity_figure as sensitivity_figure
from .sensitivity import (
    CheckpointSensitivity as CheckpointSensitivity,
    Sensitivity as Sensitivity,
    measure_sensitivity as measure_sensitivity,
)
