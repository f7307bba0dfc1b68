"""How fast agents of MetaGenRL live and learn, and their objective: `python -m benchmarks.agents`.

Prints a table for `docs/objectives.md`. Seconds are those of generations, compilation apart.
"""

import argparse
import math
import os
from statistics import median
from typing import Any

import jax
import jax.random as jr

GENERATION = 20  # environment steps of each agent
# Of agents and objectives: `light` has the defaults, `paper` the paper's networks and batches.
SIZES: dict[str, dict[str, Any]] = {
    "light": {},
    "paper": {"hidden_sizes": (350, 350), "batch_size": 100},
}


def speed(size: str, agents: int, generations: int) -> dict[str, float]:
    """Agents on the continuous lander: environment steps per second, of all of them, that they live
    and learn from, and seconds of compilation.

    **Arguments:**

    - `size`: one of `SIZES`.
    - `agents`: how many.
    - `generations`: of which the typical one counts, without those before all agents learn.
    """
    import meta  # which starts JAX, after its devices are chosen
    from rl import envs

    learner = meta.MetaGenRL(**SIZES[size], capacity=10_000, warm_up=GENERATION, key=jr.key(0))
    found = meta.train(
        learner,
        meta.Lesson(envs.Vary(envs.LunarLander("gym", continuous=True)), GENERATION, agents),
        meta.CriticGradient(annealing=0),
        generations=generations + 1,
        key=jr.key(1),
        chunk=1,
        devices=jax.devices()[: math.gcd(agents, len(jax.devices()))],
    )
    seconds = median(row["seconds"] for row in found.history[1:])
    return {"steps": agents * GENERATION / seconds, "compilation": found.compile_seconds}


def main() -> None:
    """Measure the sizes that were asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=20, help="how many (20, as the paper)")
    parser.add_argument("--generations", type=int, default=5, help="to take the median of")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["light"], help="networks")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    devices = jax.devices()
    print(f"{options.agents} agents on {len(devices)} x {devices[0].device_kind}")
    print("| size | environment steps per second, learning | compilation |")
    print("|---|---|---|")
    for size in options.sizes:
        found = speed(size, options.agents, options.generations)
        print(f"| {size} | {found['steps']:,.0f} | {found['compilation']:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
