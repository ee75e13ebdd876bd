"""The programs in `scripts/`: each reads its arguments, does its work, and reports."""

import os
import sys

from .. import output

if any(name.startswith("JAX_") for name in os.environ):
    try:
        import jax as jax
    except ImportError:  # which `scripts/doctor.py` has to say
        pass
    except ValueError as error:  # a setting that JAX reads as it is imported
        output.show(f"error: JAX cannot be imported: {error}; unset it.", stream=sys.stderr)
        sys.exit(2)
