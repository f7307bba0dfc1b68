"""From what the command line says to learners and distributions of tasks."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from jaxtyping import PRNGKeyArray

import meta
import rl
from rl import classic, envs

from ._bandit_study import test_key as test_key
from ._names import PLAYERS, choose, show_arms, unknown
from ._task_entries import Value
from ._task_table import WRAPPERS
from ._tasks import TaskSpec, parse_task

_ANYWHERE: dict[str, type[rl.Learner]] = {
    "random": classic.RandomPlayer,
    "reinforce": classic.REINFORCE,
    "a2c": classic.A2C,
    "a3c": classic.A3C,
    "a2c-meta-gradient": classic.MetaGradientA2C,
    "ppo": classic.PPO,
    "td3": classic.TD3,
    "reinforce-off-policy": classic.OffPolicyREINFORCE,
}
_WHO_ELSE = f"On any task live {', '.join(_ANYWHERE)}, or a meta-trained learner."
_IN_BANDITS: dict[str, type[rl.Learner]] = {
    "thompson": classic.ThompsonSampling,
    "ucb1": classic.UCB1,
    "greedy": classic.GreedyPosteriorMean,
}
_LIBRARIES = ("symla", "jax", "equinox", "evosax", "gymnax")


def make_tasks(task: TaskSpec | str) -> rl.TaskDistribution:
    """The distribution of tasks that the command line names.

    **Raises:** `ValueError` for options that do not go together.
    """
    spec = parse_task(task) if isinstance(task, str) else task
    entry, given = spec.entry, {**spec.entry.fixed, **spec.options}
    if entry.parameters is None:
        tasks = _make(entry.factory, given)
    else:
        ranges = {name: given.pop(name) for name in entry.parameters if name in given}
        tasks = _make("Vary", ranges, _make(entry.factory, given))
    for name, arguments in spec.wrappers:
        tasks = _make(WRAPPERS[name].factory, arguments, tasks)
    return tasks


def _make(factory: str, options: Mapping[str, Value], *inner: object):
    """What `rl.envs` has under a name, of what was given."""
    return getattr(envs, factory)(*inner, **options)


def make_learner(
    name: str,
    hidden_size: int,
    spaces: rl.Spaces,
    choices: Mapping[str, Any] | None = None,
    *,
    key: PRNGKeyArray,
) -> rl.Learner:
    """A new learner to meta-train.

    **Arguments:**

    - `name`: one of `TRAINABLE`.
    - `hidden_size`: units of each cell, of the one LSTM of a MetaRNN or of an objective, or of each
        layer of a policy.
    - `spaces`: the sizes of the task, which a MetaRNN is made for.
    - `choices`: options of `rl.SymLA` for `"symla"`, or of `meta.MetaGenRL` for `"metagenrl"`; the
        others have their own.
    - `key`: the random key of its parameters.
    """
    match name:
        case "symla":
            return rl.SymLA(hidden_size, **(choices or {}), key=key)
        case "symla-paper":
            return rl.SymLA.paper(hidden_size, key=key)
        case "symla-official":
            return rl.SymLA.official(hidden_size, key=key)
        case "metagenrl":
            return meta.MetaGenRL(units=hidden_size, **(choices or {}), key=key)
        case "lpg":
            return meta.LPG(units=hidden_size, key=key)
    sizes, kind = (spaces.observation_size, spaces.num_actions), {"continuous": spaces.continuous}
    if name in ("maml", "epg"):
        make = classic.MAML if name == "maml" else meta.EPG
        return make(*sizes, (hidden_size, hidden_size), **kind, key=key)
    return rl.MetaRNN(*sizes, hidden_size, **kind, key=key)


def find_learner(name: str, task: TaskSpec, steps: int) -> rl.Learner:
    """A learner to meta-test: a player by its name, a pretrained one, or one from a file.

    **Arguments:**

    - `name`: as the command line has it.
    - `task`: what it will live in.
    - `steps`: environment steps of a life.

    **Raises:** `ValueError` for a name that nothing has, or a task that the player cannot play;
    `FileNotFoundError`; `meta.ArchiveError` for a file that holds no learner.
    """
    if name not in PLAYERS:
        return load_learner(name)
    if name in _ANYWHERE:
        return _ANYWHERE[name]()
    if name == "psrl":
        return _psrl(task)
    _check_player(name, task)
    if name == "optimal":
        return classic.BayesOptimal(_kind(task), steps)
    return _IN_BANDITS[name]()


def load_learner(name: str) -> rl.Learner:
    """A meta-trained learner: a pretrained one, or one from a file or the folder of a training.

    **Raises:** as `find_learner`.
    """
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


def _psrl(task: TaskSpec) -> rl.Learner:
    if task.entry.factory != "TabularMDPs":
        raise ValueError(
            "psrl plays tabular decision processes only, whose observations are one-hots of "
            f"states, but the task is {task.text}. {_WHO_ELSE}"
        )
    steps = task.options.get("episode_steps", 10)
    assert isinstance(steps, int)  # of its kind
    return classic.PSRL(steps)


def _check_player(name: str, task: TaskSpec) -> None:
    """Refuse a task whose rewards are not those of Bernoulli bandits."""
    if not task.is_bandit or any(wrapper == "swap" for wrapper, _ in task.wrappers):
        raise ValueError(
            f"{name} plays Bernoulli bandits only, whose rewards are 0 or 1, but the task is "
            f"{task.text}. {_WHO_ELSE}"
        )
    if name == "optimal" and (task.arms != 2 or task.wrappers):
        what = (
            f"got {show_arms(task.arms)}"
            if task.arms is not None and task.arms != 2
            else (f"with nothing around them, got {task.text}")
        )
        raise ValueError(
            f"Bayes-optimal play is known for 2 arms, {what}. Compare with thompson or greedy."
        )


def exact_regret(task: TaskSpec, steps: int) -> float:
    """The expected regret of Bayes-optimal play, by dynamic programming."""
    return float(classic.bayes_optimal_regret(_kind(task), steps))


def versions() -> dict[str, str]:
    """The versions of what computes."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), **libraries}


def _kind(task: TaskSpec) -> envs.BanditKind:
    return cast(envs.BanditKind, task.entry.fixed["kind"])
