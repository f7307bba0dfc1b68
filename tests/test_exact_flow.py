"""Programs on integers modulo 2^32: control flow, ties, draws, and what is refused."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Received, make
from jax import lax
from jax.extend.core import primitives
from words import exact, on_words, words

import rl
import vsml
from proofs import _exact, _exact_rules
from proofs._exact import evaluate
from rl.envs import BernoulliBandit

pytestmark = pytest.mark.usefixtures("cheap_compilation")


# ----------------------------------------------------------------------------------- control flow


@jax.custom_jvp
def custom(x: Any) -> Any:
    return jnp.tanh(x) * 0.3


custom.defjvp(lambda x, t: (custom(*x), t[0]))


@jax.custom_vjp
def reverse(x: Any) -> Any:
    return jnp.tanh(x) * 0.3


reverse.defvjp(lambda x: (reverse(x), x), lambda x, g: (g,))


def step(x: Any) -> Any:
    return jnp.tanh(x) * 0.3


def both_ways(wrapped: Callable) -> Callable:
    """Calls the function directly, and where loops call it."""
    return lambda x: (wrapped(x), lax.scan(lambda c, _: (wrapped(c), c), x, None, length=3))


@pytest.mark.parametrize(
    "wrapped",
    [
        jax.jit(step),
        jax.jit(jax.jit(step)),
        jax.checkpoint(step),
        custom,
        reverse,
        eqx.filter_jit(step),
    ],
    ids=["jit", "jit of jit", "checkpoint", "custom_jvp", "custom_vjp", "filter_jit"],
)
def test_what_is_called_is_as_if_written_out(wrapped):
    x = words(0, 5)
    for a, b in zip(on_words(both_ways(wrapped), x), on_words(both_ways(step), x), strict=True):
        np.testing.assert_array_equal(a, b)


def scanned(carry: Any, rows: Any, f: Callable) -> Any:
    return lax.scan(f, carry, rows)


def one_by_one(carry: Any, rows: Any, f: Callable) -> Any:
    outs = []
    for row in rows:
        carry, out = f(carry, row)
        outs.append(out)
    return carry, jnp.stack(outs)


def test_a_scan_is_its_steps():
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)

    def f(carry: Any, row: Any) -> Any:
        carry = jnp.tanh(weights @ carry + row)
        return carry, carry[::-1] / row

    carry, rows = words(0, 4), words(1, 6, 4)
    looped, unrolled = (
        on_words(lambda c, r, way=way: way(c, r, f), carry, rows) for way in (scanned, one_by_one)
    )
    for a, b in zip(looped, unrolled, strict=True):
        np.testing.assert_array_equal(a, b)
    backwards = on_words(lambda c, r: lax.scan(f, c, r, reverse=True), carry, rows)
    np.testing.assert_array_equal(
        backwards[0], on_words(lambda c, r: one_by_one(c, r[::-1], f), carry, rows)[0]
    )


def test_a_while_is_its_steps():
    bound = np.float32(3.0)

    def f(x: Any) -> Any:
        return lax.while_loop(
            lambda s: s[0] < bound, lambda s: (s[0] + 1.0, custom(s[1])), (0.0, x)
        )

    x = words(0, 5)
    (count, y) = on_words(f, x)
    assert count == 3
    np.testing.assert_array_equal(y, on_words(lambda x: step(step(step(x))), x)[0])


@pytest.mark.parametrize("number", range(3))
def test_a_switch_is_its_branch(number):
    branches = [jnp.tanh, jnp.exp, lambda x: x * 0.5]
    x = words(0, 5)
    for index in (number, jnp.asarray(number)):
        (chosen,) = on_words(lambda x, index=index: lax.switch(index, branches, x), x)
        np.testing.assert_array_equal(chosen, on_words(branches[number], x)[0])


def test_gradients_through_loops_are_those_of_the_steps():
    carry, rows = words(0, 4), words(1, 6, 4)

    def f(carry: Any, row: Any) -> Any:
        return jnp.tanh(carry * row), carry

    def loss(way: Callable) -> Callable:
        def total(carry: Any, rows: Any) -> Any:
            last, seen = way(carry, rows, f)
            return last.sum() + (seen * seen).sum()

        return jax.grad(total, argnums=(0, 1))

    looped, unrolled = (on_words(loss(way), carry, rows) for way in (scanned, one_by_one))
    for a, b in zip(looped, unrolled, strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------------------------------- ties

EQUAL, DIFFERENT = np.array([2.0, 5.0, 5.0, 1.0]), np.array([2.0, 5.0, 4.0, 1.0])
TIES: dict[str, tuple[Callable, Any, Any]] = {
    "argmax": (jnp.argmax, EQUAL, DIFFERENT),
    "argmax, not of the best": (jnp.argmax, np.array([3.0, 3.0]), np.array([1.0, 1.0, 3.0])),
    "argmin": (jnp.argmin, -EQUAL, EQUAL),
    "argmax of integers": (jnp.argmax, EQUAL.astype(int), DIFFERENT.astype(int)),
    "argmax of bools": (jnp.argmax, EQUAL > 2, DIFFERENT > 4),
    "argmax, one of several": (lambda x: jnp.argmax(x, 0), np.eye(2)[[0, 0, 1]], np.eye(2)),
    "argsort": (jnp.argsort, EQUAL, DIFFERENT),
    "sort by two": (
        lambda x: lax.sort((x, x[::-1], x * 2.0), num_keys=2),
        np.array([2.0, 5.0, 5.0, 2.0]),
        np.array([5.0, 5.0, 2.0, 1.0]),
    ),
    "top_k": (lambda x: lax.top_k(x, 2), EQUAL, np.array([1.0, 1.0, 4.0, 5.0])),
    "top_k, at the end": (lambda x: lax.top_k(x, 1), EQUAL, DIFFERENT),
    "set": (
        lambda i: jnp.zeros(5).at[i].set(jnp.arange(3.0)),
        np.array([1, 4, 1]),
        np.array([1, 4, 0]),
    ),
    "set rows": (
        lambda i: jnp.zeros((3, 5), int).at[:, i].set(1),
        np.array([1, 4, 1]),
        np.array([9, 4, 9]),
    ),
    "jit": (jax.jit(jnp.argmax), EQUAL, DIFFERENT),
    "scan": (
        lambda x: lax.scan(lambda c, row: (c + jnp.argmax(row), None), 0, x),
        np.array([[1.0, 2.0], [3.0, 3.0], [2.0, 1.0]]),
        np.array([[1.0, 2.0], [3.0, 4.0], [2.0, 1.0]]),
    ),
    "body of a while": (
        lambda x: lax.while_loop(
            lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] + jnp.argmax(x[s[0]])), (0, 0)
        ),
        np.array([[1.0, 1.0], [3.0, 4.0], [2.0, 1.0]]),
        np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 1.0]]),
    ),
    "condition of a while": (
        lambda x: lax.while_loop(lambda n: jnp.argmax(x[n]) < 1, lambda n: n + 1, 0),
        np.array([[3.0, 2.0], [3.0, 3.0], [2.0, 4.0], [5.0, 5.0]]),
        np.array([[3.0, 2.0], [4.0, 3.0], [2.0, 4.0], [5.0, 5.0]]),
    ),
    "last condition of a while": (
        lambda x: lax.while_loop(lambda n: jnp.argmax(x[n]) < 1, lambda n: n + 1, 0),
        np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 3.0]]),
        np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]),
    ),
    "branch": (
        lambda x: lax.cond(x[0] > 2, lambda x: jnp.argmax(x), lambda x: 0, x),
        np.array([3.0, 3.0]),
        np.array([1.0, 1.0]),
    ),
}


@pytest.mark.parametrize("program", TIES)
def test_ties_are_seen_and_only_where_they_are(program):
    f, tied, free = TIES[program]
    for x, expected in ((tied, True), (free, False)):
        x = x.astype(np.float32 if x.dtype == np.float64 else x.dtype)
        x = x.astype(np.int32) if x.dtype == np.int64 else x
        ties = exact(f, x).ties
        assert ties.shape == () and ties.dtype == bool and bool(ties) == expected


@pytest.mark.parametrize(
    "f",
    [
        jnp.sort,
        lambda x: lax.sort((x, x), num_keys=2),
        jnp.max,
        lambda x: jnp.argmax(x[:, None], axis=1),
        lambda x: x.at[np.array([1, 1])].add(x[:2]),
        lambda x: x.at[np.array([1, 2])].set(x[:2]),
        lambda x: x.at[1].set(x[2]),
        lambda x: lax.cummax(x),
    ],
)
def test_what_cannot_be_told_apart_is_no_tie(f):
    assert not exact(f, EQUAL.astype(np.float32)).ties


# ------------------------------------------------------------------------------------------- draws


def drawing(key: Any, n: Any) -> Any:
    """Draws in a function, a loop, both branches of a choice, and both parts of a while."""

    @jax.jit
    def inner(key: Any, n: Any) -> Any:
        m = n * 2 + 1
        return jr.bits(key, (3,)) + m.astype(jnp.uint32)

    def branch(offset: int) -> Callable:
        return lambda key: jr.bits(key, (5,)) + jnp.uint32(offset)

    first = jr.bits(key, (2,))
    second = inner(key, n)
    third = lax.scan(lambda c, _: (c + 1, jr.bits(key, (4,))), 0, None, length=2)[1]
    fourth = lax.switch(n, [branch(1), branch(2)], key)
    fifth = lax.while_loop(
        lambda n: jr.bits(key, (6,))[0] * jnp.uint32(0) + n.astype(jnp.uint32) < jnp.uint32(3),
        lambda n: n + jr.bits(key, (7,))[0].astype(jnp.int32) * 0 + 1,
        n,
    )
    return first, second, third, fourth, fifth


def test_draws_are_named_by_where_they_are():
    jaxpr = jax.make_jaxpr(drawing)(jr.key(0), 0)
    at = {e.primitive.name: i for i, e in enumerate(jaxpr.jaxpr.eqns)}
    body = next(e for e in jaxpr.jaxpr.eqns if e.primitive.name == "scan").params["jaxpr"]
    in_scan = [e.primitive.name for e in body.jaxpr.eqns].index("random_bits")
    expected = {
        (2,): (at["random_bits"],),
        (3,): (at["jit"], 2),
        (4,): (at["scan"], in_scan),
        (6,): (at["while"], 0, 0),
        (7,): (at["while"], 1, 0),
    }
    seen: dict[tuple, set] = {}

    def on_draw(path: tuple[int, ...], bits: Any) -> Any:
        seen.setdefault(bits.shape, set()).add(path)
        return jnp.full_like(bits, sum(path) + len(path))

    outputs, _ = exact(drawing, jr.key(0), 0, on_draw=on_draw)
    assert seen.pop((5,)) == {(at["cond"], 0, 0), (at["cond"], 1, 0)}
    assert seen == {shape: {path} for shape, path in expected.items()}
    assert at["random_bits"] == 0 and at["jit"] == 1
    np.testing.assert_array_equal(outputs[0], [1, 1])
    np.testing.assert_array_equal(outputs[1], 3 * [5 + 1])


def test_draws_are_real_without_anybody_looking():
    for a, b in zip(exact(drawing, jr.key(0), 1).outputs, drawing(jr.key(0), 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_draws_may_be_reordered_but_not_reshaped():
    def draw(key: Any) -> Any:
        return jr.normal(key, (5, 2))

    order = np.array([3, 1, 4, 0, 2])
    ((plain,), _) = exact(draw, jr.key(0))
    ((moved,), _) = exact(draw, jr.key(0), on_draw=lambda path, bits: bits[order])
    np.testing.assert_array_equal(moved, np.asarray(plain)[order])
    with pytest.raises(ValueError, match=r"must return uint32\[5, 2\] at .*, got uint32\[5\]"):
        exact(draw, jr.key(0), on_draw=lambda path, bits: bits[:, 0])


# ---------------------------------------------------------------------------------------- refusals

UNKNOWN: dict[str, Callable] = {
    "cholesky": lambda x: jnp.linalg.cholesky(x),
    "conv_general_dilated": lambda x: jnp.convolve(x[0], x[1]),
    "pure_callback": lambda x: jax.pure_callback(np.sin, x, x),
    "random_gamma": lambda x: jr.gamma(jr.key(0), x),
    "reduce": lambda x: lax.reduce(x, np.float32(0), lambda a, b: a + b * a, (0,)),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x),
    "fft": lambda x: lax.fft(x, "RFFT", (3,)),
    "scatter": lambda x: x.at[0].apply(jnp.sin),
    "bitcast_convert_type": lambda x: lax.bitcast_convert_type(x, jnp.uint16),
}


@pytest.mark.parametrize("primitive", UNKNOWN)
def test_what_has_no_exact_meaning_is_refused_with_its_name_and_line(primitive):
    line = UNKNOWN[primitive].__code__.co_firstlineno
    message = rf"`{primitive}` at .*test_exact_flow.py:{line}.* cannot be evaluated.*Keep it out of"
    with pytest.raises(NotImplementedError, match=message):
        exact(UNKNOWN[primitive], np.eye(3, dtype=np.float32))


def test_arguments_that_do_not_fit_are_refused_in_plain_words():
    jaxpr = jax.make_jaxpr(lambda x: x)(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="has 1 inputs, got 2 arguments"):
        evaluate(jaxpr, [jnp.zeros(3, jnp.int32)] * 2)
    with pytest.raises(ValueError, match=re.escape("must be int32[3], got float32[3]. Did it go")):
        evaluate(jaxpr, [jnp.zeros(3)])
    with pytest.raises(ValueError, match=re.escape("must be int32[3], got int32[4].")):
        evaluate(jaxpr, [jnp.zeros(4, jnp.int32)])
    (size,) = jax.export.symbolic_shape("n")
    symbolic = jax.make_jaxpr(lambda x: x)(jax.ShapeDtypeStruct((size,), np.float32))
    with pytest.raises(ValueError, match="symbolic shape.*trace the program at concrete sizes"):
        evaluate(symbolic, [jnp.zeros(4, jnp.int32)])


def test_every_rule_is_for_a_primitive_that_exists():
    known = {
        getattr(module, n).name
        for module in (lax, primitives)
        for n in dir(module)
        if n[-2:] == "_p"
    }
    elsewhere = {"pallas_call", "shard_map", "xla_pmap"}
    newer = {"log2", "one_minus_square"}  # since JAX 0.11
    kinds = ("STRUCTURE", "RING", "WINDOWS", "ORDER", "HASHED")
    sets = [getattr(_exact_rules, kind) for kind in kinds] + [set(_exact_rules._RULES)]
    assert not any(a & b for a, b in itertools.combinations(sets, 2))
    named = set().union(*sets, _exact_rules._TIES, _exact._CONTROL, {"remat2"})
    assert named - elsewhere - newer <= known | {"name"}


# ----------------------------------------------------------------------------------- what it is for

ROWS, COLUMNS = np.array([2, 0, 1]), np.array([1, 2, 0, 3])
STEPS = 20_000


def lives(f: Callable, layer: vsml.Layer) -> tuple[list, list]:
    """A life at one order of inputs and outputs, put in the other order; and the life in that."""
    noise = words(0, 3, 4, 3)
    messages = Received(words(1, STEPS, 3, 2), words(2, STEPS, 4, 1), words(3, STEPS, 1))
    p, q = ROWS, COLUMNS
    moved = Received(messages.forward[:, p], messages.backward[:, q], messages.context)
    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float32), (noise, messages))
    jaxpr, shapes = jax.make_jaxpr(lambda n, m: f(layer, n, m), return_shape=True)(*example)
    run = jax.jit(lambda values: evaluate(jaxpr, values))

    def live(*arguments: Any) -> Any:
        result = run([jnp.asarray(x) for x in jax.tree.leaves(arguments)])
        assert not result.ties
        return jax.tree.unflatten(jax.tree.structure(shapes), map(np.asarray, result.outputs))

    state, sent = live(noise, messages)
    state = jax.tree.map(lambda x: x[p][:, q], state.cells)
    after, after_sent = live(noise[p][:, q], moved)
    before = jax.tree.leaves((state, sent.forward[q], sent.backward[p]))
    return before, jax.tree.leaves((after.cells, after_sent.forward, after_sent.backward))


def last(layer: vsml.Layer, noise: Any, messages: Received) -> Any:
    """The state at the end of a life, and what was sent there."""

    def step(carry: Any, now: Received) -> Any:
        return layer(carry[0], *now), None

    start = layer(layer.init_from(noise), *jax.tree.map(lambda x: x[0], messages))
    return lax.scan(step, start, messages)[0]


def biased(layer: vsml.Layer, noise: Any, messages: Received) -> Any:
    """Adds to every input a millionth of its number."""
    numbers = 1e-6 * jnp.arange(messages.forward.shape[1], dtype=np.float32)
    return last(layer, noise, messages._replace(forward=messages.forward + numbers[None, :, None]))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_does_not_know_the_order_of_its_inputs_and_outputs_however_long_it_lives(cell):
    layer = make(vsml.Layer, 3, 2, 1, 1, cell=cell, reduction="scaled", message_bias="each")
    for a, b in zip(*lives(last, layer), strict=True):
        np.testing.assert_array_equal(a, b)
        assert len(np.unique(a)) == a.size, "nothing is told apart"


def test_a_millionth_of_the_number_of_an_input_is_noticed():
    before, after = lives(biased, make(vsml.Layer, 3, 2, 1, 1))
    assert not any(np.any(a == b) for a, b in zip(before, after, strict=True))


def test_a_life_of_a_learner_in_a_bandit_is_evaluated():
    bandit = BernoulliBandit(3)
    learner = make(rl.SymLA, hidden_size=3, forward_size=2, backward_size=2)
    parameters, static = eqx.partition(learner, eqx.is_array)
    paths: list[tuple[int, ...]] = []

    def live(parameters: Any, key: Any) -> Any:
        task = rl.Task(bandit, bandit.default_params)
        life = rl.lifetime(eqx.combine(parameters, static), task, steps=50, key=key)
        return life.rewards, life.actions

    def on_draw(path: tuple[int, ...], bits: Any) -> Any:
        paths.append(path)
        return bits

    (rewards, actions), _ = exact(live, parameters, jr.key(0), on_draw=on_draw)
    assert set(np.asarray(rewards)) == {0, 1} and set(np.asarray(actions)) == {0, 1, 2}
    assert len(paths) == len(set(paths)) == 3
    other, _ = exact(live, parameters, jr.key(1)).outputs
    assert not np.array_equal(rewards, other)
