"""What a certifier that is almost right would accept, and ours must not.

Every case stands for a way in which a rule could be too generous. Next to the cases that must be
refused are cases that are like them and right: a certifier that refuses everything passes nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax import lax
from jaxtyping import Array
from unsound import SIZES, Case, N, accepted, case, ids

import proofs


def pick(x: Array, i: Array, mode: str, **options: Any) -> Array:
    """`x[i]` without any wrapping of negative indices."""
    numbers = lax.GatherDimensionNumbers((), (0,), (0,))
    return lax.gather(x, jnp.expand_dims(i, -1), numbers, (1,), mode=mode, **options)


def window(x: Array, start: Array, size: int, mode: str) -> Array:
    numbers = lax.GatherDimensionNumbers((0,), (), (0,))
    return lax.gather(x, start[None], numbers, (size,), mode=mode)


def index(x: Array, i: Array) -> Array:
    """The element of x whose place along all its axes stands in i."""
    axes = tuple(range(x.ndim))
    numbers = lax.GatherDimensionNumbers((), axes, axes)
    return lax.gather(x, i, numbers, (1,) * x.ndim, mode="clip")


def zeros(count: int, dtype: Any = float) -> Any:
    return (jnp.zeros(N, dtype),) * count


def few_bits() -> Array:
    return jnp.arange(N, dtype=jnp.int8)


def turns(x: Array) -> Array:
    """How many turns a loop takes."""
    start = jnp.int32(0), x
    return lax.while_loop(lambda s: s[1] < 5.0, lambda s: (s[0] + 1, s[1] + 1.0), start)[0]


# ----------------------------------------------------------------------------- reads and writes

INDICES = {
    "none read from where none is moved into range": case(
        lambda x, p: pick(x, p, "clip"), "A", "A @A?"
    ),
    "none read where it is promised not to be": case(
        lambda x, p: pick(x, p, "promise_in_bounds"), "A", "A @A?"
    ),
    "none wraps to the last": case(lambda x, p: x[p], "A", "@A?"),
    "none writes to the last": case(lambda x, p: x.at[p].set(1.0), "A", "@A?"),
    "the filler of positions is no position": case(
        lambda q, i: pick(q, i, "fill"), "3 @B", "int 3"
    ),
    "a filler among positions": case(
        lambda q, i: pick(q, i, "fill", fill_value=0), "A @B", "A @A?"
    ),
    "a position in another label": case(lambda x, p: x[p], "B", "@A"),
    "a position in an ordered axis": case(lambda x, p: x[p], "3", "@A"),
    "a number in a label": case(lambda x, i: x[i], "A", "int"),
    "pairs the wrong way round": case(lambda x, p, q: x[p, q], "A B", "@B", "@A"),
    "a window at a position": case(lambda x, p: lax.dynamic_slice(x, (p,), (2,)), "A", "@A"),
    "a whole window at a position that fills": case(
        lambda x, p: window(x, p, 3, "fill"), "A", "@A"
    ),
    "a part of a label": case(lambda x, p: window(x, p, 2, "clip"), "A", "int"),
    "a part is written": case(
        lambda x, y, i: lax.dynamic_update_slice(x, y[:2], (i,)), "A", "3", "int"
    ),
    "overwritten twice, the order is a label's": case(
        lambda x, p, u: x.at[p].set(u), "A", "B @A", "B"
    ),
    "overwritten twice at one place": case(
        lambda u: jnp.zeros(N).at[jnp.zeros(N, int)].set(u), "A"
    ),
    "overwritten twice at numbers": case(lambda x, u: x.at[jnp.array([0, 0, 1])].set(u), "3", "A"),
    "overwritten twice on a diagonal": case(lambda x, p, u: x.at[p, p].set(u), "A A", "B @A", "B"),
    "none that was chosen is read": case(
        lambda x, p, c: pick(x, jnp.where(c, p, -1), "clip"), "A", "A @A", "bool A"
    ),
    "an index whose columns are a label": case(lambda x, i: index(x, i), "3 3 3", "int A"),
    "a window of an ordered axis at a position": case(
        lambda x, p: window(x, p, 2, "clip"), "3", "@A"
    ),
    "a part of an ordered axis at a position": case(
        lambda x, p: lax.dynamic_slice(x, (p,), (2,)), "3", "@A"
    ),
    "many pairs the wrong way round": case(lambda x, p, q: x[p, q], "A B", "3 @B", "3 @A"),
    "rows of two labels": case(lambda x, i: jax.vmap(lambda row, j: row[j])(x, i), "A 3", "int B"),
    "the first of what is not indexed": case(
        lambda x, i: lax.gather(
            x, i[None], lax.GatherDimensionNumbers((), (0, 1), (0,)), (1, 1), mode="clip"
        ),
        "3 B",
        "int",
    ),
    "a column of another label is written": case(
        lambda x, y, i: lax.dynamic_update_slice(x, y, (0, i)), "A 3", "B 1", "int"
    ),
    "a row of another label is written": case(lambda x, y, i: x.at[i].set(y), "3 A", "B", "int"),
    "a part is added to": case(lambda x: x.at[:2].add(1.0), "A"),
    "written into a constant at a number": case(lambda x: x + jnp.ones(N).at[0].set(0.0), "A"),
    "added to a constant at a number": case(lambda x: x + jnp.ones(N).at[0].add(1.0), "A"),
    "a part of a constant is written": case(
        lambda x: x + lax.dynamic_update_slice(jnp.ones(N), jnp.zeros(2), (0,)), "A"
    ),
    "an element of a constant is written": case(
        lambda x: x + lax.dynamic_update_slice(jnp.ones(N), jnp.zeros(1), (0,)), "A"
    ),
}
FINE_INDICES = {
    "a filler for none": case(lambda x, p: pick(x, p, "fill"), "A", "A @A?"),
    "nothing written for none": case(
        lambda x, p: x.at[p].set(1.0, mode="drop", wrap_negative_indices=False), "A", "@A?"
    ),
    "positions read at positions": case(lambda q, p: q[p], "A @B", "@A"),
    "many pairs": case(lambda x, p, q: x[p, q], "A B", "3 @A", "3 @B"),
    "rows of a label": case(lambda x, i: jax.vmap(lambda row, j: row[j])(x, i), "A 3", "int A"),
    "pairs": case(lambda x, p, q: x[p, q], "A B", "@A", "@B"),
    "a whole window moved into range": case(lambda x, p: window(x, p, 3, "clip"), "A", "@A"),
    "sums over what meets": case(lambda x, p, u: x.at[p].add(u), "A", "B @A", "B"),
    "every one at its own place": case(lambda x: x[jnp.arange(N)], "A"),
}

# ------------------------------------------------------------------------ positions are no numbers

POSITIONS = {
    "wrap around in few bits": case(lambda p: p.astype(jnp.int8), "@A"),
    "compared in few bits": case(
        lambda p: p.astype(jnp.uint8) == jnp.arange(N, dtype=jnp.uint8), "@A"
    ),
    "found in few bits": case(lambda x: lax.argmax(x, 0, jnp.int8), "A"),
    "counted in few bits": case(
        lambda x: jnp.where(jnp.arange(N, dtype=jnp.int8) == jnp.int8(0), x, 0.0), "A"
    ),
    "numbered in few bits": case(lambda x: x * (few_bits()[:, None] == few_bits()[None]), "A A"),
    "none as a great number": case(lambda p: p.astype(jnp.uint32), "@A?"),
    "as bits": case(lambda p: lax.bitcast_convert_type(p, jnp.float32), "@A"),
    "as a float": case(lambda p: p.astype(jnp.float32), "@A"),
    "as a truth": case(lambda p: p.astype(bool), "@A"),
    "plus one": case(lambda p: (p + 1) % N, "@A"),
    "minus": case(lambda p: N - 1 - p, "@A"),
    "a difference": case(lambda p, q: p - q, "@A", "@A"),
    "compared with the first": case(lambda p: p == 0, "@A"),
    "compared with the last": case(lambda p: p == N - 1, "@A"),
    "less than": case(lambda p, q: p < q, "@A", "@A"),
    "greater than the first": case(lambda p: p > 0, "@A"),
    "at most the first, or none": case(lambda p: p <= 0, "@A?"),
    "none below another none": case(lambda p: p < -1, "@A?"),
    "clipped": case(lambda p: jnp.maximum(p, 0), "@A?"),
    "or the first": case(lambda p, c: jnp.where(c, p, 0), "@A", "bool"),
    "of two labels": case(lambda p, q, c: jnp.where(c, p, q), "@A", "@B", "bool"),
    "equal across labels": case(lambda p, q: p == q, "@A", "@B"),
    "their sum": case(lambda p: jnp.sum(p), "A @A"),
    "the greatest": case(lambda p: jnp.max(p), "A @A"),
    "sorted": case(lambda p: jnp.sort(p), "3 @A"),
    "sorted by": case(lambda p, x: lax.sort((p, x), num_keys=1)[1], "3 @A", "3"),
    "accumulated": case(lambda p: jnp.cumsum(p), "3 @A"),
    "multiplied": case(lambda p: p @ p, "3 @A"),
    "padded with the first": case(lambda p: jnp.pad(p, (1, 0)), "3 @A"),
    "joined to the first": case(lambda p: jnp.stack([p, jnp.int32(0)]), "@A"),
    "columns of two labels added": case(lambda p, q: jnp.sum(jnp.stack([p, q])), "@A", "@B"),
    "columns of two labels carried": case(
        lambda p, q: lax.fori_loop(0, 2, lambda _, c: c[::-1], jnp.stack([p, q])), "@A", "@B"
    ),
    "as a guard": case(
        lambda p: lax.while_loop(lambda c: c < p, lambda c: c + 1, jnp.int32(0)), "@A"
    ),
    "as a branch": case(lambda p: lax.switch(p, [lambda: 1.0, lambda: 2.0]), "@A"),
    "as a bound": case(lambda p, x: lax.fori_loop(0, p, lambda _, c: c * 2, x), "@A", ""),
    "as the seed of a key": case(lambda p: jr.normal(jr.key(p)), "@A"),
    "folded into a key": case(lambda k, p: jr.normal(jr.fold_in(k, p)), "key", "@A"),
    "to a power": case(lambda p: lax.integer_pow(p, 2), "@A"),
    "without a sign": case(lambda p: abs(p), "@A"),
}
FINE_POSITIONS = {
    "in other wide integers": case(lambda p: p.astype(jnp.uint32), "@A"),
    "below the first": case(lambda p: p < 0, "@A?"),
    "none": case(lambda p: p == -1, "@A?"),
    "or none": case(lambda p, c: jnp.where(c, p, -1), "@A", "bool"),
    "one or the other": case(lambda p, q, c: jnp.where(c, p, q), "@A", "@A", "bool"),
    "equal": case(lambda p, q: p == q, "@A", "@A"),
    "one hot": case(lambda p: jax.nn.one_hot(p, N), "@A"),
    "joined to none": case(lambda p: jnp.pad(p, (1, 0), constant_values=-1), "3 @A"),
    "sorted along": case(lambda p, x: lax.sort((x, p), num_keys=1)[1], "3 @A", "3"),
}

# ----------------------------------------------------------------- order, and constants that end

ORDER = {
    "accumulated ones": case(lambda x: x + jnp.cumsum(jnp.ones(N)), "A"),
    "accumulated by halves": case(lambda x: x + lax.associative_scan(jnp.add, jnp.ones(N)), "A"),
    "joined constants": case(lambda x: x + jnp.concatenate([jnp.zeros(1), jnp.ones(2)]), "A"),
    "stacked constants": case(lambda x: x + jnp.stack([0.0, 1.0, 2.0]), "A"),
    "padded constants": case(lambda x: x + jnp.pad(jnp.ones(2), (1, 0)), "A"),
    "shifted constants": case(lambda x: x + lax.pad(jnp.ones(N), 0.0, [(1, -1, 0)]), "A"),
    "the first of equals": case(lambda x: x[jnp.argmax(jnp.zeros(N))], "A"),
    "the first of equals, one hot": case(
        lambda x: x + jax.nn.one_hot(jnp.argmin(jnp.ones(N)), N), "A"
    ),
    "the first few of equals": case(lambda x: x[lax.top_k(jnp.zeros(N), 1)[1]], "A"),
    "the order of the first few of equals": case(
        lambda x: x + lax.top_k(jnp.zeros(N), N)[1], "int A"
    ),
    "sorted by equals": case(lambda x: lax.sort((jnp.zeros(N), x), num_keys=1)[1], "A"),
    "the order of equals": case(lambda x: x[jnp.argsort(jnp.zeros(N))], "A"),
    "a captured array": case(lambda x: x + np.ones(N, np.float32), "A"),
    "numbered": case(lambda x: x + jnp.arange(N, dtype=jnp.float32), "A"),
    "numbered around": case(lambda x: x[(jnp.arange(N) + 1) % N], "A"),
    "numbered backwards": case(lambda x: x[jnp.arange(N)[::-1]], "A"),
    "one that is numbered": case(lambda x: x[jnp.arange(N)[1:2]], "A"),
    "numbered and the first": case(lambda x: jnp.where(jnp.arange(N) == 0, x, 0.0), "A"),
    "numbered in two axes": case(lambda x: x + jnp.arange(N * N).reshape(N, N), "int A A"),
    "numbered in a branch": case(
        lambda x, c: x + lax.cond(c, lambda: jnp.arange(N), lambda: jnp.zeros(N, int)),
        "int A",
        "bool",
    ),
    "a diagonal across labels": case(lambda x: x * jnp.eye(N), "A B"),
    "beside the diagonal": case(lambda x: x * jnp.eye(N, k=1), "A A"),
    "above the diagonal": case(lambda x: jnp.tril(x), "A A"),
    "reversed": case(lambda x: x[::-1], "A"),
    "rolled": case(lambda x: jnp.roll(x, 1), "A"),
    "sliced": case(lambda x: x[1:], "A"),
    "strided": case(lambda x: x[::2], "A"),
    "split": case(lambda x: jnp.split(x, N)[0], "A"),
    "unstacked": case(lambda x: jnp.unstack(x)[0], "A"),
    "tiled": case(lambda x: jnp.tile(x, 2), "A"),
    "repeated": case(lambda x: jnp.repeat(x, 2)[:N] + x, "A"),
    "reshaped": case(lambda x: x.reshape(-1), "A B"),
    "reshaped and back": case(lambda x: x.reshape(-1).reshape(N, N).T, "A B"),
    "concatenated": case(lambda x, y: jnp.concatenate([x, y]), "A", "A"),
    "products of two labels": case(lambda x, y: jnp.einsum("ab,ab->a", x, y), "A 3", "B 3"),
    "a product across labels": case(lambda x, w: x @ w, "A B", "A B"),
    "accumulated": case(lambda x: jnp.cumsum(x), "A"),
    "its own convolution": case(lambda x: jnp.convolve(x, jnp.ones(3), "same"), "A"),
    "its spectrum": case(lambda x: jnp.abs(jnp.fft.fft(x)), "A"),
    "a factorisation": case(lambda x: jnp.linalg.cholesky(x), "A A"),
    "a fold that is no sum": case(
        lambda x: lax.reduce(x, jnp.int32(0), lambda a, b: 2 * a - b, (0,)), "int A"
    ),
    "a callback": case(lambda x: jax.pure_callback(lambda y: np.cumsum(y), x, x), "A"),
    "the gradient of the first": case(lambda x: jax.grad(lambda y: y[0] ** 2)(x), "A"),
    "the gradient of a sum that goes on": case(
        lambda x: jax.grad(lambda y: jnp.sum(jnp.cumsum(y) ** 2))(x), "A"
    ),
    "a branch on the first": case(lambda x: lax.cond(x[0] > 0, lambda: 1.0, lambda: 2.0), "A"),
    "a branch that reverses": case(
        lambda x, c: lax.cond(c, lambda y: y, lambda y: y[::-1], x), "A", "bool"
    ),
    "a loop until the first": case(
        lambda x: lax.while_loop(lambda c: c[0] < 1, lambda c: c + 1, x), "A"
    ),
    "carried over a label": case(lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x)[1], "A"),
    "carried over a label to the end": case(
        lambda x: lax.scan(lambda c, y: (0.5 * c + y, None), 0.0, x)[0], "A"
    ),
    "counted over a label": case(lambda x: lax.scan(lambda c, y: (c + 1, y * c), 0, x)[1], "int A"),
    "accumulated turns of loops": case(
        lambda x: jnp.cumsum(jax.vmap(turns)(x)),
        "A",
    ),
    "a map over two labels": case(lambda x, y: lax.map(lambda r: r[0] + r[1], (x, y)), "A", "B"),
    "a map over a label and numbers": case(
        lambda x: lax.map(lambda r: r[0] * r[1], (x, jnp.arange(N))), "int A"
    ),
    "constant in the first round only": case(
        lambda x: x + lax.fori_loop(0, N, lambda i, c: c.at[i].set(1.0), jnp.zeros(N)), "A"
    ),
    "constant in the first two rounds only": case(
        lambda x, y: x + lax.scan(lambda c, _: ((c[1], c[2], y), 0), zeros(3), None, 4)[0][0],
        "A",
        "B",
    ),
    "numbers carried late": case(
        lambda x: (
            x
            + lax.scan(lambda c, _: ((c[1], c[1] + jnp.arange(N)), 0), zeros(2, int), None, 3)[0][0]
        ),
        "int A",
    ),
}
FINE_ORDER = {
    "sorted": case(lambda x: jnp.sort(x), "A"),
    "ranked": case(lambda x: x[jnp.argsort(x)], "A"),
    "the median": case(lambda x: jnp.median(x), "A"),
    "normalised": case(lambda x: jax.nn.softmax(x - jnp.mean(x)), "A"),
    "a diagonal": case(lambda x: x * jnp.eye(N), "A A"),
    "a constant": case(lambda x: x + jnp.tile(jnp.ones(1), N), "A"),
    "a map": case(lambda x: lax.map(jnp.tanh, x), "A"),
    "a loop for each": case(
        lambda x: jax.vmap(lambda r: lax.while_loop(lambda c: c < 5, lambda c: c * 2 + 1, r))(x),
        "A",
    ),
    "the gradient": case(lambda x: jax.grad(lambda y: jnp.sum(jnp.tanh(y)))(x), "A"),
    "the second derivative": case(lambda x: jax.hessian(lambda y: jnp.sum(y**3))(x), "A"),
    "over ordered rounds": case(lambda x: lax.scan(lambda c, y: (c + y, c), 0.0, x)[1], "3"),
    "each in its row": case(lambda x: jnp.cumsum(x, axis=1), "A 3"),
}

OTHER_SIZES = {
    "moved into range": case(lambda x, p: pick(x, p, "clip"), "s", "@A"),
    "filled": case(lambda x, p: pick(x, p, "fill"), "s", "@A"),
    "a constant": case(lambda x, p: jnp.ones_like(x)[p], "s", "@A"),
    "a constant, filled": case(lambda x, p: pick(jnp.ones_like(x), p, "fill"), "s", "@A"),
    "written": case(lambda x, p: jnp.zeros_like(x).at[p].set(1.0), "s", "@A"),
    "added": case(lambda x, p: jnp.zeros_like(x).at[p].add(1.0, mode="drop"), "s", "@A"),
}
ALL = {
    f"{group}: {name}": one
    for group, cases in (("index", INDICES), ("position", POSITIONS), ("order", ORDER))
    for name, one in cases.items()
}
ALL_FINE = FINE_INDICES | FINE_POSITIONS | FINE_ORDER


@pytest.mark.parametrize("one", **ids(ALL))
@pytest.mark.parametrize("randomness", ["pathwise", "exchangeable"])
def test_it_is_refused(one: Case, randomness: str):
    assert not any(accepted(one, randomness))


@pytest.mark.parametrize("one", **ids(ALL_FINE))
@pytest.mark.parametrize("randomness", ["pathwise", "exchangeable"])
def test_its_like_that_is_right_is_accepted(one: Case, randomness: str):
    assert all(accepted(one, randomness))


@pytest.mark.parametrize("one", **ids(OTHER_SIZES))
@pytest.mark.parametrize("size", [2, 4])
def test_positions_are_not_read_or_written_in_an_axis_of_another_size(one: Case, size: int):
    assert not any(accepted(one, sizes=SIZES | {"s": size}))


def test_sizes_are_numbers_but_positions_made_of_them_are_ordered():
    fine = proofs.certify(lambda x: x * x.shape[0] + x.shape[0] % 2, "A", "A")
    assert fine.verdict == "PROVED", fine
    for f, out in (
        (lambda x: lax.dynamic_index_in_dim(x, x.shape[0] - 1, keepdims=False), ""),
        (lambda x: jnp.argmax(x) == x.shape[0] - 1, "bool"),
        (lambda x: x * (jnp.arange(x.shape[0]) % x.shape[0]), "int A"),
        (lambda x: x * jnp.arange(2 * x.shape[0])[: x.shape[0]], "int A"),
        (lambda x: jnp.concatenate([x, x]).reshape(2, x.shape[0])[0], "A"),
    ):
        certificate = proofs.certify(f, "int A" if out == "int A" else "A", out)
        assert not certificate, certificate


def test_a_python_branch_on_one_size_is_found_by_the_sweep():
    certificate = proofs.certify(lambda x: jnp.cumsum(x) if x.shape[0] == 8 else x, "A", "A")
    assert certificate.verdict == "REFUTED"


def test_a_python_branch_on_two_sizes_that_are_equal_is_found_by_the_sweep():
    def meet(x: Array, y: Array) -> Array:
        return x + y if x.shape[0] == y.shape[0] else x

    assert not proofs.certify(meet, ("A", "B"), "A")


def test_a_label_of_size_one_proves_nothing_about_others():
    first = case(lambda x: x[0], "A")
    assert accepted(first, sizes={"A": 1}) == [True]
    assert not proofs.certify(lambda x: x[0], "A", "")


CLAIMS = {
    "of another size": (lambda x: jnp.zeros(2), "A", "A"),
    "of the size of another label": (lambda x, y: jnp.zeros(x.shape[0]), ("A", "B"), "B"),
    "of another fixed size": (lambda x: jnp.zeros(2), "A", "4"),
    "of an ordered axis of another size": (lambda x: jnp.zeros(2), "A", ".A"),
    "of too many axes": (lambda x: x, "A", "A A"),
    "of truths": (lambda x: x, "A", "bool A"),
    "of positions, which are numbers": (lambda x: jnp.zeros((), int), "A", "@A"),
    "of positions, which may be none": (lambda x: jnp.full((), -1), "A", "@A"),
    "of numbers, which are positions": (lambda x: jnp.argmax(x), "A", "int"),
    "of ordered positions": (lambda x: jnp.arange(x.shape[0]), "A", ".A @A"),
    "of half a diagonal": (lambda x: jnp.eye(x.shape[0]), "A", "A .A"),
    "of a diagonal across labels": (lambda x: jnp.eye(*x.shape), "A B", "A B"),
}


@pytest.mark.parametrize("claim", **ids(CLAIMS))
@pytest.mark.parametrize("sizes", [None, {"A": 3, "B": 3}], ids=["all sizes", "size 3"])
def test_a_claim_that_does_not_fit_the_output_is_refused(claim: tuple, sizes: Any):
    function, ins, out = claim
    if out == "B" and sizes is not None:
        sizes = {"A": 3, "B": 4}
    try:
        certificate = proofs.certify(function, ins, out, sizes=sizes)
    except ValueError:
        return
    assert not certificate, certificate


def test_a_chooser_out_of_range_is_no_crash():
    accepted(case(lambda x, y: lax.select_n(jnp.full(N, 7), x, y, x), "A", "A"))
