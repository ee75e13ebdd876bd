"""Tasks of the DeepMind Control suite on MJX: pure functions, thousands at once."""

import contextlib
import io

# Without Warp, MJX prints that it is missing. Nobody has asked.
with contextlib.redirect_stdout(io.StringIO()):
    import mujoco.mjx  # noqa: F401

from .env import MJXEnv as MJXEnv, MJXState as MJXState
