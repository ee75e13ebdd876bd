"""Specifications of tasks as JSON holds them, in the records of runs and of imported data."""

from typing import Any

import numpy as np

from ..machine.files import is_count
from .timestep import ArraySpec, EnvSpec


def spec_to_json(spec: EnvSpec) -> dict[str, Any]:
    """Return a specification as JSON can hold it."""
    arrays = spec.observation.items()
    observation = [(k, (x.shape, str(x.dtype), x.num_classes)) for k, x in arrays]
    return spec._asdict() | {"observation": observation}


def spec_from_json(values: Any) -> EnvSpec:
    """Return the specification that `spec_to_json` gave, also after a round trip through JSON.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        sizes = {n: values[n] for n in ("action_size", "action_repeat", "episode_steps")}
        observation = {
            name: ArraySpec(tuple(shape), np.dtype(dtype), *num_classes)
            for name, (shape, dtype, *num_classes) in values["observation"]
        }
        numbers = [*sizes.values(), *(n for array in observation.values() for n in array.shape)]
        numbers += [x.num_classes for x in observation.values() if x.num_classes is not None]
        # Older runs, which had neither discrete actions nor other environments, say none.
        flags = {n: values.get(n, EnvSpec._field_defaults[n]) for n in ("discrete", "resumable")}
    except (KeyError, TypeError) as error:
        raise ValueError(f"it says no task's sizes ({error!r:.100})") from error
    if not all(is_count(number) and number < 2**31 for number in numbers):
        raise ValueError("a size is none")
    if not all(type(flag) is bool for flag in flags.values()):
        raise ValueError("a flag is neither true nor false")
    return EnvSpec(observation=observation, **sizes, **flags)
