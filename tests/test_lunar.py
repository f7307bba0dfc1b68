"""The lunar lander: its physics by hand and beside Gymnasium's, its ends, rewards and wind."""

import dataclasses
import math
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from known import Constant

import rl
from proofs import laws
from rl.envs import Vary, _lunar_physics as physics
from rl.envs._control import Control
from rl.envs._lunar import LunarLander

pytestmark = pytest.mark.usefixtures("cheap_compilation")

ENVIRONMENT = LunarLander("gym")
FLAT = np.full(11, 3.3, np.float32)
HULL_MASS, LEG_MASS = 867 / 900 * 5.0, 16 * 4 / 900  # by hand, from the corners
MASS = HULL_MASS + 2 * LEG_MASS


@partial(jax.jit, static_argnums=0)
def stepped(environment, state, action, params, key):
    """One step, which does not reset: observation, state, reward, terminated, info."""
    return environment.step_env(key, state, action, params)


@lru_cache
def params_with(**changes):
    arrays = {name: jnp.float32(value) for name, value in changes.items()}
    return dataclasses.replace(ENVIRONMENT.default_params, **arrays)


@lru_cache
def first():
    return jax.jit(ENVIRONMENT.reset_env)(jr.key(0), params_with())[1]


def still(position=(10.0, 10.0), hull=0.0, velocity=(0.0, 0.0), opening=0.35, **changes):
    """A lander whose parts move alike, over level ground."""
    craft = physics.Craft(
        jnp.asarray(position, jnp.float32),
        jnp.asarray([hull, hull + opening, hull - opening], jnp.float32),
        jnp.broadcast_to(jnp.asarray(velocity, jnp.float32), (3, 2)),
        jnp.zeros(3),
    )
    return first().replace(craft=craft, terrain=jnp.asarray(FLAT), **changes)


def act(state, action=0, key=0, **changes):
    return stepped(
        ENVIRONMENT, state, jnp.asarray(action, jnp.int32), params_with(**changes), jr.key(key)
    )


def momentum(craft):
    """Linear, and angular about the middle of the view; from masses and places found by hand."""
    parts = physics.bodies(jnp.float32(5.0), jnp.float32(40.0))
    mass, inertia = np.asarray(parts.mass, float), np.asarray(parts.inertia, float)
    angle, velocity = np.asarray(craft.angle, float), np.asarray(craft.velocity, float)
    centres = np.array([(0.0, 0.1013072), (20 / 30, -18 / 30), (-20 / 30, -18 / 30)])
    turn = np.exp(1j * angle) * (centres[:, 0] + 1j * centres[:, 1])
    place = np.asarray(craft.position, float) + np.stack([turn.real, turn.imag], 1) - (10.0, 10.0)
    orbit = place[:, 0] * velocity[:, 1] - place[:, 1] * velocity[:, 0]
    linear = (mass[:, None] * velocity).sum(0)
    return linear, (inertia * np.asarray(craft.spin, float) + mass * orbit).sum()


# --------------------------------------------------------------- physics, by hand


def test_masses_are_those_of_box2d():
    parts = physics.bodies(jnp.float32(5.0), jnp.float32(40.0))
    np.testing.assert_allclose(parts.mass, [HULL_MASS, LEG_MASS, LEG_MASS], rtol=1e-6)
    np.testing.assert_allclose(parts.mass, [4.8166666, 0.0711111, 0.0711111], rtol=1e-6)
    about_origin = parts.inertia[0] + parts.mass[0] * 0.101307**2
    np.testing.assert_allclose(about_origin, 0.8333149, rtol=1e-5)
    np.testing.assert_allclose(parts.inertia[1:], 0.00179095, rtol=1e-5)


def test_without_forces_momentum_is_kept():
    craft = still(velocity=(0.5, 0.2)).craft._replace(spin=jnp.asarray([0.4, 0.4, 0.4]))
    state = still(opening=0.5).replace(craft=craft)

    def drift(gravity):
        """How far momentum is from what it was; the joints first have to set the legs moving."""
        _, now, *_ = act(state, gravity=gravity)
        before = momentum(now.craft)
        for _ in range(20):
            _, now, *_ = act(now, gravity=gravity)
        after = momentum(now.craft)
        return np.abs([*(after[0] - before[0]), after[1] - before[1]]).max()

    assert drift(0.0) < 2e-3
    assert drift(1.0) > 1.0


def test_free_fall_is_that_of_one_body():
    seen, state, *_ = act(still(velocity=(1.0, -2.0)))
    linear, _ = momentum(state.craft)
    np.testing.assert_allclose(linear, [MASS * 1.0, MASS * -2.2], rtol=1e-5)
    np.testing.assert_allclose(seen[3], -2.2 * (400 / 60) / 50, rtol=1e-5)
    np.testing.assert_allclose(state.craft.position, [10.02, 10.0 - 2.2 / 50], rtol=1e-5)
    np.testing.assert_allclose([seen[4], seen[5]], 0.0, atol=1e-5)
    moon = act(still(), gravity=1.62)[1]
    np.testing.assert_allclose(momentum(moon.craft)[0][1], -MASS * 1.62 / 50, rtol=1e-5)


@pytest.mark.parametrize(
    ("action", "impulse", "place"),
    [
        (1, (-0.6 * 12 / 30, 0.0), (12 / 30, 14 / 30)),
        (2, (0.0, 13.0 * 4 / 30), (0.0, -4 / 30)),
        (3, (0.6 * 12 / 30, 0.0), (-12 / 30, 14 / 30)),
    ],
)
def test_an_engine_gives_its_impulse_and_its_torque(action, impulse, place):
    none: dict[str, Any] = {"gravity": 0.0, "dispersion": 0.0}
    linear, angular = momentum(act(still(), action, **none)[1].craft)
    np.testing.assert_allclose(linear, impulse, atol=1e-5)
    torque = place[0] * impulse[1] - place[1] * impulse[0]
    np.testing.assert_allclose(angular, torque, atol=1e-4)
    twice = act(still(), action, side_engine_power=1.2, main_engine_power=26.0, **none)[1]
    np.testing.assert_allclose(momentum(twice.craft)[0], np.multiply(2, impulse), atol=2e-5)


def test_engines_disperse():
    angles = [float(act(still(), 2, key)[1].craft.spin[0]) for key in range(4)]
    assert len(set(angles)) == 4
    same = [float(act(still(), 2, key, dispersion=0.0)[1].craft.spin[0]) for key in range(2)]
    assert same[0] == same[1] == pytest.approx(0.0, abs=1e-5)


def until_the_end(state, **changes):
    """The last step of an episode without engines, of 200 steps at most."""
    last = act(state, **changes)
    for _ in range(200):
        if last[3]:
            break
        last = act(last[1], **changes)
    return last


def test_it_stands_on_its_legs_and_falls_asleep():
    seen, state, reward, terminated, info = until_the_end(still(position=(10.0, 3.95)))
    assert terminated and reward == 100.0 and state.time >= 25
    assert (info["landings"], info["crashes"]) == (1.0, 0.0)
    assert state.craft.position[1] > 3.85  # the legs carry it
    np.testing.assert_array_equal(seen[jnp.asarray([2, 3, 5, 6, 7])], [0.0, 0.0, 0.0, 1.0, 1.0])
    weak = until_the_end(still(position=(10.0, 3.95)), leg_torque=5.0)
    assert weak[4]["crashes"] == 1.0  # legs that give way do not


# --------------------------------------------------------------- how episodes end


def test_hull_on_the_ground_is_a_crash():
    _, state, reward, terminated, info = act(still(position=(10.0, 3.86), hull=math.pi / 2))
    assert terminated and state.crashed and reward == -100.0
    assert (info["landings"], info["crashes"]) == (0.0, 1.0)
    assert not act(still(position=(10.0, 4.5), hull=math.pi / 2))[3]


def test_a_peak_in_the_hull_is_a_crash():
    terrain = FLAT.copy()
    terrain[5] = 4.1  # between the legs
    assert act(still(position=(10.0, 4.3)).replace(terrain=jnp.asarray(terrain)))[1].crashed
    assert not act(still(position=(10.0, 4.3)))[1].crashed


def test_leaving_the_view_is_a_crash():
    for side in (-1.0, 1.0):
        state = still(position=(10.0 + side * 9.99, 8.0), velocity=(side, 0.0))
        seen, _, reward, terminated, info = act(state)
        assert abs(seen[0]) >= 1.0 and terminated and reward == -100.0 and info["crashes"] == 1.0
        assert not act(state, key=1)[1].crashed
        state = still(position=(10.0 + side * 9.9, 8.0), velocity=(side, 0.0))
        assert not act(state)[3]
    assert not act(still(position=(10.0, 40.0)))[3]  # there is no ceiling


def test_time_truncates_and_does_not_terminate(getkey):
    params = params_with()
    for time, last in ((998, False), (999, True)):
        state = still(time=jnp.asarray(time, jnp.int32))
        step = ENVIRONMENT.step(getkey(), state, jnp.int32(0), params)
        assert (bool(step[3]), bool(step[4])) == (False, last)
        assert step[1].time == (0 if last else 999)


# --------------------------------------------------------------- wind


def test_wind_pushes_and_turns():
    wind = jnp.asarray([50, 150], jnp.int32)
    force = 15.0 * math.tanh(math.sin(1.0) + math.sin(math.pi / 2))
    torque = 1.5 * math.tanh(math.sin(3.0) + math.sin(math.pi * 1.5))
    calm = act(still(wind=wind), gravity=0.0)[1]
    np.testing.assert_allclose(momentum(calm.craft)[0], 0.0, atol=1e-6)
    blown = act(still(wind=wind), gravity=0.0, wind_power=15.0)[1]
    np.testing.assert_allclose(momentum(blown.craft)[0], [force / 50, 0.0], atol=1e-5)
    turned = act(still(wind=wind), gravity=0.0, turbulence_power=1.5)[1]
    np.testing.assert_allclose(momentum(turned.craft)[1], torque / 50, atol=1e-5)
    np.testing.assert_array_equal(turned.wind, wind + 1)
    grounded = still(wind=wind, touching=jnp.asarray([True, False]))
    sheltered = act(grounded, gravity=0.0, wind_power=15.0)[1]
    np.testing.assert_allclose(momentum(sheltered.craft)[0], 0.0, atol=1e-6)
    np.testing.assert_array_equal(sheltered.wind, wind)


def test_parameters_vary_by_life(getkey):
    tasks = Vary(LunarLander("gym"), gravity=(4.0, 11.0), wind_power=(1.0, 20.0))

    def fall(key):
        task = tasks.sample(key=key)
        craft = still(wind=jnp.asarray([50, 50], jnp.int32))
        after = ENVIRONMENT.step_env(jr.key(0), craft, jnp.int32(0), task.params)[1]
        return task.params.gravity, task.params.wind_power, after.craft.velocity[0]

    gravity, wind, velocity = jax.jit(jax.vmap(fall))(jr.split(getkey(), 8))
    assert len(set(np.asarray(gravity).tolist())) == len(set(np.asarray(wind).tolist())) == 8
    np.testing.assert_allclose(velocity[:, 1], -gravity / 50, rtol=1e-4)
    np.testing.assert_allclose(
        velocity[:, 0] / wind, np.full(8, velocity[0, 0] / wind[0]), rtol=1e-3
    )


# --------------------------------------------------------------- actions


@pytest.mark.parametrize(
    ("continuous", "action", "main", "side"),
    [
        (False, 0, 0.0, 0.0),
        (False, 1, 0.0, -1.0),
        (False, 2, 1.0, 0.0),
        (False, 3, 0.0, 1.0),
        (True, (0.0, 0.5), 0.0, 0.0),
        (True, (-1.0, -0.5), 0.0, 0.0),
        (True, (1e-6, 0.51), 0.5, 0.51),
        (True, (0.5, -0.75), 0.75, -0.75),
        (True, (9.0, -9.0), 1.0, -1.0),
    ],
)
def test_throttles(continuous, action, main, side):
    environment = LunarLander(continuous=continuous)
    dtype = jnp.float32 if continuous else jnp.int32
    found = environment.throttles(jnp.asarray(action, dtype))
    np.testing.assert_allclose(found, (main, side), atol=1e-6)


def test_full_continuous_power_is_the_discrete_action(getkey):
    environment, key = LunarLander("gym", continuous=True), getkey()
    for action, numbers in ((2, (1.0, 0.0)), (1, (0.0, -1.0)), (3, (0.0, 1.0))):
        theirs = stepped(ENVIRONMENT, still(), jnp.int32(action), params_with(), key)
        ours = stepped(environment, still(), jnp.asarray(numbers), params_with(), key)
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-5)


# --------------------------------------------------------------- rewards

FAR, PAD = (0.6, 0.8, 0.3, -0.4, -0.5, 0.1, 0.0, 0.0), (0.0,) * 6 + (1.0, 1.0)
NEAR = (0.3, 0.4, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # shaping -50 + 10; that of FAR is -200


@pytest.mark.parametrize(
    ("kind", "before", "after", "action", "terminated", "expected"),
    [
        ("gym", FAR, FAR, 0, False, 0.0),
        ("gym", FAR, NEAR, 2, False, 160.0 - 0.3),
        ("gym", NEAR, FAR, 3, False, -160.0 - 0.03),
        ("gym", FAR, NEAR[:2] + (0.1,) + NEAR[3:], 2, True, -100.0),
        ("gym", NEAR, PAD, 2, True, 100.0),
        ("sparse", FAR, NEAR, 2, False, 0.0),
        ("sparse", NEAR, PAD, 0, True, 1.0),
        ("sparse", NEAR, FAR, 0, True, -1.0),
        ("dense", FAR, NEAR, 2, False, 160 / 240 - 0.003),
        ("dense", NEAR, FAR, 1, False, -160 / 240 - 0.0003),
        ("dense", NEAR, PAD, 0, True, 60 / 240 + 1.0),
        ("dense", FAR, FAR, 0, True, -2.0 + 220 / 240),
        ("dense", PAD, FAR, 0, True, -2.0),
        ("dense", FAR, (3.0,) + FAR[1:], 0, False, -20 / 240),  # no further than -1
    ],
)
def test_rewards_by_hand(kind, before, after, action, terminated, expected):
    reward = LunarLander(kind).skill_reward(
        jnp.asarray(before), jnp.asarray(after), jnp.asarray(action), jnp.asarray(terminated)
    )
    np.testing.assert_allclose(reward, expected, rtol=1e-5, atol=2e-5)


def test_fuel_is_paid_by_power():
    environment, seen = LunarLander("gym", continuous=True), jnp.asarray(FAR)
    action = jnp.asarray([0.5, -0.8])
    reward = environment.skill_reward(seen, seen, action, jnp.asarray(False))
    np.testing.assert_allclose(reward, -0.3 * 0.75 - 0.03 * 0.8, rtol=1e-5)


def lander(seen):
    """Lean against the way to the pad, brake the more the lower."""
    x, y, speed_x, speed_y, angle, spin, right, left = seen
    grounded = right + left > 0
    lean = jnp.clip(0.6 * x + 1.2 * speed_x, -0.35, 0.35)
    turn = jnp.where(grounded, 0.0, lean - angle - 0.8 * spin)
    falls = speed_y < jnp.where(grounded, -0.05, -0.08 - 0.45 * jnp.maximum(y, 0.0))
    side = jnp.where(turn > 0.0, 1, 3)
    steer = jnp.abs(turn) > jnp.where(falls, 0.2, 0.05)
    return jnp.where(steer, side, jnp.where(falls, 2, 0)).astype(jnp.int32)


def hoverer(seen):
    """As well, but never lower than half-way."""
    return lander(seen.at[1].add(-0.5).at[3].add(-0.12))


@lru_cache
def lived():
    """Rewards of each kind, and landings and crashes, of 8 lives: `[policies, lives, 4]`."""
    kinds, params = [LunarLander("dense"), LunarLander("gym")], params_with()
    policies = [
        lambda seen, key: jr.randint(key, (), 0, 4, jnp.int32),
        lambda seen, key: hoverer(seen),
        lambda seen, key: lander(seen),
    ]

    def life(policy, key):
        def step(carry, key):
            (seen, state), (act_key, key) = carry, jr.split(key)
            action = jax.lax.switch(policy, policies, seen, act_key)
            now = ENVIRONMENT.step(key, state, action, params)
            info, after = now[5], now[5]["final_observation"]
            rewards = [e.skill_reward(seen, after, action, info["terminated"]) for e in kinds]
            return now[:2], jnp.stack([*rewards, info["landings"], info["crashes"]])

        reset_key, steps_key = jr.split(key)
        start = ENVIRONMENT.reset_env(reset_key, params)
        return jax.lax.scan(step, start, jr.split(steps_key, 500))[1].sum(0)

    lives = jax.vmap(jax.vmap(life, (None, 0)), (0, None))
    return np.asarray(jax.jit(lives)(jnp.arange(3), jr.split(jr.key(1), 8)))


@pytest.mark.slow
def test_it_can_be_landed():
    landings, crashes = lived()[..., 2].sum(1), lived()[..., 3].sum(1)
    assert landings[2] >= 7 and crashes[2] <= 2
    assert landings[0] <= 1 and crashes[0] > 24
    assert landings[1] + crashes[1] <= 2


def test_dense_sums_measure_skill():
    dense = lived()[..., 0].mean(1)
    crashing, hovering, landing = dense
    assert crashing < -4.0 < hovering < 1.0 < 1.5 < landing


# --------------------------------------------------------------- beside Gymnasium

# One steps of gymnasium 1.3.0 with Box2D 2.3.10, its engines without dispersion, seed 0: origin of
# the hull, angles, velocities and spins of hull, right and left leg, legs on the ground, action;
# observation, reward and end that it gave.
TERRAIN = (
    *(2.50632381439209, 2.704562187194824, 3.521707773208618, 3.523296356201172),
    *(3.299999952316284, 3.299999952316284, 3.299999952316284),
    *(4.286322593688965, 4.554466724395752, 4.266251564025879, 3.3049867153167725),
)
RECORDED = [
    (
        (10.099283218, 13.154943466),
        (1.629976941e-05, 0.472878873, -0.474899948),
        (1.166986823, -2.604477644, 1.147758961, -2.735265732, 1.281379819, -2.995043278),
        (0.149269164, -0.150717944, 0.449255108),
        (False, False),
        3,
        (0.012371063, 1.3748281, 0.243255347, -0.373932242, 0.001021936, 0.02011439, 0.0, 0.0),
        (-2.0595347, False, 1e-4),
    ),
    (
        (10.234022141, 12.758358002),
        (0.035736609, 0.472590357, -0.403164417),
        (0.969029665, -3.807349443, 1.081840158, -3.593818426, 1.257442117, -4.527186394),
        (0.545105755, 0.245109573, 0.84509819747),
        (False, False),
        1,
        (0.025371457, 1.31173408, 0.183895215, -0.534559786, 0.048617709, 0.257645726, 0.0, 0.0),
        (-2.3122983, False, 1e-4),
    ),
    (
        (10.353668213, 12.217924118),
        (0.109017402, 0.509845197, -0.293840230),
        (0.967896998, -5.005429268, 1.072224617, -4.786743641, 1.332923651, -5.690671920),
        (0.544265628, 0.244107366, 0.844111323),
        (False, False),
        2,
        (0.037335493, 1.228133321, 0.185942501, -0.647736847, 0.119899943, 0.217670172, 0.0, 0.0),
        (2.1609141, False, 1e-4),
    ),
    (
        (10.65012455, 10.082324028),
        (0.210515946, 0.557288885, -0.138275787),
        (0.143541217, -3.767508745, 0.103366315, -3.911337376, 0.047601279, -3.653107643),
        (-0.158908233, -0.158908233, -0.158908218),
        (False, False),
        0,
        (0.06526804, 0.910436034, 0.028708508, -0.529002011, 0.207337797, -0.063563243, 0.0, 0.0),
        (-1.1583629, False, 1e-4),
    ),
    # It touches down: what a collision does is not the same to the last digit.
    (
        (10.107370377, 3.927219868),
        (-0.005094939, 0.341547638, -0.353737563),
        (-0.209764883, -0.579067647, -0.235880032, -0.628014922, -0.235397786, -0.52987802),
        (-0.059034336, -0.059034336, -0.059034336),
        (False, False),
        0,
        (0.010387135, -0.002701619, -0.049054779, -0.079336248, 0.008819673, 0.27833271, 1.0, 1.0),
        (19.0912446, False, 1e-3),
    ),
]


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_steps_of_gymnasium(case):
    position, angle, velocity, spin, touching, action, expected, (reward, ended, atol) = case
    craft = physics.Craft(
        jnp.asarray(position),
        jnp.asarray(angle),
        jnp.asarray(velocity).reshape(3, 2),
        jnp.asarray(spin),
    )
    state = still(touching=jnp.asarray(touching)).replace(craft=craft, terrain=jnp.asarray(TERRAIN))
    seen, _, ours, terminated, _ = act(state, action, dispersion=0.0)
    np.testing.assert_allclose(seen, expected, atol=atol)
    assert terminated == ended
    before = ENVIRONMENT.get_obs(state)
    np.testing.assert_allclose(before[0], (position[0] - 10.0) / 10.0, atol=1e-6)
    np.testing.assert_allclose(ours, reward, atol=300 * atol)
    # What would be wrong is seen: another action, or heavier.
    other = act(state, (action + 1) % 4, dispersion=0.0)[0]
    assert np.abs(other - np.asarray(expected)).max() > 5 * atol


def test_episodes_begin_as_gymnasiums(getkey):
    params = params_with()
    seen, state = jax.jit(jax.vmap(lambda k: ENVIRONMENT.reset_env(k, params)))(
        jr.split(getkey(), 1000)
    )
    seen, terrain = np.asarray(seen), np.asarray(state.terrain)
    # Regressed on 400 resets of gymnasium 1.3.0; the speeds are uniform.
    np.testing.assert_allclose(seen[:, 5], -0.226515 * seen[:, 2], atol=1e-4)
    np.testing.assert_allclose(seen[:, 1], 1.410920 + 0.0225 * seen[:, 3], atol=1e-4)
    np.testing.assert_allclose(seen.mean(0)[:6], [0, 1.4105, 0, -0.018, 0, 0], atol=0.05)
    np.testing.assert_allclose(seen[:, 2:4].std(0), [0.4747, 0.3100], rtol=0.06)
    np.testing.assert_allclose(terrain[:, 4:7], 3.3, rtol=1e-5)
    np.testing.assert_allclose(terrain.mean(0), 3.3, atol=0.2)
    np.testing.assert_allclose(terrain.std(0)[[0, 2, 3]], [1.1, 0.9, 0.635], rtol=0.1)
    assert not seen[:, 6:].any()


def test_live_comparison_with_gymnasium():
    pytest.importorskip("Box2D")
    from benchmarks.lunar import one_steps

    assert np.abs(one_steps(200, 0)).max() < 1e-3


# --------------------------------------------------------------- the contract


@pytest.mark.parametrize("continuous", [False, True])
def test_it_keeps_the_laws_of_environments(continuous, getkey):
    environment = LunarLander(continuous=continuous)
    task = Vary(environment).sample(key=getkey())
    laws.check(task)
    assert task.metrics == ("landings", "crashes")
    assert task.spaces.continuous == continuous
    assert task.spaces.num_actions == (2 if continuous else 4)
    assert task.spaces.observation_size == 8
    assert "permuted_environment" not in {law.name for law in laws.about(task)}


def test_equal_ones_are_equal():
    assert LunarLander("sparse") == LunarLander("sparse") != LunarLander("dense")
    assert LunarLander(continuous=True) != LunarLander()
    assert hash(LunarLander("gym")) == hash(LunarLander("gym"))
    assert repr(LunarLander("gym")) == "LunarLander(reward='gym', continuous=False)"
    with pytest.raises(ValueError, match="`reward` must be one of dense, sparse, gym; got 'shiny'"):
        Control.__init__(LunarLander(), "shiny")


def test_learners_live_in_it(getkey):
    task = Vary(LunarLander(continuous=True)).sample(key=getkey())
    life = rl.lifetime(Constant(), task, steps=300, key=getkey())
    assert int(life.totals["crashes"]) == int(life.episodes) > 1
    assert life.total_reward < 0.0
