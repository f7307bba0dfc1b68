"""As `test_unsound.py`, of programs that draw: what is claimed of them holds in law.

A key that is used twice gives the same words twice. They may not be permuted in two ways, as
independent words may.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from jax import lax
from jaxtyping import Array, PRNGKeyArray
from unsound import Case, N, accepted, case, ids

import proofs


def noise(key: PRNGKeyArray, *shape: int) -> Array:
    return jr.normal(key, shape or (N,))


def pair(make: Callable[[PRNGKeyArray], tuple[PRNGKeyArray, PRNGKeyArray]]) -> Case:
    """Noise of two keys, one added along A and one along B: right if they are independent."""

    def f(x: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        one, other = make(key)
        return x + noise(one), y + noise(other)

    return case(f, "A", "B", "key")


def rounds(body: Callable, *, steps: int = N) -> Case:
    """A loop whose body `(key, x, y, i) -> key, x, y` draws for `x` along A and for `y` along B."""

    def f(x: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        def step(carry: tuple, i: Array) -> tuple:
            return body(*carry, i), 0

        return lax.scan(step, (key, x, y), jnp.arange(steps))[0][1:]

    return case(f, "A", "B", "key")


def captured(body: Callable, *, until: bool = False) -> Case:
    """As `rounds`, of a body `(key, x, y, i) -> x, y` that sees one key in all rounds."""

    def f(x: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        def step(carry: tuple, i: Array) -> tuple:
            return body(key, *carry, i), 0

        def again(carry: tuple) -> tuple:
            return carry[0] + 1, *body(key, *carry[1:], carry[0])

        if until:
            return lax.while_loop(lambda c: c[0] < 4, again, (0, x, y))[1:]
        return lax.scan(step, (x, y), jnp.arange(4))[0]

    return case(f, "A", "B", "key")


def either(key: PRNGKeyArray, x: Array, y: Array, i: Array) -> tuple[Array, Array]:
    """The same words for x in even rounds and for y in odd ones."""
    return lax.cond(i % 2 == 0, lambda: (x + noise(key), y), lambda: (x, y + noise(key)))


def two_carries(x: Array, y: Array, key: PRNGKeyArray, hand_on: Callable) -> tuple[Array, ...]:
    def step(carry: tuple, _: None) -> tuple:
        one, other, x, y = carry
        (one, a), (other, b) = hand_on(one, other)
        return (one, other, x + noise(a), y + noise(b)), 0

    return lax.scan(step, (*jr.split(key), x, y), None, N)[0][2:]


def scanned(make: Callable[[PRNGKeyArray], PRNGKeyArray]) -> Case:
    """A scan over keys, that draws for x in even rounds and for y in odd ones."""

    def f(x: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        def step(carry: tuple, row: tuple) -> tuple:
            x, y = carry
            return either(row[1], x, y, row[0]), 0

        return lax.scan(step, (x, y), (jnp.arange(4), make(key)))[0]

    return case(f, "A", "B", "key")


def again_in_outer_rounds(carried: bool) -> Case:
    """An inner loop that goes through the same keys in each outer round: for x, and then for y."""

    def f(x: Array, y: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        keys = key if carried else jr.split(key)

        def outer(carry: tuple, i: Array) -> tuple:
            def step(state: tuple, _: None) -> tuple:
                one, other = jr.split(state[0])
                return (one, *either(other, state[1], state[2], i)), 0

            def over(state: tuple, row: PRNGKeyArray) -> tuple:
                return either(row, state[0], state[1], i), 0

            if carried:
                return lax.scan(step, (keys, *carry), None, 2)[0][1:], 0
            return lax.scan(over, carry, keys)[0], 0

        return lax.scan(outer, (x, y), jnp.arange(2))[0]

    return case(f, "A", "B", "key")


def delayed(one: PRNGKeyArray, old: PRNGKeyArray) -> tuple:
    one, new = jr.split(one)
    return (one, new), (new, old)


REUSED = {
    "drawn twice": pair(lambda k: (k, k)),
    "drawn and split": pair(lambda k: (k, jr.split(k)[0])),
    "drawn and folded": pair(lambda k: (k, jr.fold_in(k, 1))),
    "split twice": pair(lambda k: (jr.split(k)[0], jr.split(k)[0])),
    "split twice, in other numbers": pair(lambda k: (jr.split(k, 2)[1], jr.split(k, 3)[1])),
    "folded twice": pair(lambda k: (jr.fold_in(k, 3), jr.fold_in(k, 3))),
    "folded and split": pair(lambda k: (jr.fold_in(k, 0), jr.split(k)[0])),
    "one of several, twice": pair(lambda k: (lambda s: (s[0], s[0]))(jr.split(k, 4))),
    "one of several, from both ends": pair(lambda k: (jr.split(k, 4)[3], jr.split(k, 4)[-1])),
    "one of several, strided": pair(lambda k: (lambda s: (s[2], s[::2][1]))(jr.split(k, 4))),
    "one of several, reshaped": pair(
        lambda k: (lambda s: (s[1], s.reshape(2, 2)[0, 1]))(jr.split(k, 4))
    ),
    "one of several, transposed": pair(
        lambda k: (lambda s: (s[0, 1], s.T[1, 0]))(jr.split(k, (2, 2)))
    ),
    "one of several, broadcast": pair(
        lambda k: (lambda s: (s[0], jnp.broadcast_to(s[:1], (2,))[1]))(jr.split(k, 2))
    ),
    "chosen by `where`": pair(
        lambda k: (lambda s: (jnp.where(True, s[0], s[1]), s[0]))(jr.split(k))
    ),
    "chosen by a branch": pair(
        lambda k: (lambda s: (lax.cond(jr.bernoulli(s[2]), lambda: s[0], lambda: s[1]), s[0]))(
            jr.split(k, 3)
        )
    ),
    "cloned": pair(lambda k: (k, jr.clone(k))),
    "taken apart": pair(lambda k: (k, jr.wrap_key_data(jr.key_data(k)))),
    "seeded by itself": pair(lambda k: (k, jr.key(jr.key_data(k)[0]))),
    "used in and after a call": pair(lambda k: (k, jax.jit(lambda k: k)(k))),
    "at a number that is not known": case(
        lambda x, y, i, k: (x + noise(jr.split(k, N)[i[0]]), y + noise(jr.split(k, N)[i[1]])),
        "A",
        "B",
        "int 2",
        "key",
    ),
    "folded with numbers that are not known": case(
        lambda x, y, i, k: (x + noise(jr.fold_in(k, i[0])), y + noise(jr.fold_in(k, i[1]))),
        "A",
        "B",
        "int 2",
        "key",
    ),
    "folded with one that is known": case(
        lambda x, y, i, k: (x + noise(jr.fold_in(k, 0)), y + noise(jr.fold_in(k, i))),
        "A",
        "B",
        "int",
        "key",
    ),
    "for all of a label and for one": case(
        lambda x, y, k: (x + jax.vmap(jr.normal)(jr.split(k, N)), y + jr.normal(jr.split(k, N)[0])),
        "A",
        "",
        "key",
    ),
    "for rows and for columns": case(
        lambda x, k: (lambda z: x + z[:, None] * z[None])(jax.vmap(jr.normal)(jr.split(k, N))),
        "A B",
        "key",
    ),
    "returned after it was drawn from": case(lambda x, k: (x + noise(k), k), "A", "key"),
    "in a loop and after it": case(
        lambda x, y, k: (
            lax.fori_loop(0, 2, lambda i, c: c + noise(jr.fold_in(k, i)), x),
            y + noise(jr.fold_in(k, 1)),
        ),
        "A",
        "B",
        "key",
    ),
    "in two loops": case(
        lambda x, y, k: (
            lax.fori_loop(0, 2, lambda i, c: c + noise(jr.fold_in(k, 0)), x),
            lax.fori_loop(0, 2, lambda i, c: c + noise(jr.fold_in(k, 0)), y),
        ),
        "A",
        "B",
        "key",
    ),
    "in the guard and in the body": case(
        lambda x, k: lax.while_loop(
            lambda c: jnp.sum(noise(jr.fold_in(k, c[0]))) > 0,
            lambda c: (c[0] + 1, c[1] + noise(jr.fold_in(k, c[0]))),
            (0, x),
        )[1],
        "A",
        "key",
    ),
    "carried after it was drawn from": rounds(
        lambda k, x, y, i: (jr.split(k)[0], x + noise(k), y + noise(jr.split(k)[1]))
    ),
    "handed on after it was drawn from": rounds(
        lambda k, x, y, i: (lambda s: (s[0], x + noise(s[0]), y + noise(s[1])))(jr.split(k))
    ),
    "carried as it was, drawn from twice": rounds(
        lambda k, x, y, i: (k, x + noise(k), y + noise(k))
    ),
    "one round late": case(lambda x, y, k: two_carries(x, y, k, delayed), "A", "B", "key"),
    "this round and the next": captured(
        lambda k, x, y, i: (x + noise(jr.fold_in(k, i)), y + noise(jr.fold_in(k, i + 1)))
    ),
    "in one branch in one round, in another in the next": captured(either),
    "in one branch in one turn, in another in the next": captured(either, until=True),
    "the same in two rounds, in one branch or another": captured(
        lambda k, x, y, i: either(jr.fold_in(k, i // 2), x, y, i)
    ),
    "split in the round, in one branch or another": captured(
        lambda k, x, y, i: either(jr.split(k)[0], x, y, i)
    ),
    "an outer round's, in one branch of an inner round or another": rounds(
        lambda k, x, y, i: (
            lambda q: (
                q[0],
                *lax.scan(lambda c, j: (either(q[1], *c, j), 0), (x, y), jnp.arange(2))[0],
            )
        )(jr.split(k))
    ),
    "rows of one key, in one branch or another": scanned(lambda k: jnp.broadcast_to(k, (4,))),
    "rows of few keys, in one branch or another": scanned(
        lambda k: jnp.broadcast_to(jr.split(k)[:, None], (2, 2)).reshape(4)
    ),
    "rows folded alike, in one branch or another": scanned(
        lambda k: jax.vmap(lambda i: jr.fold_in(k, i))(jnp.arange(4) // 2)
    ),
    "the same rows in each outer round": again_in_outer_rounds(False),
    "carried from the same key in each outer round": again_in_outer_rounds(True),
    "carried twice": rounds(
        lambda k, x, y, i: (k, *two_carries(x, y, k, lambda a, b: ((a, a), (b, a))))
    ),
    "a row of a scan, and the whole": case(
        lambda x, y, k: (
            lambda ks: (lax.scan(lambda c, q: (c + noise(q), 0), x, ks)[0], y + noise(ks[1]))
        )(jr.split(k, N)),
        "A",
        "B",
        "key",
    ),
}

FINE_KEYS = {
    "split": pair(lambda k: (lambda s: (s[0], s[1]))(jr.split(k))),
    "folded with two numbers": pair(lambda k: (jr.fold_in(k, 0), jr.fold_in(k, 1))),
    "two of several": pair(lambda k: (lambda s: (s[0], s[3]))(jr.split(k, 4))),
    "one for each": case(lambda x, k: x + jax.vmap(noise)(jr.split(k, N)), "A B", "key"),
    "one for each, in a map": case(
        lambda x, k: lax.map(lambda r: r[0] + noise(r[1]), (x, jr.split(k, N))), "A B", "key"
    ),
    "one for all, in a map": case(lambda x, k: lax.map(lambda r: r + noise(k), x), "A B", "key"),
    "given for each": case(lambda x, k: x + jax.vmap(noise)(k), "A B", "key A"),
    "carried": rounds(
        lambda k, x, y, i: (lambda s: (s[0], x + noise(s[1]), y + noise(s[2])))(jr.split(k, 3))
    ),
    "the same in all rounds": captured(
        lambda k, x, y, i: (x + noise(jr.fold_in(k, 0)), y + noise(jr.fold_in(k, 1)))
    ),
    "one for each round": captured(
        lambda k, x, y, i: (lambda s: (x + noise(s[0]), y + noise(s[1])))(
            jr.split(jr.fold_in(k, i))
        )
    ),
    "in one branch or another": case(lambda x, y, i, k: either(k, x, y, i), "A", "B", "int", "key"),
}


@pytest.mark.parametrize("one", **ids(REUSED))
def test_a_key_that_is_used_twice_is_refused(one: Case):
    assert not all(accepted(one, "exchangeable"))


@pytest.mark.parametrize("one", **ids(FINE_KEYS))
def test_keys_that_are_used_once_are_accepted(one: Case):
    assert all(accepted(one, "exchangeable"))
    assert not all(accepted(one, "pathwise"))


def first(x: Array) -> Array:
    return jnp.argmax(x)


FIXED = {
    "a key made in the function": case(lambda x: x + noise(jr.key(0)), "A"),
    "a key made of a number": case(lambda x, i: x + noise(jr.key(i)), "A", "int"),
    "a key made of words": case(
        lambda x, w: x + noise(jr.wrap_key_data(w.astype(jnp.uint32))), "A", "int 2"
    ),
    "a key made of noise": case(lambda x, k: x + noise(jr.key(jr.bits(k))), "A", "key"),
    "a legacy key": case(lambda x, w: x + noise(w.astype(jnp.uint32)), "A", "int 2"),
    "a legacy key, split": case(
        lambda x, w: x + noise(jr.split(w.astype(jnp.uint32))[0]), "A", "int 2"
    ),
    "a legacy key made in the function": case(lambda x: x + noise(jr.PRNGKey(0)), "A"),
    "keys numbered by a label": case(
        lambda x, k: x + jax.vmap(lambda i: jr.normal(jr.fold_in(k, i)))(jnp.arange(N)), "A", "key"
    ),
    "accumulated noise": case(lambda x, k: x + jnp.cumsum(noise(k)), "A", "key"),
    "reversed noise": case(lambda x, k: (lambda z: x + z + z[::-1])(noise(k)), "A", "key"),
    "the first of the noise": case(lambda x, k: (lambda z: x + z + z[0])(noise(k)), "A", "key"),
    "noise by number": case(lambda x, k: x + noise(k) * jnp.arange(N), "A", "key"),
    "noise of two labels": case(lambda x, k: x + noise(k)[:, None] + noise(k), "A B", "key"),
    "a diagonal of noise": case(lambda x, k: x + noise(k, N, N) * jnp.eye(N), "A B", "key"),
    "a position in noise, plus one": case(lambda x, k: x[(first(noise(k)) + 1) % N], "A", "key"),
    "a position in noise as a number": case(
        lambda x, k: (lambda p: x[p] * p.astype(jnp.float32))(first(noise(k))), "A", "key"
    ),
    "a number and then a position": case(
        lambda x, k: (lambda p: p.astype(jnp.float32) * x[p])(first(noise(k))), "A", "key"
    ),
    "a position in noise that branches": case(
        lambda x, k: (lambda p: lax.cond(p == 0, lambda: x[p], lambda: 0.0))(first(noise(k))),
        "A",
        "key",
    ),
    "a number of noise in a loop": case(
        lambda x, k: (
            lambda p: lax.fori_loop(0, 2, lambda i, c: c * p.astype(jnp.float32), 1.0) + x[p]
        )(first(noise(k))),
        "A",
        "key",
    ),
    "a number of noise, carried": case(
        lambda x, k: (lambda p: lax.fori_loop(0, 2, lambda i, c: c + x[p], p.astype(jnp.float32)))(
            first(noise(k))
        ),
        "A",
        "key",
    ),
    "a position of a round as a number of the next": case(
        lambda x, k: lax.scan(
            lambda c, q: (lambda p: (p.astype(jnp.float32), c * x[p]))(first(noise(q))),
            0.0,
            jr.split(k, 2),
        )[1],
        "A",
        "key",
    ),
    "an order of noise, accumulated": case(
        lambda x, k: (lambda p: x[p] + jnp.cumsum(p))(jnp.argsort(noise(k))), "A", "key"
    ),
    "a random number as a position": case(lambda x, k: x[jr.randint(k, (), 0, N)], "A", "key"),
    "a category plus one": case(lambda x, k: (jr.categorical(k, x) + 1) % N, "A", "key"),
}
SHARED = {
    "noise added along two labels": case(
        lambda x, y, k: (lambda z: (x + z, y + z))(noise(k)), "A", "B", "key"
    ),
    "noise added along a label and accumulated": case(
        lambda x, k: (lambda z: (x + z, jnp.cumsum(z)))(noise(k)), "A", "key"
    ),
    "carried noise": case(
        lambda x, y, k: (lambda c: (x + c[0], y + c[1]))(
            lax.scan(
                lambda c, q: ((c[0] + noise(q), c[0]), 0),
                (jnp.zeros(N), jnp.zeros(N)),
                jr.split(k, 2),
            )[0]
        ),
        "A",
        "B",
        "key",
    ),
    "stacked noise": case(
        lambda x, y, k: (lambda z: (x + z[0], y + z[1]))(lax.map(noise, jr.split(k, 2))),
        "A",
        "B",
        "key",
    ),
    "a position in noise, and the number": case(
        lambda x, k: (lambda p: (x[p], p + 1))(first(noise(k))), "A", "key"
    ),
    "noise, and its position as a number": case(
        lambda x, k: (lambda z: (first(z) + 1, x + z))(noise(k)), "A", "key"
    ),
    "noise, and the numbers of its key": case(
        lambda x, k: (x + noise(k), jr.key_data(k)[0]), "A", "key"
    ),
    "an order of noise, for two": case(
        lambda x, y, k: (lambda p: (x[p], y[p]))(jr.permutation(k, N)), "A", "B", "key"
    ),
}
FINE_NOISE = {
    "a diagonal": case(lambda x, k: x + noise(k, N, N) * jnp.eye(N), "A A", "key"),
    "a position in noise": case(lambda x, k: x[first(noise(k))], "A", "key"),
    "a category": case(lambda x, k: jr.categorical(k, x), "A", "key"),
    "a shuffle": case(lambda x, k: jr.permutation(k, x), "A", "key"),
    "dropped out": case(lambda x, k: jnp.where(jr.bernoulli(k, 0.5, (N,)), x, 0.0), "A", "key"),
}


@pytest.mark.parametrize("one", **ids(FIXED))
def test_what_is_no_ideal_noise_or_no_position_is_refused(one: Case):
    assert not any(accepted(one, "exchangeable"))


@pytest.mark.parametrize("one", **ids(SHARED))
def test_noise_is_permuted_in_one_way_only(one: Case):
    assert not all(accepted(one, "exchangeable"))


@pytest.mark.parametrize("one", **ids(FINE_NOISE))
def test_noise_that_is_permuted_along_is_accepted(one: Case):
    assert all(accepted(one, "exchangeable"))


def test_noise_that_leaves_is_permuted_as_it_is_used():
    def twice(x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        z = jr.normal(key, x.shape)
        return x + z, z

    specs = ("A", "key")
    for out, right in ((("A", "A"), True), (("A", ".A"), False), (("A", ...), True)):
        certificate = proofs.certify(twice, specs, out, randomness="exchangeable")
        assert bool(certificate) is right, certificate


def test_a_key_that_leaves_was_not_drawn_from():
    def drawn(x: Array, key: PRNGKeyArray) -> tuple[Array, PRNGKeyArray]:
        return x + jr.normal(key, x.shape), key

    def half(x: Array, key: PRNGKeyArray) -> tuple[Array, PRNGKeyArray]:
        one, other = jr.split(key)
        return x + jr.normal(one, x.shape), other

    for f, right in ((drawn, False), (half, True)):
        certificate = proofs.certify(f, ("A", "key"), ("A", "key"), randomness="exchangeable")
        assert bool(certificate) is right, certificate
