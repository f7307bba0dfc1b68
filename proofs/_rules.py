"""The rules of the certifier for arithmetic, reductions and changes of shape.

Each rule is a lemma: if the operands of two runs are related by a permutation as their tags say,
so are the results.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from ._rulebook import Unsupported, rule
from ._tags import Clash, Fixed, Label, Tag, Uni, Value, Var, decide, find
from ._walk import Judge

ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    clz complex conj cos cosh digamma div erf erf_inv erfc exp exp2 expm1 floor igamma igamma_grad_a
    igammac imag integer_pow is_finite lgamma log log1p log2 logistic max min mul neg nextafter not
    one_minus_square or
    polygamma population_count pow real reduce_precision regularized_incomplete_beta rem round rsqrt
    shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh
    xor zeta
""".split()
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "eq_to", "le_to", "lt_to")
IDENTITIES = (
    "copy",
    "device_put",
    "name",
    "optimization_barrier",
    "sharding_constraint",
    "stop_gradient",
)


def arithmetic(judge: Judge, values: Sequence[Value]) -> Value:
    """One number for each entry, of plain numbers."""
    values = [judge.plain(value) for value in values]
    pending = tuple(variable for value in values for variable in value.pending)
    return judge.out(judge.join_tags(values), pending=pending)


@rule(*ELEMENTWISE)
def elementwise(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """`f(x_i, y_i, ...)`: acts on each entry alike."""
    name = equation.primitive.name
    if name in ("add", "sub", "mul"):
        neutral = 1 if name == "mul" else 0
        left, right = values
        if right.known is not None and right.known == neutral:
            return judge.out(judge.join_tags(values), **entries(left))
        if name != "sub" and left.known is not None and left.known == neutral:
            return judge.out(judge.join_tags(values), **entries(right))
    return arithmetic(judge, values)


@rule(*COMPARISONS)
def comparison(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Numbers may be compared; positions only for equality, and with what lies outside of them."""
    name = equation.primitive.name
    left, right = values
    if left.positions is not None and right.positions is not None and name in ("eq", "ne"):
        judge.join_entries(values)
        return judge.out(judge.join_tags(values))
    if left.positions is None and right.positions is not None:
        left, right = right, left
        name = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}.get(name, name)
    bound = right.known
    if left.positions is not None and right.positions is None and bound is not None:
        # Positions are 0, 1, ...; those that are optional may also be -1 or below, for none.
        below = bound - 1 if name in ("lt", "ge") else bound  # the greatest number below
        if name in ("lt", "le", "ge", "gt", "eq", "ne") and below < 0:
            if not left.optional:
                return judge.out(judge.join_tags(values), known=name in ("gt", "ge", "ne"))
            if name in ("eq", "ne") or below == -1:
                return judge.out(judge.join_tags(values))
    return arithmetic(judge, values)


@rule("select_n", lazy=True)
def select(judge: Judge, equation: JaxprEqn, values: list) -> Any:
    """One of several arrays for each entry; cases that are never chosen do not count."""
    del equation
    chooser, *cases = values
    if not isinstance(chooser, Value):
        return [chooser]
    chooser = judge.number(judge.use(chooser))
    if chooser.known is not None:
        if not 0 <= int(chooser.known) < len(cases):
            raise Unsupported(f"it chooses case {chooser.known} of {len(cases)}")
        return [cases[int(chooser.known)]]
    for case in cases:
        if not isinstance(case, Value):
            return [case]
    cases = [judge.use(case) for case in cases]
    return judge.out(judge.join_tags([chooser, *cases]), **judge.join_entries(cases))


@rule(*IDENTITIES)
def identity(judge: Judge, equation: JaxprEqn, values: list[Value]) -> list[Value]:
    """The same arrays."""
    del judge, equation
    return list(values)


def holds_positions(dtype: Any) -> bool:
    """Whether a type holds any position that occurs; narrow ones would wrap around."""
    return np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize >= 4


@rule("convert_element_type")
def convert(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Positions stay positions in types of integers that are wide enough."""
    (value,), dtype = values, equation.params["new_dtype"]
    if value.positions is not None and holds_positions(dtype):
        if not (value.optional and np.dtype(dtype).kind == "u"):
            return judge.out(
                value.tags, positions=value.positions, optional=value.optional, known=None
            )
    known = None
    if value.known is not None and np.dtype(dtype).kind in "biu":
        known = np.asarray(value.known).astype(dtype)[()]
    return replace(arithmetic(judge, [value]), known=known)


@rule("bitcast_convert_type")
def bitcast(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """The same bits; a change of width adds or takes away an ordered last axis."""
    value = judge.number(values[0])
    rank = len(equation.outvars[0].aval.shape)  # pyright: ignore[reportAttributeAccessIssue]
    tags = list(value.tags)
    if rank < len(tags):
        in_order(judge, tags.pop(), "reads its bits in the order of")
    elif rank > len(tags):
        tags.append(Fixed(judge.origin()))
    return judge.out(tags)


# --------------------------------------------------------------------------------- reductions


@rule(
    "reduce_sum",
    "reduce_prod",
    "reduce_max",
    "reduce_min",
    "reduce_and",
    "reduce_or",
    "reduce_xor",
)
def reduction(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Sums, products and extremes do not see the order."""
    value, axes = judge.number(values[0]), equation.params["axes"]
    return judge.out([tag for axis, tag in enumerate(value.tags) if axis not in axes])


@rule("argmax", "argmin")
def argument(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Where the extreme stands is a position along the axis, if it stands nowhere else."""
    value, (axis,) = judge.number(values[0]), equation.params["axes"]
    tag = find(value.tags[axis])
    rest = [t for i, t in enumerate(value.tags) if i != axis]
    if isinstance(tag, Fixed | Uni):
        return judge.out(rest)
    if not holds_positions(equation.params["index_dtype"]):
        in_order(judge, tag, "numbers with few bits the positions of")
        return judge.out(rest)
    judge.assume(f"`{equation.primitive.name}` meets no ties")
    return judge.out(rest, positions=tag)


@rule("sort")
def sort(judge: Judge, equation: JaxprEqn, values: list[Value]) -> list[Value]:
    """Sorted keys stand in an order of their own; what is sorted along with them follows."""
    axis, count = equation.params["dimension"], equation.params["num_keys"]
    keys = [judge.number(value) for value in values[:count]]
    payload = values[count:]
    tags = judge.join_tags([*keys, *payload])
    ordered = tags[axis]
    if isinstance(find(ordered), Label | Var) and len(values) > 1:
        if all(isinstance(find(key.tags[axis]), Uni) for key in keys):
            raise Clash(f"it sorts '{ordered}' by keys that are all equal")
        judge.assume("`sort` meets no ties among its keys")
    if not isinstance(find(ordered), Uni):
        tags[axis] = Fixed(judge.origin())
    entries = [{}] * count + [judge.join_entries([value]) for value in payload]
    return [judge.out(tags, i, **entry) for i, entry in enumerate(entries)]


@rule("top_k")
def top_k(judge: Judge, equation: JaxprEqn, values: list[Value]) -> list[Value]:
    """The greatest stand in an order of their own; where they stood are positions."""
    value = judge.number(values[0])
    axis = equation.params.get("axis", len(value.tags) - 1) % len(value.tags)
    tag = find(value.tags[axis])
    tags = list(value.tags)
    tags[axis] = Fixed(judge.origin())
    dtype = equation.outvars[1].aval.dtype  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(tag, Fixed | Uni) or not holds_positions(dtype):
        in_order(judge, tag, "numbers the positions of")
        return [judge.out(tags, 0), judge.out(tags, 1)]
    judge.assume("`top_k` meets no ties")
    return [judge.out(tags, 0), judge.out(tags, 1, positions=tag)]


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Goes through an axis in order."""
    value, axis = judge.number(values[0]), equation.params["axis"]
    tags = list(value.tags)
    tags[axis] = in_order(judge, tags[axis], "goes in order through")
    return judge.out(tags)


@rule("dot_general")
def dot(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Sums over pairs of axes that are permuted alike."""
    left, right = (judge.number(value) for value in values)
    (over_left, over_right), (batch_left, batch_right) = equation.params["dimension_numbers"]

    def pick(value: Value, axes: Sequence[int]) -> Value:
        return replace(value, tags=tuple(value.tags[axis] for axis in axes))

    judge.join_tags([pick(left, over_left), pick(right, over_right)])
    tags = judge.join_tags([pick(left, batch_left), pick(right, batch_right)]) if batch_left else []
    for value, used in ((left, (*over_left, *batch_left)), (right, (*over_right, *batch_right))):
        tags += [tag for axis, tag in enumerate(value.tags) if axis not in used]
    return judge.out(tags)


def in_order(judge: Judge, tag: Tag, doing: str) -> Tag:
    """The tag of an axis whose order the equation sees; refused if it is permuted."""
    tag = find(tag)
    if isinstance(tag, Label):
        raise Clash(f"it {doing} '{tag}'")
    if isinstance(tag, Var):
        decide(tag, judge.origin())
        return find(tag)
    return tag if isinstance(tag, Fixed) else Fixed(judge.origin())


def entries(value: Value) -> dict[str, Any]:
    """What the entries are, where they are only moved."""
    if value.pending:
        raise ValueError("What is pending is decided before a value is used.")
    return {
        "positions": value.positions,
        "optional": value.optional,
        "known": value.known,
    }


def is_one(size: Any) -> bool:
    return isinstance(size, int | np.integer) and size == 1
