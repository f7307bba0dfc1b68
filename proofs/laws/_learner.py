"""Laws of learners and of their lives."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

import rl

from .. import _assertions, _spec
from .._cases import LearnerCase, Situation, shuffled
from .._execution import at_path, compiled, exactly
from ._environment import permuted_task
from ._grids import labels_of
from ._probe import probe_for
from ._registry import assert_same, kind_of, law

_KEPT = ("actions", "rewards", "observations", "terminated", "truncated")


class Scripted(rl.Learner):
    """A learner whose randomness is given: the noise of its birth and of its choices `[L B]`."""

    learner: Any
    noise: PyTree
    choices: Array

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> tuple:
        """See `rl.Learner.init`."""
        if self.noise is None:
            return self.learner.init(spaces, key=key), jnp.asarray(0, jnp.int32)
        return self.learner.init_from(spaces, self.noise), jnp.asarray(0, jnp.int32)

    def step(self, state: tuple, timestep: rl.TimeStep, *, key: PRNGKeyArray) -> tuple:
        """See `rl.Learner.step`."""
        del key
        learned, count = state
        learned, action = self.learner.act(learned, timestep, self.choices[count])
        return (learned, count + 1), action


def _pathwise(learner: Any) -> bool:
    drawn = not hasattr(learner, "draw") or isinstance(learner, rl.SymLA)
    return hasattr(learner, "act") and drawn


@law(
    "life(g.task) = g.life(task), with g.noise: actions are relabelled, rewards are the same",
    about="learner",
    when=_pathwise,
    situation=Situation(steps=40),
)
def permuted_life(
    learner: Any,
    situation: Situation,
    task: rl.Task | None = None,
    noise_spec: PyTree | None = None,
) -> None:
    """In a permuted task, a symmetric learner behaves as before, permuted.

    A whole closed loop, bit for bit, in exact arithmetic: `rl.lifetime` in the task, and in the
    task with sensors and actions in another order, where the noise of birth and choices is in that
    order, too. This needs a learner whose `act(state, timestep, noise)` takes the noise of a choice
    and whose birth is without noise, or from `init_from(spaces, noise)` with noise from `draw`. For
    others, `proofs.certify` decides it in law. Broken by weights of its own for any sensor or
    action.

    **Options:** `task`, whose environment must say how it is permuted (see `SYMMETRIES`);
    `noise_spec`, of what `draw` returns, for learners other than `rl.SymLA`.
    """
    task = probe_for(learner, situation) if task is None else task
    spaces = task.spaces
    shapes = None
    if hasattr(learner, "draw"):
        shapes = eqx.filter_eval_shape(lambda: learner.draw(spaces, key=jr.key(0)))
        noise_spec = _symla_noise(shapes) if noise_spec is None else noise_spec
    for again in range(5):
        now = replace(situation, seed=situation.seed + 1000 * again)
        script = _script(learner, shapes, spaces.num_actions, now)
        orders = _orders(noise_spec, spaces, script.noise, now)
        moved = Scripted(
            learner,
            None if shapes is None else _spec.act(noise_spec, script.noise, orders),
            script.choices[:, orders["B"]],
        )
        key = jr.key(now.seed)
        before = exactly(_life, script, task, key, now.steps)
        after = exactly(_life, moved, permuted_task(task, orders["A"], orders["B"]), key, now.steps)
        if before.tied or after.tied:
            continue
        expected = dict(before.outputs)
        expected["actions"] = np.argsort(orders["B"])[expected["actions"]].astype(np.int32)
        expected["observations"] = expected["observations"][:, orders["A"]]
        assert_same(
            after.outputs,
            expected,
            f"With {', '.join(f'{n}: {_assertions.cycles(g)}' for n, g in orders.items())}, a life",
            one="the life in the permuted task",
            other="the permuted life",
        )
        return
    raise AssertionError(
        "Nothing was compared: in five lives a choice was made between equal logits."
    )


def _symla_noise(shapes: Any) -> PyTree:
    """The specification of the noise of a SymLA: every interface may be permuted."""
    if not isinstance(shapes, rl.SymLANoise):
        raise ValueError(
            f"The noise of this learner, {type(shapes).__name__}, is not known; give `noise_spec`."
        )
    labels = labels_of((0,) * (len(shapes.cells) + 1))
    if shapes.projection is not None:
        labels[0] = "P"
    cells = tuple(
        f"{a} {b} {z.shape[2]}"
        for a, b, z in zip(labels[:-1], labels[1:], shapes.cells, strict=True)
    )
    made = jax.tree.map(lambda x: ..., shapes)
    projection = None if shapes.projection is None else "A P"
    return eqx.tree_at(lambda n: (n.cells, n.projection), made, (cells, projection))


def _script(learner: Any, shapes: PyTree, actions: int, situation: Situation) -> Scripted:
    leaves, structure = jax.tree.flatten(shapes)
    noise = [situation.noise(*x.shape, part=30 + k).astype(x.dtype) for k, x in enumerate(leaves)]
    rng = np.random.default_rng([situation.seed, 5])
    choices = jnp.asarray(rng.gumbel(size=(situation.steps, actions)), jnp.float32)
    return Scripted(learner, jax.tree.unflatten(structure, noise), choices)


def _orders(specs: PyTree, spaces: rl.Spaces, noise: PyTree, situation: Situation) -> dict:
    """A permutation of each label: those of the situation at both ends, drawn ones within."""
    sizes = {"A": spaces.observation_size, "B": spaces.num_actions}
    if noise is not None:
        sizes |= _sizes(specs, noise)
    rng = np.random.default_rng([situation.seed, 6])
    drawn = {label: shuffled(size, rng) for label, size in sizes.items()}
    if situation.permutations is not None:
        drawn["A"], drawn["B"] = (np.asarray(situation.permutations[k]) for k in (0, -1))
    return drawn


def _sizes(specs: PyTree, noise: PyTree) -> dict[str, int]:
    found = {}

    def read(spec: Any, x: Array) -> None:
        found.update(
            {a.label: n for a, n in zip(spec.axes, x.shape, strict=True) if a.label is not None}
        )

    jax.tree.map(read, _spec.parse_tree(specs), noise)
    return found


def _life(learner: Any, task: rl.Task, key: PRNGKeyArray, steps: int) -> dict:
    life = rl.lifetime(learner, task, steps=steps, key=key, record=_KEPT)
    return {name: getattr(life, name) for name in _KEPT}


# ------------------------------------------------------------------------------------------ lives


@law(
    "life(n + m) = life(n), then life(m) from where it ended",
    about=("learner", "lifetime"),
    situation=Situation(steps=4),
)
def life_in_parts(
    subject: Any,
    situation: Situation,
    learner: rl.Learner | None = None,
    task: rl.Task | None = None,
) -> None:
    """A life that goes on from its final state is the life that was never cut, bit for bit.

    For n = m, with the same random key; counts and sums add up. Put it to a learner, or to a
    function like `rl.lifetime`.
    Broken by anything that is remembered elsewhere than in the state: sums, clocks, keys.

    **Options:** `task`; `learner`, if it is a lifetime that is put to the law.
    """
    live = subject if kind_of(subject) == "lifetime" else rl.lifetime
    if kind_of(subject) == "learner":
        learner = subject
    learner = learner or LearnerCase(seed=situation.seed).build()
    task = probe_for(learner, situation) if task is None else task
    n, key = situation.steps, jr.key(situation.seed)
    whole, final, sums = _lived(live, learner, task, 2 * n, key, None)
    first, half, sums_before = _lived(live, learner, task, n, key, None)
    second, end, sums_after = _lived(live, learner, task, n, key, half)
    joined = jax.tree.map(lambda *x: np.concatenate(x), first, second)
    assert_same(joined, whole, "A life", one=f"{n} and {n} steps", other=f"{2 * n} steps")
    assert_same(end, final, "A final state", one=f"{n} and {n} steps", other=f"{2 * n} steps")
    added = jax.tree.map(lambda x, y: np.asarray(x + y), sums_before, sums_after)
    for path, x in jax.tree_util.tree_leaves_with_path(sums):
        difference = _assertions.far_apart(
            x, dict(jax.tree_util.tree_leaves_with_path(added))[path]
        )
        if difference is not None:
            raise AssertionError(
                f"{at_path(path)} of the whole life and of its parts: {difference}"
            )


@compiled
def _lived(
    live: Callable, learner: rl.Learner, task: rl.Task, steps: int, key: PRNGKeyArray, start: Any
) -> tuple:
    record = (*_KEPT, "episode_returns", "metrics")
    life = live(learner, task, steps=steps, key=key, record=record, start=start)
    sums = {"episodes": life.episodes, "total_reward": life.total_reward, "totals": life.totals}
    return {name: getattr(life, name) for name in record}, life.final, sums


@law("vmap(life)(keys)_k = life(key_k)", about="learner", situation=Situation(steps=4))
def lives_side_by_side(
    learner: rl.Learner, situation: Situation, task: rl.Task | None = None
) -> None:
    """Lives that are lived together are the lives one by one, to `proofs.TOLERANCE`.

    **Options:** `task`.
    """
    task = probe_for(learner, situation) if task is None else task
    keys = jr.split(jr.key(situation.seed), 3)
    _assertions.assert_same_under_vmap(
        _life_of, keys, shared=(learner, task, situation.steps), axis_name="lives"
    )


def _life_of(learner: Any, task: rl.Task, steps: int, key: PRNGKeyArray) -> dict:
    return _life(learner, task, key, steps)


@law(
    "one set of meta-variables serves all tasks: the learner is defined for all A, B",
    about="learner",
)
def any_task(learner: rl.Learner, situation: Situation) -> None:
    """A learner runs with any number of sensors and actions, with the same meta-variables.

    It is traced in tasks of several sizes. Broken by weights for each sensor or action, as in a
    plain recurrent network.
    """
    del situation

    def run(learner: rl.Learner, sensors: int, actions: int) -> None:
        spaces = rl.Spaces(sensors, actions)
        state = learner.init(spaces, key=jr.key(0))
        first = rl.TimeStep.first(jnp.zeros((sensors,)))
        learner.step(state, first, key=jr.key(1))

    sizes = [(3, 4), (1, 2), (5, 3)]
    _assertions.assert_size_free(lambda *sizes: learner, sizes, run=run)
