"""Lives in environments that can be seen through: what reaches the learner and what is kept."""

import dataclasses
import functools
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from helpers import assert_trees_close, assert_trees_identical, make, quick_jit
from jaxtyping import Array
from probes import NEVER, Witness, cart_pole_params, clock

import rl
from proofs import laws
from rl.envs import BernoulliBandit, BernoulliBandits

EVERYTHING = get_args(rl.Record)
STEPS = 12
WITNESS = Witness(STEPS)
SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}

live = quick_jit(
    lambda learner, task, steps, key, record, start=None: rl.lifetime(
        learner, task, steps=steps, key=key, record=record, start=start
    )
)


def by_hand(terminates_at, truncates_at, steps=STEPS):
    """The lives of a witness with a clock, step by step, without JAX."""
    time, running, rows = 0, 0.0, []
    for n in range(steps):
        action, before = n % 3, time
        time += 1
        terminated, truncated = time >= terminates_at, time >= truncates_at
        ended = terminated or truncated
        reward = float(action) if ended else 0.0
        running += reward
        rows.append(
            {
                "before": before,
                "after": time,
                "next": 0 if ended else time,
                "actions": action,
                "rewards": reward,
                "terminated": terminated,
                "truncated": truncated,
                "episode_returns": running if ended else np.nan,
            }
        )
        if ended:
            time, running = 0, 0.0
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


ENDS = {
    "terminated": (4, NEVER),
    "truncated": (NEVER, 4),
    "truncated first": (5, 3),
    "both at once": (4, 4),
    "every step": (1, NEVER),
    "never": (NEVER, NEVER),
}


@functools.cache
def lived(ends):
    terminates_at, truncates_at = ENDS[ends]
    task = clock(terminates_at=terminates_at, truncates_at=truncates_at)
    life = live(WITNESS, task, STEPS, jr.key(5), EVERYTHING)
    return life, by_hand(terminates_at, truncates_at)


# ---- what reaches the learner ---------------------------------------------------------------


def assert_told(life, expected):
    """What the witness wrote down at each step is what the step before led to."""
    assert bool(life.final.timestep.ended) == bool(
        expected["terminated"][-1] or expected["truncated"][-1]
    )
    life = jax.tree.map(np.asarray, life)
    entries = life.final.learner.entries
    assert life.final.learner.count == STEPS
    told = {
        "action": expected["actions"],
        "reward": expected["rewards"],
        "terminated": expected["terminated"],
        "truncated": expected["truncated"],
    }
    births = {"action": -1, "reward": 0.0, "terminated": False, "truncated": False}
    for name, values in told.items():
        np.testing.assert_array_equal(
            getattr(entries, name), [births[name], *values[:-1]], err_msg=name
        )
        # The last step of the life waits for whoever goes on from there.
        assert getattr(life.final.timestep, name) == values[-1]
    ended = expected["terminated"] | expected["truncated"]
    time, lap = np.asarray(entries.observation).T
    final_time, final_lap = np.asarray(entries.final_observation).T
    np.testing.assert_array_equal(time, expected["before"])
    np.testing.assert_array_equal(final_time, [0, *expected["after"][:-1]])
    assert life.final.timestep.final_observation[0] == expected["after"][-1]
    assert life.final.timestep.observation[0] == expected["next"][-1]
    # The final observation is of the old episode, the observation of the new one.
    np.testing.assert_array_equal(final_lap[1:], lap[:-1])
    np.testing.assert_array_equal(lap[1:] != lap[:-1], ended[:-1])
    assert len(np.unique(lap)) == 1 + ended[:-1].sum()


@pytest.mark.parametrize("ends", ENDS)
def test_the_learner_is_told_everything_through_the_ends_of_episodes(ends):
    life, expected = lived(ends)
    assert_told(life, expected)


FAULTS = (
    "none",
    "no reward at the end",
    "no action at the end",
    "reset at the end",
    "the next episode's observation for the last of this one",
    "either end for the other",
)


class Faulty(Witness):
    """A twin that does not hear, or does not keep, what happens at the ends of episodes."""

    fault: Array

    def __init__(self, capacity):
        super().__init__(capacity)
        self.fault = jnp.asarray(0, jnp.int32)

    def step(self, state, timestep, *, key):
        none, reward, action, reset, observation, ends = (self.fault == i for i in range(6))
        del none
        ended, swap = timestep.ended, lambda fault, one, other: jnp.where(fault, other, one)
        timestep = rl.TimeStep(
            observation=timestep.observation,
            action=swap(action & ended, timestep.action, -1),
            reward=swap(reward & ended, timestep.reward, 0.0),
            terminated=swap(ends, timestep.terminated, timestep.truncated),
            truncated=swap(ends, timestep.truncated, timestep.terminated),
            final_observation=swap(observation, timestep.final_observation, timestep.observation),
        )
        count = swap(reset & ended, state.count, 0)
        return super().step(eqx.tree_at(lambda s: s.count, state, count), timestep, key=key)


FAULTY = Faulty(STEPS)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_lost_at_the_ends_of_episodes_is_noticed(fault):
    index = jnp.asarray(FAULTS.index(fault), jnp.int32)
    twin = eqx.tree_at(lambda m: m.fault, FAULTY, index)
    life = live(twin, clock(terminates_at=3), STEPS, jr.key(5), EVERYTHING)
    if fault == "none":
        assert_told(life, by_hand(3, NEVER))
    else:
        with pytest.raises(AssertionError):
            assert_told(life, by_hand(3, NEVER))


def test_every_step_has_keys_of_its_own():
    life, _ = lived("never")
    of_learner, of_environment = life.final.learner.draws, life.metrics["draw"]
    of_reset = life.observations[:1, 1]
    draws = np.concatenate([of_learner, of_environment, of_reset])
    assert len(np.unique(draws)) == len(draws) == 2 * STEPS + 2
    other = live(WITNESS, clock(), STEPS, jr.key(6), EVERYTHING)
    assert not np.any(np.asarray(other.final.learner.draws) == np.asarray(of_learner))
    assert not np.any(np.asarray(other.metrics["draw"]) == np.asarray(of_environment))


@pytest.mark.parametrize(("form", "size"), [("integers", 3), ("image", 12)])
def test_observations_of_any_kind_arrive_as_vectors_of_floats(form, size):
    record = ("observations",)
    task = clock(form, terminates_at=3)
    life = live(WITNESS, task, STEPS, jr.key(0), record)
    entries = life.final.learner.entries
    expected = np.arange(size)[None] + by_hand(3, NEVER)["before"][:, None]
    assert entries.observation.dtype == entries.final_observation.dtype == jnp.float32
    np.testing.assert_array_equal(entries.observation, expected)
    np.testing.assert_array_equal(life.observations, expected)
    after = np.arange(size)[None] + by_hand(3, NEVER)["after"][:-1, None]
    np.testing.assert_array_equal(entries.final_observation[1:], after)


# ---- what is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ENDS)
def test_sums_and_records_are_those_of_the_steps(ends):
    life, expected = lived(ends)
    for name in ("actions", "rewards", "terminated", "truncated", "episode_returns"):
        np.testing.assert_array_equal(getattr(life, name), expected[name], err_msg=name)
    observations = life.final.learner.entries.observation
    np.testing.assert_array_equal(life.observations, observations)
    ended = expected["terminated"] | expected["truncated"]
    assert life.total_reward == expected["rewards"].sum()
    assert life.episodes == ended.sum()
    assert life.final.steps == STEPS
    under_way = 1 + np.flatnonzero(ended)[-1] if ended.any() else 0
    assert life.final.episode_return == expected["rewards"][under_way:].sum()
    assert set(life.totals) == set(life.metrics) == {"twice", "steps", "draw"}
    np.testing.assert_array_equal(life.metrics["twice"], 2 * expected["rewards"])
    assert life.totals["twice"] == 2 * expected["rewards"].sum()
    assert life.totals["steps"] == STEPS
    assert life.totals["steps"].dtype == life.metrics["steps"].dtype == jnp.float32
    np.testing.assert_allclose(life.totals["draw"], np.sum(life.metrics["draw"]), rtol=1e-5)


def test_the_default_record():
    life = eqx.filter_eval_shape(rl.lifetime, WITNESS, clock(), steps=3, key=jr.key(0))
    recorded = {f.name for f in dataclasses.fields(life) if getattr(life, f.name) is not None}
    always = {"total_reward", "episodes", "totals", "final"}
    assert recorded - always == {"rewards", "actions", "episode_returns"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_only_what_is_recorded_is_kept(name):
    shapes = eqx.filter_eval_shape(
        rl.lifetime, WITNESS, clock(), steps=3, key=jr.key(0), record=(name,)
    )
    for other in EVERYTHING:
        assert (getattr(shapes, other) is not None) == (other == name)
    assert all(x.shape[0] == 3 for x in jax.tree.leaves(getattr(shapes, name)))


def largest_sizes(jaxpr):
    """The sizes of all arrays in a program, in the programs within it, too."""
    for equation in jaxpr.eqns:
        for variable in (*equation.invars, *equation.outvars):
            yield getattr(variable.aval, "size", 0)
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from largest_sizes(inner)


@pytest.mark.parametrize("record", [(), ("rewards",)], ids=str)
def test_memory_grows_only_by_what_is_recorded(record):
    learner, task = make(rl.SymLA, **SMALL), clock()

    def largest(steps):
        jaxpr, _ = eqx.filter_make_jaxpr(rl.lifetime)(
            learner, task, steps=steps, key=jr.key(0), record=record
        )[:2]
        return max(largest_sizes(jaxpr.jaxpr))

    short, long = largest(10), largest(100_000)
    assert short < 1000
    assert long == (100_000 if record else short)


# ---- how it is compiled ---------------------------------------------------------------------


def test_compiled_once_for_each_shape():
    learner = Witness(STEPS)

    def live(learner, terminates_at, seed, steps=4, start=None):
        task = clock(terminates_at=terminates_at)
        return rl.lifetime(learner, task, steps=steps, key=jr.key(seed), record=(), start=start)

    first = live(learner, 3, seed=0)
    once = len(learner.traces)
    assert once >= 1
    # Other parameters of the task, other meta-variables, other keys.
    live(learner, 2, seed=1)
    live(eqx.tree_at(lambda m: m.meta_variable, learner, jnp.ones(())), 3, seed=2)
    assert len(learner.traces) == once
    second = live(learner, 3, seed=0, start=first.final)
    again = len(learner.traces)
    assert again > once
    live(learner, 5, seed=0, start=second.final)
    assert len(learner.traces) == again


def test_lives_side_by_side_are_lives_one_by_one():
    learner = make(rl.SymLA, **SMALL)
    bandits, keys = BernoulliBandits((2, 5)), jr.split(jr.key(1), 3)

    @quick_jit
    def many(learner, keys):
        tasks = jax.vmap(lambda k: bandits.sample(key=k))(keys)
        return tasks, jax.vmap(
            lambda task, key: rl.lifetime(learner, task, steps=6, key=key, record=EVERYTHING)
        )(tasks, keys)

    tasks, lives = many(learner, keys)
    assert lives.rewards.shape == (3, 6)
    for n, key in enumerate(keys):
        task = jax.tree.map(lambda x, n=n: x[n], tasks)
        assert_trees_close(
            jax.tree.map(lambda x, n=n: x[n], lives), live(learner, task, 6, key, EVERYTHING)
        )


# ---- going on -------------------------------------------------------------------------------


def test_a_newborn_has_done_nothing(getkey):
    newborn = quick_jit(rl.begin)(WITNESS, clock(), key=getkey())
    for count in (newborn.learner.count, newborn.steps, newborn.episode_return):
        assert count == 0
    first = rl.TimeStep.first(newborn.timestep.observation)
    assert_trees_identical(newborn.timestep, first)
    assert newborn.environment.time == 0
    np.testing.assert_array_equal(newborn.timestep.observation, [0, newborn.environment.lap])


CONTINUED = {
    "witness of a clock": lambda: (WITNESS, clock(terminates_at=3)),
    "SymLA on a clock": lambda: (
        make(rl.SymLA, **SMALL, normalise="running", ended_flag=True),
        clock(truncates_at=4),
    ),
}


@pytest.mark.parametrize("case", CONTINUED)
@pytest.mark.parametrize("steps", [5, 6])
def test_a_life_in_parts_is_the_whole_life(case, steps):
    """Wherever it is cut: within an episode or at its end."""
    learner, task = CONTINUED[case]()
    laws.LAWS["life_in_parts"](rl.lifetime, learner=learner, task=task, steps=steps, seed=9)


def test_a_life_may_go_on_in_another_task():
    part = STEPS // 3
    start = live(WITNESS, clock(terminates_at=3), part, jr.key(0), EVERYTHING).final
    after = live(WITNESS, clock(terminates_at=2), part, jr.key(0), EVERYTHING, start)
    # One step of the episode under way is done; the new task ends it at its second.
    assert list(np.asarray(after.terminated)) == [True, False, True, False]
    assert after.final.learner.count == after.final.steps == 2 * part


# ---- other environments ---------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["SymLA", "MetaRNN"])
def test_cart_pole(learner):
    with jax.numpy_dtype_promotion("standard"):  # gymnax relies on it
        player = {
            "SymLA": lambda: make(rl.SymLA, **SMALL, normalise="running"),
            "MetaRNN": lambda: make(rl.MetaRNN, 4, 2, 4),
        }[learner]()
        task = rl.Task(CartPole(), cart_pole_params(max_steps_in_episode=jnp.asarray(30)))
        life = live(player, task, 200, jr.key(0), EVERYTHING)
        short = cart_pole_params(max_steps_in_episode=jnp.asarray(5))
        brief = live(player, rl.Task(task.environment, short), 200, jr.key(0), EVERYTHING)
    assert life.observations.shape == (200, 4)
    assert life.total_reward == 200.0
    ends = np.flatnonzero(np.asarray(life.terminated | life.truncated))
    assert life.episodes == len(ends) > 3
    # A step pays 1, so a return is the length of its episode.
    np.testing.assert_array_equal(np.asarray(life.episode_returns)[ends], np.diff(ends, prepend=-1))
    assert np.isnan(np.delete(np.asarray(life.episode_returns), ends)).all()
    assert np.any(life.terminated)
    angles = np.abs(np.asarray(life.observations)[:, 2])
    assert angles.max() <= 12 * 2 * np.pi / 360
    # The parameters are the task's: episodes of five steps, none of which falls.
    assert brief.episodes == 40
    assert not np.any(brief.terminated)
    np.testing.assert_array_equal(np.flatnonzero(brief.truncated), np.arange(4, 200, 5))


def test_bandits_of_mixed_sizes():
    player = make(rl.SymLA, **SMALL)
    bandits = BernoulliBandits((2, 12))

    @quick_jit
    @jax.vmap
    def many(key):
        task = bandits.sample(key=key)
        return task, rl.lifetime(player, task, steps=20, key=key, record=EVERYTHING)

    tasks, lives = many(jr.split(jr.key(2), 40))
    sizes, actions = np.asarray(tasks.action_mask).sum(axis=1), np.asarray(lives.actions)
    assert sizes.min() == 2
    assert sizes.max() == 12
    assert np.all(actions < sizes[:, None])
    assert np.all(actions >= 0)
    assert len(np.unique(actions)) == 12
    chances = np.asarray(tasks.params.probs)
    regret = chances.max(axis=1)[:, None] - np.take_along_axis(chances, actions, axis=1)
    np.testing.assert_allclose(lives.metrics["regret"], regret, atol=1e-6)
    np.testing.assert_allclose(lives.totals["regret"], regret.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(lives.total_reward, np.asarray(lives.rewards).sum(axis=1))
    np.testing.assert_array_equal(lives.observations, np.ones((40, 20, 1)))


def test_the_constant_of_a_bandit_is_what_symla_sees():  # choice 9
    learner = make(rl.SymLA, **SMALL)
    observed, state = [], []
    for value in (1.0, 0.0):
        bandit = BernoulliBandit(2, constant=value)
        task = rl.Task(bandit, bandit.default_params)
        life = live(learner, task, 5, jr.key(0), ("observations",))
        observed.append(np.asarray(life.observations))
        state.append(np.asarray(life.final.learner.network.layers[0].cells.c))
    np.testing.assert_array_equal(observed[1], 0.0)
    assert np.abs(state[1] - state[0]).max() > 1e-3


# ---- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"steps": -3}, "`steps` must be at least 1, got -3"),
        ({"record": ("rewards", "reward")}, "`record` can hold rewards, actions, .*; got reward"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_plain_words(arguments, message, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        rl.lifetime(WITNESS, clock(), **{"steps": 3, "key": jr.key(0)} | arguments)


def test_a_metric_that_the_environment_does_not_report_is_named():
    environment = BernoulliBandit(2)
    task = rl.Task(environment, environment.default_params, metrics=("regret", "joy"))
    with pytest.raises(ValueError, match="metrics joy are not in .* regret"):
        rl.lifetime(WITNESS, task, steps=2, key=jr.key(0))
