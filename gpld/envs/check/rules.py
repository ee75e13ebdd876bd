"""Rules that a walk through one environment shows to hold or not."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..adapters.arrays import called
from .finding import Finding, broken, hint, ok
from .walk import Walk


def check_steps(walk: Walk) -> Finding:
    """Nothing is raised by a reset, a step or at the end."""
    if walk.raised_by is not None:
        old = "unexpected keyword argument 'seed'" in str(walk.error)
        mend = "; it must take `seed` and `options`, as in Gymnasium since 0.26" if old else ""
        return broken(f"`{walk.raised_by}` raised {walk.error}, {_when(len(walk.timesteps))}{mend}")
    return ok(
        f"{len(walk.timesteps):,} resets and steps; episodes that ended: {len(walk.lengths):,}"
    )


def check_observations(walk: Walk) -> Finding:
    """Observations have the names and shapes that were announced."""
    for i, name, array, shape in _shapes(walk):
        if array is None:
            return broken(f"{name} is missing, {_when(i)}; return it, or take it out of the space")
        if array.shape != shape:
            return broken(
                f"{name} has shape {array.shape}, {_when(i)}, but {shape} was announced; change "
                "one of them"
            )
    if walk.announced is None:
        for i, timestep in enumerate(walk.timesteps):
            if more := sorted(timestep.observation.keys() - walk.spec.observation.keys()):
                return broken(f"{more[0]!r} is not in `spec`, {_when(i)}; add it")
    elif _refused_picture(walk):
        return broken(f"{walk.error}, {_when(len(walk.timesteps))}; draw all in one form")
    more = sorted({name for seen in walk.seen for name in seen.unannounced})
    if more:
        return hint(f"{', '.join(more)}: not in the space, and so not seen; add it to the space")
    parts = [
        f"{name} {' x '.join(map(str, array.shape)) or 'number'}"
        for name, array in walk.spec.observation.items()
    ]
    return ok(", ".join(parts))


def check_dtypes(walk: Walk) -> Finding:
    """Observations have the dtypes that were announced."""
    other = {}
    if walk.announced is None:
        for i, timestep in enumerate(walk.timesteps):
            for name, spec in walk.spec.observation.items():
                array = timestep.observation.get(name)
                if array is not None and array.dtype != spec.dtype:
                    return broken(
                        f"{name!r} is {array.dtype}, {_when(i)}, but `spec` says {spec.dtype}; "
                        "convert it"
                    )
    for i, seen in enumerate(walk.seen):
        for name, array in seen.arrays.items():
            place = walk.announced[name].place  # pyright: ignore[reportOptionalSubscript]
            if not np.can_cast(array.dtype, place.dtype, "same_kind"):
                return broken(
                    f"{called(place.path)} is {array.dtype}, {_when(i)}, but {place.dtype} was "
                    "announced; convert it, or change its space"
                )
            if array.dtype != place.dtype:
                other[name] = (
                    f"{called(place.path)} is {array.dtype}, not {place.dtype} as announced"
                )
    if other:
        return hint(f"{'; '.join(other.values())}: converted here, but mend one")
    pairs = [(x.dtype, x.dtype) for x in walk.spec.observation.values()]
    if walk.announced:
        pairs = [(place.dtype, form.dtype) for place, form, _ in walk.announced.values()]
    names = {f"{came}" if came == form else f"{came}, here {form}" for came, form in pairs}
    return ok("; ".join(sorted(names)))


def check_range(walk: Walk) -> Finding:
    """Observations lie between the bounds that were announced."""
    outside = {}
    if walk.announced is None:
        for i, timestep in enumerate(walk.timesteps):
            for name, (_, _, size) in walk.spec.observation.items():
                array = timestep.observation.get(name)
                if size is not None and array is not None and _outside(array, 0, size - 1):
                    return broken(f"{name!r} is {array}, {_when(i)}, but there are {size} classes")
    for i, seen in enumerate(walk.seen):
        for name, array in seen.arrays.items():
            place = walk.announced[name].place  # pyright: ignore[reportOptionalSubscript]
            if array.dtype.kind not in "biuf" or array.shape != place.shape:
                continue
            if place.num_classes is not None:
                highest = place.start + place.num_classes - 1
                if _outside(array, place.start, highest):
                    return broken(
                        f"{called(place.path)} is {array}, {_when(i)}, outside "
                        f"[{place.start}, {highest}]; change it or its space"
                    )
            elif name not in outside and _outside(array, *_bounds(walk.space, place.path)):
                outside[name] = f"{called(place.path)} leaves the bounds, {_when(i)}"
    if outside:
        return hint(f"{'; '.join(outside.values())}: bounds are not used here, but mend them")
    return ok("all within their bounds")


def check_finite(walk: Walk) -> Finding:
    """No observation and no reward is NaN or infinite."""
    for i, timestep in enumerate(walk.timesteps):
        named = {f"observation {key!r}": x for key, x in timestep.observation.items()}
        for name, array in (named | {"the reward": timestep.reward}).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                kind = "NaN" if np.isnan(array).any() else "infinite"
                return broken(
                    f"{name} is {kind}, {_when(i)}; end the episode before it comes to that"
                )
    return ok("no NaN, nothing infinite")


def check_rewards(walk: Walk) -> Finding:
    """Rewards are single numbers, and 0 after a reset."""
    for i, seen in enumerate(walk.seen):
        if seen.outcome is not None and not _is_number(seen.outcome.reward):
            got = f"{seen.outcome.reward!r:.60}"
            return broken(f"the reward is {got}, {_when(i)}; return one number")
    for i, (_, reward, is_first, _, _) in enumerate(walk.timesteps):
        if reward.shape != () or reward.dtype != np.float32:
            return broken(
                f"the reward has shape {reward.shape} and dtype {reward.dtype}, {_when(i)}; return "
                "an array of float32 without axes"
            )
        if is_first.all() and reward != 0:
            return broken(f"the reward is {reward}, {_when(i)}, a reset; return 0 with a reset")
    rewards = [timestep.reward.item() for timestep in walk.timesteps] or [0.0]
    return ok(f"from {min(rewards):.4g} to {max(rewards):.4g}")


def check_order(walk: Walk) -> Finding:
    """Episodes begin with a reset and end once, by flags that are true or false."""
    for i, seen in enumerate(walk.seen):
        for name in ("terminated", "truncated"):
            if seen.outcome is not None and not _is_flag(flag := getattr(seen.outcome, name)):
                return broken(f"`{name}` is {flag!r:.60}, {_when(i)}; return True or False")
    due = True
    for i, timestep in enumerate(walk.timesteps):
        for name in ("is_first", "is_last", "is_terminal"):
            flag = getattr(timestep, name)
            if flag.shape != () or flag.dtype != np.bool_:
                return broken(
                    f"`{name}` has shape {flag.shape} and dtype {flag.dtype}, {_when(i)}; return "
                    "an array of bool without axes"
                )
        _, _, is_first, is_last, is_terminal = timestep
        if is_first != due:
            kind = "a reset" if due else "a step"
            return broken(f"`is_first` is {is_first}, {_when(i)}, which is {kind}; it marks resets")
        if is_last and due:
            return broken(f"`is_last` is True, {_when(i)}, a reset; begin episodes that go on")
        if is_terminal and not is_last:
            return broken(f"`is_terminal` without `is_last`, {_when(i)}; set both")
        due = bool(is_last)
    ends = sum(bool(timestep.is_terminal) for timestep in walk.timesteps)
    return ok(f"episodes that terminated: {ends:,}, truncated: {len(walk.lengths) - ends:,}")


def check_buffers(walk: Walk) -> Finding:
    """Observations stay as they were returned."""
    if walk.overwritten:
        return hint(
            f"{', '.join(walk.overwritten)}: overwritten by the next step after it was returned; "
            "copied here, but return copies"
        )
    return ok("observations stay as they were returned")


def check_length(walk: Walk) -> Finding:
    """Episodes end, after some steps and within the limit that is known."""
    lengths, limit = walk.lengths, walk.spec.episode_steps
    for i, length in enumerate(walk.elapsed):
        if 0 < limit < length:
            return broken(f"an episode goes on, {_when(i)}, after the {limit} steps of its limit")
    if not lengths:
        seen = f"no episode ended within {len(walk.timesteps):,} steps"
        if walk.error is not None:
            return ok(f"{seen} before the exception")
        if limit > 0:
            return ok(f"{seen}; the limit is {limit:,}")
        return hint(f"{seen}; `--env.episode_steps` sets a limit where there is none")
    if len(lengths) > 3 and max(lengths[1:]) == 1:
        if lengths[0] > 1:
            return broken(
                "every episode but the first ends at its first step; `reset` must put back what "
                "ends an episode"
            )
        return hint("every episode ends at its first step; is that meant?")
    return ok(
        f"from {min(lengths):,} to {max(lengths):,} steps" + f", at most {limit:,}" * (limit > 0)
    )


WALK_RULES: dict[str, Callable[[Walk], Finding]] = {
    "steps": check_steps,
    "observations": check_observations,
    "dtypes": check_dtypes,
    "range": check_range,
    "finite": check_finite,
    "rewards": check_rewards,
    "order": check_order,
    "buffers": check_buffers,
    "length": check_length,
}


def _when(index: int) -> str:
    """Return where in a walk something came."""
    return "at the first reset" if index == 0 else f"at step {index}"


def _shapes(walk: Walk) -> Iterator[tuple[int, str, np.ndarray | None, tuple[int, ...]]]:
    """Yield all arrays that should have come, with their shapes."""
    if walk.announced is None:
        for i, timestep in enumerate(walk.timesteps):
            for name, spec in walk.spec.observation.items():
                yield i, f"observation {name!r}", timestep.observation.get(name), spec.shape
    else:
        for i, seen in enumerate(walk.seen):
            for name, announced in walk.announced.items():
                place = announced.place
                yield i, called(place.path), seen.arrays.get(name), place.shape


def _refused_picture(walk: Walk) -> bool:
    """Return whether the adapter has refused a picture, the only array that nobody announces."""
    if walk.error is None or walk.raised_by is not None or walk.announced is None:
        return False
    pictures = walk.spec.observation.keys() - walk.announced.keys()
    return any(f"{name!r} must have" in walk.error for name in pictures)


def _bounds(space: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the lowest and highest values at a place of a space; infinity where it says none."""
    for key in path:
        space = space[key]
    for low, high in (("low", "high"), ("minimum", "maximum")):
        if hasattr(space, low):
            return getattr(space, low), getattr(space, high)
    return -np.inf, np.inf


def _outside(array: np.ndarray, low: Any, high: Any) -> bool:
    """Return whether a finite number is lower or higher."""
    if array.dtype.kind not in "biuf":
        return False
    return bool((np.isfinite(array) & ((array < low) | (array > high))).any())


def _is_number(reward: Any) -> bool:
    array = np.asarray(reward)
    return array.size == 1 and array.dtype.kind in "biuf"


def _is_flag(flag: Any) -> bool:
    array = np.asarray(flag)
    return array.size == 1 and array.dtype.kind in "biu"
