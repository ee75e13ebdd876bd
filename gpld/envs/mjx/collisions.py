"""Collisions of MuJoCo's C code, for pairs of shapes where MJX's differ.

MJX adds constants to the denominators of a capsule's nearest points, which turns contact normals
by up to 4e-4, and aligns the tangents of a capsule on a plane with the capsule only while that lies
rather flat. Those of ellipsoids and cylinders are in `swept_spheres`. With these functions a
control step equals MuJoCo's up to the tolerance of its solver.
"""

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx._src import collision_driver, math

from .swept_spheres import nearest_to_cylinder, nearest_to_ellipsoid, swept


def distances(model: mjx.Model, data: mjx.Data, *, planes_only: bool) -> Float[Array, " contacts"]:
    """Return signed distances of pairs of geoms that could touch, beyond their margins.

    Args:
        model: The model, without pairs that have margins of their own.
        data: Has the positions of geoms.
        planes_only: Leaves out pairs without a plane.
    """
    table: Any = collision_driver._COLLISION_FUNC
    found = []
    for key, pairs in collision_driver._geom_groups(model).items():
        if planes_only and key.types[0] != mjx.GeomType.PLANE:
            continue
        geoms = np.array(pairs)[:, :2]
        collide = table[key.types]
        dist, _, _ = collide(model, data, key, geoms)
        margin = jnp.sum(model.geom_margin[geoms], axis=1)
        found.append(dist - jnp.repeat(margin, collide.ncon))
    return jnp.concatenate(found)


def plane_capsule(model: mjx.Model, data: mjx.Data, _: Any, geoms: Any) -> tuple[Array, ...]:
    """Find two contacts, at the ends of the capsule, whose first tangent is along its axis.

    Args:
        model: The model.
        data: Has the positions of geoms.
        geoms: Indices of planes and capsules, `[pairs, 2]`.

    Returns:
        Distances `[2 pairs]`, positions `[2 pairs, 3]` and frames `[2 pairs, 3, 3]`.
    """
    plane, capsule = geoms.T
    normal, axis = data.geom_xmat[plane, :, 2], data.geom_xmat[capsule, :, 2]
    radius, half_length = model.geom_size[capsule, 0], model.geom_size[capsule, 1]
    tangent, length = _normalize(axis - jnp.vecdot(axis, normal)[:, None] * normal)
    # A capsule that stands upright has no direction in the plane, and any will do.
    other = jax.vmap(math.make_frame)(normal)[:, 1]
    tangent = jnp.where(length[:, None] < _smallest(length), other, tangent)
    frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)

    def end(sign):
        center = data.geom_xpos[capsule] + sign * half_length[:, None] * axis
        dist = jnp.vecdot(center - data.geom_xpos[plane], normal) - radius
        return dist, center - (radius + dist / 2)[:, None] * normal, frame

    # Both contacts of the first pair, then those of the next.
    ends = jax.tree.map(lambda *x: jnp.stack(x, axis=1), end(1), end(-1))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends)


def capsule_capsule(model: mjx.Model, data: mjx.Data, _: Any, geoms: Any) -> tuple[Array, ...]:
    """Find one contact, of the spheres around the nearest points of both axes.

    Where axes are parallel to about 2e-4 MuJoCo has two contacts, and here is one.

    Args:
        model: The model.
        data: Has the positions of geoms.
        geoms: Indices of capsules, `[pairs, 2]`.

    Returns:
        Distances `[pairs]`, positions `[pairs, 3]` and frames `[pairs, 3, 3]`.
    """
    first, second = geoms.T
    pos1, pos2 = data.geom_xpos[first], data.geom_xpos[second]
    axis1, axis2 = data.geom_xmat[first, :, 2], data.geom_xmat[second, :, 2]
    radius1, radius2 = model.geom_size[first, 0], model.geom_size[second, 0]
    x1, x2 = nearest_points(
        pos2 - pos1, axis1, axis2, model.geom_size[first, 1], model.geom_size[second, 1]
    )
    center1, center2 = pos1 + x1[:, None] * axis1, pos2 + x2[:, None] * axis2
    return _spheres(center1, center2, radius1, radius2, jnp.cross(axis1, axis2))


def sphere_capsule(model: mjx.Model, data: mjx.Data, _: Any, geoms: Any) -> tuple[Array, ...]:
    """Find one contact, of the sphere with the one around the nearest point of the axis.

    Args:
        model: The model.
        data: Has the positions of geoms.
        geoms: Indices of spheres and capsules, `[pairs, 2]`.

    Returns:
        Distances `[pairs]`, positions `[pairs, 3]` and frames `[pairs, 3, 3]`.
    """
    sphere, capsule = geoms.T
    center, pos = data.geom_xpos[sphere], data.geom_xpos[capsule]
    axis, half = data.geom_xmat[capsule, :, 2], model.geom_size[capsule, 1]
    x = jnp.clip(jnp.vecdot(axis, center - pos), -half, half)
    radius, radius2 = model.geom_size[sphere, 0], model.geom_size[capsule, 0]
    across = jnp.cross(data.geom_xmat[sphere, :, 2], axis)
    return _spheres(center, pos + x[:, None] * axis, radius, radius2, across)


def nearest_points(
    between: Float[Array, "pairs 3"],
    axis1: Float[Array, "pairs 3"],
    axis2: Float[Array, "pairs 3"],
    half1: Float[Array, " pairs"],
    half2: Float[Array, " pairs"],
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    """Find the points of two segments that are nearest to each other.

    Args:
        between: From the centre of the first to that of the second.
        axis1: Unit vector of the first.
        axis2: Unit vector of the second.
        half1: Half the length of the first.
        half2: Half the length of the second.

    Returns:
        Distances from the centres along the axes.
    """
    cosine = jnp.vecdot(axis1, axis2)
    along1, along2 = jnp.vecdot(axis1, between), jnp.vecdot(axis2, between)
    # The squared sine and the numerator by cross products: 1 - cosine^2 and its like would
    # leave nothing of float32 where axes are nearly parallel.
    cross = jnp.cross(axis1, axis2)
    sine2 = jnp.vecdot(cross, cross)
    parallel = sine2 < _smallest(sine2) ** 2
    x1 = jnp.vecdot(jnp.cross(between, axis2), cross) / jnp.where(parallel, 1, sine2)
    x1 = jnp.clip(jnp.where(parallel, along1 / 2, x1), -half1, half1)
    x2 = x1 * cosine - along2
    # Where the second point lies beyond its segment the end is nearest, and moves the first.
    end = jnp.clip(x2, -half2, half2)
    x1 = jnp.where(end == x2, x1, jnp.clip(along1 + end * cosine, -half1, half1))
    return x1, end


def _spheres(
    center1: Float[Array, "pairs 3"],
    center2: Float[Array, "pairs 3"],
    radius1: Float[Array, " pairs"],
    radius2: Float[Array, " pairs"],
    across: Float[Array, "pairs 3"],
) -> tuple[Array, ...]:
    """Find the contacts of spheres; along `across` where centres are the same.

    Axes of capsules that cross, as those in one plane do, push each other out of the plane.
    """
    normal, length = _normalize(center2 - center1)
    dist = length - radius1 - radius2
    normal = jnp.where(length[:, None] < _smallest(length), _normalize(across)[0], normal)
    pos = center1 + (radius1 + dist / 2)[:, None] * normal
    return dist, pos, jax.vmap(math.make_frame)(normal)


def _normalize(vector: Float[Array, "pairs 3"]) -> tuple[Array, Float[Array, " pairs"]]:
    """Return unit vectors, or the first axis as in MuJoCo, and lengths."""
    length = jnp.sqrt(jnp.vecdot(vector, vector))
    tiny = length < mujoco.mjMINVAL  # pyright: ignore[reportAttributeAccessIssue]
    unit = vector / jnp.where(tiny, 1, length)[:, None]
    return jnp.where(tiny[:, None], jnp.array([1.0, 0.0, 0.0], vector.dtype), unit), length


def _smallest(x: Array) -> float:
    """Return the number below which a length counts as 0: MuJoCo's, or that of rounding."""
    return max(1e-15, 4 * float(jnp.finfo(x.dtype).eps))


plane_capsule.ncon = 2  # pyright: ignore[reportFunctionMemberAccess]
capsule_capsule.ncon = 1  # pyright: ignore[reportFunctionMemberAccess]
sphere_capsule.ncon = 1  # pyright: ignore[reportFunctionMemberAccess]

CORRECTED = {
    (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE): plane_capsule,
    (mjx.GeomType.SPHERE, mjx.GeomType.CAPSULE): sphere_capsule,
    (mjx.GeomType.CAPSULE, mjx.GeomType.CAPSULE): capsule_capsule,
    (mjx.GeomType.SPHERE, mjx.GeomType.ELLIPSOID): swept(nearest_to_ellipsoid, are_spheres=True),
    (mjx.GeomType.CAPSULE, mjx.GeomType.ELLIPSOID): swept(nearest_to_ellipsoid, are_spheres=False),
    (mjx.GeomType.SPHERE, mjx.GeomType.CYLINDER): swept(nearest_to_cylinder, are_spheres=True),
    (mjx.GeomType.CAPSULE, mjx.GeomType.CYLINDER): swept(nearest_to_cylinder, are_spheres=False),
}
"""Functions by the types of both shapes, in place of MJX's."""
