"""Check of an environment, rule by rule: all of it, or what one quick walk shows."""

from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Unpack

from ...errors import UsageError
from ...machine.subprocesses import Child, describe_error
from ...suite import canonical_name
from ..failures import WorkerError
from ..registry import EnvOptions, env_factory
from ..timestep import Environment
from .finding import Finding, broken, ok
from .rules import WALK_RULES
from .trials import TRIALS, Trial, check_state_kept
from .walk import Walk, take_walk

# Time steps of the walk of a check.
_NUM_STEPS = 2000
_NUM_QUICK = 200


def check_env(
    task: str, *, seed: int = 0, **options: Unpack[EnvOptions]
) -> Iterator[tuple[str, Finding]]:
    """Check an environment, which is made several times.

    Args:
        task: As for `make_env`.
        seed: Seed of the environments.
        **options: See `EnvOptions`.

    Yields:
        Name and finding of each rule. It ends early at what makes further rules meaningless.

    Raises:
        ValueError: If `task` is unknown or an argument is not allowed with it.
    """
    task, factory = canonical_name(task), env_factory(task, **options)
    try:
        walk = take_walk(factory, seed, num_steps=_NUM_STEPS, seconds=5.0)
    except Exception as error:
        yield "making", _failed(error)
        return
    yield "making", ok("it can be made")
    found = _check_walk(walk)
    yield from found.items()
    if any(finding.verdict == "broken" for finding in found.values()):
        return
    trial = Trial(task, options, factory, seed, walk)
    for name, rule in TRIALS.items():
        try:
            finding = rule(trial)
        except Exception as error:  # of another environment than that of the walk
            finding = _failed(error)
        yield name, finding
        if finding.verdict == "broken":
            return


def check_quickly(factory: Callable[..., Environment], seed: int) -> tuple[str, Finding] | None:
    """Check an environment in less than a second of steps.

    Args:
        factory: Makes one, which is closed again.
        seed: Its seed.

    Returns:
        Name and finding of the first rule that is broken; None if there is none, or it cannot be
        made, of which the run itself tells more.

    Raises:
        UsageError: If it is one that is not possible here.
    """
    try:
        walk = take_walk(factory, seed, num_steps=_NUM_QUICK, seconds=0.5)
    except UsageError:
        raise
    except Exception:
        return None
    found = _check_walk(walk)
    if walk.error is None and walk.spec.resumable:
        found["state"] = check_state_kept(factory, seed)
    return next((item for item in found.items() if item[1].verdict == "broken"), None)


def check_quickly_in_child(
    factory: Callable[..., Environment], seed: int, *, name: str, timeout: float
) -> tuple[str, Finding] | None:
    """Check an environment as `check_quickly` does, in a process that ends with it.

    Args:
        factory: Makes one; pickled.
        seed: Its seed.
        name: What errors call the process.
        timeout: Seconds in which it must be done.

    Raises:
        UsageError: As `check_quickly`.
        WorkerError: If the process dies or takes longer.
    """
    child = Child(
        _check_on_request, name=name, error=WorkerError, timeout=timeout, JAX_PLATFORMS="cpu"
    )
    try:
        child.send((factory, seed))
        return child.recv()
    finally:
        child.close()


def _check_on_request(connection: Connection) -> None:
    connection.send(check_quickly(*connection.recv()))


def _failed(error: Exception) -> Finding:
    """Say that making or using an environment has raised an error."""
    if isinstance(error, UsageError | WorkerError):
        return broken(str(error))
    return broken(f"it raised {describe_error(error)}")


def _check_walk(walk: Walk) -> dict[str, Finding]:
    found = {name: rule(walk) for name, rule in WALK_RULES.items()}
    if walk.error is not None and all(x.verdict != "broken" for x in found.values()):
        found["steps"] = broken(f"a time step is not possible: {walk.error}")
    return found
