"""Memory of a run, as it was predicted and as the device saw it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .... import agent
from ....config import Config
from ....config.flags import parse_settings
from ....config.train_ratio import train_ratio
from ....machine.malloc import keep_freed_memory
from ....runs.folder import RunFolder
from ....runs.start import planned_runs
from ....training.memory_estimate import predict
from ....training.train import train
from ....xla.cache import cache_compilations
from ...report import peak_memory
from .part import Row, Task
from .sizes import QUIET

# Env steps after the first update.
_ENV_STEPS = 64


def memory(task: Task) -> Iterator[Row]:
    """Yield the memory of a short run of one seed, then of several, which takes more."""
    cache_compilations()
    keep_freed_memory()
    for seeds in (1, task.sizes.seeds):
        path = task.folder / f"{seeds}"
        config = parse_settings([*task.sizes.memory, *QUIET, "--seeds", str(seeds)])
        env_steps = train_ratio(config).first_env_step + _ENV_STEPS
        config = parse_settings(["--env_steps", str(env_steps)], config)
        train(config, path)
        figures: dict[str, Any] = {
            f"predicted {name} MiB": x / 2**20 for name, x in _predicted(config, path).items()
        }
        for name, value in peak_memory().items():
            figures[f"seen {name.removesuffix('_bytes')} MiB"] = value and value / 2**20
        yield f"{seeds} seed{'s' * (seeds > 1)}", figures


def _predicted(config: Config, path: Path) -> dict[str, int]:
    """Return the estimate for a run that is there, whose record says the shapes of its task."""
    spec = RunFolder(planned_runs(config, path)[0].path).env_spec()
    state = agent.abstract_state(config, **spec.sizes)
    return predict(config, spec, state)._asdict()
