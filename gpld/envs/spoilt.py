"""Numbers of environments that are not finite."""

import numpy as np
from jaxtyping import Int

from .timestep import EnvSpec, TimeStep


def find_spoilt(timestep: TimeStep) -> Int[np.ndarray, " num_envs"]:
    """Which environments have given something that is not finite, of a batched time step.

    Returns:
        For each, 0 or one more than the place of the first such array: among those of the
        observation, in the order of their names, and then the reward.
    """
    arrays = [timestep.observation[name] for name in sorted(timestep.observation)]
    spoilt = np.zeros(timestep.reward.shape, np.int8)
    for place, array in enumerate([*arrays, timestep.reward], 1):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            spoilt[~rows & (spoilt == 0)] = place
    return spoilt


def describe_spoilt(task: str, env: int, place: int, spec: EnvSpec) -> str:
    """Says what was not finite.

    Args:
        task: Name of the task.
        env: Number of the environment.
        place: As `find_spoilt` has it, not 0.
        spec: Shapes and sizes of the task.
    """
    names = sorted(spec.observation)
    what = f"an observation `{names[place - 1]}`" if place <= len(names) else "a reward"
    return f"Environment {env} of {task} gave {what} that is not finite."
