"""The checkpoint of a training, and what tells one training from another."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

import rl

from . import _archive, _hosts
from ._lesson import Lesson
from ._store import hyperparameters
from ._strategy import State, Strategy

FILE = "checkpoint.symla"
_PROBES = (0, 1, 100, 1000)  # generations at which schedules are compared


def identity_of(
    learner: rl.Learner,
    lessons: Sequence[Lesson],
    strategy: Strategy,
    key: PRNGKeyArray,
) -> dict:
    """What makes a training this one and no other, for `resume` to compare."""
    identity = {
        "learner": f"{type(learner).__name__}({_plain(hyperparameters(learner))})",
        "initial": hash_of((learner, *(lesson.tasks for lesson in lessons))),
        **_identity_of_strategy(strategy),
        "key": jr.key_data(key).tolist(),
    }
    if len(lessons) == 1:
        return {**identity, **_identity_of_lesson(lessons[0])}
    identity["lessons"] = [lesson.name for lesson in lessons]
    for lesson in lessons:
        own = {**_identity_of_lesson(lesson), "weight": lesson.weight}
        identity |= {f"{lesson.name}/{what}": value for what, value in own.items()}
    return identity


def _identity_of_strategy(strategy: Strategy) -> dict:
    """Its settings; of schedules and optimisers, which are functions, what they do."""
    optimizers = {
        name: _optimizer_steps(value)
        for name, value in vars(strategy).items()
        if isinstance(value, optax.GradientTransformation)
    }
    schedules = {name: [value(g) for g in _PROBES] for name, value in strategy.schedules.items()}
    apart = {**schedules, **optimizers}
    plain = {name: value for name, value in vars(strategy).items() if name not in apart}
    return {"strategy": _plain(plain), **apart}


def _identity_of_lesson(lesson: Lesson) -> dict:
    return {
        "tasks": text_of(lesson.tasks),
        "steps": lesson.steps,
        "lives": lesson.lives,
        "fitness": getattr(lesson.fitness, "__name__", type(lesson.fitness).__name__),
    }


def text_of(tree: PyTree) -> str:
    """All of a module but its arrays, for a person to compare."""
    return _plain(eqx.filter(tree, eqx.is_array, inverse=True))


def hash_of(tree: PyTree) -> str:
    """The arrays of a tree, for a machine to compare."""
    arrays = b"".join(a.tobytes() for a in _archive.leaves_of(eqx.filter(tree, eqx.is_array)))
    return hashlib.sha256(arrays).hexdigest()


def _digest(value: dict) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()


def _optimizer_steps(optimizer: optax.GradientTransformation) -> list[float]:
    """What an optimiser, which is two functions, makes of certain gradients, in four digits."""
    gradients = np.random.default_rng(0).normal(size=_PROBES[-1] + 1).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):
        params = jnp.ones(())

        def step(state: PyTree, gradient: Array) -> tuple[PyTree, Array]:
            update, state = optimizer.update(gradient, state, params)
            return state, jnp.asarray(update)

        _, updates = jax.lax.scan(step, optimizer.init(params), jnp.asarray(gradients))
    return [float(f"{updates[i]:.4g}") for i in _PROBES]


def _plain(value: object) -> str:
    """A text of a value without the addresses that `repr` gives to functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def write(folder: Path, state: State, identity: dict) -> None:
    header = {
        "kind": "checkpoint",
        "generation": int(state.generation),
        "training": identity,
    }
    _archive.write(folder / FILE, header, _archive.leaves_of(state))


def resume(folder: Path | None, state: State, identity: dict, generations: int) -> State:
    """The state where the folder's checkpoint is, or `state` if there is none.

    The first process reads, and tells the others.

    **Raises:** `ValueError` if the folder holds another training, or more than what is asked for.
    """
    _hosts.check_same(_digest({**identity, "generations": generations}))
    failure = None
    if folder is not None and _hosts.is_first():
        try:
            state = _read(folder, state, identity)
            if int(state.generation) > generations:
                raise ValueError(
                    f"{folder} already holds {int(state.generation)} generations, more than the "
                    f"{generations} asked for."
                )
        except (ValueError, OSError) as error:
            failure = error
    if _hosts.any_of(failure is not None):
        raise failure or ValueError("The first process could not begin; it says why.")
    return _hosts.from_first(state)


def _read(folder: Path, state: State, identity: dict) -> State:
    """The state in the folder's checkpoint, or `state` if there is none."""
    path = folder / FILE
    if not path.exists():
        return state
    header, arrays = _archive.read(path)
    if header.get("kind") != "checkpoint":
        raise _archive.ArchiveError(f"{path} is not a checkpoint but a {header.get('kind')!r}.")
    saved = header.get("training", {})
    identity = json.loads(json.dumps(identity))
    different = [k for k in identity if saved.get(k) != identity[k]]
    if different:
        changes = "; ".join(f"{k}: {saved.get(k)} there, {identity[k]} now" for k in different)
        raise ValueError(
            f"{folder} holds another training ({changes}). Choose another folder, or the same "
            "settings to resume it."
        )
    return _archive.fill(state, arrays, path)
