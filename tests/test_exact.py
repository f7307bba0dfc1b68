"""Programs on integers modulo 2^32 in the place of floating numbers: numbers and operations."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import quick_jit
from jax import lax
from words import HIGHEST, LOWEST, exact, on_words, words

from proofs._exact import evaluate, to_exact

pytestmark = pytest.mark.usefixtures("cheap_compilation")


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
