"""The zoo: trained agents that come with the package, each the folder of an exported run."""

from pathlib import Path

from ..errors import UsageError
from .folder import RunFolder

_PREFIX = "zoo:"
_ZOO = Path(__file__).parents[1] / "zoo"


def zoo_names() -> list[str]:
    """Return the names of all agents, as they follow `zoo:`."""
    return sorted(path.parent.name for path in _ZOO.glob("*/config.json"))


def is_of_zoo(run: str | Path) -> bool:
    """Return whether a run is named as an agent of the zoo, `zoo:cartpole_swingup`."""
    return str(run).startswith(_PREFIX)


def open_run(run: str | Path) -> RunFolder:
    """Return the folder of a run, or of an agent of the zoo.

    Raises:
        UsageError: If the zoo has no agent of that name.
    """
    if not is_of_zoo(run):
        return RunFolder(Path(run))
    name = str(run).removeprefix(_PREFIX)
    if name not in zoo_names():
        raise UsageError(f"The zoo has the agents {', '.join(zoo_names())}, got {run}.")
    return RunFolder(_ZOO / name)
