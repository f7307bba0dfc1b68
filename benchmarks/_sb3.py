"""What Stable-Baselines3 does in `benchmarks.beside`: run by the Python it is installed for."""

import json
import sys
import time
from importlib.metadata import version

import stable_baselines3  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.env_util import make_vec_env  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.evaluation import (  # pyright: ignore[reportMissingImports]
    evaluate_policy,
)


def main() -> None:
    """Train what the first argument says, one seed after another, as JSON; print JSON."""
    options = json.loads(sys.argv[1])
    seeds, episodes, steps = (options.pop(name) for name in ("seeds", "episodes", "steps"))
    environments, name = options.pop("environments"), options.pop("env")
    algorithm = getattr(stable_baselines3, options.pop("algorithm"))
    del options["limit"]  # Gymnasium has its own
    torch.set_num_threads(1)  # networks are small: more threads make it slower
    scores, seconds = [], 0.0
    for seed in range(seeds):
        agent = algorithm(
            "MlpPolicy",
            make_vec_env(name, environments, seed=seed),
            seed=seed,
            device="cpu",
            policy_kwargs={"net_arch": [64, 64]},
            **options,
        )
        begun = time.perf_counter()
        agent.learn(steps)
        seconds += time.perf_counter() - begun
        tests = make_vec_env(name, environments, seed=1000 + seed)
        scores.append(
            evaluate_policy(agent, tests, n_eval_episodes=episodes, deterministic=False)[0]
        )
    print(
        json.dumps(
            {
                "scores": [float(score) for score in scores],
                "seconds": seconds,
                "compile_seconds": 0.0,
                "version": version("stable-baselines3"),
            }
        )
    )


if __name__ == "__main__":
    main()
