"""Episodes as others record them, their checks, and their conversion to our time steps."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Shaped

from ..envs import ArraySpec
from ..envs.adapters.arrays import has_channels_first, is_image, own_name, resize

# Of the distance between two bounds: what rounding to float32 may add to an action.
_TOLERANCE = 1e-5


class Refused(Exception):
    """An episode cannot be used; the message says why."""


class Bounds(NamedTuple):
    """Lowest and highest actions, each one number for all entries or one for each."""

    low: Shaped[np.ndarray, "..."]
    high: Shaped[np.ndarray, "..."]


class Episode(NamedTuple):
    """One episode: N actions, and an observation before the first and after each.

    Attributes:
        observation: N + 1 entries of each array, by name; an empty name stands for the only one.
        action: The N actions: integers from 0 if discrete.
        reward: Reward of each action.
        terminated: Whether the episode truly ended with this action.
        truncated: Whether it was cut off after this action.
        actions: Bounds of the actions, or their number if they are discrete.
        num_classes: Of each categorical observation, whose integers begin at 0.
    """

    observation: Mapping[str, Shaped[np.ndarray, "..."]]
    action: Shaped[np.ndarray, "..."]
    reward: Shaped[np.ndarray, "..."]
    terminated: Shaped[np.ndarray, "..."]
    truncated: Shaped[np.ndarray, "..."]
    actions: Bounds | int
    num_classes: Mapping[str, int] = {}


class Layout(NamedTuple):
    """Properties that all episodes of a dataset share."""

    observation: dict[str, ArraySpec]
    action_size: int
    discrete: bool
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def check_same(self, first: "Layout") -> None:
        """Check that an episode has the layout of the first one.

        Raises:
            Refused: If it has not.
        """
        for name in (*self.observation, *first.observation):
            own, other = self.observation.get(name), first.observation.get(name)
            if own != other:
                raise Refused(
                    f"observation `{name}` must be {_form(other)}, as in the first episode, got "
                    f"{_form(own)}"
                )
        for name, own in self._asdict().items():
            other = getattr(first, name)
            if own != other:
                raise Refused(
                    f"`{name}` of its actions must be {other}, as in the first episode, got {own}"
                )


def convert(
    episode: Episode, image_size: int | None = None
) -> tuple[Layout, dict[str, Shaped[np.ndarray, "steps ..."]]]:
    """Convert an episode of N actions to N + 1 env steps, as the collector stores them.

    A step has the action that follows its observation and the reward of the action that led to
    it; the last step's action and the first step's reward are zero.

    Args:
        episode: The episode.
        image_size: Pixels along both sides of its images; None leaves them as they are.

    Returns:
        Its layout, and the stored arrays by name.

    Raises:
        Refused: If something of it is wrong.
    """
    num_actions = _check_lengths(episode)
    observation, specs = _observation(episode, image_size)
    if isinstance(episode.actions, int):
        layout = Layout(specs, episode.actions, True)
        action = _discrete(episode.action, episode.actions)
    else:
        low, high = _bounds(episode.actions, episode.action.shape[1:])
        action = _continuous(episode.action, low, high)
        layout = Layout(specs, low.size, False, tuple(low.tolist()), tuple(high.tolist()))
    terminated = _flags("terminated", episode.terminated)
    ended = terminated | _flags("truncated", episode.truncated)
    if ended[:-1].any():
        raise Refused(
            "`terminated` and `truncated` must be false before the last action, but action "
            f"{int(ended.argmax())} of {num_actions} has one of them"
        )
    reward = _numbers("reward", episode.reward)
    steps = np.arange(num_actions + 1)
    return layout, {
        **observation,
        "action": np.concatenate([action, np.zeros_like(action[:1])]),
        "reward": np.concatenate([np.zeros(1, np.float32), reward]),
        "is_first": steps == 0,
        # Also where neither flag is set: what comes next in the stream is another episode.
        "is_last": steps == num_actions,
        "is_terminal": np.concatenate([np.zeros(1, bool), terminated]),
    }


def _check_lengths(episode: Episode) -> int:
    """Check that all arrays are of the same episode, and return its number of actions."""
    for name in ("reward", "terminated", "truncated"):
        if (shape := getattr(episode, name).shape) != episode.reward.shape[:1] or not shape:
            raise Refused(
                f"`{name}` must be one number for each action, in one axis, as many as rewards, "
                f"got the shape {shape}"
            )
    num_actions = len(episode.reward)
    if num_actions == 0:
        raise Refused("it has no action")
    lengths = {f"observation `{name}`": (x, 1) for name, x in episode.observation.items()}
    for name, (array, more) in {"`action`": (episode.action, 0), **lengths}.items():
        if array.shape[:1] != (num_actions + more,):
            raise Refused(
                f"{name} must have {num_actions + more} entries for {num_actions} rewards, got "
                f"the shape {array.shape}"
            )
    return num_actions


def _observation(
    episode: Episode, image_size: int | None
) -> tuple[dict[str, Shaped[np.ndarray, "steps ..."]], dict[str, ArraySpec]]:
    """Convert the arrays of observations, with the names and forms of environments' own."""
    arrays = {}
    for key, array in episode.observation.items():
        if 0 in array.shape:
            continue
        classes = episode.num_classes.get(key)
        name = own_name(key, classes is None and is_image(array.shape[1:], array.dtype))
        if name in arrays:
            raise Refused(f"two observations are named `{name}`")
        converted = _convert_array(f"observation `{name}`", array, classes, image_size)
        arrays[name] = converted, classes
    if not arrays:
        raise Refused("it has no observation with at least one number")
    specs = {name: ArraySpec(x.shape[1:], x.dtype, n) for name, (x, n) in sorted(arrays.items())}
    return {name: arrays[name][0] for name in specs}, specs


def _convert_array(
    what: str, array: Shaped[np.ndarray, "..."], num_classes: int | None, image_size: int | None
) -> Shaped[np.ndarray, "steps ..."]:
    """Convert one array: bytes of images, int32 of classes, float32 of all else."""
    if num_classes is not None:
        return _integers(what, array, num_classes)
    if is_image(array.shape[1:], array.dtype):
        images = np.moveaxis(array, 1, -1) if has_channels_first(array.shape[1:]) else array
        if image_size is not None and images.shape[1:3] != (image_size, image_size):
            return np.stack([resize(image, image_size) for image in images])
        return np.ascontiguousarray(images)
    # Vectors have one axis, or two; the image network is for bytes alone.
    flat = array.reshape(len(array), -1) if array.ndim > 3 else array
    return _numbers(what, flat)


def _numbers(what: str, array: Shaped[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Convert to float32, and refuse what is not finite then."""
    if array.dtype.kind not in "biuf":
        raise Refused(f"{_quoted(what)} must be numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, np.float32)
    wrong = ~np.isfinite(converted).reshape(len(converted), -1).all(1)
    if wrong.any():
        raise Refused(f"{_quoted(what)} is not finite in float32 at entry {int(wrong.argmax())}")
    return converted.reshape(array.shape)


def _integers(what: str, array: Shaped[np.ndarray, "..."], stop: int) -> Int32[np.ndarray, "..."]:
    """Convert integers in [0, stop)."""
    if not 0 < stop < 2**31:
        raise Refused(f"{_quoted(what)} must have 1 to 2**31 - 1 different values, got {stop}")
    if array.dtype.kind not in "iu":
        raise Refused(f"{_quoted(what)} must be integers, got {array.dtype}")
    wrong = ((array < 0) | (array >= stop)).reshape(len(array), -1).any(1)
    if wrong.any():
        entry = int(wrong.argmax())
        raise Refused(
            f"{_quoted(what)} must lie in [0, {stop}), got {_short(array[entry])} at entry {entry}"
        )
    return array.astype(np.int32)


def _discrete(action: Shaped[np.ndarray, "..."], size: int) -> Int32[np.ndarray, " steps"]:
    if action.shape != action.shape[:1]:
        raise Refused(f"discrete actions must have one axis, got the shape {action.shape}")
    return _integers("action", action, size)


def _bounds(
    bounds: Bounds, shape: tuple[int, ...]
) -> tuple[Float64[np.ndarray, " entries"], Float64[np.ndarray, " entries"]]:
    """Return the bounds of each entry of an action."""
    both = []
    for name, bound in bounds._asdict().items():
        try:
            whole = np.broadcast_to(np.asarray(bound, np.float64), shape).reshape(-1)
        except (TypeError, ValueError):
            raise Refused(
                f"`action_{name}` must be a number, or one for each entry of an action, whose "
                f"shape is {shape}, got {_short(bound)}"
            ) from None
        both.append(whole)
    low, high = both
    if low.size == 0:
        raise Refused(f"actions must have at least one number, got the shape {shape}")
    if not are_finite(bounds) or (low > high).any():
        raise Refused(
            "bounds of actions must be finite, the lower ones first, got "
            f"{_short(low)} and {_short(high)}"
        )
    return low, high


def are_finite(bounds: Bounds) -> bool:
    """Return whether bounds are numbers that float32 can tell from infinity."""
    largest = np.finfo(np.float32).max  # which some environments put for infinity
    return all(bool((np.abs(np.asarray(bound, np.float64)) < largest).all()) for bound in bounds)


def _continuous(
    action: Shaped[np.ndarray, "..."],
    low: Float64[np.ndarray, " entries"],
    high: Float64[np.ndarray, " entries"],
) -> Float32[np.ndarray, "steps entries"]:
    """Scale each entry of the actions from its bounds to [-1, 1]."""
    exact = action.astype(np.float64) if action.dtype.kind in "iuf" else action
    flat = exact.reshape(len(action), -1)
    _numbers("action", flat)
    size = high - low
    more = _TOLERANCE * np.maximum(size, np.abs(low))
    wrong = np.argwhere((flat < low - more) | (flat > high + more))
    if len(wrong):
        number, entry = map(int, wrong[0])
        raise Refused(
            f"`action` must lie in [{low[entry]:g}, {high[entry]:g}] at entry {entry}, got "
            f"{flat[number, entry]:g} in action {number}"
        )
    # Where the bounds are equal nothing can be chosen: 0.
    fraction = np.divide(flat - low, size, out=np.full_like(flat, 0.5), where=size > 0)
    return np.clip(2 * fraction - 1, -1, 1).astype(np.float32)


def _flags(name: str, array: Shaped[np.ndarray, " actions"]) -> Bool[np.ndarray, " actions"]:
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise Refused(f"`{name}` must be true or false for each action, got {_short(array)}")
    return array.astype(bool)


def _quoted(what: str) -> str:
    return what if "`" in what else f"`{what}`"


def _form(array: ArraySpec | None) -> str:
    if array is None:
        return "absent"
    classes = "" if array.num_classes is None else f" of {array.num_classes} classes"
    return f"{array.dtype} of shape {array.shape}{classes}"


def _short(value: object) -> str:
    return " ".join(f"{value!s:.60}".split())
