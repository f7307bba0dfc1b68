"""Wrappers of sensors and actions: each against what it says, done by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import make
from wrapper_cases import (
    HEARTS,
    REACH,
    discrete,
    ends,
    equal,
    inner_of,
    masked,
    numbers,
    played,
    sample,
    samples,
)

import proofs.laws as laws
import rl
from rl.envs import (
    BernoulliBandits,
    CartPole,
    Distract,
    Pad,
    Permute,
    Project,
    Vary,
)

pytestmark = pytest.mark.usefixtures("cheap_compilation")

# ----------------------------------------------------------------------------------------- permute


@pytest.mark.parametrize(
    ("tasks", "what"),
    [(HEARTS, "both"), (HEARTS, "observations"), (REACH, "both"), (REACH, "actions")],
    ids=["discrete", "observations", "continuous", "actions"],
)
def test_sensors_and_actions_are_permuted(tasks, what, getkey):
    key = getkey()
    task = sample(Permute(tasks, what), getkey())
    sensors, actions = np.asarray(task.params.sensors), np.asarray(task.params.actions)
    kept = {"both": [], "observations": [actions], "actions": [sensors]}[what]
    for order in (sensors, actions):
        assert sorted(order.tolist()) == list(range(len(order)))
    assert all((order == np.arange(len(order))).all() for order in kept)
    assert task.metrics == inner_of(task).metrics != ()
    if tasks is HEARTS:
        done = discrete(getkey())
        meant = task.params.actions[done]
    else:
        assert task.spaces.continuous
        done = numbers(getkey())
        meant = np.zeros_like(done)
        meant[:, actions] = done
    seen, final, rest = played(task, done, key)
    expected_seen, expected_final, expected = played(inner_of(task), jnp.asarray(meant), key)
    equal((seen, final), (expected_seen[:, sensors], expected_final[:, sensors]))
    equal(rest, expected)
    assert ends(rest).any()


def test_orders_are_drawn_for_each_life(getkey):
    count = 2400
    params = samples(Permute(REACH), jr.split(getkey(), count)).params
    for orders, kinds in ((params.sensors, 24), (params.actions, 6)):
        found, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(found) == kinds
        assert np.abs(counts - count / kinds).max() < 5 * (count / kinds) ** 0.5
    same = (np.asarray(params.sensors)[:, :3].argsort() == params.actions.argsort()).all(1)
    assert same.mean() < 0.5


def test_a_permutation_and_its_inverse_are_nothing(getkey):
    """A whole life with the same keys."""
    task = sample(Permute(Permute(HEARTS)), getkey())
    back = [jnp.argsort(x) for x in (task.params.inner.sensors, task.params.inner.actions)]
    task = eqx.tree_at(lambda t: (t.params.sensors, t.params.actions), task, back)
    key, done = getkey(), discrete(getkey())
    life = played(task, done, key)
    equal(life, played(inner_of(inner_of(task)), done, key))
    assert ends(life[2]).any()


def test_masks_follow_their_sensors_and_actions(getkey):
    seen, done = [True, True, False, True, False, False, True, True], [True, False, True, True]
    many = samples(Permute(masked(seen, done)), jr.split(getkey(), 20))
    np.testing.assert_array_equal(many.observation_mask, np.asarray(seen)[many.params.sensors])
    np.testing.assert_array_equal(many.action_mask, np.asarray(done)[many.params.actions])
    plain = sample(Permute(masked()), getkey())
    assert plain.observation_mask is plain.action_mask is None


@pytest.mark.parametrize(
    "tasks", [HEARTS, Project(HEARTS, 3), REACH], ids=["grid", "projected", "continuous"]
)
def test_a_permuted_task_says_how_it_is_permuted(tasks, getkey):
    held = laws.check(sample(Permute(tasks), getkey()), steps=6)
    assert [law.name for law in held] == ["permuted_environment", "steady_types"]


def test_symla_lives_alike_in_any_order(getkey):
    """With the noise of its cells permuted alike, bit for bit, in exact arithmetic."""
    task = sample(Permute(HEARTS), getkey())
    law = laws.LAWS["permuted_life"]
    law(make(rl.SymLA, 2, 2, 2), task=task, steps=6)
    with pytest.raises(AssertionError):
        law(Stubborn(make(rl.SymLA, 2, 2, 2)), task=task, steps=6)


class Stubborn(rl.Learner):
    """A SymLA that never does the first action."""

    inner: rl.SymLA

    def init(self, spaces, *, key):
        return self.inner.init(spaces, key=key)

    def act(self, state, timestep, noise):
        state, action = self.inner.act(state, timestep, noise)
        return state, jnp.maximum(action, 1)

    def step(self, state, timestep, *, key):
        return self.inner.step(state, timestep, key=key)


# ----------------------------------------------------------------------------------------- project


@pytest.mark.parametrize("tasks", [HEARTS, REACH], ids=["discrete", "continuous"])
def test_observations_are_projected(tasks, getkey):
    key = getkey()
    task = sample(Project(tasks, 5), getkey())
    now = task.spaces
    assert (now.observation_size, now.continuous) == (5, tasks is REACH)
    assert now.num_actions == tasks.spaces.num_actions
    done = discrete(getkey()) if tasks is HEARTS else numbers(getkey())
    seen, final, rest = played(task, done, key)
    expected_seen, expected_final, expected = played(inner_of(task), done, key)
    equal(rest, expected)
    assert ends(rest).any()
    matrix = np.asarray(task.params.matrix)
    np.testing.assert_allclose(seen, expected_seen @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(final, expected_final @ matrix, rtol=1e-5, atol=1e-6)


def test_projections_are_glorot_normal(getkey):
    keys = jr.split(getkey(), 500)
    mask = [True, True, False, True, False, False, True, True]
    for tasks, count in ((masked(), 8), (masked(mask), 5)):
        drawn = samples(Project(tasks, 16), keys)
        assert drawn.observation_mask is None
        matrix = np.asarray(drawn.params.matrix)
        if count < 8:
            assert not matrix[:, ~np.asarray(mask)].any()
            matrix = matrix[:, np.asarray(mask)]
        std = (2 / (count + 16)) ** 0.5
        assert abs(matrix.std() / std - 1) < 5 / (2 * matrix.size) ** 0.5
        assert abs(matrix.mean()) < 5 * std / matrix.size**0.5


def test_a_shared_projection_is_that_of_symla(getkey):
    mask = [True, True, False, True, False, False, True, True]
    tasks = Project(masked(mask), 6, shared=True)
    matrices = np.asarray(samples(tasks, jr.split(getkey(), 3)).params.matrix)
    learner = make(rl.SymLA, 2, 2, 2, projection_size=6, projection_shared=True)
    own = learner.init(sample(masked(mask), getkey()).spaces, key=getkey()).projection
    for matrix in matrices:
        np.testing.assert_allclose(matrix, own, rtol=1e-6)
    others = np.asarray(samples(Project(masked(mask), 6), jr.split(getkey(), 3)).params.matrix)
    assert len(np.unique(others, axis=0)) == 3


# --------------------------------------------------------------------------------------------- pad


def test_sensors_and_actions_are_padded(getkey):
    key, done = getkey(), discrete(getkey(), 6)
    task = sample(Pad(HEARTS, 11, 6), getkey())
    assert (task.spaces.observation_size, task.spaces.num_actions) == (11, 6)
    np.testing.assert_array_equal(task.observation_mask, np.arange(11) < 8)
    np.testing.assert_array_equal(task.action_mask, np.arange(6) < 4)
    assert np.asarray(done).max() == 5
    seen, final, rest = played(task, done, key)
    expected_seen, expected_final, expected = played(inner_of(task), done % 4, key)
    for now, before in ((seen, expected_seen), (final, expected_final)):
        np.testing.assert_array_equal(now, np.pad(before, ((0, 0), (0, 3))))
    equal(rest, expected)


def test_added_numbers_of_an_action_are_dropped(getkey):
    key, done = getkey(), numbers(getkey(), 5)
    task = sample(Pad(REACH, 4, 5), getkey())
    assert task.spaces.continuous
    np.testing.assert_array_equal(task.action_mask, [True, True, True, False, False])
    equal(played(task, done, key), played(inner_of(task), done[:, :3], key))


def test_masks_are_padded_or_left_out(getkey):
    seen, done = [True, True, False, True, False, False, True, True], [True, False, True, True]
    task = sample(Pad(masked(seen, done), 9, 5), getkey())
    np.testing.assert_array_equal(task.observation_mask, [*seen, False])
    np.testing.assert_array_equal(task.action_mask, [*done, False])
    task = sample(Pad(masked(seen, done), 9, 5, mask=False), getkey())
    assert task.observation_mask is task.action_mask is None


def test_a_learner_of_fixed_size_lives_in_any_padded_task(getkey):
    learner = rl.MetaRNN(8, 4, 5, key=getkey())
    padded = [Pad(tasks, 8, 4) for tasks in (BernoulliBandits((2, 3)), HEARTS, Vary(CartPole()))]
    for tasks in padded:
        assert (tasks.spaces.observation_size, tasks.spaces.num_actions) == (8, 4)
    life = rl.lifetime(learner, sample(padded[0], getkey()), steps=50, key=getkey())
    assert life.actions is not None
    assert set(np.asarray(life.actions).tolist()) in ({0, 1}, {0, 1, 2})


# ---------------------------------------------------------------------------------------- distract


@pytest.mark.parametrize("tasks", [HEARTS, REACH], ids=["discrete", "continuous"])
def test_sensors_that_tell_nothing_are_added(tasks, getkey):
    key, size = getkey(), tasks.spaces.observation_size
    task = sample(Distract(tasks, 6, noisy=1.0, std=2.0), getkey())
    task = eqx.tree_at(lambda t: t.params.std, task, jnp.array([2.0, 2.0, 0.0, 2.0, 0.0, 2.0]))
    assert task.spaces.observation_size == size + 6
    done = discrete(getkey(), steps=600) if tasks is HEARTS else numbers(getkey(), steps=600)
    seen, final, rest = jax.tree.map(np.asarray, played(task, done, key))
    # What happens within is what would happen without, but for the keys; see what was seen.
    assert set(seen[:, size:][:, [2, 4]].ravel().tolist()) == {0.0}
    over = ends(rest)
    assert 100 < over.sum() < 500
    np.testing.assert_array_equal(seen[1:][~over], final[~over])
    noise, last = seen[:, size:][:, [0, 1, 3, 5]], final[:, size:][:, [0, 1, 3, 5]]
    assert (noise[1:][over] != last[over]).all()
    for values in (noise, last, noise[1:][over]):
        assert abs(values.std() / 2 - 1) < 5 / (2 * values.size) ** 0.5
        assert abs(values.mean()) < 5 * 2 / values.size**0.5
    for one, other in ((noise[1:], noise[:-1]), (noise[:, :3], noise[:, 1:])):
        assert abs(np.mean(one * other) / 4) < 5 / one.size**0.5
    if tasks is REACH:
        plain = played(inner_of(task), done, key)
        np.testing.assert_array_equal(seen[:, :size], plain[0])
        np.testing.assert_array_equal(final[:, :size], plain[1])
        equal(rest, plain[2])


def test_the_number_of_added_sensors_is_drawn(getkey):
    count = 3000
    drawn = samples(Distract(HEARTS, (1, 5), noisy=0.25, std=3.0), jr.split(getkey(), count))
    there, std = np.asarray(drawn.observation_mask)[:, 8:], np.asarray(drawn.params.std)
    assert np.asarray(drawn.observation_mask)[:, :8].all()
    sizes = there.sum(1)
    np.testing.assert_array_equal(there, np.arange(5) < sizes[:, None])
    _, counts = np.unique(sizes, return_counts=True)
    assert np.abs(counts - count / 5).max() < 5 * (count / 5) ** 0.5
    assert set(std.ravel().tolist()) == {0.0, 3.0}
    assert not std[~there].any()
    share = (std[there] > 0).mean()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / there.sum()) ** 0.5


def test_the_share_of_noisy_sensors_is_drawn(getkey):
    lives, sensors = 2000, 11
    tasks = Distract(HEARTS, sensors, noisy=(0.0, 1.0))
    noisy = (np.asarray(samples(tasks, jr.split(getkey(), lives)).params.std) > 0).sum(1)
    # Every number of them is equally likely: a binomial whose probability is uniform.
    counts = np.bincount(noisy, minlength=sensors + 1)
    expected = lives / (sensors + 1)
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    some = samples(Distract(HEARTS, sensors, noisy=(0.2, 0.4)), jr.split(getkey(), lives))
    share = (np.asarray(some.params.std) > 0).mean(1)
    assert abs(share.mean() - 0.3) < 5 * share.std() / lives**0.5


def test_masks_say_which_added_sensors_exist(getkey):
    assert sample(Distract(HEARTS, 3), getkey()).observation_mask is None
    mask = [True, True, False, True, False, False, True, True]
    task = sample(Distract(masked(mask, [True, False, True, True]), 2), getkey())
    np.testing.assert_array_equal(task.observation_mask, [*mask, True, True])
    np.testing.assert_array_equal(task.action_mask, [True, False, True, True])
    none = sample(Distract(HEARTS, 0), getkey())
    assert none.spaces.observation_size == 8
