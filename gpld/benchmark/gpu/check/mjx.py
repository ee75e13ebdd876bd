"""Control steps per second of MJX, by its own implementation and by Warp's."""

import dataclasses
from collections.abc import Iterator

from ....config import Config
from ....errors import MachineError
from ....xla.cache import cache_compilations
from ...env import mjx_engine
from ...measure import mean_seconds
from .part import Row, Task

# Env steps in a row, whose mean is one time.
_CALLS = 10


def mjx(task: Task) -> Iterator[Row]:
    """Yield control steps per second of each task, with random actions.

    Raises:
        MachineError: If MJX's own implementation does not run; Warp's need not be installed.
    """
    cache_compilations()
    config, broken = Config(), []
    for name in task.sizes.tasks:
        for impl in ("jax", "warp"):
            env = dataclasses.replace(config.env, backend="mjx", mjx_impl=impl)
            row = f"{name}, {impl} x {task.sizes.envs:,}"
            try:
                engine = mjx_engine(dataclasses.replace(config, env=env), name, task.sizes.envs)
                seconds = min(mean_seconds(engine.step, _CALLS) for _ in range(3))
            except Exception as error:  # such as Warp's absence, which must not hide the others
                yield row, {"error": f"{error}".partition("\n")[0][:300]}
                broken += [name] if impl == "jax" else []
                continue
            rate = engine.size * config.action_repeat / seconds
            yield row, {"control steps / s": rate, "compile s": engine.compile_seconds}
    if broken:
        raise MachineError(f"MJX does not simulate {', '.join(broken)}.")
