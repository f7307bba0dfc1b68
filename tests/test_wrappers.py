"""Wrappers of rewards, each against what it says, done by hand; and all wrappers together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from probes import Witness
from wrapper_cases import (
    HEARTS,
    REACH,
    STEPS,
    discrete,
    ends,
    equal,
    inner_of,
    numbers,
    played,
    sample,
    samples,
)

import rl
from rl.envs import (
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
