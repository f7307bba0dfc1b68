"""Laws of environments, and how a task is permuted."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

import rl

from .._cases import Situation, sample
from .._execution import at_path, exactly, with_fields
from ._probe import probe_for
from ._registry import assert_same, kind_of, law

Permute = Callable[[Any, Any, Any], Any]


def _bandit(params: Any, sensors: Any, actions: Any) -> Any:
    del sensors  # there is but a constant
    return params.replace(probs=params.probs[actions])


SYMMETRIES: dict[str, Permute] = {"BernoulliBandit": _bandit}
"""How the parameters of an environment are permuted, by the name of its class.

A function `(params, sensors, actions) -> params`: in the permuted task, sensor i is what sensor
`sensors[i]` was, and action i what `actions[i]` was. One line makes the laws know another
environment, or give its class a method `permuted` with these arguments, as a wrapper may that
passes the call on.
"""


def symmetry(environment: Any) -> Permute | None:
    """How the parameters of this environment are permuted, if anyone has said so."""
    if hasattr(environment, "permuted"):
        return environment.permuted
    names = (cls.__name__ for cls in type(environment).__mro__)
    return next((SYMMETRIES[name] for name in names if name in SYMMETRIES), None)


def permuted_task(task: rl.Task, sensors: np.ndarray, actions: np.ndarray) -> rl.Task:
    """The same task with its sensors and actions in another order.

    **Raises:** `ValueError` for an environment of which nobody has said how.
    """
    permute = symmetry(task.environment)
    if permute is None:
        name = type(task.environment).__name__
        raise ValueError(
            f"Nobody has said how a task of {name} is permuted. Give it a method "
            f"`permuted(params, sensors, actions)`, or set `proofs.laws.SYMMETRIES[{name!r}]`."
        )
    masks = task.observation_mask, task.action_mask
    return with_fields(
        task,
        params=permute(task.params, sensors, actions),
        observation_mask=None if masks[0] is None else masks[0][sensors],
        action_mask=None if masks[1] is None else masks[1][actions],
    )


def task_of(subject: rl.Task | rl.TaskDistribution, situation: Situation) -> rl.Task:
    """A task, or one of a distribution."""
    if isinstance(subject, rl.Task):
        return subject
    return sample(subject, jr.key(situation.seed))


def _declared(subject: rl.Task | rl.TaskDistribution) -> bool:
    return symmetry(task_of(subject, Situation()).environment) is not None


@law(
    "env(g.task, g.actions) = g.env(task, actions)",
    about="environment",
    when=_declared,
    situation=Situation(steps=20),
)
def permuted_environment(subject: rl.Task | rl.TaskDistribution, situation: Situation) -> None:
    """In a permuted task, permuted actions lead to permuted observations and the same rewards.

    For the same random keys, in exact arithmetic. Broken by an environment that treats an action
    or a sensor in a special way that its parameters do not tell.
    """
    task, steps = task_of(subject, situation), situation.steps
    spaces = task.spaces
    sensors, actions = _orders(spaces.observation_size, spaces.num_actions, situation)
    rng = np.random.default_rng(situation.seed)
    if spaces.continuous:
        chosen = rng.uniform(-1, 1, (steps, spaces.num_actions)).astype(np.float32)
        moved = chosen[:, actions]
    else:
        chosen = rng.integers(0, spaces.num_actions, steps).astype(np.int32)
        moved = np.argsort(actions)[chosen].astype(np.int32)
    key = jr.key(situation.seed)
    before = exactly(_played, task, jnp.asarray(chosen), key)
    after = exactly(_played, permuted_task(task, sensors, actions), jnp.asarray(moved), key)
    observations, rest = before.outputs
    assert_same(
        after.outputs,
        (tuple(x[:, sensors] for x in observations), rest),
        f"With sensors {sensors.tolist()} and actions {actions.tolist()}, (observations, (rewards, "
        "ends, metrics))",
        one="env(g.task, g.actions)",
        other="g.env(task, actions)",
    )


def _orders(sensors: int, actions: int, situation: Situation) -> list[np.ndarray]:
    if situation.permutations is None:
        return situation.orders((sensors, actions))
    orders = [np.asarray(situation.permutations[k]) for k in (0, -1)]
    if tuple(map(len, orders)) != (sensors, actions):
        raise ValueError(
            f"`permutations` are for {len(orders[0])} sensors and {len(orders[1])} actions, but "
            f"the task has {sensors} and {actions}."
        )
    return orders


def _played(task: rl.Task, actions: Any, key: PRNGKeyArray) -> tuple:
    """Observations (and final ones) `[L A]`, and all else that a learner is told."""
    reset_key, steps_key = jr.split(key)
    _, state = task.environment.reset(reset_key, task.params)

    def step(state: PyTree, now: tuple) -> tuple:
        action, key = now
        seen, state, reward, terminated, truncated, info = task.environment.step(
            key, state, action, task.params
        )
        seen = (seen.reshape(-1), info["final_observation"].reshape(-1))
        metrics = {name: info[name] for name in task.metrics}
        return state, (seen, (reward, terminated, truncated, metrics))

    return jax.lax.scan(step, state, (actions, jr.split(steps_key, len(actions))))[1]


@law("types(step(s)) = types(s)", about=("environment", "learner"))
def steady_types(subject: Any, situation: Situation) -> None:
    """What is carried from step to step keeps its shapes and types, weak types too.

    Otherwise a life cannot be one scan, or is compiled again. Traced only.
    """
    if kind_of(subject) == "learner":
        task = probe_for(subject, situation)
        before = eqx.filter_eval_shape(lambda: subject.init(task.spaces, key=jr.key(0)))
        first = eqx.filter_eval_shape(lambda: rl.TimeStep.first(task.params.phases))
        after = eqx.filter_eval_shape(
            lambda state, now: subject.step(state, now, key=jr.key(0))[0], before, first
        )
    else:
        task = task_of(subject, situation)
        environment, spaces = task.environment, task.spaces
        action = jnp.zeros(spaces.num_actions) if spaces.continuous else jnp.asarray(0, jnp.int32)
        before = eqx.filter_eval_shape(lambda: environment.reset(jr.key(0), task.params))
        after = eqx.filter_eval_shape(
            lambda state: environment.step(jr.key(0), state, action, task.params), before[1]
        )[:2]
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise AssertionError(
            f"A step changes what is carried from {jax.tree.structure(before)} to "
            f"{jax.tree.structure(after)}."
        )
    others = dict(jax.tree_util.tree_leaves_with_path(after))
    for path, x in jax.tree_util.tree_leaves_with_path(before):
        y = others[path]
        if _type(x) != _type(y):
            raise AssertionError(
                f"A step changes the type of {at_path(path)} from {_type(x)} to {_type(y)}."
            )


def _type(x: Any) -> str:
    if not hasattr(x, "dtype"):
        return f"the Python number {x!r}"
    return f"{x.dtype}{list(x.shape)}{' (weak type)' if getattr(x, 'weak_type', False) else ''}"
