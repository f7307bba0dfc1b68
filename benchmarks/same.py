"""The rival and the library do the same work: converted parameters, equal keys, equal numbers.

    python -m benchmarks.same

compares the two at small sizes of every case. `symla bench` does so before it measures.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

import meta
import rl
import vsml

from .cases import LEARNING_RATE, PRESETS, Case, small
from .rival import Agent, Search

_GENERATIONS = 2
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two generations of ours beside two of the rival's.

    - `decisions`: actions compared, and `different_actions` of them.
    - `reward_error`: the largest difference of the total rewards of lives, and
        `mean_error`: of the search's mean at the end, relative to one step of Adam.
    """

    decisions: int
    different_actions: int
    reward_error: float
    mean_error: float

    @property
    def same(self) -> bool:
        """Whether the numbers are the same, but for rounding."""
        errors = (self.reward_error, self.mean_error)
        return self.different_actions == 0 and all(e < _TOLERANCE for e in errors)


def agent_of(learner: rl.SymLA) -> Agent:
    """The rival with the parameters of a SymLA, as its constructor makes one by default.

    Weights are transposed, the gates are in Equinox's order, and the constants on the gates are
    part of the bias.
    """
    layer = learner.network.layers[0]
    cell, projection = layer.cell, layer.projection
    ahead, back = layer.forward_head, layer.backward_head
    assert isinstance(cell, vsml.LSTMCell)
    assert projection is not None and ahead is not None and back is not None
    assert projection.bias is not None and ahead.bias is not None and back.bias is not None
    constants = jnp.asarray([cell.input_bias, cell.forget_bias, 0.0, 0.0], projection.bias.dtype)

    def gates(columns: Float[Array, "*rows D"]) -> Float[Array, "D *rows"]:
        i, g, f, o = jnp.split(columns, 4, axis=-1)
        return jnp.concatenate([i, f, g, o], axis=-1).T

    inputs, units = projection.weight.shape[0], cell.hidden_size

    def like() -> Agent:
        return Agent(
            eqx.nn.LSTMCell(inputs, units, key=jr.key(0)),
            eqx.nn.Linear(units, layer.forward_size, key=jr.key(0)),
            eqx.nn.Linear(units, layer.backward_size, key=jr.key(0)),
            learner.ticks,
            learner.state_scale,
            learner.logit_scale,
        )

    shapes, structure = jax.tree.flatten(eqx.filter_eval_shape(like))
    arrays = [
        gates(projection.weight),
        gates(cell.recurrent),
        gates(projection.bias) + jnp.repeat(constants, units),
        ahead.weight.T,
        ahead.bias,
        back.weight.T,
        back.bias,
    ]
    assert [a.shape for a in arrays] == [s.shape for s in shapes]
    return jax.tree.unflatten(structure, arrays)


def search_of(case: Case) -> Search:
    """The rival's search for a case."""
    tasks = case.tasks
    return Search(
        agent_of(case.learner),
        tasks.sample(key=jr.key(0)).environment,
        lambda key: tasks.sample(key=key).params,
        members=case.members,
        lives=case.lives,
        steps=case.steps,
        std=case.std,
        learning_rate=LEARNING_RATE,
    )


def compare(case: Case, *, key: PRNGKeyArray) -> Comparison:
    """Let both live two generations of a case, and compare.

    The same noise perturbs the same parameters: the two keep them in another order, so the
    rival's noise is put into ours.
    """
    with (
        jax.default_matmul_precision("highest"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        return _compare(case, key)


def _compare(case: Case, key: PRNGKeyArray) -> Comparison:
    learner, tasks, strategy, search = case.learner, case.tasks, case.strategy, search_of(case)
    params, static = eqx.partition(learner, eqx.is_inexact_array)
    init_key, run_key, _ = jr.split(key, 3)
    order = _order(params, static)

    @jax.jit
    def first_lives() -> tuple[Float[Array, "P D"], rl.Life]:
        ask_key, life_key, _ = jr.split(jr.fold_in(run_key, 0), 3)
        members = strategy.ask(strategy.init(params, key=init_key), params, key=ask_key)

        def one(member: PyTree, life_key: PRNGKeyArray) -> rl.Life:
            full = eqx.combine(member, static)
            record = ("rewards", "actions")
            return meta.live(full, tasks, steps=case.steps, key=life_key, record=record)

        keys = strategy.life_keys(case.lives, key=life_key)[0]
        lives = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(members, keys)
        return jax.vmap(lambda member: _flat(agent_of(eqx.combine(member, static))))(members), lives

    @jax.jit
    def rival() -> tuple[Float[Array, " D"], tuple[Array, Array, Array]]:
        def generation(state: PyTree, index: Array) -> tuple[PyTree, tuple[Array, Array, Array]]:
            ask_key, life_key, tell_key = jr.split(jr.fold_in(run_key, index), 3)
            members = _reorder(search.ask(state, key=ask_key), search.mean(state), order)
            rewards, actions = search.lives_of(members, key=life_key)
            lived = (jax.vmap(_flat)(members), rewards, actions)
            return search.tell(state, members, rewards, key=tell_key), lived

        first = jax.tree.map(jnp.asarray, search.init(key=init_key))
        state, lived = jax.lax.scan(generation, first, jnp.arange(_GENERATIONS))
        return _flat(search.mean(state)), lived

    result = meta.train(
        learner,
        tasks,
        strategy,
        steps=case.steps,
        lives=case.lives,
        generations=_GENERATIONS,
        key=key,
        chunk=_GENERATIONS,
    )
    members, lives = first_lives()
    rival_mean, lived = rival()
    rival_members, rival_rewards, rival_actions = (first[0] for first in lived)
    # The two need not keep their members in the same order.
    apart = jnp.abs(members[:, None] - rival_members[None]).max(-1)
    place = apart.argmin(1)
    assert lives.actions is not None
    return Comparison(
        lives.actions.size,
        int((lives.actions != rival_actions[place]).sum()),
        float(jnp.abs(lives.total_reward - rival_rewards[place].sum(-1)).max()),
        float(jnp.abs(_flat(agent_of(_symla(result.learner))) - rival_mean).max() / LEARNING_RATE),
    )


def _symla(learner: rl.Learner) -> rl.SymLA:
    assert isinstance(learner, rl.SymLA)
    return learner


def _flat(tree: PyTree) -> Float[Array, " D"]:
    """All numbers of a tree, in its order."""
    return ravel_pytree(eqx.filter(tree, eqx.is_array))[0]


def _order(params: PyTree, static: PyTree) -> np.ndarray:
    """Which of our parameters, flat, stands at each place of the rival's."""
    flat, unflatten = ravel_pytree(params)

    @jax.jit
    def converted(numbers: Float[Array, " D"]) -> Float[Array, " D"]:
        return _flat(agent_of(eqx.combine(unflatten(numbers), static)))

    # The differences leave out the constants that a conversion adds.
    places = converted(jnp.arange(flat.size, dtype=flat.dtype)) - converted(jnp.zeros_like(flat))
    return np.rint(np.asarray(places)).astype(int)


def _reorder(members: PyTree, mean: PyTree, order: np.ndarray) -> PyTree:
    """The members with the perturbations that stand at other places."""
    centre, unflatten = ravel_pytree(mean)
    flat = jax.vmap(_flat)(members)
    return jax.vmap(unflatten)(centre[None] + (flat - centre[None])[:, order])


def main() -> None:
    """Compare at every case, and end in status 1 if any differs."""
    different = False
    for case in PRESETS["laptop"].values():
        found = compare(small(case), key=jr.key(1))
        different |= not found.same
        print(f"{case.name:<10}{'same' if found.same else 'DIFFERENT':<12}{found}", flush=True)
    raise SystemExit(int(different))


if __name__ == "__main__":
    main()
