"""What rejax does in `benchmarks.beside`: run by the Python that it is installed for."""

import json
import sys
import time

import jax
import jax.numpy as jnp
import rejax  # pyright: ignore[reportMissingImports]
from rejax.evaluate import evaluate  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Train what the first argument says, as JSON; print JSON."""
    options = json.loads(sys.argv[1])
    seeds = options.pop("seeds")
    episodes = options.pop("episodes")
    limit = options.pop("limit")
    steps = options.pop("steps")
    options |= {"num_envs": options.pop("environments")}
    options |= {"total_timesteps": steps, "eval_freq": steps}
    algorithm = getattr(rejax, options.pop("algorithm"))
    agent = algorithm.create(skip_initial_evaluation=True, **options)
    # Nothing but training is timed.
    agent = agent.replace(eval_callback=lambda agent, state, key: jnp.zeros(()))
    keys = jax.random.split(jax.random.key(0), seeds)
    begun = time.perf_counter()
    program = jax.jit(jax.vmap(agent.train)).lower(keys).compile()
    compiled = time.perf_counter()
    states, _ = jax.block_until_ready(program(keys))
    trained = time.perf_counter()

    def play(state, key):
        act = agent.make_act(state)
        return evaluate(act, key, agent.env, agent.env_params, episodes, limit)[1].mean()

    scores = jax.jit(jax.vmap(play))(states, keys)
    print(
        json.dumps(
            {
                "scores": [float(score) for score in scores],
                "seconds": trained - compiled,
                "compile_seconds": compiled - begun,
                "version": getattr(rejax, "__version__", ""),
            }
        )
    )


if __name__ == "__main__":
    main()
