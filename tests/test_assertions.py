"""Each assertion accepts what it should, and says of the rest where, by how much and why."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.core import Tracer

import rl
from proofs import _assertions
from proofs._assertions import (
    assert_compiles_once,
    assert_equivariant,
    assert_gradients_finite,
    assert_invariant,
    assert_same_under_jit,
    assert_same_under_vmap,
    assert_size_free,
    cycles,
    far_apart,
)


def message(call) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------------------------ symmetries


def pooled(x, weights):
    """Equivariant over A, M within: what each row says, and what all rows say."""
    h = jnp.tanh(x) @ weights
    return h, h.sum(0), jnp.argmax(h[:, 0])


def leaning(x, weights):
    """The same with a hundredth of the row's number."""
    rows = jnp.arange(x.shape[0]).astype(x.dtype)
    return pooled(x + 0.01 * rows[:, None], weights)


INS, OUT = ("A M", "M 3"), ("A 3", "3", "@A")


def test_equivariant_functions_are_accepted():
    assert_equivariant(pooled, INS, OUT)
    assert_equivariant(pooled, INS, OUT, sizes={"A": 1, "M": 2})
    assert_equivariant(pooled, INS, (..., "3", ...), sizes={"A": 7})
    # Over a long loop, in which floating numbers would drift.
    assert_equivariant(
        lambda x: jax.lax.fori_loop(0, 3000, lambda _, x: jnp.sin(x) + x.sum(), x), "A", "A"
    )


def test_a_failure_shows_the_smallest_case():
    said = message(lambda: assert_equivariant(leaning, INS, OUT, sizes={"A": 9, "M": 4}))
    assert "Not equivariant: fn(g.x) is not g.fn(x)" in said
    assert "sizes: A=2, M=2" in said
    assert "permutation g: A: (0 1)" in said
    assert "output [0] 'A 3': 6 of 6 entries differ" in said
    assert "first at [0, 0]: fn(g.x) has" in said
    assert "in floating numbers:" in said and "largest gap 0.0" in said


def test_the_float_values_of_the_two_sides_are_printed():
    def first(x):
        return 2.0 * x[0]

    x = np.asarray([1.5, 4.0], np.float32)
    said = message(lambda: assert_invariant(first, "A", args=(x,)))
    assert "in floating numbers: 8.0 and 3.0; largest gap 5" in said


def test_sizes_at_which_a_function_does_not_exist_are_left_out():
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(4,)), jnp.float32)
    said = message(lambda: assert_equivariant(lambda x: x * weights, "A", "A", sizes={"A": 4}))
    assert "sizes: A=4" in said
    with pytest.raises(TypeError, match="incompatible shapes"):
        assert_equivariant(lambda x: x * weights, "A", "A", sizes={"A": 5})


def test_given_arguments_and_permutations_are_used():
    x = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    assert_invariant(lambda x: jnp.sort(x[:, 0]), "A 2", args=(x,))
    only_last = lambda x: x[0]  # noqa: E731
    assert_invariant(only_last, "A 2", args=(x,), permutations={"A": [0, 2, 1]})
    said = message(
        lambda: assert_invariant(only_last, "A 2", permutations={"A": [1, 2, 0]}, args=(x,))
    )
    assert "permutation g: A: (0 1 2)" in said


def test_axes_that_are_exchanged_are_noticed_at_equal_sizes():
    said = message(lambda: assert_equivariant(lambda x: x.T, "A B", "A B", sizes={"A": 3, "B": 3}))
    assert "sizes: A=2, B=2" in said


def test_trees_keys_flags_and_positions():
    def choose(inputs, key, mask):
        noise = jr.normal(key, ())
        scores = jnp.where(mask, inputs["scores"] + noise, -1e9)
        best = jnp.argmax(scores)
        return {"best": best, "one": jax.nn.one_hot(inputs["last"], scores.shape[0]), "key": key}

    assert_equivariant(
        choose,
        ({"scores": "A", "last": "@A?"}, "key", "bool A"),
        {"best": "@A", "one": "A", "key": "key"},
        sizes={"A": 5},
    )


def test_modules_are_trees_too():
    layer = eqx.nn.Linear(3, 3, key=jr.key(0))
    spec = eqx.tree_at(lambda m: (m.weight, m.bias), layer, ("3 3", "3"))
    assert_equivariant(
        lambda m, x: jax.vmap(m)(x), (spec, "A 3"), "A 3", args=(layer, jnp.ones((4, 3)))
    )


def test_ties_are_no_evidence():
    said = message(lambda: assert_equivariant(lambda x: jnp.argmax(0.0 * x), "A", "@A"))
    assert "Nothing was compared" in said and "`argmax`" in said
    # A sample that ties is left out, the others count.
    some = lambda x: jnp.argmax(jnp.maximum(x, 0.0))  # noqa: E731
    assert_equivariant(some, "A", "@A", samples=9)


def test_invariant_functions():
    assert_invariant(lambda x: (x.sum(0), x.max(), {"n": jnp.asarray(x.shape[0])}), "A 4")
    said = message(lambda: assert_invariant(lambda x: x, "A"))
    assert said.startswith("Not invariant: fn(g.x) is not fn(x)")


def test_specifications_that_do_not_fit_are_explained():
    with pytest.raises(ValueError, match="output, A 3, does not fit what the function returns"):
        assert_equivariant(pooled, INS, "A 3")
    with pytest.raises(ValueError, match=r"shape \(2, 3\) does not fit the axes of 'A 3 3'"):
        assert_equivariant(pooled, INS, ("A 3 3", ..., ...))
    with pytest.raises(ValueError, match="nothing to permute: the labels are none"):
        assert_invariant(lambda x: x, "4")
    with pytest.raises(ValueError, match="nothing to permute"):
        assert_invariant(lambda x: x, "A", sizes={"A": 1})
    with pytest.raises(ValueError, match="`sizes` has C, but the specifications speak of A, M"):
        assert_equivariant(pooled, INS, OUT, sizes={"C": 3})
    with pytest.raises(ValueError, match=r"shape \(2,\) does not fit the axes of 'A M'"):
        assert_equivariant(pooled, INS, OUT, args=(jnp.ones(2), jnp.ones((2, 3))))
    with pytest.raises(ValueError, match="M is 2 elsewhere"):
        assert_equivariant(pooled, INS, OUT, args=(jnp.ones((4, 2)), jnp.ones((5, 3))))
    with pytest.raises(ValueError, match="`samples` must be at least 1, got 0"):
        assert_invariant(lambda x: x, "A", samples=0)


def test_permutations_are_printed_as_cycles():
    assert cycles([0, 1, 2]) == "identity"
    assert cycles([1, 0, 2]) == "(0 1)"
    assert cycles(np.asarray([1, 0, 3, 4, 2])) == "(0 1)(2 3 4)"


# ----------------------------------------------------------------------------------------- sizes


def test_parameters_that_depend_on_sizes_are_refused():
    key, sizes = jr.key(0), [(1, 2), (2, 3), (4, 1)]

    def run(learner, sensors, actions):
        return learner.init(rl.Spaces(sensors, actions), key=jr.key(1))

    assert_size_free(lambda a, b: rl.SymLA(3, 2, 2, key=key), sizes, run=run)
    said = message(lambda: assert_size_free(lambda a, b: rl.MetaRNN(a, b, 3, key=key), sizes))
    assert "at (1, 2) and (2, 3) there are" in said
    assert ".head.weight: float32[2, 3] and float32[3, 3]" in said
    rigid = lambda a, b: rl.MetaRNN(1, 2, 3, key=key)  # noqa: E731
    said = message(lambda: assert_size_free(rigid, sizes, run=run))
    assert "made for the sizes (1, 2) does not run at (2, 3): This MetaRNN was made" in said


def test_values_that_depend_on_sizes_are_refused():
    said = message(lambda: assert_size_free(lambda n: {"w": np.full(3, 1.0 / n)}, [(2,), (4,)]))
    assert (
        "The values of parameters depend on the sizes: ['w'] is not the same at (2,) and (4,)"
        in said
    )
    with pytest.raises(ValueError, match="two different sets of sizes"):
        assert_size_free(lambda n: {}, [(2,), (2,)])


# -------------------------------------------------------------------------------- transformations


def test_what_is_compiled_is_compared_with_what_is_not():
    assert_same_under_jit(
        lambda x, name: {name: jnp.sin(x).sum(), "n": x.shape[0]}, jnp.ones(3), "a"
    )
    secret = lambda x: x * (1.5 if isinstance(x, Tracer) else 1.0)  # noqa: E731
    said = message(lambda: assert_same_under_jit(secret, jnp.asarray([0.0, 2.0, 1.0])))
    assert "the value, compiled and eager: 2 of 3 entries differ (rtol 2e-05, atol 5e-06)" in said
    assert "first at [1]: 3.0 and 2.0; largest gap 1" in said


def test_whole_numbers_are_compared_exactly():
    off = lambda x: x + int(isinstance(x, Tracer))  # noqa: E731
    said = message(lambda: assert_same_under_jit(off, jnp.asarray(10**6)))
    assert "1 of 1 entries differ (exactly), first at []: 1000001 and 1000000" in said


def test_what_is_mapped_is_compared_with_each_alone():
    x = jnp.arange(6.0).reshape(3, 2)
    assert_same_under_vmap(lambda w, x: (x * w).sum(), x, shared=(jnp.ones(2),))

    def mixed(x):
        try:
            return jax.lax.pmean(x, "lives")
        except NameError:
            return x

    said = message(lambda: assert_same_under_vmap(mixed, x, axis_name="lives"))
    assert "mapped, number 0 and alone" in said
    with pytest.raises(ValueError, match="share the length of their first axis"):
        assert_same_under_vmap(lambda x, y: x, jnp.ones(3), jnp.ones(2))


def test_what_is_compiled_again_is_told():
    x = jnp.ones(3)
    assert_compiles_once(lambda x, name: x, [(x, "a"), (2.0 * x, "a"), (3.0 * x, "a")])
    again = [(x, "a"), (x, "a"), (x, "b")]
    said = message(lambda: assert_compiles_once(lambda x, name: x, again))
    assert "Compiled again at call 3 of 3" in said
    assert "the static value 'a', then the static value 'b'" in said
    said = message(lambda: assert_compiles_once(lambda x: x, [(x,), (x[:2],)]))
    assert "float32[3], then float32[2]" in said
    weak = [(jnp.ones(()),), (jnp.asarray(1.0),)]
    assert "(weak type)" in message(lambda: assert_compiles_once(lambda x: x, weak))
    with pytest.raises(ValueError, match="two calls at least, got 1"):
        assert_compiles_once(lambda x: x, [(x,)])


def test_gradients_that_are_not_finite_are_told():
    x = jnp.asarray([1.0, 0.0])
    assert_gradients_finite(lambda x, n: {"y": jnp.tanh(x), "n": n}, x, 3)
    assert_gradients_finite(lambda x: x.sum(), (x, None)[0])
    said = message(lambda: assert_gradients_finite(jnp.sqrt, x))
    assert (
        "gradient by argument [0] is not finite: 1 of 2 entries, first at [1], where it is inf"
        in said
    )
    said = message(lambda: assert_gradients_finite(lambda x: 1.0 / x, x))
    assert "The output the value is not finite" in said


def test_differences_in_words():
    x = np.ones(2, np.float32)
    assert far_apart(x, x + 1e-6) is None
    assert far_apart(np.asarray([np.nan, np.inf]), np.asarray([np.nan, np.inf])) is None
    assert far_apart(x, np.ones(3)) == "float32[2] and float64[3]"
    assert "float32[2] and int64[2]" in str(far_apart(x, np.ones(2, int)))
    # The coarser type sets the tolerance.
    assert far_apart(x.astype(np.float64), x + 1e-6) is None
    assert far_apart(x.astype(np.float64), x.astype(np.float64) + 1e-6) is not None
    assert set(_assertions.TOLERANCE) == {"float64", "float32", "float16", "bfloat16"}
