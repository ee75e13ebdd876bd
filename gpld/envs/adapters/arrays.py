"""Arrays of others' observations: their names, their form here, and checks of what comes."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from ...errors import UsageError
from ..timestep import IMAGE, RESERVED, ArraySpec

_CHANNELS = {1, 3, 4}


class Place(NamedTuple):
    """Array in an observation of an environment, as its space announces it."""

    path: tuple[Any, ...]
    """Keys and indices that lead to it; none where the observation is the array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    num_classes: int | None = None
    """Of integers that name one of several things."""

    start: int = 0
    """The lowest of these integers."""


class Announced(NamedTuple):
    """Array that an environment announces, and the form in which it becomes one of ours."""

    place: Place
    spec: ArraySpec
    channels_first: bool = False

    def convert(self, value: Any) -> Shaped[np.ndarray, "..."]:
        """Return the array, which shares no memory with what came.

        Raises:
            ValueError: If it has another shape or dtype than was announced.
        """
        path, shape, dtype, num_classes, start = self.place
        array = np.asarray(value)
        same = array.dtype == dtype or np.can_cast(array.dtype, dtype, "same_kind")
        if array.shape != shape or not same:
            raise ValueError(
                f"{called(path)} must have shape {shape} and dtype {dtype}, as its space says, "
                f"got {array.shape} and {array.dtype}"
            )
        if num_classes is not None:
            array = array.astype(np.int64) - start
            if (array < 0).any() or (array >= num_classes).any():
                raise ValueError(
                    f"{called(path)} must lie in [{start}, {start + num_classes}), as its space "
                    f"says, got {value}"
                )
        if len(self.spec.shape) == 3:
            array = np.moveaxis(array, 0, -1) if self.channels_first else array
            if array.shape != self.spec.shape:
                return resize(array, self.spec.shape[0])
        return np.array(array, self.spec.dtype).reshape(self.spec.shape)


def announce(places: Iterable[Place], image_size: int | None) -> dict[str, Announced]:
    """Settle the form of all arrays of an observation, by their names, which are sorted.

    Pictures (uint8, three axes, of which the first or last has 1, 3 or 4 entries) have their
    channels last. Categorical integers are int32 and begin at 0, all else is float32; more than
    two axes are flattened. Arrays without entries are left out. Names are the keys that lead to an
    array, joined by `/`; `obs/` stands before one that would be taken for something of ours.

    Args:
        places: The arrays.
        image_size: Pixels along both sides of a picture; None leaves pictures as they are.

    Raises:
        UsageError: If nothing is observed, an array has no numbers, or two would have one name.
    """
    arrays = {}
    for place in places:
        if 0 in place.shape:
            continue
        announced = _form(place, image_size)
        name = own_name("/".join(map(str, place.path)), len(announced.spec.shape) == 3)
        if name in arrays:
            raise UsageError(
                f"Observations must have different names, but two of them are {name!r} once they "
                "are flattened."
            )
        arrays[name] = announced
    if not arrays:
        raise UsageError("The environment must have an observation with at least one number.")
    return {name: arrays[name] for name in sorted(arrays)}


def own_name(name: str, is_picture: bool) -> str:
    """Return our name of an array that others call `name`, or nothing where it is the only one."""
    name = name or (IMAGE if is_picture else "observation")
    return f"obs/{name}" if name.partition("/")[0] in RESERVED else name


def is_image(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Return whether an array of an observation is a picture."""
    return dtype == np.uint8 and len(shape) == 3 and bool({shape[0], shape[2]} & _CHANNELS)


def has_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether the channels of a picture of this shape come first."""
    return shape[2] not in _CHANNELS


def read(observation: Any, arrays: Mapping[str, Announced]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Convert an observation to arrays of ours.

    Raises:
        ValueError: If it is not what was announced.
    """
    return {name: array.convert(find(observation, array.place)) for name, array in arrays.items()}


def resize(
    image: UInt8[np.ndarray, "height width channels"], size: int
) -> UInt8[np.ndarray, "size size channels"]:
    """Return a picture with other sides, each pixel the mean over the area that it covers."""
    rows, columns = (_areas(side, size) for side in image.shape[:2])
    part = np.tensordot(rows, image.astype(np.float64), (1, 0))
    whole = np.tensordot(part, columns, (1, 1))  # size, channels, size
    return np.rint(whole).astype(np.uint8).transpose(0, 2, 1).copy()


def _areas(old: int, new: int) -> Float64[np.ndarray, "new old"]:
    """Return the share of each old pixel in each new one, along one side."""
    edges = np.arange(new + 1)[:, None] * old / new
    covered = np.clip(edges - np.arange(old), 0, 1)
    return np.diff(covered, axis=0) * new / old


def _form(place: Place, image_size: int | None) -> Announced:
    shape, dtype = place.shape, place.dtype
    if place.num_classes is not None:
        if place.num_classes >= 2**31:
            raise UsageError(
                f"{called(place.path).capitalize()} must have fewer than 2**31 values to tell "
                f"apart, got {place.num_classes}."
            )
        return Announced(place, ArraySpec(shape, np.dtype(np.int32), place.num_classes))
    if dtype.kind not in "biuf":
        raise UsageError(f"Observations must be numbers, but {called(place.path)} is {dtype}.")
    if is_image(shape, dtype):
        channels_first = has_channels_first(shape)
        height, width, channels = (*shape[1:], shape[0]) if channels_first else shape
        if image_size is not None:
            height = width = image_size
        return Announced(place, ArraySpec((height, width, channels), dtype), channels_first)
    if len(shape) > 2:
        shape = (int(np.prod(shape)),)
    return Announced(place, ArraySpec(shape, np.dtype(np.float32)))


def find(observation: Any, place: Place) -> Any:
    """Return the array at a place of an observation.

    Raises:
        ValueError: If there is none.
    """
    for key in place.path:
        try:
            observation = observation[key]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"{called(place.path)} is missing") from None
    return observation


def called(path: tuple[Any, ...]) -> str:
    """Return what messages call an array of an observation."""
    return f"observation {'/'.join(map(str, path))!r}" if path else "the observation"


def shown(space: Any) -> str:
    """Return what errors call a space or spec, in one line."""
    return " ".join(f"{space!r:.120}".split())
