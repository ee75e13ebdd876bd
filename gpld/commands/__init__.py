"""Commands of users, one module for each script."""

import os
import sys

from ..machine.output import show

if any(name.startswith("JAX_") for name in os.environ):
    try:
        import jax as jax
    except ImportError:  # `gpld doctor` reports it
        pass
    except ValueError as error:  # a setting that JAX reads as it is imported
        show(f"error: JAX cannot be imported: {error}; unset it.", stream=sys.stderr)
        sys.exit(2)
