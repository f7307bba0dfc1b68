"""From the names of the command line to learners and tasks, and from both to a result."""

import importlib.metadata
import platform
import time
from pathlib import Path
from typing import cast

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import PRNGKeyArray, PyTree

import meta
import rl
from rl import classic, envs

from ._bandit_study import TEST_STREAM
from ._names import PLAYERS, check_arms, choose, show_arms, unknown

_HAND_MADE: dict[str, type[rl.Learner]] = {
    "random": classic.RandomPlayer,
    "thompson": classic.ThompsonSampling,
    "ucb1": classic.UCB1,
    "greedy": classic.GreedyPosteriorMean,
}
_LIBRARIES = ("symla", "jax", "equinox", "evosax", "gymnax")


def make_tasks(task: str, arms: int | tuple[int, int]) -> envs.BernoulliBandits:
    """The distribution of tasks of a name.

    **Raises:** `ValueError` for arms that the task cannot have.
    """
    check_arms(task, arms)
    return envs.BernoulliBandits(arms, _kind(task))


def make_learner(
    name: str, hidden_size: int, spaces: rl.Spaces, *, key: PRNGKeyArray
) -> rl.Learner:
    """A new learner to meta-train.

    **Arguments:**

    - `name`: one of `TRAINABLE`.
    - `hidden_size`: units of each cell, or of the one LSTM of a MetaRNN.
    - `spaces`: the sizes of the task, which a MetaRNN is made for.
    - `key`: the random key of its parameters.
    """
    match name:
        case "symla":
            return rl.SymLA(hidden_size, key=key)
        case "symla-paper":
            return rl.SymLA.paper(hidden_size, key=key)
        case "symla-official":
            return rl.SymLA.official(hidden_size, key=key)
        case _:
            return rl.MetaRNN(spaces.observation_size, spaces.num_actions, hidden_size, key=key)


def find_learner(name: str, task: str, arms: int | tuple[int, int], steps: int) -> rl.Learner:
    """A learner to meta-test: a player by its name, a pretrained one, or one from a file.

    **Raises:** `ValueError` for a name that nothing has, or a task that the player cannot play;
    `FileNotFoundError`; `meta.ArchiveError` for a file that holds no learner.
    """
    if name in _HAND_MADE:
        return _HAND_MADE[name]()
    if name == "optimal":
        if arms != 2:
            raise ValueError(
                f"Bayes-optimal play is known for 2 arms, got {show_arms(arms)}. Compare with "
                "thompson or greedy."
            )
        return classic.BayesOptimal(_kind(task), steps)
    if name.startswith("pretrained:"):
        known = meta.pretrained_names()
        return meta.pretrained(
            choose("pretrained learner", name.removeprefix("pretrained:"), known)
        )
    path = Path(name)
    if path.is_dir():
        return meta.load(path / "learner.symla")
    if path.exists() or path.suffix or len(path.parts) > 1:
        return meta.load(path)
    known = [*PLAYERS, *(f"pretrained:{n}" for n in meta.pretrained_names())]
    raise unknown("player, pretrained learner or file", name, known)


def exact_regret(task: str, steps: int) -> float:
    """The expected regret of Bayes-optimal play, by dynamic programming."""
    return float(classic.bayes_optimal_regret(_kind(task), steps))


def test_key(seed: int) -> PRNGKeyArray:
    """The key of the test lives of a seed: a stream that no meta-training uses."""
    return jr.fold_in(jr.key(seed), TEST_STREAM)


def meta_test(
    learner: rl.Learner, tasks: rl.TaskDistribution, *, steps: int, lives: int, seed: int
) -> dict[str, float | None]:
    """Regret and reward of a learner over unseen lives, and the seconds that took.

    **Returns:**

    `regret_mean`, `regret_sem`, `reward_mean`, `reward_sem`, `seconds` and `compile_seconds`. The
    standard errors of a single life are `None`.
    """
    began = time.perf_counter()
    # Sizes that do not fit say so here, before anything is compiled.
    task = tasks.sample(key=jr.key(0))
    jax.eval_shape(lambda key: learner.init(task.spaces, key=key), jr.key(0))
    key = test_key(seed)
    arrays, static = eqx.partition(learner, eqx.is_array)

    @jax.jit
    def live(arrays: PyTree, key: PRNGKeyArray) -> meta.Evaluation:
        learner = eqx.combine(arrays, static)
        return meta.evaluate(learner, tasks, steps=steps, lives=lives, key=key)

    compiled = live.lower(arrays, key).compile(compiler_options=meta.compiler_options())
    ready = time.perf_counter()
    result = jax.block_until_ready(compiled(arrays, key))
    done = time.perf_counter()
    several = lives > 1
    return {
        "regret_mean": result.mean("regret"),
        "regret_sem": result.sem("regret") if several else None,
        "reward_mean": result.mean(),
        "reward_sem": result.sem() if several else None,
        "seconds": round(done - ready, 3),
        "compile_seconds": round(ready - began, 3),
    }


def versions() -> dict[str, str]:
    """The versions of what computes."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **libraries}


def _kind(task: str) -> envs.BanditKind:
    return cast(envs.BanditKind, task.removeprefix("bandit-"))
