"""Programs on integers modulo 2^32 in the place of floating numbers."""

import functools
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
from helpers import Received, make, quick_jit
from jax import lax
from jax.extend.core import primitives

import rl
import vsml
from proofs import _exact, _exact_rules
from proofs._exact import ExactResult, evaluate, to_exact
from rl.envs import BernoulliBandit

LOWEST, HIGHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max
pytestmark = pytest.mark.usefixtures("cheap_compilation")


def exact(f: Callable, *arguments: Any, **options: Any) -> ExactResult:
    """What a function makes of concrete arguments, compiled."""
    jaxpr = jax.make_jaxpr(f)(*arguments)
    values = [to_exact(x) for x in jax.tree.leaves(arguments)]
    return quick_jit(lambda values: evaluate(jaxpr, values, **options))(values)


def on_words(f: Callable, *words: np.ndarray, dtype: Any = np.float32) -> list[np.ndarray]:
    """What a function of floating arrays makes of any integers in their place."""
    jaxpr = jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(x.shape, dtype) for x in words))
    outputs = quick_jit(lambda values: evaluate(jaxpr, values).outputs)(
        list(map(jnp.asarray, words))
    )
    return [np.asarray(x) for x in outputs]


def words(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(LOWEST, HIGHEST, shape, dtype=np.int32, endpoint=True)


# ------------------------------------------------------------------------------------ the numbers


def test_integral_numbers_are_themselves_modulo_2_to_the_32():
    x = np.array([0.0, -0.0, 1.0, -7.0, 2.0**31, -(2.0**31) - 1, 2.0**32 + 3, 1e30], np.float64)
    with jax.enable_x64(True):
        expected = [0, 0, 1, -7, LOWEST, HIGHEST, 3, 0]
        np.testing.assert_array_equal(to_exact(x), np.array(expected, np.int32))


def test_numbers_that_are_not_integral_are_odd_and_differ():
    x = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    y = np.asarray(to_exact(x))
    assert y.shape == x.shape and y.dtype == np.int32
    assert np.all(y % 2 == 1) and len(np.unique(y)) == x.size
    assert not np.array_equal(y, -np.asarray(to_exact(-x)))
    np.testing.assert_array_equal(y, to_exact(jnp.asarray(x)))


def test_infinities_are_extremes_and_nan_is_some_number():
    y = np.asarray(to_exact(np.array([np.inf, -np.inf, np.nan, -np.nan], np.float32)))
    assert list(y[:2]) == [HIGHEST, LOWEST] and y[2] == y[3] not in (HIGHEST, LOWEST)


def test_the_type_of_a_floating_number_does_not_matter():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        assert to_exact(jnp.asarray(0.375, dtype)) == to_exact(np.float32(0.375))
    with jax.enable_x64(True):
        assert to_exact(np.float64(0.375)) == to_exact(np.float32(0.375))


def test_integers_bools_and_keys_stay_what_they_are():
    key = jr.key(3)
    assert to_exact(key) is key
    for x in (np.array([1, -2], np.int32), np.array([3], np.uint8), np.array([True, False])):
        y = to_exact(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="no complex numbers"):
        to_exact(np.complex64(1j))
    with pytest.raises(NotImplementedError, match="`complex` at .*: complex numbers are not"):
        exact(lambda x: lax.complex(x, x), np.float32(2.0))


def test_literals_and_captured_constants_are_read_as_arguments_are():
    weights = np.array([0.1, 2.0, -0.7], np.float32)
    inputs = np.array([3, 5, 7], np.int32)
    (captured,) = on_words(lambda x: x * weights + 0.1 + jnp.asarray(weights), inputs)
    numbers, tenth = np.asarray(to_exact(weights)), np.asarray(to_exact(np.float32(0.1)))
    np.testing.assert_array_equal(captured, inputs * numbers + tenth + numbers)


@pytest.mark.parametrize("draw", [jr.normal, jr.gumbel])
def test_noise_is_hardly_ever_equal(draw):
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            ((noise,), _) = exact(functools.partial(draw, shape=(1000,), dtype=dtype), jr.key(0))
            assert len(np.unique(noise)) > 950


# ----------------------------------------------------------------------------- ring and functions

RING = {
    "addition is associative": (lambda a, b, c: (a + b) + c, lambda a, b, c: a + (b + c)),
    "multiplication is associative": (lambda a, b, c: (a * b) * c, lambda a, b, c: a * (b * c)),
    "products distribute": (lambda a, b, c: (a + b) @ c, lambda a, b, c: a @ c + b @ c),
    "matmul is associative": (lambda a, b, c: (a @ b) @ c, lambda a, b, c: a @ (b @ c)),
    "sums do not know their order": (
        lambda a, b, c: jnp.tanh(a).sum(axis=0) + b.prod() - c.mean(axis=1),
        lambda a, b, c: -c[:, ::-1].mean(axis=1) + b[::-1].prod() + jnp.tanh(a[::-1]).sum(axis=0),
    ),
    "powers": (lambda a, b, c: a**3 - b**2, lambda a, b, c: a * a * a - jnp.square(b)),
    "running sums": (lambda a, b, c: jnp.cumsum(a, axis=0)[-1], lambda a, b, c: a.sum(axis=0)),
    "running products": (lambda a, b, c: jnp.cumprod(a, axis=1)[:, -1], lambda a, b, c: a.prod(1)),
    "gradients of sums": (
        jax.grad(lambda a, b, c: (jnp.sin(a) @ b).sum()),
        lambda a, b, c: jnp.cos(a) * jnp.broadcast_to(b.sum(axis=1), a.shape),
    ),
    "the numbers of an axis": (
        lambda a, b, c: jnp.arange(4.0) * 2.0,
        lambda a, b, c: jnp.asarray([0.0, 2.0, 4.0, 6.0]),
    ),
    "types of floating numbers": (
        lambda a, b, c: a.astype(jnp.bfloat16).astype(jnp.float32),
        lambda a, b, c: a,
    ),
    "mixed precision": (
        lambda a, b, c: lax.dot(
            a.astype(jnp.float16), b.astype(jnp.float16), preferred_element_type=jnp.float32
        ),
        lambda a, b, c: a @ b,
    ),
    "scattered sums": (
        lambda a, b, c: a.at[np.array([1, 1, 3])].add(b[:3]).at[np.array([2, 2])].multiply(c[:2]),
        lambda a, b, c: a.at[1].add(b[0] + b[1]).at[3].add(b[2]).at[2].multiply(c[0] * c[1]),
    ),
}


@pytest.mark.parametrize("law", RING)
def test_identities_of_the_ring_hold_bit_by_bit(law):
    arguments = [words(seed, 4, 4) for seed in range(3)]
    left, right = (on_words(side, *arguments)[0] for side in RING[law])
    np.testing.assert_array_equal(left, right)


def test_sums_and_products_wrap_around():
    a, b = words(0, 3, 5), words(1, 5, 2)
    ((product,), (total,)) = on_words(lambda a, b: a @ b, a, b), on_words(lambda a: a.sum(), a)
    wide = a.astype(object) @ b.astype(object)
    assert np.all((wide - product) % 2**32 == 0)
    assert (int(a.astype(object).sum()) - int(total)) % 2**32 == 0


FUNCTIONS: list[Callable] = [
    *(getattr(lax, name) for name in ("exp", "log", "tanh", "logistic", "sin", "cos", "sqrt")),
    *(getattr(lax, name) for name in ("rsqrt", "erf", "erf_inv", "abs", "sign", "floor", "ceil")),
    lax.round,
    lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    lambda x: x**-1,
    lambda x: x**-2,
    lambda x: lax.reduce_precision(x, 5, 10),
    lambda x: lax.reduce_precision(x, 8, 7),
    lambda x: x / x[::-1],
    lambda x: x[::-1] / x,
    lambda x: x ** x[::-1],
    lambda x: lax.rem(x, x[::-1]),
    lambda x: lax.atan2(x, x[::-1]),
    lambda x: lax.nextafter(x, x[::-1]),
    lambda x: lax.pow(x, jnp.arange(64)),
    lambda x: lax.bitcast_convert_type(x, jnp.uint32),
    lambda x: lax.bitcast_convert_type(jnp.arange(64), jnp.float32),
]


def test_functions_are_as_good_as_random_and_differ_from_each_other():
    x = words(0, 64)
    results = on_words(lambda x: tuple(f(x) for f in FUNCTIONS), x)
    again = on_words(lambda x: tuple(f(x) for f in FUNCTIONS), x)
    for a, b in zip(results, again, strict=True):
        np.testing.assert_array_equal(a, b)
    columns = [x, *(y.view(np.int32) for y in results)]
    for a, b in itertools.combinations(columns, 2):
        assert not np.any(a == b)
    for y in columns[1:]:
        ones = np.unpackbits(y.view(np.uint8)).mean()
        assert 0.4 < ones < 0.6 and len(np.unique(y)) == 64


def test_functions_are_elementwise_and_the_same_for_all_types():
    x, y = words(0, 4, 1), words(1, 4, 6)
    (wide,) = on_words(lambda x, y: lax.div(jnp.broadcast_to(x, y.shape), y), x, y)
    (broadcast,) = on_words(lambda x, y: x / y, x, y)
    jaxpr = jax.make_jaxpr(lambda x, y: x / y)(1.0, 2.0)
    ((one,), _) = evaluate(jaxpr, [jnp.asarray(x[2, 0]), jnp.asarray(y[2, 5])])  # not compiled
    (half,) = on_words(lambda x, y: x / y, x, y, dtype=np.float16)
    np.testing.assert_array_equal(wide, broadcast)
    np.testing.assert_array_equal(wide, half)
    assert wide[2, 5] == one


def test_questions_about_a_number_have_either_answer():
    (finite,) = on_words(jnp.isfinite, words(0, 1000))
    assert finite.dtype == bool and 400 < finite.sum() < 600
    (nan,) = on_words(jnp.isnan, words(0, 1000))
    assert not np.any(nan)


def test_conversions_between_integers_and_floating_numbers_keep_the_number():
    x = words(0, 20)
    (y,) = on_words(lambda x: x.astype(jnp.int32).astype(jnp.float32), x)
    np.testing.assert_array_equal(x, y)
    ((a, b, c), _) = exact(
        lambda i, u, p: (i.astype(jnp.float32), u.astype(jnp.float32), p.astype(jnp.float32)),
        np.array([-3, 4], np.int8),
        np.array([2**32 - 1], np.uint32),
        np.array([True, False]),
    )
    np.testing.assert_array_equal(np.concatenate([a, b, c]), [-3, 4, -1, 1, 0])
    with jax.enable_x64(True):
        ((wide,), _) = exact(lambda i: i.astype(jnp.float64), np.array([2**32 + 5, -1]))
        np.testing.assert_array_equal(wide, [5, -1])
        ((low, high), _) = exact(
            lambda i: (lax.pow(2.0, i), lax.pow(2.0, i + 2**32)), np.array([5, 6])
        )
        assert not np.any(np.asarray(low) == np.asarray(high))


# --------------------------------------------------------------------- order, structure, integers

ORDER, SOME, GRID = np.array([2, 0, 3, 1]), np.array([1, 1, 7, -9]), np.array([[0, 1], [2, 1]])


def loops(x: Any) -> Any:
    """A while loop around a cond."""

    def body(state: tuple) -> tuple:
        n, y = state
        y = lax.cond(n % 2 == 0, lambda y: y.at[n].add(y[n + 1]), lambda y: y[::-1] * 3, y)
        return n + 1, y

    return lax.while_loop(lambda s: (s[0] < 3) & (s[1][0] < 4), body, (0, x))


def bound(x: Any, sign: int) -> Any:
    """What is below or above all numbers of a type."""
    if np.issubdtype(x.dtype, np.floating):
        return x.dtype.type(sign * np.inf)
    return x.dtype.type(LOWEST if sign < 0 else HIGHEST)


SAME: dict[str, Callable] = {
    "arithmetic": lambda x, y: (x * y - x + 3, -x, x[:, :1] * y, jnp.square(x), x**3, x.prod(0)),
    "order": lambda x, y: (jnp.maximum(x, y), jnp.minimum(x, 2), x < y, x >= y, x == y, x != 0),
    "clip": lambda x, y: (jnp.clip(x, 1, 5), lax.clamp(y - 2, x, y + 2)),
    "extremes": lambda x, y: (x.max(1), y.min(0), x.argmax(1), y.argmin(0), x.argmax()),
    "sort": lambda x, y: (jnp.sort(x), jnp.argsort(y, 0), lax.sort((x, y), num_keys=2)),
    "descending": lambda x, y: jnp.sort(x, axis=0, descending=True),
    "top_k": lambda x, y: lax.top_k(x, 2),
    "running": lambda x, y: (x.cumsum(1), lax.cummax(x), lax.cummin(y, reverse=True), x.cumprod(0)),
    "gather": lambda x, y: (
        x[ORDER],
        x[:, SOME],
        x[GRID, ORDER[:2]],
        jnp.take(x, SOME, axis=0, mode="clip"),
    ),
    "gather filled": lambda x, y: jnp.take(x, SOME, axis=0, mode="fill", fill_value=5),
    "along": lambda x, y: jnp.take_along_axis(x, jnp.argsort(y, axis=1), axis=1),
    "set": lambda x, y: (x.at[ORDER].set(y), x.at[:, 1].set(0), x.at[SOME].set(9), x.at[5].set(1)),
    "scatter": lambda x, y: (
        x.at[SOME].add(y),
        x.at[GRID, GRID].max(y[:2, :2]),
        x.at[ORDER].min(y),
    ),
    "scatter more": lambda x, y: (x.at[:, SOME].multiply(y), x.at[SOME].subtract(y, mode="drop")),
    "slices": lambda x, y: (x[1:, ::2], lax.dynamic_slice(x, (1, 9), (2, 2)), x[::-1]),
    "update": lambda x, y: lax.dynamic_update_slice(x, y[:2, :2], (y[0].argmax(), 9)),
    "shape": lambda x, y: (
        x.T.reshape(2, 8),
        jnp.pad(x, 1, constant_values=7),
        jnp.tile(x, (2, 1)),
    ),
    "join": lambda x, y: (jnp.concatenate([x, y]), jnp.stack([x, y], 1), jnp.split(x, 2), [*y]),
    "select": lambda x, y: (jnp.where(x > 2, x, y), lax.select(True, x, y), jnp.triu(x)),
    "products": lambda x, y: (x @ y, jnp.einsum("ab,cb->ac", x, y), jnp.outer(x[0], y[0])),
    "one_hot": lambda x, y: (jax.nn.one_hot(SOME, 6, dtype=x.dtype), jnp.eye(3, dtype=x.dtype)),
    "windows": lambda x, y: [
        lax.reduce_window(x, init, op, (2, 2), (1, 1), "SAME")
        for init, op in (
            (bound(x, -1), lax.max),
            (bound(x, 1), lax.min),
            (x.dtype.type(0), lax.add),
        )
    ],
    "scan": lambda x, y: lax.scan(lambda c, r: (c * 3 + r, (c, r.max())), x[0], y, reverse=True),
    "vmap": lambda x, y: jax.vmap(lambda r, s: jnp.where(r[0] > s[1], r @ s, r.max()))(x, y),
    "map": lambda x, y: lax.map(lambda r: r.sum() * r, x),
}
ONLY_INTEGERS: dict[str, Callable] = {
    "while and cond": lambda x, y: loops(x[0]),
    "vmapped while": lambda x, y: jax.vmap(loops)(x),
    "bits": lambda x, y: (x & y, x | y, x ^ y, ~x, x << 2, x >> 1, lax.population_count(x)),
    "divide": lambda x, y: (x // (jnp.abs(y) + 1), x % 3, lax.div(x, y | 1), jnp.sign(x)),
    "cast": lambda x, y: (x.astype(jnp.uint8), (x > 1).astype(jnp.int32), x.astype(bool).all(0)),
    "reduce": lambda x, y: lax.reduce(x, np.int32(1), lambda a, b: a * b + a - a, (0,)),
    "switch": lambda x, y: lax.switch(x[0, 0], [lambda z: z, lambda z: z + 1, lambda z: -z], y),
    "fori": lambda x, y: lax.fori_loop(0, 4, lambda i, z: z.at[i].add(z[i - 1]), x),
    "apply": lambda x, y: x.at[ORDER].apply(lambda z: z * 2),
    "unique": lambda x, y: jnp.unique(x, size=5, fill_value=-1),
    "keys": lambda x, y: (
        jr.bits(jr.fold_in(jr.key(x[0, 0]), 3), (3,)),
        jr.permutation(jr.split(jr.key(0), 2)[1], x),
        jr.key_data(jr.wrap_key_data(jr.key_data(jr.key(5)))),
        jr.randint(jr.key(1), (4,), 0, 9),
    ),
}


@pytest.mark.parametrize("program", SAME | ONLY_INTEGERS)
def test_integers_are_computed_as_jax_computes_them(program):
    f = (SAME | ONLY_INTEGERS)[program]
    x, y = np.random.default_rng(0).integers(-6, 7, (2, 4, 4), dtype=np.int32)
    expected = jax.tree.leaves(quick_jit(f)(x, y))
    outputs, _ = exact(f, x, y)
    for a, b in zip(outputs, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("program", SAME)
def test_small_integral_floating_numbers_too(program):
    x, y = np.random.default_rng(3).integers(-6, 7, (2, 4, 4)).astype(np.float32)
    expected = jax.tree.leaves(quick_jit(SAME[program])(x, y))
    outputs, _ = exact(SAME[program], x, y)
    for a, b in zip(outputs, expected, strict=True):
        assert a.dtype == (np.int32 if b.dtype == np.float32 else b.dtype)
        np.testing.assert_array_equal(a, b)


def test_what_is_out_of_range_is_filled_with_the_number_for_nan():
    one = lax.GatherDimensionNumbers((), (0,), (0,))

    def gather(x: Any) -> Any:
        return lax.gather(x, np.array([[0], [9]]), one, (1,), mode="fill")

    nan = to_exact(np.float32(np.nan))
    for f in (gather, lambda x: x.at[np.array([0, 9])].get(mode="fill")):
        ((filled,), _) = exact(f, np.ones(3, np.float32))
        np.testing.assert_array_equal(filled, [1, nan])


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
    message = rf"`{primitive}` at .*test_exact.py:{line}.* cannot be evaluated.*Keep it out of"
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
