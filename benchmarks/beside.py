"""Our A2C, PPO and TD3 beside those of rejax and Stable-Baselines3, on the same machine.

`python -m benchmarks.beside --rejax PYTHON --sb3 PYTHON`, where each PYTHON is that of an
environment of its own: `pip install rejax gymnax==0.0.9` (rejax 0.1.3 does not run with the gymnax
of this library), and `pip install stable-baselines3`. Both sides have the same settings:
environments, updates, minibatches, rates and networks. Where the other library trains one seed
after another, so does the time that it is given.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

import rl
from rl import classic

from .learners import CARTPOLE, ENVIRONMENTS, MANY, PENDULUM, trained

EPISODES = 128
A2C, TD3 = classic.A2C(), classic.TD3()
INSTALL = {"rejax": "rejax gymnax==0.0.9", "sb3": "stable-baselines3"}


@dataclasses.dataclass(frozen=True)
class Case:
    """An algorithm on a task.

    - `agent`, `tasks`: ours.
    - `environments`, `steps`: side by side, and of each of them.
    - `limit`: environment steps of an episode, at most.
    - `library`, `algorithm`, `environment`, `settings`: what it is compared with.
    """

    agent: classic.Agent
    tasks: rl.TaskDistribution
    environments: int
    steps: int
    limit: int
    library: str
    algorithm: str
    environment: str
    settings: Mapping[str, Any]


CASES = {
    "A2C, CartPole": Case(
        A2C,
        CARTPOLE,
        ENVIRONMENTS,
        12800,
        500,
        "sb3",
        "A2C",
        "CartPole-v1",
        {
            "n_steps": A2C.rollout,
            "learning_rate": A2C.learning_rate,
            "gamma": A2C.discount,
            "gae_lambda": A2C.gae_lambda,
            "ent_coef": A2C.entropy_weight,
            "max_grad_norm": A2C.max_gradient_norm,
            "normalize_advantage": A2C.normalise_advantages,
            # Its errors of values are squared, ours half of that.
            "vf_coef": 0.5 * A2C.value_weight,
        },
    ),
    "PPO, CartPole": Case(
        MANY,
        CARTPOLE,
        ENVIRONMENTS,
        12800,
        500,
        "rejax",
        "PPO",
        "CartPole-v1",
        {
            "num_steps": MANY.rollout,
            "num_minibatches": MANY.minibatches,
            "num_epochs": MANY.epochs,
            "learning_rate": MANY.learning_rate,
            "gamma": MANY.discount,
            "gae_lambda": MANY.gae_lambda,
            "ent_coef": MANY.entropy_weight,
        },
    ),
    "TD3, Pendulum": Case(
        TD3,
        PENDULUM,
        1,
        10_000,
        200,
        "rejax",
        "TD3",
        "Pendulum-v1",
        {
            "buffer_size": TD3.capacity,
            "fill_buffer": TD3.warm_up,
            "batch_size": TD3.batch_size,
            "policy_delay": TD3.policy_delay,
            "learning_rate": TD3.learning_rate,
            "gamma": TD3.discount,
            "polyak": 1.0 - TD3.tau,
            # In units of the torque, which is from -2 to 2; ours are of actions from -1 to 1.
            "exploration_noise": 2.0 * TD3.exploration_noise,
            "target_noise": 2.0 * TD3.target_noise,
            "target_noise_clip": 2.0 * TD3.target_noise_clip,
            "actor_kwargs": {"activation": "relu"},
            "critic_kwargs": {"activation": "relu"},
        },
    ),
}


def ours(case: Case, seeds: int) -> dict:
    """Train ours; the mean return of the policies at the end."""
    found, seconds, compilation = trained(
        case.agent, case.tasks, case.steps, case.environments, seeds
    )

    def play(knowledge: Any, key: jax.Array) -> jax.Array:
        """The first episode of each of many lives."""

        def life(key: jax.Array) -> jax.Array:
            task_key, life_key = jr.split(key)
            lived = rl.lifetime(
                classic.Settled(case.agent, knowledge),
                case.tasks.sample(key=task_key),
                steps=case.limit,
                key=life_key,
                record=("rewards", "terminated"),
            )
            assert lived.terminated is not None and lived.rewards is not None
            before = jnp.cumsum(lived.terminated) - lived.terminated
            return jnp.where(before == 0, lived.rewards, 0.0).sum()

        return jax.vmap(life)(jr.split(key, EPISODES)).mean()

    scores = jax.jit(jax.vmap(play))(found.knowledge, jr.split(jr.key(0), seeds))
    scores = [float(score) for score in scores]
    return {"scores": scores, "seconds": seconds, "compile_seconds": compilation}


def theirs(case: Case, python: str, seeds: int) -> dict:
    """Train the other one.

    **Raises:** `SystemExit` if that Python cannot run it.
    """
    steps = case.environments * case.steps
    options = {
        **{"algorithm": case.algorithm, "env": case.environment, "limit": case.limit},
        **{"environments": case.environments, "steps": steps},
        **{"seeds": seeds, "episodes": EPISODES},
        **case.settings,
    }
    script = Path(__file__).with_name(f"_{case.library}.py")
    done = subprocess.run(
        [python, str(script), json.dumps(options)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(
            f"{python} cannot run {case.library} ({last}). Make an environment of its own for it: "
            f"`pip install {INSTALL[case.library]}`, and give its Python."
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Train both, in turns, and print a table."""
    parser = argparse.ArgumentParser(description="Our learners beside those of other libraries.")
    for library in INSTALL:
        parser.add_argument(f"--{library}", help=f"the Python that {library} is installed for")
    parser.add_argument("--seeds", type=int, default=5, help="trainings")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed, in turns")
    options = parser.parse_args()
    pythons = {library: getattr(options, library) for library in INSTALL}
    if not any(pythons.values()):
        parser.error("give at least one of " + ", ".join(f"--{library}" for library in INSTALL))
    print("| | | return at the end, by seed | seconds, by round | compilation | rest over ours |")
    print("|---|---|---|---|---|---|")
    for name, case in CASES.items():
        python = pythons[case.library]
        if not python:
            continue
        rounds = {"symla": [], case.library: []}
        for _ in range(options.rounds):
            rounds["symla"].append(ours(case, options.seeds))
            rounds[case.library].append(theirs(case, python, options.seeds))
        best = {name: min(one["seconds"] for one in found) for name, found in rounds.items()}
        for library, found in rounds.items():
            scores = ", ".join(f"{score:.0f}" for score in found[0]["scores"])
            seconds = ", ".join(f"{one['seconds']:.1f}" for one in found)
            spent = found[0]["compile_seconds"]
            ratio = best[library] / best["symla"]
            print(f"| {name} | {library} | {scores} | {seconds} | {spent:.0f} s | {ratio:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
