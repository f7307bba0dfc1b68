"""How far `rl.envs.LunarLander` is from Gymnasium's LunarLander-v3: `python -m benchmarks.lunar`.

It needs Box2D: `pip install "gymnasium[box2d]"`.
"""

import argparse
import dataclasses
import importlib.metadata

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from rl.envs import LunarLander

POLICIES = ("no engine", "random", "heuristic")
_LIMIT, _PAD = 1000, 0.2


class Quiet:
    """A generator of random numbers for Gymnasium without the noise of the engines."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def uniform(self, low, high, size=None):
        return 0.0 if low == -1.0 else self.rng.uniform(low, high, size=size)

    def integers(self, low, high):
        return self.rng.integers(low, high)


def heuristic(seen, xp):
    """Lean against the way to the pad, brake the more the lower; a rule made by hand.

    **Arguments:**

    - `seen`: the observation, shape `[8]`.
    - `xp`: `numpy` or `jax.numpy`.

    **Returns:** One of the four actions.
    """
    x, y, speed_x, speed_y, angle, spin, right, left = seen
    grounded = right + left > 0
    lean = xp.clip(0.6 * x + 1.2 * speed_x, -0.35, 0.35)
    turn = xp.where(grounded, 0.0, lean - angle - 0.8 * spin)
    falls = speed_y < xp.where(grounded, -0.05, -0.08 - 0.45 * xp.maximum(y, 0.0))
    side = xp.where(turn > 0.0, 1, 3)
    steer = xp.abs(turn)
    return xp.where(steer > 0.2, side, xp.where(falls, 2, xp.where(steer > 0.05, side, 0)))


def loaded(state, inner):
    """A state of ours with what is in one of Gymnasium's."""
    parts = [inner.lander, *inner.legs]
    craft = state.craft._replace(
        position=_numbers(inner.lander.position),
        angle=_numbers([part.angle for part in parts]),
        velocity=_numbers([tuple(part.linearVelocity) for part in parts]),
        spin=_numbers([part.angularVelocity for part in parts]),
    )
    places = [quad[0] for quad in inner.sky_polys] + [inner.sky_polys[-1][1]]
    return state.replace(
        craft=craft,
        terrain=_numbers([height for _, height in places]),
        touching=np.array([leg.ground_contact for leg in inner.legs]),
        crashed=np.array(bool(inner.game_over)),
        wind=np.array([getattr(inner, "wind_idx", 0), getattr(inner, "torque_idx", 0)], np.int32),
    )


def one_steps(count, seed):
    """Differences of observations after one step from the same states, `[count, 8]`, in flight."""
    theirs, ours = gymnasium.make("LunarLander-v3"), LunarLander("gym")
    params = dataclasses.replace(ours.default_params, dispersion=jnp.zeros(()))
    inner, rng, empty = theirs.unwrapped, np.random.default_rng(seed), ours.reset(jr.key(0))[1]
    states, actions, seen = [], [], []
    while len(states) < count:
        theirs.reset(seed=0)
        inner._np_random = Quiet(rng.integers(2**31))  # pyright: ignore[reportAttributeAccessIssue]
        inner.reset()
        ended = False
        while not ended and len(states) < count:
            before, action = loaded(empty, inner), int(rng.integers(4))
            observation, _, ended, _, _ = inner.step(action)
            if not (ended or before.touching.any() or observation[6:].any()):
                states.append(before)
                actions.append(action)
                seen.append(observation)
    stacked = jax.tree.map(lambda *x: np.stack(x), *states)
    step = jax.jit(jax.vmap(lambda s, a: ours.step_env(jr.key(0), s, a, params)[0]))
    return np.asarray(step(stacked, np.array(actions, np.int32))) - np.array(seen)


def their_episodes(policy, count, seed, **options):
    """First states; and return, length, whether it landed and on the pad, `[count, 4]`."""
    theirs = gymnasium.make("LunarLander-v3", **options)
    empty = LunarLander("gym").reset(jr.key(0))[1]
    rng, starts, results = np.random.default_rng(seed), [], []
    for episode in range(count):
        seen, _ = theirs.reset(seed=seed * count + episode)
        starts.append(loaded(empty, theirs.unwrapped))
        total, reward, ended, length = 0.0, 0.0, False, 0
        while not ended and length < _LIMIT:
            action = 0 if policy == 0 else rng.integers(4) if policy == 1 else heuristic(seen, np)
            seen, reward, ended, _, _ = theirs.step(int(action))
            reward = float(reward)
            total, length = total + reward, length + 1
        landed = ended and reward == 100.0
        results.append((total, length, landed, landed and abs(seen[0]) <= _PAD))
    return jax.tree.map(lambda *x: np.stack(x), *starts), np.array(results, float)


def our_episodes(policy, starts, seed, **params):
    """The same results of ours, from the same first states."""
    ours = LunarLander("gym")
    params = dataclasses.replace(
        ours.default_params, **{name: jnp.float32(value) for name, value in params.items()}
    )
    policies = [
        lambda seen, key: jnp.asarray(0, jnp.int32),
        lambda seen, key: jr.randint(key, (), 0, 4, jnp.int32),
        lambda seen, key: heuristic(seen, jnp).astype(jnp.int32),
    ]

    def episode(state, key):
        def step(carry, key):
            seen, state, going, result = carry
            act_key, key = jr.split(key)
            action = policies[policy](seen, act_key)
            seen, state, reward, ended, info = ours.step_env(key, state, action, params)
            landed = info["landings"]
            now = [reward, 1.0, landed, landed * (jnp.abs(seen[0]) <= _PAD)]
            result = result + going * jnp.stack([jnp.asarray(x, jnp.float32) for x in now])
            return (seen, state, going * (1.0 - ended), result), None

        start = ours.get_obs(state), state, jnp.ones(()), jnp.zeros((4,))
        return jax.lax.scan(step, start, jr.split(key, _LIMIT))[0][3]

    keys = jr.split(jr.key(seed), len(starts.time))
    return np.asarray(jax.jit(jax.vmap(episode))(starts, keys))


def table(count, seed):
    """Lines of a Markdown table: both simulators under each policy, with standard errors."""
    yield "| policy | simulator | return | length | landed | on the pad |"
    yield "|---|---|---|---|---|---|"
    wind = {"wind_power": 15.0, "turbulence_power": 1.5}
    for name, policy, blows in [(n, k, False) for k, n in enumerate(POLICIES)] + [
        ("heuristic, wind", 2, True)
    ]:
        options, ours = ({"enable_wind": True, **wind}, wind) if blows else ({}, {})
        starts, theirs = their_episodes(policy, count, seed, **options)
        for simulator, run in (
            ("Gymnasium", theirs),
            ("ours", our_episodes(policy, starts, seed, **ours)),
        ):
            columns = [
                f"{mean:.{digits}f} ± {error:.{digits}f}"
                for mean, error, digits in zip(
                    run.mean(0), run.std(0) / np.sqrt(count), (1, 1, 2, 2), strict=True
                )
            ]
            yield f"| {name} | {simulator} | {' | '.join(columns)} |"


def _numbers(values):
    return np.array(values, np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200, help="of each policy (200)")
    parser.add_argument("--steps", type=int, default=1000, help="single steps in flight (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (0)")
    arguments = parser.parse_args()
    try:
        box2d = importlib.metadata.version("Box2D")
        gymnasium.make("LunarLander-v3")
    except (importlib.metadata.PackageNotFoundError, gymnasium.error.DependencyNotInstalled):
        raise SystemExit('Box2D is missing: pip install "gymnasium[box2d]"') from None
    print(f"gymnasium {gymnasium.__version__}, Box2D {box2d}, jax {jax.__version__}")
    apart = np.abs(one_steps(arguments.steps, arguments.seed))
    print(
        f"One step in flight, {len(apart)} states: observations differ by at most "
        f"{apart.max():.1e}, by {apart.mean():.1e} on average."
    )
    for line in table(arguments.episodes, arguments.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
