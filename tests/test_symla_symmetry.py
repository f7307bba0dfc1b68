"""SymLA does not care about order, and padded and masked it is the smaller learner."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, close, quick_jit
from probes import Script, life_by_hand, live, script
from symla_cases import ARMS, CASES, FAULTS, SENSORS, STEPS, learner_of, noise_for, rejects

import rl

# ---- symmetry -------------------------------------------------------------------------------


def selected(noise, happens, rows, columns, hidden=(), projected=False):
    """The noise and the script of these sensors, hidden units and actions alone."""
    inputs = slice(None) if projected else rows
    order = [inputs, *hidden, columns]
    cells = tuple(z[a][:, b] for z, a, b in zip(noise.cells, order[:-1], order[1:], strict=True))
    projection = None if noise.projection is None else noise.projection[rows]
    happens = Script(
        happens.observations[:, rows],
        happens.rewards[:, columns],
        happens.gumbel[:, columns],
        happens.ended,
    )
    return rl.SymLANoise(cells, projection), happens, order


def assert_same_life(part, whole, order, rows):
    """The states and logits of some units in some order are those that they have in the whole."""
    (states, logits, actions), (all_states, all_logits, all_actions) = part, whole
    columns = order[-1]
    close(logits, np.asarray(all_logits)[:, columns])
    np.testing.assert_array_equal(columns[np.asarray(actions)], all_actions)
    layers = zip(states.network.layers, all_states.network.layers, strict=True)
    for (layer, of_all), a, b in zip(layers, order[:-1], order[1:], strict=True):
        cells = jax.tree.map(lambda x, a=a, b=b: np.asarray(x)[:, a][:, :, b], of_all.cells)
        assert_trees_close(layer.cells, cells)
        close(layer.forward, np.asarray(of_all.forward)[:, b])
        close(layer.backward, np.asarray(of_all.backward)[:, a])
    if states.mean is not None:
        close(states.mean, np.asarray(all_states.mean)[:, rows])
        close(states.spread, np.asarray(all_states.spread)[:, rows])


def assert_equivariant(learner, permutations=6):
    """Permuted sensors, actions and hidden units are only other names for the same life."""
    spaces = rl.Spaces(SENSORS, ARMS)
    noise, happens = noise_for(learner, SENSORS, ARMS), script(STEPS, SENSORS, ARMS, seed=2)
    _, whole = live(learner, spaces, noise, happens)
    assert len(np.unique(whole[2])) > 1
    rng = np.random.default_rng(3)
    for _ in range(permutations):
        rows, *hidden, columns = (
            rng.permutation(n) for n in (SENSORS, *learner.hidden_sizes, ARMS)
        )
        renamed, other, order = selected(
            noise, happens, rows, columns, hidden, learner.projection_size is not None
        )
        assert_same_life(live(learner, spaces, renamed, other)[1], whole, order, rows)


@pytest.mark.parametrize("case", CASES)
def test_sensors_actions_and_hidden_units_may_be_reordered(case):
    assert_equivariant(learner_of(case))


@pytest.mark.parametrize("fault", FAULTS[5:8])
def test_dependence_on_the_order_is_noticed(fault):
    rejects(assert_equivariant, fault)


# ---- masks ------------------------------------------------------------------------------------


def assert_masked_is_smaller(learner, rows=(0, 1, 3), columns=(2, 3, 7, 11), most=(4, 12)):
    """Padded and masked, a learner lives as it would alone in the smaller task."""
    rows, columns = np.asarray(rows), np.asarray(columns)
    noise, happens = noise_for(learner, *most), script(STEPS, *most, seed=5)
    sensors, arms = np.isin(np.arange(most[0]), rows), np.isin(np.arange(most[1]), columns)
    # What a sensor that does not exist says, and the noise of such an action, is no matter.
    wild = Script(
        jnp.where(sensors[None], happens.observations, 1e3),
        jnp.where(arms[None], happens.rewards, jnp.nan),
        jnp.where(arms[None], happens.gumbel, 1e3),
        happens.ended,
    )
    spaces = rl.Spaces(*most, observation_mask=jnp.asarray(sensors), action_mask=jnp.asarray(arms))
    _, whole = live(learner, spaces, noise, wild)
    assert np.all(np.isneginf(whole[1][:, ~arms]))
    assert np.all(arms[np.asarray(whole[2])])
    hidden = [np.arange(n) for n in learner.hidden_sizes]
    projected = learner.projection_size is not None
    part, fewer, order = selected(noise, happens, rows, columns, hidden, projected)
    _, alone = live(learner, rl.Spaces(len(rows), len(columns)), part, fewer)
    assert_same_life(alone, whole, order, rows)


@pytest.mark.parametrize("case", CASES)
def test_a_masked_learner_is_the_learner_of_the_smaller_task(case):
    assert_masked_is_smaller(learner_of(case))


@pytest.mark.parametrize(
    ("rows", "columns"), [((2,), (0, 1)), ((1, 3), tuple(range(11)))], ids=["1 by 2", "2 by 11"]
)
def test_one_padded_program_serves_all_sizes(rows, columns):
    assert_masked_is_smaller(learner_of("ours"), rows, columns)


@pytest.mark.parametrize("fault", FAULTS[-2:])
def test_masks_that_are_not_kept_are_noticed(fault):
    rejects(assert_masked_is_smaller, fault)


def test_gradients_reach_all_parameters():
    learner = learner_of("ours")
    spaces = rl.Spaces(2, 3, action_mask=jnp.asarray(np.array([True, True, False])))
    noise, happens = noise_for(learner, 2, 3), script(3, 2, 3)

    @quick_jit
    @eqx.filter_grad
    def gradients(learner):
        _, logits, actions = life_by_hand(learner, learner.init_from(spaces, noise), happens)
        chances = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(chances, actions[:, None], axis=1).sum()

    for leaf in jax.tree.leaves(gradients(learner)):
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf)
