"""Our PPO beside rejax's, side by side on the same machine.

`python -m benchmarks.beside_rejax --python PYTHON`, where PYTHON is that of an environment with
`pip install rejax gymnax==0.0.9`: rejax 0.1.3 does not run with the gymnax of this library. Both
have the same settings: environments, rollouts, epochs, minibatches, rates and networks.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

import rl
from rl import classic

from .learners import CARTPOLE, ENVIRONMENTS, MANY, trained

STEPS, EPISODES = 12800, 128
SETTINGS = {
    "num_envs": ENVIRONMENTS,
    "num_steps": MANY.rollout,
    "num_minibatches": MANY.minibatches,
    "num_epochs": MANY.epochs,
    "learning_rate": MANY.learning_rate,
    "gamma": MANY.discount,
    "gae_lambda": MANY.gae_lambda,
    "ent_coef": MANY.entropy_weight,
}


def ours(seeds: int) -> dict:
    """Train ours; the mean return of the policies at the end."""
    found, seconds, compilation = trained(MANY, CARTPOLE, STEPS, ENVIRONMENTS, seeds)

    def play(knowledge: Any, key: jax.Array) -> jax.Array:
        """The first episode of each of many lives."""

        def life(key: jax.Array) -> jax.Array:
            task_key, life_key = jr.split(key)
            lived = rl.lifetime(
                classic.Settled(MANY, knowledge),
                CARTPOLE.sample(key=task_key),
                steps=500,
                key=life_key,
                record=("terminated",),
            )
            assert lived.terminated is not None
            fell = lived.terminated
            return jnp.where(fell.any(), fell.argmax() + 1, 500).mean()

        return jax.vmap(life)(jr.split(key, EPISODES)).mean()

    scores = jax.jit(jax.vmap(play))(found.knowledge, jr.split(jr.key(0), seeds))
    scores = [float(score) for score in scores]
    return {"scores": scores, "seconds": seconds, "compile_seconds": compilation}


def theirs(python: str, seeds: int) -> dict:
    """Train rejax's.

    **Raises:** `SystemExit` if that Python cannot run it.
    """
    options = {
        **SETTINGS,
        "total_timesteps": ENVIRONMENTS * STEPS,
        "eval_freq": ENVIRONMENTS * STEPS,
    }
    options |= {"seeds": seeds, "episodes": EPISODES}
    script = Path(__file__).with_name("_rejax.py")
    done = subprocess.run(
        [python, str(script), json.dumps(options)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(
            f"{python} cannot run rejax ({last}). Make an environment of its own for it: `pip "
            "install rejax gymnax==0.0.9`, and give its Python."
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Train both, in turns, and print a table."""
    parser = argparse.ArgumentParser(description="Our PPO beside rejax's.")
    parser.add_argument("--python", required=True, help="the Python that rejax is installed for")
    parser.add_argument("--seeds", type=int, default=5, help="trainings, all at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed, in turns")
    options = parser.parse_args()
    rounds = {"symla": [], "rejax": []}
    for _ in range(options.rounds):
        rounds["symla"].append(ours(options.seeds))
        rounds["rejax"].append(theirs(options.python, options.seeds))
    print("| PPO, CartPole-v1 | return at the end, by seed | seconds, by round | compilation |")
    print("|---|---|---|---|")
    for name, found in rounds.items():
        scores = ", ".join(f"{score:.0f}" for score in found[0]["scores"])
        seconds = ", ".join(f"{one['seconds']:.1f}" for one in found)
        print(f"| {name} | {scores} | {seconds} | {found[0]['compile_seconds']:.0f} s |")
    best = {name: min(one["seconds"] for one in found) for name, found in rounds.items()}
    print(f"Seconds of rejax over ours, the fastest of each: {best['rejax'] / best['symla']:.2f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
