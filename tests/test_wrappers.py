"""The wrappers: each against what it says, done by hand, with both kinds of actions."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from gymnax.environments import spaces
from helpers import make, quick_jit
from probes import Witness

import proofs.laws as laws
import rl
from rl.envs import (
    BernoulliBandits,
    CartPole,
    DelayRewards,
    Distract,
    HeartTrap,
    Pad,
    Permute,
    Project,
    SwapRewards,
    Vary,
    WithholdRewards,
)

pytestmark = pytest.mark.usefixtures("cheap_compilation")

HEARTS = Vary(HeartTrap(3, observation="compass"), steps_in_episode=4)  # 8 sensors, 4 actions
STEPS = 12


@dataclasses.dataclass(frozen=True)
class Reach:
    """Three numbers act; they are seen as `[2, 2]`, in the fourth place the steps of the episode.

    An episode ends with every third step. The first number pays 1, the second 10, the third 100.
    """

    num_actions: int = 3

    def observation_space(self, params):
        return spaces.Box(-1, 1, (2, 2))

    def action_space(self, params):
        return spaces.Box(-1, 1, (3,))

    def reset(self, key, params):
        return jnp.zeros((2, 2)), jnp.asarray(0, jnp.int32)

    def step(self, key, state, action, params):
        time = state + 1
        seen = jnp.append(action, time.astype(action.dtype)).reshape(2, 2)
        ended = time >= 3
        return (
            jnp.where(ended, 0.0, seen),
            jnp.where(ended, 0, time),
            (action * params).sum(),
            ended,
            jnp.asarray(False),
            {"final_observation": seen, "first": action[0]},
        )


REACH = rl.FixedTask(rl.Task(Reach(), jnp.asarray([1.0, 10.0, 100.0]), metrics=("first",)))


def masked(observation_mask=None, action_mask=None):
    """The hearts and traps, of which some sensors or actions are said not to exist."""
    task = HEARTS.sample(key=jr.key(0))
    seen, done = (
        None if mask is None else jnp.asarray(mask, bool)
        for mask in (observation_mask, action_mask)
    )
    return rl.FixedTask(rl.Task(task.environment, task.params, seen, done, task.metrics))


@quick_jit
def sample(tasks, key):
    return tasks.sample(key=key)


@quick_jit
def samples(tasks, keys):
    return jax.vmap(lambda key: tasks.sample(key=key))(keys)


@quick_jit
def played(task, actions, key):
    """Observations `[L+1 A]` and final ones `[L A]`, rewards, ends and metrics of given actions."""
    reset_key, steps_key = jr.split(key)
    first, state = task.environment.reset(reset_key, task.params)

    def step(state, now):
        action, key = now
        seen, state, reward, terminated, truncated, info = task.environment.step(
            key, state, action, task.params
        )
        metrics = {name: info[name] for name in task.metrics}
        kept = (seen.reshape(-1), info["final_observation"].reshape(-1))
        return state, (*kept, (reward, terminated, truncated, metrics))

    keys = jr.split(steps_key, len(actions))
    _, (seen, final, rest) = jax.lax.scan(step, state, (actions, keys))
    return jnp.concatenate([first.reshape(1, -1), seen]), final, rest


def discrete(key, actions=4, steps=STEPS):
    return jr.randint(key, (steps,), 0, actions)


def numbers(key, size=3, steps=STEPS):
    return jr.uniform(key, (steps, size), minval=-1.0)


def inner_of(task):
    """The task within the wrapper."""
    return rl.Task(task.environment.inner, task.params.inner, metrics=task.metrics)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def ends(rest):
    return np.asarray(rest[1] | rest[2])


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


# -------------------------------------------------------------------------------------------- swap


def test_rewards_change_their_sign(getkey):
    key, done = getkey(), discrete(getkey())
    task = sample(SwapRewards(HEARTS), getkey())
    seen, final, (rewards, *rest) = played(task, done, key)
    expected_seen, expected_final, (expected, *others) = played(inner_of(task), done, key)
    np.testing.assert_array_equal(rewards, -expected)
    assert np.asarray(rewards).any()
    equal((seen, final, rest), (expected_seen, expected_final, others))
    assert task.metrics == ("hearts", "traps")
    one = sample(SwapRewards(REACH), getkey())
    done = numbers(getkey())
    np.testing.assert_array_equal(
        played(one, done, key)[2][0], -played(inner_of(one), done, key)[2][0]
    )


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_some_lives_are_swapped(chance, getkey):
    count = 1000
    swapped = np.asarray(
        samples(SwapRewards(HEARTS, chance), jr.split(getkey(), count)).params.swapped
    )
    assert abs(swapped.mean() - chance) <= 5 * (chance * (1 - chance) / count) ** 0.5


# ----------------------------------------------------------------------------- delay and withhold

# Every cell but one has a heart or a trap, so that nearly every step pays.
FULL = Vary(HeartTrap(3, 4, 3, observation="compass"), steps_in_episode=4)


@pytest.mark.parametrize("tasks", [FULL, REACH], ids=["discrete", "continuous"])
@pytest.mark.parametrize("delay", [0, 1, 4])
def test_rewards_come_late(tasks, delay, getkey):
    """Also after the end of the episode that they are for; the rest is as without it."""
    key = getkey()
    done = discrete(getkey()) if tasks is FULL else numbers(getkey())
    task = sample(DelayRewards(tasks, delay), getkey())
    seen, final, (rewards, *rest) = played(task, done, key)
    expected_seen, expected_final, (expected, *others) = played(inner_of(task), done, key)
    np.testing.assert_array_equal(rewards, np.pad(expected, (delay, 0))[:STEPS])
    assert np.asarray(rewards).any()
    assert ends((rewards, *rest)).any()
    equal((seen, final, rest), (expected_seen, expected_final, others))
    assert task.metrics == (("hearts", "traps") if tasks is FULL else ("first",))


@pytest.mark.parametrize("tasks", [FULL, REACH], ids=["discrete", "continuous"])
@pytest.mark.parametrize("after", [0, 5, STEPS])
def test_rewards_are_withheld(tasks, after, getkey):
    """From that step of the life on, and not of the episode; the rest is as without it."""
    key = getkey()
    done = discrete(getkey()) if tasks is FULL else numbers(getkey())
    task = sample(WithholdRewards(tasks, after), getkey())
    seen, final, (rewards, *rest) = played(task, done, key)
    expected_seen, expected_final, (expected, *others) = played(inner_of(task), done, key)
    np.testing.assert_array_equal(rewards, np.where(np.arange(STEPS) < after, expected, 0.0))
    assert np.asarray(expected)[-5:].any()
    equal((seen, final, rest), (expected_seen, expected_final, others))


@pytest.mark.parametrize(("kind", "name"), [(DelayRewards, "delay"), (WithholdRewards, "after")])
def test_each_life_has_its_own_delay_and_silence(kind, name, getkey):
    drawn = getattr(samples(kind(HEARTS, (2, 5)), jr.split(getkey(), 200)).params, name)
    counts = np.bincount(np.asarray(drawn), minlength=6)
    assert counts[:2].sum() == 0 and len(counts) == 6
    assert (abs(counts[2:] / 200 - 0.25) < 5 * (0.25 * 0.75 / 200) ** 0.5).all()


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


# ------------------------------------------------------------------------------------- all together

NESTED = [
    lambda tasks: Permute(Pad(SwapRewards(Distract(tasks, (0, 2)), 0.5), 13, 6)),
    lambda tasks: Project(Distract(Pad(Permute(tasks, "actions"), 9, 5), (1, 3)), 4),
    lambda tasks: SwapRewards(Pad(Project(Permute(Distract(tasks, 2)), 5, shared=True), 6, 7)),
    lambda tasks: Permute(DelayRewards(Pad(WithholdRewards(tasks, (3, 9)), 13, 6), (0, 2))),
]


@pytest.mark.parametrize(
    ("nest", "tasks"), [*zip(NESTED, [HEARTS, REACH, HEARTS, REACH], strict=True)]
)
def test_wrappers_nest_in_any_order(nest, tasks, getkey):
    """Lives under one compiled program, each with parameters of its own; as one at a time."""
    nested = nest(tasks)
    now = nested.spaces
    keys = jr.split(getkey(), 3)
    actions = [
        discrete(k, now.num_actions) if tasks is HEARTS else numbers(k, now.num_actions)
        for k in jr.split(getkey(), 3)
    ]
    many = samples(nested, keys)
    together = jax.vmap(played)(many, jnp.stack(actions), keys)
    assert together[0].shape == (3, STEPS + 1, now.observation_size)
    for k in range(2):
        alone = played(jax.tree.map(lambda x: x[k], many), actions[k], keys[k])  # noqa: B023
        for x, y in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(x[k], y, rtol=1e-5, atol=1e-6)
    assert many.metrics == (("hearts", "traps") if tasks is HEARTS else ("first",))
    assert now.continuous == (tasks is REACH)
    # What is masked is never seen.
    if many.observation_mask is not None:
        hidden = ~np.asarray(many.observation_mask)
        assert hidden.any()
        assert not np.asarray(together[0])[:, :, :][np.repeat(hidden[:, None], STEPS + 1, 1)].any()


def test_equal_wrappers_are_compiled_once(getkey):
    """Also around environments that are equal, and whatever was drawn."""
    witness = Witness(STEPS)

    def wrapped():
        tasks = Vary(HeartTrap(3, observation="compass"), steps_in_episode=4)
        return Permute(Pad(Distract(SwapRewards(tasks, 0.5), (0, 2)), 12, 5))

    made = [eqx.filter_eval_shape(wrapped().sample, key=jr.key(0)).environment for _ in range(2)]
    assert made[0] is not made[1]
    assert made[0].inner.inner.inner.inner is not made[1].inner.inner.inner.inner
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])
    padded = [Pad(one, 8, size) for one, size in ((HEARTS, 4), (HEARTS, 5), (Permute(HEARTS), 4))]
    kinds = {eqx.filter_eval_shape(one.sample, key=jr.key(0)).environment for one in padded}
    assert len(kinds) == 3
    for environment in made:
        task = sample(wrapped(), getkey())
        task = rl.Task(
            environment, task.params, task.observation_mask, task.action_mask, task.metrics
        )
        rl.lifetime(witness, task, steps=STEPS, key=getkey())
    assert len(witness.traces) == 1


def test_the_end_of_an_episode_reaches_the_learner(getkey):
    """What the learner is told when an episode ends, through two wrappers."""
    task = sample(Permute(Pad(HEARTS, 9, 4)), getkey())
    key = getkey()
    life = rl.lifetime(
        Witness(STEPS), task, steps=STEPS, key=key, record=("terminated", "truncated")
    )
    told = life.final.learner.entries
    assert life.terminated is not None and life.truncated is not None
    over = np.asarray(told.terminated | told.truncated)
    np.testing.assert_array_equal(over[1:], (life.terminated | life.truncated)[:-1])
    assert over.any()
    same = (np.asarray(told.observation) == np.asarray(told.final_observation)).all(1)
    assert same[~over].all()
    assert not same[over].all()
    # The sensors of the last observation are in the order of the others.
    padding = int(np.flatnonzero(np.asarray(task.params.sensors) == 8)[0])
    assert not np.asarray(told.final_observation)[:, padding].any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Permute(HEARTS, "rewards"), "`what` must be one of both, observations, actions"),  # pyright: ignore[reportArgumentType]
        (lambda: Project(HEARTS, 0), "`size` must be at least 1, got 0"),
        (lambda: SwapRewards(HEARTS, 1.5), "`chance` must be a probability, from 0 to 1; got 1.5"),
        (lambda: Pad(HEARTS, 7, 4), "`observation_size` must be at least 8, the size .* got 7"),
        (lambda: Pad(HEARTS, 8, 3), "`num_actions` must be at least 4, the size .* got 3"),
        (lambda: DelayRewards(HEARTS, -1), "`delay` must be at least 0.*got -1"),
        (lambda: WithholdRewards(HEARTS, (3, 2)), r"`after` must be.*of them; got \(3, 2\)"),
        (lambda: Distract(HEARTS, -1), "`sensors` must be at least 0.*got -1"),
        (lambda: Distract(HEARTS, (3, 2)), r"\(least, most\) of them; got \(3, 2\)"),
        (lambda: Distract(HEARTS, 2, noisy=-0.1), "`noisy` must be a probability.*got -0.1"),
        (lambda: Distract(HEARTS, 2, noisy=(0.5, 1.5)), "`noisy` must be a probability.*got 1.5"),
        (lambda: Distract(HEARTS, 2, noisy=(0.6, 0.5)), r"`noisy` must be \(least, most\), got"),
        (lambda: Distract(HEARTS, 2, std=-1.0), "`std` must be at least 0, got -1"),
        (
            lambda: Permute(HeartTrap()),  # pyright: ignore[reportArgumentType]
            "must be a TaskDistribution, got HeartTrap: put an env.*Vary",
        ),
    ],
)
def test_what_cannot_be_is_refused(build, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        build()
