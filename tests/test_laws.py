"""The laws as a whole: each is tried and has a twin; users can put things of theirs to them."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from helpers import at, reference_state, reference_weights
from lawbook import DRAWN, TWINS
from toys import made

import proofs.laws as laws
import rl
import vsml
from proofs.strategies import LayerCase, LearnerCase, NetworkCase, Situation

PAIRS = [(name, kind) for name, law in laws.LAWS.items() for kind in law.about]


def test_every_law_is_tried_and_has_a_twin():
    assert set(DRAWN) == set(TWINS) == set(PAIRS)
    assert all(TWINS.values())


def test_every_law_says_what_it_is():
    for name, law in laws.LAWS.items():
        assert law is getattr(laws, name)
        assert name in dir(laws)
        assert law.equation and law.__doc__ and len(law.__doc__.splitlines()) > 2
        assert repr(law) == f"Law({name}: {law.equation})"


def test_the_kinds_of_things():
    learner = LearnerCase().build()
    task = laws.probe(2, 3)
    assert laws.kind_of(LayerCase().build()) == "layer"
    assert laws.kind_of(NetworkCase().build()) == "network"
    assert laws.kind_of(learner) == "learner"
    assert laws.kind_of(rl.lifetime) == "lifetime"
    assert laws.kind_of(task) == laws.kind_of(rl.FixedTask(task)) == "environment"
    for other in (3, len, object(), print):
        with pytest.raises(TypeError, match="Laws are about a vsml.Layer, .*; got"):
            laws.kind_of(other)


def test_laws_that_do_not_apply_are_left_out():
    def names(subject):
        return {law.name for law in laws.about(subject)}

    assert "replication" in names(LayerCase().build())
    assert "replication" not in names(LayerCase(reduction="sum").build())
    assert "ticks" in names(NetworkCase().build())
    held = names(NetworkCase(refresh=False).build())
    assert "ticks" not in held and "held_network" in held
    assert "permuted_life" not in names(rl.classic.UCB1())


# ------------------------------------------------------------------------- things of the user


class Leaky(vsml.AbstractCell):
    """A cell of a user's: a leaky sum of what it hears, without projection or heads."""

    rate: jnp.ndarray
    hidden_size: int = eqx.field(static=True, default=2)
    drive_size: None = eqx.field(static=True, default=None)
    content_size: None = eqx.field(static=True, default=None)

    def init(self, values):
        return {"sum": values}

    def __call__(self, state, drive):
        total = jnp.tanh(self.rate * state["sum"] + drive.sum()[None])
        return {"sum": total}, total, total[:1]


class Averaged(vsml.Layer):
    """A layer of a user's: rows also hear the mean of all rows."""

    def _drive(self, row, column, context):
        return super()._drive(row - row.mean(0, keepdims=True), column, context)


def leaky():
    cell = made(Leaky, jnp.asarray(0.7))
    return vsml.Layer(2, 2, 1, cell=cell, reduction="mean", key=jr.key(0))


@pytest.mark.slow
def test_a_cell_of_the_user_keeps_all_laws():
    held = laws.check(leaky(), seed=3)
    assert {law.name for law in held} == {law.name for law in laws.about(leaky())}
    assert len(held) >= 12


@pytest.mark.parametrize("law", laws.about(LayerCase().build()), ids=lambda law: law.name)
def test_laws_are_for_parametrized_tests(law):
    if law.name in ("size_freedom", "locality"):
        law(leaky(), sizes=(2, 3))


def test_all_that_is_broken_is_told_at_once():
    layer = LayerCase().build(Averaged)
    with pytest.raises(AssertionError) as caught:
        laws.check(layer, oracle=lambda *args: 1 / 0)
    said = str(caught.value)
    assert said.startswith("Averaged breaks 3 of 12 laws:\n- masked_is_smaller, f(h, x; mask)")
    assert "- locality, h_ab' depends on" in said
    assert "within one tick, cells of input" in said
    assert "- oracle" in said and "ZeroDivisionError: division by zero" in said
    assert "equivariance" not in said


@pytest.mark.slow
def test_learners_are_judged():
    kept = {law.name for law in laws.check(LearnerCase().build(), steps=3)}
    assert "permuted_life" in kept
    with pytest.raises(AssertionError, match="MetaRNN breaks 2 of 5 laws"):
        laws.check(rl.MetaRNN(2, 3, 3, key=jr.key(0)), steps=3)


def test_a_law_of_the_user_is_one_function(monkeypatch):
    monkeypatch.setattr("proofs.laws._registry.LAWS", dict(laws.LAWS))

    @laws.law("f says nothing at birth", about=("layer", "network"))
    def silent_birth(layer, situation, loud=False):
        """Nothing is sent before the first tick."""
        state = layer.init(3, 2, key=jr.key(situation.seed))
        if loud or np.any(state.forward):
            raise AssertionError("It spoke.")

    layer = LayerCase().build()
    assert silent_birth in laws.about(layer)
    silent_birth(layer)
    with pytest.raises(AssertionError, match="It spoke"):
        silent_birth(layer, seed=3, loud=True)
    with pytest.raises(ValueError, match="`about` can be layer, .*; got planet"):
        laws.law("x = x", about="planet")  # pyright: ignore[reportArgumentType]

    def other():
        silent_birth.test.__module__  # noqa: B018

    other.__name__, other.__module__ = "silent_birth", "elsewhere"
    with pytest.raises(ValueError, match="a law of the name `silent_birth` already"):
        laws.law("x = x", about="layer")(other)


def test_environments_say_how_they_are_permuted(monkeypatch):
    task = laws.probe(2, 3)
    wrapped = made(rl.Task, Mirror(task.environment), task.params)
    laws.check(wrapped, permutations=((1, 0), (2, 0, 1)))

    silent = made(rl.Task, Silent(task.environment), task.params)
    assert "permuted_environment" not in {law.name for law in laws.about(silent)}
    with pytest.raises(ValueError, match=r"task of Silent is permuted.*SYMMETRIES\['Silent'\]"):
        laws.LAWS["permuted_environment"](silent)
    monkeypatch.setitem(laws.SYMMETRIES, "Silent", task.environment.permuted)  # pyright: ignore
    assert "permuted_environment" in {law.name for law in laws.about(silent)}
    laws.LAWS["permuted_environment"](silent)


class Passing:
    """A wrapper that passes on what an environment must have."""

    def __init__(self, inner):
        self.inner = inner

    @property
    def num_actions(self):
        return self.inner.num_actions

    def observation_space(self, params):
        return self.inner.observation_space(params)

    def reset(self, key, params):
        return self.inner.reset(key, params)

    def step(self, key, state, action, params):
        return self.inner.step(key, state, action, params)

    def __hash__(self):
        return hash(self.inner)

    def __eq__(self, other):
        return type(other) is type(self) and self.inner == other.inner


class Silent(Passing):
    """It does not say how it is permuted."""


class Mirror(Passing):
    """It passes on the permutation, too."""

    def permuted(self, *args, **kwargs):
        return self.inner.permuted(*args, **kwargs)


def test_every_environment_says_how_it_is_permuted():
    import inspect

    from gymnax.environments.environment import Environment

    found = [
        cls
        for _, cls in inspect.getmembers(rl.envs, inspect.isclass)
        if issubclass(cls, Environment)
    ]
    assert found
    for cls in found:
        assert hasattr(cls, "permuted") or cls.__name__ in laws.SYMMETRIES


# ------------------------------------------------------------------------------ how laws are called


def test_situations_may_be_given_in_parts():
    layer = LayerCase().build()
    law = laws.LAWS["locality"]
    law(layer, Situation(sizes=(2, 3), seed=4))
    law(layer, Situation(seed=4), sizes=(2, 3))
    law(layer, sizes=(2, 3), seed=4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda layer: laws.LAWS["propagation"](layer), TypeError, "is about network, got Layer"),
        (lambda layer: laws.LAWS["locality"](layer, size=3), TypeError, "has no option size; it"),
        (lambda layer: laws.check(layer, size=3), TypeError, "about a layer has the option size"),
        (
            lambda layer: laws.LAWS["locality"](layer, sizes=(2, 3, 4)),
            ValueError,
            r"`sizes` must hold 2 numbers for this Layer, got \(2, 3, 4\)",
        ),
        (lambda layer: laws.nothing_of_that_name, AttributeError, "nor a law of that name"),
    ],
    ids=["kind", "option", "option of check", "depth", "name"],
)
def test_what_cannot_be_is_refused_in_plain_words(call, error, message):
    with pytest.raises(error, match=message):
        call(LayerCase().build())


def by_reference(layer, birth, messages, ticks):
    """The oracle of the other tests, with its own LSTM and GRU."""
    weights, state, states, sent = reference_weights(layer), reference_state(birth), [], []
    for step in range(messages.forward.shape[0]):
        now = [np.asarray(x, np.float64) for x in at(messages, step)]
        state = reference.layer(weights, state, *now, ticks=ticks)
        states.append(state)
        sent.append((state.forward, state.backward))

    def stacked(part):
        return np.stack([state.part(part) for state in states])

    lstm = isinstance(layer.cell, vsml.LSTMCell)
    cells = (
        eqx.tree_at(lambda c: (c.h, c.c), birth.cells, (stacked(0), stacked(1)))
        if lstm
        else stacked(0)
    )
    ours = eqx.tree_at(lambda s: s.cells, birth, cells)
    return ours, made(vsml.Messages, *(np.stack(x) for x in zip(*sent, strict=True)))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_oracle_may_be_given(cell):
    law = laws.LAWS["oracle"]
    law(
        LayerCase(cell=cell, message_bias="each").build(), masked=True, ticks=2, oracle=by_reference
    )

    def another(*args):
        states, sent = by_reference(*args)
        return states, vsml.Messages(sent.forward + 1e-6, sent.backward)

    with pytest.raises(AssertionError, match="The messages, and those of the oracle: .*gap 1e-06"):
        law(LayerCase(cell=cell).build(), oracle=another)


def test_the_bound_of_one_tick_is_not_idle():
    """A fault of a thousandth of the last messages is far beyond what rounding may do."""

    class Nudged(vsml.Layer):
        def _reduce(self, content, axis, mask, head, size):
            messages = super()._reduce(content, axis, mask, head, size)
            rows = jnp.arange(messages.shape[0]).astype(messages.dtype)
            return messages * (1.0 + 3e-5 * rows[:, None])

    with pytest.raises(AssertionError, match="beyond rounding in .* may make"):
        laws.LAWS["one_tick"](LayerCase().build(Nudged), sizes=(4, 3))
