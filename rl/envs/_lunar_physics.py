"""The physics of a lunar lander: a hull and two legs that swing about its origin, and the ground.

The constants are those of Gymnasium's LunarLander-v3 and of Box2D 2.3, in metres, kilograms and
seconds. Three rigid bodies (the hull, the right leg and the left one) share one point, the origin
of the hull. With `v` the velocity of that point and `w_k` the angular velocities, the velocity of
the centre of body `k` is `v + w_k x r_k`; so five numbers `(v, w)` describe all movement, and no
joint can come apart.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

SCALE, STEP = 30.0, 1.0 / 50.0
WIDTH, HEIGHT = 600.0 / SCALE, 400.0 / SCALE
LEG_DOWN = 18.0 / SCALE
HULL_DENSITY, LEG_DENSITY = 5.0, 1.0

_HULL = np.array([(14, 17), (-14, 17), (-17, 0), (-17, -10), (17, -10), (17, 0)]) / SCALE
_LEG_AWAY, _LEG_HALF = 20.0 / SCALE, (2.0 / SCALE, 8.0 / SCALE)
# Of the legs, right and left, beside the hull: +1 opens the right leg, -1 the left one.
_SIDE = np.array([1.0, -1.0])
_CLOSED, _OPEN, _UNFOLDED, _CLOSING_SPEED = 0.35, 0.85, 0.492, 0.3
_FRICTION = math.sqrt(0.1 * 0.2)  # of the ground and of a leg
# Box2D lets bodies touch at this distance, and overlap by so much.
_TOUCH, _SLOP, _ANGLE_SLOP, _SWEPT = 0.02, 0.005, math.radians(2.0), 0.005
_REST_SPEED, _REST_SPIN = 0.01, math.radians(2.0)

_VELOCITY_ROUNDS, _POSITION_ROUNDS, _CORRECTION = 12, 8, 0.2


def _polygon(vertices: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Area, centroid, and second moment about the origin."""
    x, y = vertices.T
    u, v = np.roll(x, -1), np.roll(y, -1)
    cross = x * v - u * y
    centroid = np.array([((x + u) * cross).sum(), ((y + v) * cross).sum()]) / (3.0 * cross.sum())
    moment = (cross * (x * x + x * u + u * u + y * y + y * v + v * v)).sum() / 12.0
    return cross.sum() / 2.0, centroid, moment


_HULL_AREA, _HULL_CENTRE, _HULL_MOMENT = _polygon(_HULL)
_LEG_MASS = LEG_DENSITY * 4.0 * _LEG_HALF[0] * _LEG_HALF[1]
_LEG_INERTIA = _LEG_MASS * (_LEG_HALF[0] ** 2 + _LEG_HALF[1] ** 2) / 3.0  # about its centre
# The centres of the three bodies, as seen from the origin of the hull by a body at angle 0.
_CENTRES = np.array([_HULL_CENTRE, (_LEG_AWAY, -LEG_DOWN), (-_LEG_AWAY, -LEG_DOWN)])
# The corners of the legs that can touch the ground: outside and inside below, outside above.
_FEET = _CENTRES[1:, None] + np.array(
    [[(s * x * _LEG_HALF[0], y * _LEG_HALF[1]) for x, y in ((1, -1), (-1, -1), (1, 1))]
     for s in _SIDE]
)  # fmt: skip


class Craft(NamedTuple):
    """Where the three bodies are, and how they move.

    - `position`: the origin of the hull, shape `[2]`.
    - `angle`: of the hull, the right and the left leg, shape `[3]`.
    - `velocity`: of their centres of mass, shape `[3, 2]`.
    - `spin`: their angular velocities, shape `[3]`.
    """

    position: Float[Array, " 2"]
    angle: Float[Array, " 3"]
    velocity: Float[Array, "3 2"]
    spin: Float[Array, " 3"]


class Bodies(NamedTuple):
    """Masses and moments of inertia about their own centres, shape `[3]`, and the legs' motors."""

    mass: Float[Array, " 3"]
    inertia: Float[Array, " 3"]
    leg_torque: Float[Array, ""]


class Moved(NamedTuple):
    """What a step leads to: whether each leg has touched the ground, and whether the hull has."""

    craft: Craft
    touching: Bool[Array, " 2"]
    crashed: Bool[Array, ""]


def bodies(hull_density: Float[Array, ""], leg_torque: Float[Array, ""]) -> Bodies:
    """Those of a lander with a hull of some density, in kg/m^2."""
    hull = hull_density * _HULL_AREA
    inertia = hull_density * (_HULL_MOMENT - _HULL_AREA * float(_HULL_CENTRE @ _HULL_CENTRE))
    leg = jnp.full_like(hull, _LEG_MASS)
    leg_inertia = jnp.full_like(hull, _LEG_INERTIA)
    return Bodies(
        jnp.stack([hull, leg, leg]), jnp.stack([inertia, leg_inertia, leg_inertia]), leg_torque
    )


def folded(parts: Bodies) -> Craft:
    """A lander at rest at the top of the view, where Box2D begins, with its legs folded.

    There the centres of the legs are as high as the origin of the hull: the joints have yet to
    pull them into place, which leaves the centre of mass of all where it is.
    """
    dtype = parts.mass.dtype
    angle = jnp.asarray([0.0, *(-0.05 * _SIDE)], dtype)
    share = parts.mass[0] / parts.mass.sum()
    top = jnp.asarray([WIDTH / 2.0, HEIGHT], dtype)
    centre = top + share * jnp.asarray(_CENTRES[0], dtype)
    still = jnp.zeros((3, 2), dtype), jnp.zeros((3,), dtype)
    return Craft(_origin(centre, parts, angle), angle, *still)


def unfolded(craft: Craft, parts: Bodies) -> Craft:
    """The same with its legs where the joints of Box2D leave them after the first step."""
    side = jnp.asarray([0.0, *(_UNFOLDED * _SIDE)], craft.angle.dtype)
    angle = craft.angle[:1] + side
    share = parts.mass / parts.mass.sum()
    centre = craft.position + (share[:, None] * _arms(craft.angle)).sum(0)
    return craft._replace(position=_origin(centre, parts, angle), angle=angle)


def pushed(
    craft: Craft, parts: Bodies, impulse: Float[Array, " 2"], offset: Float[Array, " 2"]
) -> Craft:
    """An impulse on the hull, at an offset from its origin, in N s and m."""
    lever = offset - _arms(craft.angle)[0]
    velocity = craft.velocity.at[0].add(impulse / parts.mass[0])
    return craft._replace(
        velocity=velocity, spin=craft.spin.at[0].add(_cross(lever, impulse) / parts.inertia[0])
    )


def centre_of_hull(craft: Craft) -> Float[Array, " 2"]:
    """From the origin of the hull to its centre of mass."""
    return _arms(craft.angle)[0]


def at_rest(craft: Craft) -> Bool[Array, ""]:
    """Whether all bodies are as slow as Box2D wants them for sleep."""
    slow = (craft.velocity**2).sum(-1) <= _REST_SPEED**2
    return (slow & (jnp.abs(craft.spin) <= _REST_SPIN)).all()


def advance(
    craft: Craft,
    parts: Bodies,
    terrain: Float[Array, " T"],
    gravity: Float[Array, ""],
    *,
    far_up: bool = False,
) -> Moved:
    """One step of 1/50 s, as Box2D takes it: first velocities, then positions.

    **Arguments:**

    - `craft`: with all impulses but gravity's.
    - `parts`: its masses.
    - `terrain`: heights of the ground at equal distances, in m.
    - `gravity`: downwards, in m/s^2.
    - `far_up`: whether the ground is known to be out of reach, so that one round will do.

    **Returns:** What the step leads to.
    """
    arms = _arms(craft.angle)
    touched = _feet_touch(craft, terrain, _TOUCH)
    hit = _hull_touches(craft, terrain, _TOUCH)
    falling = jnp.stack([jnp.zeros_like(gravity), -STEP * gravity])
    velocity, spin = craft.velocity + falling[None], craft.spin
    inverse = _inverse_mass(parts, arms)
    momentum = jnp.concatenate(
        [
            (parts.mass[:, None] * velocity).sum(0),
            parts.inertia * spin + parts.mass * _cross(arms, velocity),
        ]
    )
    rows = _rows(craft, terrain, inverse)
    free = (inverse * momentum[None]).sum(-1)
    rounds = (1, 1) if far_up else (_VELOCITY_ROUNDS, _POSITION_ROUNDS)
    opening = craft.angle[1:] - craft.angle[0]
    moving = _solved(free, rows, opening, parts.leg_torque, rounds[0])
    velocity = moving[None, :2] + moving[2:, None] * _left_of(arms)
    spin = moving[2:]

    share = parts.mass / parts.mass.sum()
    centre = craft.position + (share[:, None] * (arms + STEP * velocity)).sum(0)
    angle = _within(craft.angle + STEP * spin)
    # Whether something touches is seen before it is lifted out of the ground.
    moved = Craft(_origin(centre, parts, angle), angle, velocity, spin)
    return Moved(
        _lifted(moved, terrain, rows, rounds[1]),
        touched | _feet_touch(moved, terrain, _SWEPT),
        hit | _hull_touches(moved, terrain, _SWEPT),
    )


class _Rows(NamedTuple):
    """The constraints on a velocity: how it is measured, and what an impulse does to it.

    Of two corners of each leg, `[legs, corners, (along, upright), 5]`, and of the two joints,
    `[legs, 5]`.
    """

    corner: Array
    corner_change: Array
    joint: Array
    joint_change: Array
    which: Array  # [legs, corners], of the three corners of each leg
    touching: Array  # [legs, corners]


def _rows(craft: Craft, terrain: Array, inverse: Array) -> _Rows:
    feet = _feet(craft)
    gap, normal = _gap(feet, terrain)
    # The outer corner below, and whichever of the two others is nearer to the ground.
    other = jnp.where(gap[:, 1] <= gap[:, 2], 1, 2)
    which = jnp.stack([jnp.zeros_like(other), other], axis=1)
    chosen = jnp.take_along_axis
    gap = chosen(gap, which, axis=1)
    lever = chosen(feet - craft.position[None, None], which[..., None], axis=1)
    normal = chosen(normal, which[..., None], axis=1)
    along = jnp.stack([normal[..., 1], -normal[..., 0]], axis=-1)
    directions = jnp.stack([along, normal], axis=2)
    turning = _cross(lever[:, :, None], directions)[..., None]  # of the leg
    leg = jnp.asarray([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], normal.dtype)
    corner = jnp.concatenate([directions, turning * leg[:, None, None]], axis=-1)
    joint = jnp.asarray([[0, 0, -1, 1, 0], [0, 0, -1, 0, 1]], normal.dtype)
    return _Rows(
        corner,
        (corner[..., None] * inverse[None, None, None]).sum(-2),
        joint,
        (joint[..., None] * inverse[None]).sum(-2),
        which,
        gap < _TOUCH,
    )


def _solved(moving: Array, rows: _Rows, opening: Array, leg_torque: Array, rounds: int) -> Array:
    """The velocities `[5]` with which nothing goes through the ground and the joints hold.

    Gauss-Seidel over the corners that touch, the direction along the ground before the upright
    one. A leg weighs little, so that corners and joints in turn would converge slowly: what a
    corner does takes into account that the joint of its leg will hold.
    """
    side = jnp.asarray(_SIDE, opening.dtype)
    closed, opened = side * opening <= _CLOSED, side * opening >= _OPEN
    most = STEP * leg_torque
    joint_give = (rows.joint * rows.joint_change).sum(-1)
    give = (rows.corner * rows.corner_change).sum(-1)
    coupling = (rows.joint[:, None, None] * rows.corner_change).sum(-1)
    held_give = (give - coupling**2 / joint_give[:, None, None]).reshape(8)
    give, corner = give.reshape(8), rows.corner.reshape(8, 5)
    change = rows.corner_change.reshape(8, 5)
    largest = jnp.where(jnp.repeat(rows.touching.reshape(4), 2), jnp.inf, 0.0)

    def hold(moving: Array, joints: Array) -> tuple[Array, Array, Array]:
        """The motors close the legs, as far as their torque suffices; the stops do the rest."""
        free = side * ((rows.joint * moving[None]).sum(-1) - joint_give * joints)
        motor = jnp.clip((-_CLOSING_SPEED - free) / joint_give, -most, most)
        speed = free + joint_give * motor
        stopped = (closed & (speed < 0.0)) | (opened & (speed > 0.0))
        new = side * jnp.where(stopped, -free / joint_give, motor)
        moving = moving + ((new - joints)[:, None] * rows.joint_change).sum(0)
        return moving, new, stopped | (jnp.abs(motor) < most)

    def solve(index, carry):
        moving, joints, impulses = carry
        moving, joints, stiff = hold(moving, joints)
        k = index % 8
        upright = k % 2 == 1
        grip = _FRICTION * impulses[(k + 1) % 8]
        greatest = jnp.where(upright, largest[k], grip)
        least = jnp.where(upright, 0.0, -grip)
        soft = jnp.where(stiff[k // 4], held_give[k], give[k])
        new = jnp.clip(impulses[k] - (corner[k] * moving).sum() / soft, least, greatest)
        moving = moving + (new - impulses[k]) * change[k]
        return moving, joints, impulses.at[k].set(new)

    start = moving, jnp.zeros_like(joint_give), jnp.zeros_like(give)
    moving, joints, _ = jax.lax.fori_loop(0, 8 * rounds, solve, start)
    return hold(*hold(moving, joints)[:2])[0]


def _lifted(craft: Craft, terrain: Array, rows: _Rows, rounds: int) -> Craft:
    """Positions with which no corner is in the ground, but for a little."""
    gap = jnp.take_along_axis(_gap(_feet(craft), terrain)[0], rows.which, axis=1).reshape(4)
    gap = gap - _TOUCH
    opening = jnp.asarray(_SIDE, gap.dtype) * (craft.angle[1:] - craft.angle[0])
    at_stop = (opening <= _CLOSED - _ANGLE_SLOP) | (opening >= _OPEN + _ANGLE_SLOP)
    up, change = rows.corner[:, :, 1], rows.corner_change[:, :, 1]
    share = (rows.joint[:, None] * change).sum(-1)
    share = share / (rows.joint * rows.joint_change).sum(-1)[:, None]
    stiff = change - share[..., None] * rows.joint_change[:, None]
    change = jnp.where(at_stop[:, None, None], stiff, change).reshape(4, 5)
    up = up.reshape(4, 5)
    give = (up * change).sum(-1)

    def lift(index, shift):
        now = gap + (up * shift[None]).sum(-1)
        k = index % 4
        push = jnp.clip(-_CORRECTION * (now[k] + _SLOP), 0.0, _CORRECTION)
        push = jnp.where(now.min() < -3.0 * _SLOP, push, 0.0)
        return shift + push / give[k] * change[k]

    shift = jax.lax.fori_loop(0, 4 * rounds, lift, jnp.zeros((5,), gap.dtype))
    return craft._replace(
        position=craft.position + shift[:2], angle=_within(craft.angle + shift[2:])
    )


def _within(angle: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """The legs between their stops, which give a little."""
    side = jnp.asarray(_SIDE, angle.dtype)
    opening = jnp.clip(side * (angle[1:] - angle[0]), _CLOSED - _ANGLE_SLOP, _OPEN + _ANGLE_SLOP)
    return jnp.concatenate([angle[:1], angle[0] + side * opening])


def _inverse_mass(parts: Bodies, arms: Array) -> Array:
    """From momenta to `(v, w)`, shape `[5, 5]`: three bodies on one point, solved by hand."""
    couple = parts.mass[:, None] * _left_of(arms)
    about = parts.inertia + parts.mass * (arms**2).sum(-1)
    ratio = couple / about[:, None]
    loss = (couple[:, :, None] * ratio[:, None]).sum(0)
    whole = parts.mass.sum()
    a, b, d = whole - loss[0, 0], -loss[0, 1], whole - loss[1, 1]
    linear = jnp.stack([jnp.stack([d, -b]), jnp.stack([-b, a])]) / (a * d - b * b)
    cross = -(linear[:, None] * ratio[None]).sum(-1)  # [2, 3]
    angular = jnp.diag(1.0 / about) - (ratio[:, None] * cross.T[None]).sum(-1)
    return jnp.concatenate(
        [jnp.concatenate([linear, cross], 1), jnp.concatenate([cross.T, angular], 1)], 0
    )


def _feet(craft: Craft) -> Float[Array, "2 3 2"]:
    """The corners of the legs."""
    corners = jnp.asarray(_FEET, craft.angle.dtype)
    return craft.position[None, None] + _turned(corners, craft.angle[1:, None])


def _feet_touch(craft: Craft, terrain: Array, distance: float) -> Bool[Array, " 2"]:
    return (_gap(_feet(craft), terrain)[0] < distance).any(-1)


def _hull_touches(craft: Craft, terrain: Array, distance: float) -> Bool[Array, ""]:
    """Whether a corner of the hull is in the ground, or a peak of the ground in the hull."""
    corners = jnp.asarray(_HULL, terrain.dtype)
    there = craft.position[None] + _turned(corners, craft.angle[0])
    low = (_gap(there, terrain)[0] < distance).any()
    grid = jnp.linspace(0.0, WIDTH, terrain.shape[0], dtype=terrain.dtype)
    peaks = jnp.stack([grid, terrain], axis=1) - craft.position[None]
    edges = np.roll(_HULL, -1, axis=0) - _HULL
    outwards = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.hypot(*edges.T)[:, None]
    offsets = (outwards * _HULL).sum(1)
    outwards = _turned(jnp.asarray(outwards, terrain.dtype), craft.angle[0])
    beyond = (outwards[None] * peaks[:, None]).sum(-1) - jnp.asarray(offsets, terrain.dtype)[None]
    return low | (beyond.max(-1) < distance).any()


def _gap(points: Array, terrain: Array) -> tuple[Array, Array]:
    """How far points `[..., 2]` are above the ground, and what is upright there."""
    last = terrain.shape[0] - 1
    length = WIDTH / last
    place = points[..., 0] / length
    k = jnp.clip(jnp.floor(place), 0, last - 1).astype(jnp.int32)
    low, high = terrain[k], terrain[k + 1]
    slope = (high - low) / length
    normal = jnp.stack([-slope, jnp.ones_like(slope)], -1) / jnp.sqrt(1.0 + slope**2)[..., None]
    height = low + slope * length * (place - k.astype(place.dtype))
    return (points[..., 1] - height) * normal[..., 1], normal


def _origin(centre: Array, parts: Bodies, angle: Float[Array, " 3"]) -> Float[Array, " 2"]:
    """Where the origin of the hull is, by the centre of mass of all."""
    share = parts.mass / parts.mass.sum()
    return centre - (share[:, None] * _arms(angle)).sum(0)


def _arms(angle: Float[Array, " 3"]) -> Float[Array, "3 2"]:
    """From the origin of the hull to the centres of the three bodies."""
    return _turned(jnp.asarray(_CENTRES, angle.dtype), angle)


def _turned(points: Array, angle: Array) -> Array:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _left_of(vectors: Array) -> Array:
    return jnp.stack([-vectors[..., 1], vectors[..., 0]], axis=-1)


def _cross(one: Array, other: Array) -> Array:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
