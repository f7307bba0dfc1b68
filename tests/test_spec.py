"""Specifications: their grammar, the action of permutations, and what is drawn from them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.core import InconclusiveDimensionOperation

from proofs import _spec
from proofs._spec import Axis, Spec, act, draw, parse, permutations, symbolic_sizes

A, B, T, FOUR = Axis("A", "A"), Axis("B", "B"), Axis("t", None), Axis(4, None)
GRAMMAR = {
    "": Spec(()),
    "A": Spec((A,)),
    "A B 4": Spec((A, B, FOUR)),
    "  A   B  4 ": Spec((A, B, FOUR)),
    "float A": Spec((A,)),
    "t A": Spec((T, A)),
    "4": Spec((FOUR,)),
    "0": Spec((Axis(0, None),)),
    "A A": Spec((A, A)),
    ".B": Spec((Axis("B", None),)),
    "A .A": Spec((A, Axis("A", None))),
    ".t": Spec((T,)),
    "Sensors h1": Spec((Axis("Sensors", "Sensors"), Axis("h1", None))),
    "int": Spec((), kind="int"),
    "int t": Spec((T,), kind="int"),
    "bool A": Spec((A,), kind="bool"),
    "key": Spec((), kind="key"),
    "key A t": Spec((A, T), kind="key"),
    "@B": Spec((), "B", False, "int"),
    "@B?": Spec((), "B", True, "int"),
    "t @B": Spec((T,), "B", False, "int"),
    "int t @B?": Spec((T,), "B", True, "int"),
    "A @Sensors": Spec((A,), "Sensors", False, "int"),
}


@pytest.mark.parametrize("text", GRAMMAR)
def test_the_grammar(text):
    assert parse(text) == GRAMMAR[text]


@pytest.mark.parametrize("text", GRAMMAR)
def test_what_is_printed_can_be_read_again(text):
    spec = parse(text)
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


def test_what_is_printed_is_as_it_is_written():
    for text in ("", "A B 4", "t A", "A .A", "bool A", "key", "int t", "t @B", "@B?", "key A t"):
        assert str(parse(text)) == text
    assert str(parse("int t @B")) == "t @B"
    assert str(parse("float A")) == "A"


BAD = {
    "4.5": "'4.5' is not an axis",
    "A-1": "'A-1' is not an axis",
    "-1": "'-1' is not an axis",
    "..A": "'..A' is not an axis",
    ".4": "'.4' is not an axis",
    "_a": "'_a' is not an axis",
    "A, B": "'A,' is not an axis",
    "...": "'...' is not an axis",
    "A int": "'int' is not an axis",
    "key key": "'key' is not an axis",
    "A min": "'min' is not an axis",
    "max": "'max' is not an axis",
    "@B A": "'@B' is not an axis",
    "A @b": "'@b' should name a label",
    "A @": "'@' should name a label",
    "A @4": "'@4' should name a label",
    "A @B??": "'@B[?][?]' should name a label",
    "A @.B": "'@[.]B' should name a label",
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_read_is_refused_with_the_word_at_fault(text):
    with pytest.raises(ValueError, match=BAD[text]) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("thing", [4, 2.5, b"A"])
def test_what_is_no_string_is_refused(thing):
    with pytest.raises(ValueError, match="A specification is a string such as 'A B 4', got"):
        parse(thing)


def test_labels_and_names_are_listed_once_in_order():
    spec = parse("t B A .C B @D")
    assert spec.labels == ("B", "A", "D")
    assert spec.names == ("t", "B", "A", "C", "D")
    labels, others = _spec.names(("t B", {"x": "A .C"}), "B", ["@D", ...])
    assert labels == ["B", "A", "D"] and others == ["t", "C"]


def test_trees_are_read_leaf_by_leaf_and_dots_claim_nothing():
    read = _spec.parse_tree({"x": ("A", ...), "y": parse("B")})
    assert read == {"x": (parse("A"), ...), "y": parse("B")}
    assert _spec.leaves(read) == [parse("A"), parse("B")]


def test_shapes_and_types():
    sizes = {"A": 3, "t": 2, "B": 5}
    assert parse("A .B t 4").shape(sizes) == (3, 5, 2, 4)
    dtypes = {"A": jnp.float32, "int A": jnp.int32, "bool A": jnp.bool_, "A @B": jnp.int32}
    for text, dtype in dtypes.items():
        aval = parse(text).aval(sizes)
        assert aval.shape == (3,) and aval.dtype == dtype
    key = parse("key t").aval(sizes)
    assert key.shape == (2,) and key.dtype == jr.key(0).dtype
    with jax.enable_x64(True):
        assert parse("A").aval(sizes).dtype == jnp.float64
        assert parse("A @B").aval(sizes).dtype == jnp.int32


# ------------------------------------------------------------------------------------- the action

SIZES = {"A": 3, "B": 4, "t": 2}
TREE = {
    "floats": "A B 5",
    "same twice": ("A A", "B .B t"),
    "bools": "bool B",
    "positions": ("t @B", "A @A"),
    "perhaps": "t A @B?",
    "still": "t 3",
    "scalar": "",
    "keys": "key A",
}


def group(seed: int) -> dict:
    return permutations(["A", "B"], SIZES, seed)


def raw(x) -> np.ndarray:
    return np.asarray(jr.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def assert_same(one, other):
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(raw(x), raw(y))


def as_jax(values):
    return jax.tree.map(jnp.asarray, values)


@pytest.mark.parametrize("kind", ["numpy", "jax"])
def test_the_action_of_a_permutation_is_what_it_says(kind):
    convert = np.asarray if kind == "numpy" else jnp.asarray
    order = {"A": [2, 0, 1], "B": [1, 0, 2, 3]}
    x = np.arange(12.0).reshape(3, 4)
    moved = act("A B", convert(x), order)
    assert isinstance(moved, np.ndarray if kind == "numpy" else jax.Array)
    for i in range(3):
        for j in range(4):
            assert moved[i, j] == x[order["A"][i], order["B"][j]]
    np.testing.assert_array_equal(act("A .B", convert(x), order), x[[2, 0, 1]])
    np.testing.assert_array_equal(act("t B", convert(x), order), x[:, [1, 0, 2, 3]])
    # The unit at place 2 comes to place 0, so that who pointed at 2 points at 0 now.
    places = act("t @A", convert(np.array([2, 0, 1, 1], np.int32)), order)
    np.testing.assert_array_equal(places, [0, 1, 2, 2])
    assert places.dtype == np.int32
    perhaps = act("t @A?", convert(np.array([2, -1, -7, 0], np.int32)), order)
    np.testing.assert_array_equal(perhaps, [0, -1, -7, 1])
    both = act("A @A", convert(np.array([0, 2, 2], np.int32)), order)
    np.testing.assert_array_equal(both, [0, 1, 0])


def test_positions_point_at_what_they_pointed_at():
    values = draw({"x": "A", "i": "t @A"}, SIZES, 0)
    moved = act({"x": "A", "i": "t @A"}, values, group(1))
    np.testing.assert_array_equal(moved["x"][moved["i"]], values["x"][values["i"]])


@pytest.mark.parametrize("convert", [lambda values: values, as_jax], ids=["numpy", "jax"])
@pytest.mark.parametrize("seed", range(4))
def test_the_action_is_one_of_a_group(convert, seed):
    values = convert(draw(TREE, SIZES, seed))
    g, h = group(seed), group(seed + 100)
    twice = act(TREE, act(TREE, values, g), h)
    composed = {label: g[label][h[label]] for label in g}
    assert_same(twice, act(TREE, values, composed))
    inverse = {label: np.argsort(order) for label, order in g.items()}
    assert_same(act(TREE, act(TREE, values, g), inverse), values)
    assert_same(act(TREE, values, {"A": range(3), "B": range(4)}), values)


def test_numpy_and_jax_agree():
    values = draw(TREE, SIZES, 3)
    assert_same(act(TREE, values, group(0)), act(TREE, as_jax(values), group(0)))


def test_labels_that_are_left_out_stay():
    values = draw(TREE, SIZES, 0)
    assert_same(act(TREE, values, {}), values)
    moved = act("A B", values["floats"][..., 0], {"B": [3, 2, 1, 0]})
    np.testing.assert_array_equal(moved, values["floats"][..., 0][:, ::-1])


def test_the_action_can_be_traced():
    values = draw({"x": "A", "i": "t @A"}, SIZES, 0)
    moved = jax.jit(lambda v: act({"x": "A", "i": "t @A"}, v, group(1)))(values)
    assert_same(moved, as_jax(act({"x": "A", "i": "t @A"}, values, group(1))))


def test_dots_leave_whatever_is_there_alone():
    values = {"x": np.arange(3), "rest": (np.arange(3), "no array")}
    moved = act({"x": "A", "rest": ...}, values, {"A": [2, 1, 0]})
    assert moved["rest"] is values["rest"]
    np.testing.assert_array_equal(moved["x"], [2, 1, 0])


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 4\) does not fit the axes of 'A'"):
        act("A", np.zeros((3, 4)), {})
    with pytest.raises(ValueError, match="Axis 1 of an array 't B' has size 3, .* of B has 4 ent"):
        act("t B", np.zeros((2, 3)), {"B": range(4)})


# --------------------------------------------------------------------------------------- drawing


def test_draws_have_the_types_and_shapes_that_are_asked_for():
    specs = {**TREE, "ints": "int A B"}
    values = draw(specs, SIZES, 0)
    parsed = _spec.parse_tree(specs)
    leaves, wanted = jax.tree.leaves(values), jax.tree.leaves(parsed)
    for value, spec in zip(leaves, wanted, strict=True):
        aval = spec.aval(SIZES)
        assert value.shape == aval.shape and value.dtype == aval.dtype
        assert isinstance(value, jax.Array if spec.kind == "key" else np.ndarray)


def test_draws_are_in_range_and_reach_all_of_it():
    many = {**SIZES, "t": 300}
    values = draw({"i": "int t", "b": "bool t", "p": "t @B", "o": "t @B?", "f": "t"}, many, 1)
    assert set(values["i"]) == {0, 1, 2, 3, 4}
    assert set(values["b"]) == {False, True}
    assert set(values["p"]) == {0, 1, 2, 3}
    assert set(values["o"]) == {-1, 0, 1, 2, 3}
    assert abs(values["f"].mean()) < 0.3 and 0.8 < values["f"].std() < 1.2


def test_draws_are_the_same_for_the_same_seed_only():
    assert_same(draw(TREE, SIZES, 5), draw(TREE, SIZES, 5))
    one, other = draw(TREE, SIZES, 5), draw(TREE, SIZES, 6)
    assert not np.array_equal(one["floats"], other["floats"])
    assert not np.array_equal(raw(one["keys"]), raw(other["keys"]))


def test_keys_differ_from_each_other_and_there_may_be_none():
    keys = raw(draw("key A t", {"A": 3, "t": 2}, 0)).reshape(6, -1)
    assert len(np.unique(keys, axis=0)) == 6
    assert draw("key t", {"t": 0}, 0).shape == (0,)
    assert draw("key", {}, 0).shape == ()


# ---------------------------------------------------------------------------------- permutations


@pytest.mark.parametrize("seed", range(20))
def test_permutations_are_some_and_move_something_if_that_can_be(seed):
    sizes = {"A": 1, "B": 2, "C": 5, "t": 9}
    orders = permutations(["A", "B", "C"], sizes, seed)
    assert list(orders) == ["A", "B", "C"]
    for label, order in orders.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(sizes[label]))
    assert any(not np.array_equal(p, np.arange(len(p))) for p in orders.values())


def test_permutations_of_one_thing_are_the_identity():
    orders = permutations(["A"], {"A": 1}, 0)
    np.testing.assert_array_equal(orders["A"], [0])
    assert permutations([], {}, 0) == {}


def test_permutations_are_the_same_for_the_same_seed_only():
    sizes = {"A": 20}
    one, again, other = (permutations(["A"], sizes, seed)["A"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


# ------------------------------------------------------------------------------------------ sizes


def test_symbolic_sizes_are_dimensions_of_one_scope():
    sizes = symbolic_sizes(["A", "Sensors", "t"])
    assert list(sizes) == ["A", "Sensors", "t"] and list(map(str, sizes.values())) == [*sizes]
    assert sizes["A"] != sizes["t"]
    shape = jax.ShapeDtypeStruct((sizes["A"], sizes["t"]), jnp.float32)
    swapped = jax.eval_shape(lambda x: x.T, shape)
    assert swapped.shape == (sizes["t"], sizes["A"])


def test_symbolic_sizes_are_at_least_what_is_said():
    assert symbolic_sizes(["A"])["A"] >= 1
    assert symbolic_sizes(["A"], min_size=2)["A"] >= 2
    with pytest.raises(InconclusiveDimensionOperation):
        bool(symbolic_sizes(["A"])["A"] >= 2)
