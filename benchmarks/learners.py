"""What hand-made learners reach in many environments: `python -m benchmarks.learners`.

Prints a table for `docs/learners.md`. Returns are those of Gymnasium's rewards; Hopper is brax's,
and needs the extra `brax`.
"""

import argparse
import importlib.util
import time

import jax
import jax.random as jr
import numpy as np

import rl
from rl import classic, envs

ENVIRONMENTS, LAST = 16, 0.2
CARTPOLE, PENDULUM = envs.Vary(envs.CartPole("gym")), envs.Vary(envs.Pendulum("gym"))
# Of a PPO, for many environments; its defaults are for one.
MANY = classic.PPO(rollout=128, minibatches=8, discount=0.99, gae_lambda=0.97)
# Learner, tasks, environment steps of each environment, and environments.
CASES = {
    "REINFORCE, CartPole": (classic.REINFORCE(), CARTPOLE, 12800, ENVIRONMENTS),
    "A2C, CartPole": (classic.A2C(), CARTPOLE, 12800, ENVIRONMENTS),
    "A3C, CartPole": (classic.A3C(), CARTPOLE, 12800, ENVIRONMENTS),
    "MetaGradientA2C, CartPole": (classic.MetaGradientA2C(), CARTPOLE, 12800, ENVIRONMENTS),
    "PPO, CartPole": (MANY, CARTPOLE, 12800, ENVIRONMENTS),
    "TD3, Pendulum": (classic.TD3(updates=4), PENDULUM, 5000, 4),
    "OffPolicyREINFORCE, Pendulum": (classic.OffPolicyREINFORCE(updates=4), PENDULUM, 5000, 4),
}
if importlib.util.find_spec("brax") is not None:
    CASES["PPO, Hopper"] = (
        classic.PPO(
            rollout=128, minibatches=8, discount=0.99, gae_lambda=0.95, normalise_observations=True
        ),
        envs.Vary(envs.Brax("hopper", backend="spring")),
        7680,
        64,
    )


def trained(
    agent: classic.Agent, tasks: rl.TaskDistribution, steps: int, environments: int, seeds: int
) -> tuple[classic.Training, float, float]:
    """All seeds in one program; the seconds that it ran, and those that it was compiled."""

    def runs(keys: jax.Array) -> classic.Training:
        return jax.vmap(
            lambda key: classic.train(agent, tasks, environments=environments, steps=steps, key=key)
        )(keys)

    begun = time.perf_counter()
    program = jax.jit(runs).lower(jr.split(jr.key(0), seeds)).compile()
    compiled = time.perf_counter()
    found = jax.block_until_ready(program(jr.split(jr.key(0), seeds)))
    return found, time.perf_counter() - compiled, compiled - begun


def last_returns(trained: classic.Training) -> np.ndarray:
    """The mean return of the last episodes of each seed."""
    count = int(trained.episodes.shape[1] * LAST)
    episodes = np.asarray(trained.episodes)[:, -count:]
    returns = np.nan_to_num(np.asarray(trained.episode_returns))[:, -count:]
    return (episodes * returns).sum(1) / episodes.sum(1)


def main() -> None:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each case")
    parser.add_argument("--only", help="cases whose name has this in it")
    options = parser.parse_args()
    print("| learner, task | return | seeds | environment steps | steps per second | compilation |")
    print("|---|---|---|---|---|---|")
    for name, (agent, tasks, steps, environments) in CASES.items():
        if options.only and options.only not in name:
            continue
        found, seconds, compilation = trained(agent, tasks, steps, environments, options.seeds)
        scores = last_returns(found)
        lived = steps * environments
        print(
            f"| {name} | {scores.mean():.0f} ± {scores.std(ddof=1) / len(scores) ** 0.5:.0f} "
            f"({', '.join(f'{score:.0f}' for score in scores)}) | {len(scores)} | {lived:,} | "
            f"{lived * len(scores) / seconds:,.0f} | {compilation:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
