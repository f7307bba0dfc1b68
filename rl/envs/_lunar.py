"""A lunar lander, close to Gymnasium's: rewards whose sum measures skill, wind, discrete or not."""

import dataclasses
from typing import Literal, get_args

import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from . import _lunar_physics as physics
from ._control import Control

LunarReward = Literal["dense", "sparse", "gym"]

_CHUNKS = 11
_PAD_HEIGHT = physics.HEIGHT / 4.0
_MAIN_DOWN, _SIDE_UP, _SIDE_LEAN, _SIDE_AWAY = (x / physics.SCALE for x in (4.0, 14.0, 17.0, 12.0))
_MAIN_FUEL, _SIDE_FUEL = 0.3, 0.03  # what a step with full power costs
_STEPS_TO_SLEEP = 25  # half a second


@struct.dataclass
class LunarLanderState(environment.EnvState):
    """An episode of the lunar lander.

    - `time`: environment steps of this episode.
    - `craft`: where the hull and the legs are, and how they move.
    - `terrain`: heights of the ground at 11 places at equal distances, in m.
    - `touching`: whether the right and the left leg touch the ground.
    - `crashed`: whether the hull has touched it.
    - `resting`: environment steps for which all has been at rest.
    - `wind`: where in the patterns of wind and turbulence the episode is, shape `[2]`.
    """

    time: PyTree
    craft: PyTree
    terrain: PyTree
    touching: PyTree
    crashed: PyTree
    resting: PyTree
    wind: PyTree


@struct.dataclass
class LunarLanderParams(environment.EnvParams):
    """The parameters of a lunar lander, in m, kg and s.

    - `gravity`: downwards.
    - `main_engine_power`, `side_engine_power`: in units of their own, as in Gymnasium.
    - `dispersion`: how much engines vary from step to step; 0 for not at all.
    - `wind_power`, `turbulence_power`: the greatest force and torque of the wind; Gymnasium has 15
        and 1.5 where its `enable_wind` is on.
    - `initial_force`: the greatest force, along each axis, of the push with which episodes begin.
    - `hull_density`: by area.
    - `leg_torque`: of the motors that close the legs.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    gravity: PyTree = 10.0
    main_engine_power: PyTree = 13.0
    side_engine_power: PyTree = 0.6
    dispersion: PyTree = 1.0
    wind_power: PyTree = 0.0
    turbulence_power: PyTree = 0.0
    initial_force: PyTree = 1000.0
    hull_density: PyTree = 5.0
    leg_torque: PyTree = 40.0
    max_steps_in_episode: PyTree = 1000


class _Flight(environment.Environment[LunarLanderState, LunarLanderParams]):
    """The dynamics: what the original environment is to the others of `Control`."""

    continuous: bool

    @property
    def default_params(self) -> LunarLanderParams:
        """Those of Gymnasium, without wind."""
        return LunarLanderParams()

    def step_env(
        self,
        key: PRNGKeyArray,
        state: LunarLanderState,
        action: int | float | Array,
        params: LunarLanderParams,
    ) -> tuple[Array, LunarLanderState, Array, Array, dict]:
        """Fly for 1/50 s; no reward."""
        parts = physics.bodies(params.hull_density, params.leg_torque)
        craft, wind = _blown(state, parts, params)
        main, side = self.throttles(jnp.asarray(action))
        craft = _driven(craft, parts, main, side, params, key)
        craft, touching, crashed = physics.advance(craft, parts, state.terrain, params.gravity)
        resting = jnp.where(physics.at_rest(craft), state.resting + 1, 0)
        # Box2D stops what falls asleep.
        awake = (resting < _STEPS_TO_SLEEP).astype(craft.spin.dtype)
        craft = craft._replace(velocity=craft.velocity * awake, spin=craft.spin * awake)
        state = LunarLanderState(
            time=state.time + 1,
            craft=craft,
            terrain=state.terrain,
            touching=touching,
            crashed=crashed,
            resting=resting,
            wind=wind,
        )
        return self.get_obs(state), state, jnp.zeros(()), self.is_terminated(state, params), {}

    def reset_env(
        self, key: PRNGKeyArray, params: LunarLanderParams
    ) -> tuple[Array, LunarLanderState]:
        """Lay out the ground and push the lander."""
        ground_key, push_key, wind_key = jr.split(key, 3)
        parts = physics.bodies(params.hull_density, params.leg_torque)
        terrain = _terrain(ground_key)
        push = params.initial_force * jr.uniform(push_key, (2,), minval=-1.0, maxval=1.0)
        craft = physics.folded(parts)
        craft = physics.pushed(craft, parts, physics.STEP * push, physics.centre_of_hull(craft))
        wind = jr.randint(wind_key, (2,), -9999, 9999)
        state = LunarLanderState(
            time=jnp.asarray(0, jnp.int32),
            craft=craft,
            terrain=terrain,
            touching=jnp.zeros((2,), bool),
            crashed=jnp.asarray(False),
            resting=jnp.asarray(0, jnp.int32),
            wind=wind,
        )
        # Gymnasium takes a first step, without engines, before it shows anything.
        craft, wind = _blown(state, parts, params)
        craft = physics.advance(craft, parts, terrain, params.gravity, far_up=True).craft
        state = dataclasses.replace(state, craft=physics.unfolded(craft, parts), wind=wind)
        return self.get_obs(state), state

    def get_obs(
        self,
        state: LunarLanderState,
        params: LunarLanderParams | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " 8"]:
        """Position, velocity, angle and angular velocity, and whether the legs touch the ground."""
        del params, key
        craft, half = state.craft, jnp.asarray([physics.WIDTH / 2.0, physics.HEIGHT / 2.0])
        pad = jnp.asarray([physics.WIDTH / 2.0, _PAD_HEIGHT + physics.LEG_DOWN])
        return jnp.concatenate(
            [
                (craft.position - pad) / half,
                craft.velocity[0] * half * physics.STEP,
                craft.angle[:1],
                20.0 * physics.STEP * craft.spin[:1],
                state.touching.astype(jnp.float32),
            ]
        )

    def is_terminated(self, state: LunarLanderState, params: LunarLanderParams) -> Array:
        """Whether the lander has crashed, left the view or fallen asleep."""
        del params
        away = jnp.abs(state.craft.position[0] - physics.WIDTH / 2.0) >= physics.WIDTH / 2.0
        return state.crashed | away | (state.resting >= _STEPS_TO_SLEEP)

    def throttles(self, action: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The power of the main engine, from 0 to 1, and of those at the sides, from -1 to 1.

        Positive power of the sides pushes to the right and turns clockwise, as action 3 does.
        """
        if not self.continuous:
            action = action.reshape(())
            return (action == 2).astype(jnp.float32), (action - 2).astype(jnp.float32) * (
                action % 2
            ).astype(jnp.float32)
        main, side = jnp.clip(action.astype(jnp.float32), -1.0, 1.0)
        main = jnp.where(main > 0.0, 0.5 + 0.5 * main, 0.0)
        return main, jnp.where(jnp.abs(side) > 0.5, side, 0.0)


class LunarLander(Control[LunarLanderState, LunarLanderParams], _Flight):
    """Land on the moon, between two flags: an approximation of Gymnasium's LunarLander-v3.

    The physics are our own, of three rigid bodies with Box2D's constants: a hull, and two legs
    with motors that close them. In flight, one step differs from Gymnasium's by 2e-4 at most. On
    the ground, collisions are resolved nearly, not exactly, as Box2D does; whole episodes earn
    what they earn in Gymnasium, within the errors of 200 episodes (`benchmarks/lunar.py`).

    The observation is Gymnasium's: position relative to the pad and velocity, each horizontal and
    vertical, angle, angular velocity, and whether the right and the left leg touch the ground.
    Actions are 0 nothing, 1 left engine, 2 main engine, 3 right engine; or two numbers in [-1, 1],
    of the main engine (off up to 0, then from half power) and of the engines at the sides (left
    below -0.5, right above 0.5). An episode ends when the hull touches the ground, when the lander
    leaves the view to a side, and when it has been at rest for half a second, which is a landing,
    on the pad or not.

    With Gymnasium's potential `s` (`-100 (distance + speed + |angle|)`, and 10 for each leg on
    the ground), its fuel `f` (0.3 for the main engine, 0.03 for one at the side) and the nearness
    `n = (s - 20) / 240`, from -1 to 0, the rewards are

    - `"dense"`: the gain of `n` less `f/100`; and 1 more for a landing, while a crash sets `n`
        to -2.
    - `"sparse"`: 1 for a landing, -1 for a crash, 0 otherwise.
    - `"gym"`: the gain of `s` less `f`; instead, 100 for a landing and -100 for a crash.

    Within an episode the gains of `"dense"` add up, and a crash takes back all of them: it pays
    about -1, however near it was, a landing 1 to 2, and hovering nothing but fuel. So the sum over
    a life with resets counts landings less crashes. With `"gym"` a crash keeps what the way to it
    has earned, up to 140, so that whoever comes slowly and crashes may earn more than it costs.

    The metrics count `landings` and `crashes`; leaving the view is a crash.
    """

    observation_shift = (0.0,) * 8
    observation_scale = (1.0,) * 8
    metrics = ("landings", "crashes")
    kinds = get_args(LunarReward)

    def __init__(self, reward: LunarReward = "dense", *, continuous: bool = False):
        """**Arguments:**

        - `reward`: the kind of reward.
        - `continuous`: whether actions are two numbers in [-1, 1], or one of four.

        **Raises:** `ValueError` for an unknown kind.
        """
        super().__init__(reward)
        self.continuous = continuous

    @property
    def num_actions(self) -> int:
        """Two numbers, or four: nothing, left engine, main engine, right engine."""
        return 2 if self.continuous else 4

    def action_space(self, params: LunarLanderParams | None = None) -> spaces.Box | spaces.Discrete:
        """Numbers for the main engine and the sides, or one of four actions."""
        del params
        if self.continuous:
            return spaces.Box(-1.0, 1.0, (2,), jnp.float32)
        return spaces.Discrete(4)

    def observation_space(self, params: LunarLanderParams | None = None) -> spaces.Box:
        """Eight numbers without bounds."""
        del params
        return spaces.Box(-jnp.inf, jnp.inf, (8,), jnp.float32)

    def skill_reward(
        self,
        previous: Float[Array, " A"],
        observation: Float[Array, " A"],
        action: Array,
        terminated: Bool[Array, ""],
        params: PyTree = None,
    ) -> Float[Array, ""]:
        """The reward of a step."""
        del params
        ends = self.measured(observation, terminated)
        if self.reward == "sparse":
            return ends["landings"] - ends["crashes"]
        main, side = self.throttles(action)
        fuel = _MAIN_FUEL * main + _SIDE_FUEL * jnp.abs(side)
        before, after = _shaping(previous), _shaping(observation)
        if self.reward == "gym":
            end = 100.0 * (ends["landings"] - ends["crashes"])
            return jnp.where(terminated, end, after - before - fuel)
        before, after = _nearness(before), _nearness(after)
        after = jnp.where(ends["crashes"] > 0.0, -2.0, after + ends["landings"])
        return after - before - fuel / 100.0

    def measured(
        self, observation: Float[Array, " A"], terminated: Bool[Array, ""]
    ) -> dict[str, Float[Array, ""]]:
        """Whether the step ended the episode at rest, or otherwise."""
        still = (observation[jnp.asarray([2, 3, 5])] == 0.0).all()
        return {
            "landings": (terminated & still).astype(observation.dtype),
            "crashes": (terminated & ~still).astype(observation.dtype),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reward={self.reward!r}, continuous={self.continuous})"


def _shaping(observation: Float[Array, " A"]) -> Float[Array, ""]:
    """Gymnasium's potential: high for near, slow, upright, and with legs on the ground."""
    x, y, speed_x, speed_y, angle, _, right, left = observation
    far, fast = jnp.hypot(x, y), jnp.hypot(speed_x, speed_y)
    return -100.0 * (far + fast + jnp.abs(angle)) + 10.0 * (right + left)


def _nearness(shaping: Float[Array, ""]) -> Float[Array, ""]:
    """The same from -1, at the height where episodes begin or beyond, to 0, at rest on the pad."""
    return jnp.clip((shaping - 20.0) / 240.0, -1.0, 0.0)


def _terrain(key: PRNGKeyArray) -> Float[Array, " T"]:
    """Random heights, smoothed, with a level pad in the middle."""
    heights = jr.uniform(key, (_CHUNKS + 1,), maxval=physics.HEIGHT / 2.0)
    middle = _CHUNKS // 2
    heights = heights.at[middle - 2 : middle + 3].set(_PAD_HEIGHT)
    summed = heights + jnp.roll(heights, 1) + jnp.roll(heights, -1)
    return 0.33 * summed[:_CHUNKS]


def _blown(
    state: LunarLanderState, parts: physics.Bodies, params: LunarLanderParams
) -> tuple[physics.Craft, Array]:
    """The lander after a gust, and where the wind is then; none once a leg is on the ground."""
    flying = ~state.touching.any()
    place = 0.01 * state.wind.astype(jnp.float32)
    gust = jnp.tanh(jnp.sin(2.0 * place) + jnp.sin(jnp.pi * place))
    gust = jnp.where(flying, gust, 0.0)
    force = jnp.stack([params.wind_power * gust[0], jnp.zeros_like(gust[0])])
    craft = state.craft
    craft = physics.pushed(craft, parts, physics.STEP * force, physics.centre_of_hull(craft))
    turn = physics.STEP * params.turbulence_power * gust[1] / parts.inertia[0]
    return craft._replace(spin=craft.spin.at[0].add(turn)), state.wind + flying.astype(
        state.wind.dtype
    )


def _driven(
    craft: physics.Craft,
    parts: physics.Bodies,
    main: Float[Array, ""],
    side: Float[Array, ""],
    params: LunarLanderParams,
    key: PRNGKeyArray,
) -> physics.Craft:
    """The lander after the impulses of its engines, whose places and directions vary a little."""
    noise = jr.uniform(key, (2,), minval=-1.0, maxval=1.0) * params.dispersion / physics.SCALE
    sin, cos = jnp.sin(craft.angle[0]), jnp.cos(craft.angle[0])
    down, left = jnp.stack([sin, -cos]), jnp.stack([-cos, -sin])
    nozzle = (_MAIN_DOWN + 2.0 * noise[0]) * down + noise[1] * left
    offset = noise[0] * down + (3.0 * noise[1] + _SIDE_AWAY * jnp.sign(side)) * left
    # The engines at the sides lie where Gymnasium has them; it depends on the angle.
    height = jnp.stack([-sin * _SIDE_LEAN, cos * _SIDE_UP])
    power = params.main_engine_power * main
    craft = physics.pushed(craft, parts, -power * nozzle, nozzle)
    power = params.side_engine_power * jnp.abs(side)
    return physics.pushed(craft, parts, -power * offset, offset + height)
