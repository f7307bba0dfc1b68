"""Learners whose actions are vectors of numbers instead of choices."""

import functools
import importlib.resources
import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gymnax.environments.classic_control.pendulum import EnvParams, Pendulum
from helpers import assert_trees_identical, close, make, quick_jit

import meta
import proofs
import rl
import rl.classic

pytestmark = pytest.mark.usefixtures("cheap_compilation")

SENSORS, NUMBERS, STEPS = 3, 4, 6
CASES = {
    "gaussian": {},
    "deterministic": {"continuous": "deterministic"},
    "official": {"output_channel": 2, "soft_clip": 3.0, "pad_messages": True, "refresh": False},
    "deep": {"hidden_sizes": (2, 5), "reduction": "scaled", "ended_flag": True},
}


class Box(NamedTuple):
    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


class Discrete(NamedTuple):
    n: int


class Other(NamedTuple):
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Reach:
    """Come near to a target; an episode has three steps."""

    actions: tuple = Box((NUMBERS,))
    num_actions: int = 99
    dtype: str = "float32"

    def observation_space(self, params: Any) -> Box:
        del params
        return Box((SENSORS,))

    def action_space(self, params: Any) -> tuple:
        del params
        return self.actions

    def reset(self, key: jax.Array, params: Any) -> tuple:
        del key, params
        return jnp.ones(SENSORS, self.dtype), jnp.asarray(0, jnp.int32)

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, params: Any) -> tuple:
        del key
        time = state + 1
        ended = time >= 3
        sight = jnp.sin(params[:SENSORS] * time.astype(jnp.float32)).astype(self.dtype)
        reward = -((action.astype(jnp.float32) - params) ** 2).sum()
        info = {"final_observation": sight}
        return sight, jnp.where(ended, 0, time), reward, ended, jnp.asarray(False), info


BOTH = ("deterministic", "deep")  # one of each readout, one of them with everything else

TARGET = jnp.asarray([0.5, -0.5, 0.9, 0.0])


def reach(**options: Any) -> rl.Task:
    return rl.Task(Reach(**options), TARGET)


@functools.cache
def learner_of(case: str) -> rl.SymLA:
    return make(rl.SymLA, 4, 3, 2, **CASES[case])


class Script(eqx.Module):
    """What happens in a life, and the noise of its birth and of its choices."""

    birth: tuple
    observations: jax.Array
    rewards: jax.Array
    noise: jax.Array


def script(learner: rl.SymLA, sensors: int = SENSORS, numbers: int = NUMBERS) -> Script:
    rng = np.random.default_rng(7)
    sizes = (sensors, *learner.hidden_sizes, numbers)
    birth = [rng.normal(size=(a, b, learner.hidden_size)) for a, b in itertools.pairwise(sizes)]
    happens = [rng.normal(size=(STEPS, *s)) for s in ((sensors,), (), (numbers,))]
    cells, rest = ([jnp.asarray(x, jnp.float32) for x in xs] for xs in (birth, happens))
    return Script(tuple(cells), *rest)


def selected(happens: Script, orders: list) -> Script:
    """The sensors, hidden units and actions of these numbers, in this order."""
    birth = [z[a][:, b] for z, a, b in zip(happens.birth, orders[:-1], orders[1:], strict=True)]
    return Script(
        tuple(birth),
        happens.observations[:, orders[0]],
        happens.rewards,
        happens.noise[:, orders[-1]],
    )


@quick_jit
def live(learner, spaces, happens):
    """The actions and logits of a life by hand."""

    def step(carry, now):
        state, action = carry
        observation, reward, noise = now
        flag = jnp.asarray(False)
        timestep = rl.TimeStep(observation, action, reward, flag, reward > 0, observation)
        logits = learner.advance(state, timestep)[1]
        state, action = learner.act(state, timestep, noise)
        return (state, action), (action, logits)

    state = learner.init_from(spaces, rl.SymLANoise(happens.birth, None))
    first = rl.TimeStep.first(happens.observations[0], spaces)
    now = (happens.observations, happens.rewards, happens.noise)
    return jax.lax.scan(step, (state, first.action), now)[1]


def continuous(sensors: int = SENSORS, numbers: int = NUMBERS, *masks: Any) -> rl.Spaces:
    return rl.Spaces(sensors, numbers, *masks, continuous=True)


# ---- tasks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (Box((4,)), rl.Spaces(SENSORS, 4, continuous=True)),
        (Box((2, 3)), rl.Spaces(SENSORS, 6, continuous=True)),
        (Box(()), rl.Spaces(SENSORS, 1, continuous=True)),
        (Discrete(99), rl.Spaces(SENSORS, 99)),
    ],
)
def test_the_space_of_actions_says_what_they_are(actions, expected):
    task = reach(actions=actions)
    assert task.spaces == rl.FixedTask(task).spaces == expected


def test_gymnax_says_it_too():
    assert rl.Task(Pendulum(), EnvParams()).spaces == rl.Spaces(3, 1, continuous=True)


def test_other_spaces_are_refused():
    with pytest.raises(ValueError, match=r"discrete or a box .*, but Reach has Other\(sizes=\(2,"):
        _ = reach(actions=Other((2, 3))).spaces


def test_nothing_done_yet_is_zeros():
    first = rl.TimeStep.first(jnp.ones(SENSORS, jnp.bfloat16), continuous())
    assert_trees_identical(first.action, jnp.zeros(NUMBERS, jnp.bfloat16))
    assert rl.TimeStep.first(jnp.ones(SENSORS), rl.Spaces(SENSORS, 2)).action == -1


# ---- lives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", [*BOTH, "MetaRNN"])
def test_a_life_with_continuous_actions(learner, getkey):
    if learner == "MetaRNN":
        learner = make(rl.MetaRNN, SENSORS, NUMBERS, 5, continuous=True)
    else:
        learner = learner_of(learner)
    keys = jr.split(getkey(), 2)
    task = reach()
    lives = jax.jit(jax.vmap(lambda key: rl.lifetime(learner, task, steps=40, key=key)))(keys)
    actions = np.asarray(lives.actions)
    assert actions.shape == (2, 40, NUMBERS)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0
    assert len(np.unique(actions)) > 80
    close(lives.rewards, -((actions - np.asarray(TARGET)) ** 2).sum(-1))
    np.testing.assert_array_equal(lives.episodes, [13, 13])


def test_a_learner_is_told_its_last_action():
    class Nudge(rl.Learner):
        def init(self, spaces, *, key):
            return jnp.zeros((spaces.num_actions,))

        def step(self, state, timestep, *, key):
            return state, timestep.action.astype(jnp.float32) + jnp.arange(4.0) / 100.0

    for dtype in ("float32", "float16"):  # actions have the type of observations
        life = rl.lifetime(Nudge(), reach(dtype=dtype), steps=5, key=jr.key(0))
        expected = np.arange(1, 6)[:, None] * np.arange(4.0) / 100.0
        assert life.actions is not None
        np.testing.assert_allclose(life.actions, expected, atol=1e-3)


@pytest.mark.parametrize("case", BOTH)
def test_actions_that_do_not_exist_are_zero_and_matter_to_none(case):
    learner, happens = learner_of(case), script(learner_of(case))
    sensors, numbers = np.array([True, False, True]), np.array([False, True, True, False])
    wild = eqx.tree_at(
        lambda s: (s.observations, s.noise),
        happens,
        (
            jnp.where(sensors[None], happens.observations, 1e3),
            jnp.where(numbers[None], happens.noise, 1e3),
        ),
    )
    masks = (jnp.asarray(sensors), jnp.asarray(numbers))
    whole = np.asarray(live(learner, continuous(SENSORS, NUMBERS, *masks), wild)[0])
    assert np.all(whole[:, ~numbers] == 0.0)
    hidden = [np.arange(n) for n in learner.hidden_sizes]
    fewer = selected(happens, [np.flatnonzero(sensors), *hidden, np.flatnonzero(numbers)])
    close(live(learner, continuous(2, 2), fewer)[0], whole[:, numbers])


# ---- symmetry -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
def test_sensors_and_numbers_may_be_reordered(case):
    learner, happens = learner_of(case), script(learner_of(case))
    actions, logits = live(learner, continuous(), happens)
    rng = np.random.default_rng(3)
    for _ in range(3):
        orders = [rng.permutation(n) for n in (SENSORS, *learner.hidden_sizes, NUMBERS)]
        moved = live(learner, continuous(), selected(happens, orders))
        close(moved[0], np.asarray(actions)[:, orders[-1]])
        close(moved[1], np.asarray(logits)[:, orders[-1]])
    assert np.abs(np.diff(np.asarray(actions), axis=1)).max() > 1e-2


@pytest.mark.parametrize("case", ("gaussian", "deterministic"))
def test_the_symmetry_is_proved(case):
    learner = learner_of(case)
    parameters = learner.continuous_readout.channels
    certificate = proofs.certify(proofs.continuous_actions(learner, parameters=parameters))
    assert certificate.verdict == "PROVED"
    assert "SymLA with continuous actions" in str(certificate)


def test_weights_for_each_action_are_no_symmetry():
    learner = make(rl.MetaRNN, 2, 3, 4, continuous=True)
    assert proofs.certify(proofs.continuous_actions(learner)).verdict == "REFUTED"


# ---- one learner, both kinds ----------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_same_messages_mean_a_choice_or_a_number(case):
    """A one-hot told as numbers is told as the choice, and the mean is read where logits are."""
    learner, happens = learner_of(case), script(learner_of(case))

    @quick_jit
    def both(learner, happens):
        now = rl.TimeStep.first(happens.observations[0])
        found = []
        for spaces, action in (
            (rl.Spaces(SENSORS, NUMBERS), jnp.asarray(2, jnp.int32)),
            (continuous(), jnp.asarray([0.0, 0.0, 1.0, 0.0])),
            (continuous(), jnp.zeros(NUMBERS)),
        ):
            state = learner.init_from(spaces, rl.SymLANoise(happens.birth, None))
            told = eqx.tree_at(lambda t: t.action, now, action)
            found.append(learner.advance(state, told))
        return found

    (discrete, logits), (numeric, parameters), (untold, _) = both(learner, happens)
    memories = [np.asarray(s.network.layers[-1].cells.c) for s in (numeric, untold)]
    assert np.abs(memories[0] - memories[1]).max() > 1e-3
    assert_trees_identical(discrete.network, numeric.network)
    assert (discrete.continuous, numeric.continuous) == (False, True)
    outgoing = discrete.network.layers[-1].forward
    first = learner.output_channel
    close(parameters[:, 0], jnp.tanh(learner.logit_scale * outgoing[:, first]))
    if case != "official":  # softly clipped
        close(parameters[:, 0], jnp.tanh(logits))
    if learner.continuous == "gaussian":
        second = jax.nn.sigmoid(learner.logit_scale * outgoing[:, (first + 1) % 3])
        close(parameters[:, 1], np.log(0.05) * (1.0 - second))


def test_a_step_is_an_act_with_noise_of_its_own(getkey):
    learner, key = learner_of("gaussian"), getkey()
    state = learner.init(continuous(), key=getkey())
    now = rl.TimeStep.first(jnp.ones(SENSORS), continuous())
    noise = learner.continuous_readout.noise(NUMBERS, jnp.dtype("float32"), key=key)
    assert_trees_identical(learner.step(state, now, key=key), learner.act(state, now, noise))


def test_files_from_before_continuous_actions_load():
    name = "symla-bandit-2"
    with importlib.resources.as_file(
        importlib.resources.files("pretrained") / f"{name}.symla"
    ) as path:
        assert "continuous" not in meta.read_header(path)["hyperparameters"]
        assert_trees_identical(meta.load(path, like=rl.SymLA(key=jr.key(0))), meta.pretrained(name))
        with pytest.raises(ValueError, match="continuous: gaussian there, deterministic here"):
            meta.load(path, like=rl.SymLA(continuous="deterministic", key=jr.key(0)))


# ---- what cannot be -------------------------------------------------------------------------


def born(learner: rl.Learner, spaces: rl.Spaces) -> Any:
    return learner.init(spaces, key=jr.key(0))


def told(learner: rl.Learner, spaces: rl.Spaces, of: rl.Spaces | None) -> Any:
    first = rl.TimeStep.first(jnp.ones(SENSORS), of)
    return learner.step(born(learner, spaces), first, key=jr.key(0))


def rnn(**options: Any) -> rl.MetaRNN:
    return rl.MetaRNN(SENSORS, NUMBERS, 4, key=jr.key(0), **options)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: born(rl.classic.UCB1(), continuous()), "UCB1 has discrete actions only.*4 number"),
        (
            lambda: born(make(rl.SymLA, 4, 1, 1), continuous()),
            "gaussian take 2 channels of the forward message; `forward_size` .* got 1",
        ),
        (lambda: born(rnn(), continuous()), "made for discrete actions.*`continuous=True`"),
        (
            lambda: born(rnn(continuous=True), rl.Spaces(SENSORS, NUMBERS)),
            "made for continuous actions.*`continuous=False`",
        ),
        (
            lambda: told(learner_of("gaussian"), continuous(), None),
            r"born in a task with continuous actions, .* of shape \(\)\. .*first\(observation, sp",
        ),
        (
            lambda: told(learner_of("gaussian"), rl.Spaces(SENSORS, NUMBERS), continuous()),
            r"born in a task with discrete actions, .* of shape \(4,\)",
        ),
        (lambda: told(rnn(continuous=True), continuous(), None), "with continuous actions"),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(mistake, message):
    with pytest.raises(ValueError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)


def test_one_channel_is_enough_without_noise():
    learner = make(rl.SymLA, 4, 1, 1, continuous="deterministic")
    first = rl.TimeStep.first(jnp.ones(SENSORS), continuous())
    state = born(learner, continuous())
    one, other = (learner.step(state, first, key=jr.key(seed))[1] for seed in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_learner_that_acts_otherwise_is_found_out():
    class Stubborn(rl.Learner):
        def init(self, spaces, *, key):
            return ()

        def step(self, state, timestep, *, key):
            return state, jnp.asarray(0, jnp.int32)

    with pytest.raises(ValueError, match=r"Stubborn acts with .* \(\), but .* shape \(4,\)"):
        rl.lifetime(Stubborn(), reach(), steps=2, key=jr.key(0))
