"""Collisions of spheres and capsules with ellipsoids and cylinders, exact as MuJoCo's are.

MJX descends a gradient for them, which leaves distances off by millimetres, finds two contacts
of a capsule with a cylinder where MuJoCo has one, and takes long to compile and to run. A sphere or
a capsule is what a sphere sweeps whose centre moves along a segment, and its distance from a convex
body is the least that a point of the segment has, less the radius. Signed distances from a convex
body are convex, so that one search along a line finds it. Where the segment itself pierces the body
MuJoCo may push them apart in another direction.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from mujoco import mjx
from mujoco.mjx._src import math

# An interval of a search is divided by this many points.
_POINTS = 32


class Segments(NamedTuple):
    """Paths of the spheres' centres, each in the axes of the body that it may touch."""

    center: Float[Array, "pairs 3"]
    axis: Float[Array, "pairs 3"]
    half_length: Float[Array, " pairs"]
    """Half the length; 0 for spheres."""

    are_points: bool
    """True if all are spheres."""

    def at(self, x: Float[Array, "pairs points"]) -> Float[Array, "pairs points 3"]:
        """Return points by their distance from the centre along the axis."""
        return self.center[:, None] + x[..., None] * self.axis[:, None]


_Nearest = Callable[[Segments, Float[Array, "pairs 3"]], tuple[Array, Array, Array]]
"""Function of segments and the sizes of bodies that finds the point of each segment that is nearest
to the body or deepest in it: its place, its signed distance from the surface, and the direction in
which that grows."""


def swept(nearest: _Nearest, *, are_spheres: bool) -> Any:
    """Return a function of collisions as MJX calls it, with one contact for each pair."""

    def collide(model: mjx.Model, data: mjx.Data, _: Any, geoms: Any) -> tuple[Array, ...]:
        swept, body = geoms.T
        turn = jnp.swapaxes(data.geom_xmat[body], -1, -2)  # into the axes of the body
        radius, half_length = model.geom_size[swept, 0], model.geom_size[swept, 1]
        segments = Segments(
            _rotate(turn, data.geom_xpos[swept] - data.geom_xpos[body]),
            _rotate(turn, data.geom_xmat[swept, :, 2]),
            jnp.zeros_like(half_length) if are_spheres else half_length,
            are_spheres,
        )
        found = nearest(segments, model.geom_size[body])
        x, distance, outwards = jax.lax.stop_gradient(found)
        point = segments.at(x[:, None])[:, 0]
        # The least distance changes with where the point is, not with which one it is: that is its
        # whole derivative. The normal is differentiated as if it belonged to the body.
        moved = point - jax.lax.stop_gradient(point)
        distance = distance + jnp.sum(outwards * moved, -1)
        # Half way between both surfaces, in a frame that begins from the sphere or capsule.
        pos = point - (radius + distance)[:, None] / 2 * outwards
        pos = data.geom_xpos[body] + _rotate(data.geom_xmat[body], pos)
        normal = -_rotate(data.geom_xmat[body], outwards)
        return distance - radius, pos, jax.vmap(math.make_frame)(normal)

    collide.ncon = 1  # pyright: ignore[reportFunctionMemberAccess]
    return collide


def nearest_to_ellipsoid(
    segments: Segments, size: Float[Array, "pairs 3"]
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"], Float[Array, "pairs 3"]]:
    """Find points as a `_Nearest` does; sizes are semi-axes.

    The surface's point q that is nearest to p has p - q = t q / size^2 for a number t, which is
    0 on the surface and grows outwards. For each t one point of the segment is nearest, and the q
    that follows is on the surface for one t alone. Of a segment that pierces the ellipsoid some
    point inside is found; from the middle it is pushed along the third axis.
    """
    squares = size[:, None] ** 2

    def point_of(t):
        weights = 1 / (t[..., None] + squares)
        axis, center = segments.axis[:, None], segments.center[:, None]
        x = -jnp.sum(weights * axis * center, -1) / jnp.sum(weights * axis**2, -1)
        x = jnp.clip(x, -segments.half_length[:, None], segments.half_length[:, None])
        return x, weights * segments.at(x)

    def is_outside(t):
        _, weighted = point_of(t)
        return jnp.sum(squares * weighted**2, -1) > 1

    farthest = jnp.linalg.norm(segments.center, axis=-1) + segments.half_length
    low, high = -(1 - 1e-4) * jnp.min(squares[:, 0], -1), farthest * jnp.max(size, -1)
    t = _search(is_outside, low, high)
    x, weighted = point_of(t[:, None])
    gradient = weighted[:, 0]
    length = jnp.linalg.norm(gradient, axis=-1)
    is_middle = length[:, None] == 0
    third = jnp.array([0, 0, 1], gradient.dtype)
    outwards = jnp.where(is_middle, third, gradient / jnp.where(is_middle, 1, length[:, None]))
    return x[:, 0], t * length, outwards


def nearest_to_cylinder(
    segments: Segments, size: Float[Array, "pairs 3"]
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"], Float[Array, "pairs 3"]]:
    """Find points as a `_Nearest` does; sizes are radius and half height along the third axis."""

    def distance_of(x):
        """Return signed distances of points of the segments, and their gradients."""
        point = segments.at(x)
        across = jnp.linalg.norm(point[..., :2], axis=-1)
        beyond = jnp.stack([across - size[:, :1], abs(point[..., 2]) - size[:, 1:2]], -1)
        outside = jnp.maximum(beyond, 0)
        length = jnp.linalg.norm(outside, axis=-1, keepdims=True)
        is_inside = length == 0
        nearer = jnp.stack([beyond[..., 0] > beyond[..., 1], beyond[..., 0] <= beyond[..., 1]], -1)
        slopes = jnp.where(is_inside, nearer, outside / jnp.where(is_inside, 1, length))
        radial = point[..., :2] / jnp.where(across == 0, 1, across)[..., None]
        axial = jnp.where(point[..., 2:] < 0, -1.0, 1.0).astype(point.dtype)
        gradient = jnp.concatenate([slopes[..., :1] * radial, slopes[..., 1:] * axial], -1)
        return length[..., 0] + jnp.minimum(jnp.max(beyond, -1), 0), gradient

    def is_falling(x):
        return jnp.sum(distance_of(x)[1] * segments.axis[:, None], -1) < 0

    x = jnp.zeros_like(segments.half_length)
    if not segments.are_points:
        x = _search(is_falling, -segments.half_length, segments.half_length)
    distance, gradient = distance_of(x[:, None])
    return x, distance[:, 0], gradient[:, 0]


def _search(
    is_before: Callable[[Float[Array, "pairs points"]], Bool[Array, "pairs points"]],
    low: Float[Array, " pairs"],
    high: Float[Array, " pairs"],
) -> Float[Array, " pairs"]:
    """Find the number between two up to which a condition holds.

    Many points at once: on an accelerator the number of rounds is what takes time.
    """
    fractions = jnp.linspace(0, 1, _POINTS, dtype=low.dtype)

    def narrow(_, bounds):
        low, high = bounds
        points = low[:, None] + (high - low)[:, None] * fractions
        count = jnp.sum(is_before(points), -1)
        index = jnp.stack([jnp.maximum(count - 1, 0), jnp.minimum(count, _POINTS - 1)], -1)
        low, high = jnp.take_along_axis(points, index, -1).T
        return low, high

    digits = jnp.finfo(low.dtype).nmant + 1
    rounds = -(-digits // (_POINTS.bit_length() - 2))
    low, high = jax.lax.fori_loop(0, rounds, narrow, (low, high))
    return (low + high) / 2


def _rotate(matrix: Float[Array, "pairs 3 3"], vector: Float[Array, "pairs 3"]) -> Array:
    return jnp.sum(matrix * vector[:, None], -1)
