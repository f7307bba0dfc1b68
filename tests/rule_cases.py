"""Uses of the certifier's rules, right ones and wrong ones: arithmetic, reductions and shapes.

All axes have the same size, so that only what the rules know of them can tell them apart.
"""

import gc
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from jax.sharding import SingleDeviceSharding

from proofs import _spec
from proofs._judge import Randomness, judge
from proofs._rulebook import Fault
from proofs._tags import Value
from proofs._trace import Program, Signature, trace

SIZES: dict[str, Any] = dict.fromkeys(("A", "B", "C", "t", "u"), 3)
HERE = SingleDeviceSharding(jax.devices()[0])
PRIMITIVES = {p.name: p for p in gc.get_objects() if isinstance(p, core.Primitive)}


class Case(NamedTuple):
    """A use of a primitive.

    - `fn`, `ins`: a function that uses it, and the types of its arguments.
    - `expected`: how the outputs are printed if it is accepted, else a pattern for the reason,
        after `unknown:` where the symmetry is not said to be broken.
    - `randomness`, `sizes`: if they are not the usual ones.
    """

    fn: Callable
    ins: str
    expected: str
    randomness: Randomness = "pathwise"
    sizes: dict[str, Any] | Literal["symbolic"] = SIZES


def law(fn: Callable, ins: str, expected: str) -> Case:
    """A case in which draws may be permuted."""
    return Case(fn, ins, expected, "exchangeable")


def sized(fn: Callable, ins: str, expected: str, **sizes: int) -> Case:
    """A case with sizes of its own."""
    return Case(fn, ins, expected, sizes={**SIZES, **sizes})


def bind(name: str, *values: Any, **params: Any) -> Any:
    return PRIMITIVES[name].bind(*values, **params)


def traced(case: Case) -> Program:
    signature = Signature(Signature.read(case.ins, "").ins, ...)
    if isinstance(case.sizes, dict):
        return trace(case.fn, signature, case.sizes)
    return trace(case.fn, signature, _spec.symbolic_sizes(signature.names, min_size=2))


def judged(case: Case, program: Program) -> tuple[list, tuple[str, ...]]:
    found = judge(program.jaxpr, program.ins, program.sizes, randomness=case.randomness)
    return found.outputs, found.assumptions


def look(case: Case) -> tuple[list, tuple[str, ...]]:
    return judged(case, traced(case))


def used(jaxpr: core.ClosedJaxpr | core.Jaxpr) -> set[str]:
    """The names of all primitives of a program."""
    program = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    found = {equation.primitive.name for equation in program.eqns}
    for equation in program.eqns:
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            found |= used(part) if _is_program(part) else set()
    return found


def _is_program(thing: Any) -> bool:
    return isinstance(thing, core.ClosedJaxpr | core.Jaxpr)


def words(output: Value | Fault) -> str:
    if isinstance(output, Fault):
        return f"`{output.primitive}`: {output.reason}"
    return f"{output}{'?' if output.optional else ''}"


ARE_NUMBERS = "positions along 'A' are used as numbers"
A_MEETS_B = "an axis permuted with 'A' meets an axis permuted with 'B'"
MEETS = "an axis permuted with '.' meets an axis permuted with '.'"
A_MEETS_NUMBERS = "positions along 'A' meet numbers"
A_MEETS_ORDER = "an axis permuted with 'A' meets an axis with fixed positions"
OK: dict[str, list[Case]] = {}
BAD: dict[str, list[Case]] = {}


def ok(name: str, *cases: tuple) -> None:
    OK.setdefault(name, []).extend(Case(*case) for case in cases)


def bad(name: str, *cases: tuple) -> None:
    BAD.setdefault(name, []).extend(Case(*case) for case in cases)


# ------------------------------------------------------------------------- functions of one number

ONE = """
    abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt ceil cos cosh digamma erf
    erf_inv erfc exp exp2 expm1 floor is_finite lgamma log log1p logistic neg round rsqrt sign sin
    sinh sqrt square tan tanh
""".split()
TWO = "add sub mul div max min pow rem atan2 nextafter igamma igammac polygamma zeta".split()
INTEGERS = "and or xor".split()
WORDS = "shift_left shift_right_arithmetic shift_right_logical".split()

for name in ONE:
    ok(name, (getattr(lax, name), "A t B", "[A . B]"))
for name in ("abs", "neg", "sign", "square"):
    bad(name, (getattr(lax, name), "t @A", ARE_NUMBERS))
for name in ("not", "population_count", "clz"):
    function = getattr(lax, "bitwise_not" if name == "not" else name)
    ok(name, (function, "int A t", "[A .]"))
    bad(name, (function, "t @A", ARE_NUMBERS))
for name in TWO:
    function = getattr(lax, name)
    ok(
        name,
        (function, "A t, A t", "[A .]"),
        (lambda x, f=function: f(x, jnp.full(x.shape, 0.5)), "A", "[A]"),
    )
    bad(name, (function, "A t, B t", A_MEETS_B), (function, "A, t", A_MEETS_ORDER))
for name in (*INTEGERS, *WORDS):
    function = getattr(lax, f"bitwise_{name}" if name in INTEGERS else name)
    ok(name, (function, "int A B, int A B", "[A B]"))
    bad(name, (function, "int A, int B", A_MEETS_B), (function, "t @A, t @A", ARE_NUMBERS))
for name in ("add_any", "igamma_grad_a"):
    ok(name, (lambda x, y, name=name: bind(name, x, y), "A B, A B", "[A B]"))
    bad(name, (lambda x, y, name=name: bind(name, x, y), "A, B", A_MEETS_B))
for name in ("real", "imag", "conj"):
    ok(name, (lambda x, y, name=name: getattr(lax, name)(lax.complex(x, y)), "A, A", "[A]"))
ok("complex", (lax.complex, "A, A", "[A]"))
bad("complex", (lax.complex, "A, B", A_MEETS_B))
ok("integer_pow", (lambda x: x**3, "A t", "[A .]"))
bad("integer_pow", (lambda i: i**3, "t @A", ARE_NUMBERS))
ok("reduce_precision", (lambda x: lax.reduce_precision(x, 8, 7), "A", "[A]"))
ok(
    "clamp",
    (lambda x: lax.clamp(0.0, x, 1.0), "A B", "[A B]"),
    (lax.clamp, "A, A, A", "[A]"),
)
bad("clamp", (lax.clamp, "A, B, A", A_MEETS_B), (lambda i: lax.clamp(0, i, 2), "t @A", ARE_NUMBERS))
ok("regularized_incomplete_beta", (lax.betainc, "A, A, A", "[A]"))
bad("regularized_incomplete_beta", (lax.betainc, "A, A, B", A_MEETS_B))

# Adding nothing, and multiplying by one, leaves positions what they are.
ok(
    "add",
    (lambda i: (i + 0, 0 + i), "t @A", "[.] @A, [.] @A"),
    (lambda i: i + 0, "t @A?", "[.] @A?"),
)
ok("sub", (lambda i: i - 0, "t @A", "[.] @A"))
ok("mul", (lambda i: (i * 1, 1 * i), "t @A", "[.] @A, [.] @A"))
bad("add", (lambda i: i + 1, "t @A", ARE_NUMBERS), (lambda i: i + i, "t @A", ARE_NUMBERS))
bad("sub", (lambda i: 0 - i, "t @A", ARE_NUMBERS))
bad("mul", (lambda i: i * 0, "t @A", ARE_NUMBERS), (lambda i: 2 * i, "t @A?", ARE_NUMBERS))
bad("add", (lambda x: x + jnp.arange(3.0), "A", f"{A_MEETS_ORDER}, which come from `iota` at .*:"))
bad(
    "add", (lambda x: x + jnp.array([0.0, 0.0, 1.0]), "A", "come from a captured constant of shape")
)
bad("add", (lambda x, y: x + y, "A, .A", f"{A_MEETS_ORDER}, which come from the order of input 1"))

# ------------------------------------------------------------------------------------ comparisons

for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    ok(name, (getattr(lax, name), "A t, A t", "[A .]"))
    bad(name, (getattr(lax, name), "A, B", A_MEETS_B))
for name in ("eq_to", "lt_to", "le_to"):
    ok(name, (lambda x, y, name=name: bind(name, x, y), "A, A", "[A]"))
    bad(name, (lambda x, y, name=name: bind(name, x, y), "A, B", A_MEETS_B))
for name in ("eq", "ne"):
    function = getattr(lax, name)
    ok(
        name,
        (function, "t @A, t @A", "[.]"),
        (function, "t @A, t @A?", "[.]"),
        (lambda i, f=function: f(i, -1), "t @A?", "[.]"),
        (lambda i, f=function: f(i, -4), "t @A?", "[.]"),
        (lambda i, f=function: f(i[:, None], jnp.arange(3)[None]), "t @A", "[. A]"),
    )
    bad(
        name,
        (lambda i, f=function: f(i, 0), "t @A", ARE_NUMBERS),
        (lambda i, f=function: f(i, 2), "t @A?", ARE_NUMBERS),
        (function, "t @A, t @B", A_MEETS_B),
        (function, "t @A, int t", ARE_NUMBERS),
    )
NEGATIVE = {"lt": (0, -1), "ge": (0, -1), "le": (-1, 0), "gt": (-1, 0)}
for name, (right, left) in NEGATIVE.items():
    function = getattr(lax, name)
    ok(
        name,
        (lambda i, f=function, n=right: f(i, n), "t @A?", "[.]"),
        (lambda i, f=function, n=left: f(n, i), "t @A?", "[.]"),
    )
for name, bound in {"lt": 1, "le": 0, "gt": 0, "ge": 1}.items():
    function = getattr(lax, name)
    bad(
        name,
        (lambda i, f=function, n=bound: f(i, n), "t @A", ARE_NUMBERS),
        (lambda i, f=function, n=bound: f(i, n), "t @A?", ARE_NUMBERS),
        (function, "t @A, t @A", ARE_NUMBERS),
    )

# ---------------------------------------------------------------------------------------- choices

ok(
    "select_n",
    (lambda c, x, y: jnp.where(c, x, y), "bool A B, A B, A B", "[A B]"),
    (lambda c, x, y: lax.select_n(c, x, y), "bool, A, A", "[A]"),
    (lambda c, x: jnp.where(c, x, 0.0), "bool A, A", "[A]"),
    (lambda c, i, j: jnp.where(c, i, j), "bool t, t @A, t @A", "[.] @A"),
    (lambda c, i: jnp.where(c, i, -1), "bool t, t @A", "[.] @A?"),
    (lambda c, i, j: jnp.where(c, i, j), "bool t, t @A, t @A?", "[.] @A?"),
    # The case for negative indices is never chosen, and need not be understood.
    (lambda i: jnp.where(i < 0, i + 3, i), "t @A", "[.] @A"),
    (lambda i: jnp.where(i >= 0, i, i * 2), "t @A", "[.] @A"),
)
bad(
    "select_n",
    (lambda c, x, y: jnp.where(c, x, y), "bool A, A, B", A_MEETS_B),
    (lambda c, x, y: jnp.where(c, x, y), "bool B, A, A", MEETS),
    (lambda c, i, j: jnp.where(c, i, j), "bool t, t @A, t @B", MEETS),
    (lambda c, i: jnp.where(c, i, 0), "bool t, t @A", A_MEETS_NUMBERS),
    (lambda c, i, n: jnp.where(c, i, n), "bool t, t @A, int t", A_MEETS_NUMBERS),
)
bad("add", (lambda i: jnp.where(i < 0, i + 3, i), "t @A?", ARE_NUMBERS))

# -------------------------------------------------------------------------------------- identities

ok("copy", (lambda x, i: (jnp.copy(x), jnp.copy(i)), "A, t @A", "[A], [.] @A"))
ok("device_put", (lambda i: jax.device_put(i), "t @A?", "[.] @A?"))
ok("name", (lambda x: checkpoint_name(x, "x"), "A", "[A]"))
ok("optimization_barrier", (lambda x, i: lax.optimization_barrier((x, i)), "A, @B", "[A], [] @B"))
ok("stop_gradient", (lambda x: bind("stop_gradient", x), "A", "[A]"))
ok("sharding_constraint", (lambda x: lax.with_sharding_constraint(x, HERE), "A", "[A]"))
ok(
    "convert_element_type",
    (lambda x: x.astype(jnp.int32), "A", "[A]"),
    (lambda i: i.astype(jnp.uint32), "t @A", "[.] @A"),
    (lambda i: i.astype(jnp.uint32).astype(jnp.int32), "t @A", "[.] @A"),
)
bad(
    "convert_element_type",
    (lambda i: i.astype(jnp.float32), "t @A", ARE_NUMBERS),
    (lambda i: i.astype(jnp.int16), "t @A", ARE_NUMBERS),
    (lambda i: i.astype(jnp.int8), "t @A", ARE_NUMBERS),
    (lambda i: i.astype(bool), "t @A", ARE_NUMBERS),
    (lambda i: i.astype(jnp.uint32), "t @A?", ARE_NUMBERS),
)
ok(
    "bitcast_convert_type",
    (lambda x: lax.bitcast_convert_type(x, jnp.int32), "A t", "[A .]"),
    (lambda x: lax.bitcast_convert_type(x, jnp.int16), "A", "[A .]"),
    sized(lambda x: lax.bitcast_convert_type(x.astype("uint8"), jnp.int32), "A 4", "[A]"),
)
bad(
    "bitcast_convert_type",
    (lambda i: lax.bitcast_convert_type(i, jnp.float32), "t @A", ARE_NUMBERS),
    sized(
        lambda x: lax.bitcast_convert_type(x.astype("uint8"), jnp.int32),
        "A B",
        "reads its bits in the order of 'B'",
        B=4,
    ),
)

# -------------------------------------------------------------------------------------- reductions

for name in ("sum", "prod", "max", "min"):
    function = getattr(lax, f"reduce_{name}")
    ok(
        f"reduce_{name}",
        (lambda x, f=function: f(x, (0,)), "A t B", "[. B]"),
        (lambda x, f=function: f(x, (0, 2)), "A t B", "[.]"),
    )
    bad(f"reduce_{name}", (lambda i, f=function: f(i, (0,)), "t @A", ARE_NUMBERS))
for name in ("and", "or", "xor"):
    function = getattr(lax, f"reduce_{name}")
    ok(f"reduce_{name}", (lambda x, f=function: f(x, (1,)), "int A B", "[A]"))
    bad(f"reduce_{name}", (lambda i, f=function: f(i, (0,)), "t @A", ARE_NUMBERS))
for name in ("argmax", "argmin"):
    function = getattr(lax, name)
    ok(
        name,
        (lambda x, f=function: f(x, 0, jnp.int32), "A t B", "[. B] @A"),
        (lambda x, f=function: f(x, 1, jnp.int32), "A t B", "[A B]"),
        (lambda x, f=function: f(x, 1, jnp.uint32), "A B", "[A] @B"),
        (lambda x, f=function: f(jnp.zeros((3, 3)), 1, jnp.int32), "A", "[~]"),
        (lambda x, f=function: f(x, 1, jnp.int8), "A t", "[A]"),
    )
    bad(
        name,
        (lambda x, f=function: f(x, 0, jnp.int8), "A", "numbers with few bits the positions of"),
        (lambda i, f=function: f(i, 0, jnp.int32), "t @A", ARE_NUMBERS),
    )
ok(
    "sort",
    (jnp.sort, "A", "[.]"),
    (lambda x: jnp.sort(x, axis=0), "A B", "[. B]"),
    (lambda x: jnp.sort(x, axis=1), "A B", "[A .]"),
    (jnp.argsort, "A", "[.] @A"),
    (jnp.argsort, "t", "[.]"),
    (lambda x, y: lax.sort((x, y), num_keys=1), "A, A", "[.], [.]"),
    (lambda x, y: lax.sort((x, y), num_keys=2), "A, A", "[.], [.]"),
    (lambda x, i: lax.sort((x, i), num_keys=1), "A, A @B", "[.], [.] @B"),
    (lambda x, i: lax.sort((x, i), num_keys=1), "A, A @B?", "[.], [.] @B?"),
    (lambda x, y: lax.sort((x, y), dimension=0, num_keys=1), "A B, A B", "[. B], [. B]"),
)
bad(
    "sort",
    (lambda x, y: lax.sort((x, y), num_keys=1), "A, B", A_MEETS_B),
    (lambda x, y: lax.sort((x, y), num_keys=1), "A, t", A_MEETS_ORDER),
    (lambda x: lax.sort((jnp.zeros(3), x), num_keys=1), "A", "by keys that are all equal"),
    (lambda i, x: lax.sort((i, x), num_keys=1), "t @A, t", ARE_NUMBERS),
    (jnp.sort, "t @A", ARE_NUMBERS),
)
ok(
    "top_k",
    (lambda x: lax.top_k(x, 2), "A", "[.], [.] @A"),
    (lambda x: lax.top_k(x, 2), "A B", "[A .], [A .] @B"),
    (lambda x: lax.top_k(x, 2), "A t", "[A .], [A .]"),
)
bad("top_k", (lambda i: lax.top_k(i, 2), "t @A", ARE_NUMBERS))
for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"):
    function = getattr(lax, name)
    ok(name, (lambda x, f=function: f(x, axis=1), "A t", "[A .]"))
    bad(name, (lambda x, f=function: f(x, axis=0), "A t", "goes in order through 'A'"))
bad("cumsum", (lax.cumsum, "t @A", ARE_NUMBERS))
ok(
    "dot_general",
    (lambda x, y: x @ y, "A B, B C", "[A C]"),
    (lambda x, y: x @ y, "A t, t C", "[A C]"),
    (lambda x, y: jnp.einsum("tab,tbc->tac", x, y), "t A B, t B C", "[. A C]"),
    (lambda x, y: jnp.einsum("ab,bc->bac", x, y), "A B, B C", "[B A C]"),
    (lambda x: x @ jnp.ones((3, 3)), "A B", "[A ~]"),
)
bad(
    "dot_general",
    (lambda x, y: x @ y, "A B, A C", "'B' meets an axis permuted with 'A'"),
    (lambda x, y: x @ y, "A B, t C", "'B' meets an axis with fixed positions"),
    (lambda x, y: jnp.einsum("ab,bc->bac", x, y), "A B, C A", "'B' meets .* 'C'"),
    (lambda x: x @ jnp.arange(9.0).reshape(3, 3), "A", "which come from `reshape`"),
    (lambda i, n: i @ n, "t @A, int t", ARE_NUMBERS),
)

# ------------------------------------------------------------------------------------------ shapes

ok(
    "iota",
    (lambda x: jnp.arange(3), "A", "[.]"),
    (lambda x: jax.nn.one_hot(x, 3), "t @A", "[. A]"),
    (lambda i: jax.nn.one_hot(i, 3), "t @A?", "[. A]"),
    (lambda i: jax.nn.one_hot(i, 3), "int t", "[. .]"),
    (lambda x: jnp.eye(3) * x, "A A", "[A A]"),
    (lambda x: x[lax.iota("int32", 3)], "A", "[A]"),
    (lambda x: x[lax.iota("int32", 1)], "1", "[~]"),
)
bad(
    "add",
    (lambda x: x + lax.iota("int32", 3), "int A", A_MEETS_ORDER),
)


def everywhere(x, y):
    """One and the same iota along A, along B and as numbers."""
    n = jnp.arange(3)
    return x[n], y[n], n * 2, jnp.where(n == jnp.argmax(x), x, 0.0)


ok("iota", (everywhere, "A, B", "[A], [B], [.], [A]"))

bad("mul", (lambda x: jnp.eye(3) * x, "A B", A_MEETS_B))
bad("mul", (lambda x: jnp.eye(3, k=1) * x, "A A", A_MEETS_ORDER))
bad("mul", (lambda x: jnp.eye(3)[:, ::-1] * x, "A A", A_MEETS_ORDER))
bad("mul", (lambda x: jnp.tri(3) * x, "A A", A_MEETS_ORDER))
bad("mul", (lambda x: jax.nn.one_hot(1, 3) * x, "A", A_MEETS_ORDER))
bad("eq", (lambda i: jax.nn.one_hot(i, 4), "t @A", A_MEETS_ORDER))
bad("eq", (lambda i: i[:, None] == lax.iota("int8", 3)[None].astype("int32"), "t @A", ARE_NUMBERS))
ok(
    "broadcast_in_dim",
    (lambda x: jnp.broadcast_to(x, (3, 3)), "A", "[~ A]"),
    (lambda x: x[:, None], "A", "[A ~]"),
    (lambda i: jnp.broadcast_to(i, (3, 3)), "t @A?", "[~ .] @A?"),
)
ok(
    "transpose",
    (lambda x: jnp.transpose(x, (2, 0, 1)), "A t B", "[B A .]"),
    (lambda i: i.T, "A t @B", "[. A] @B"),
)
ok("squeeze", (lambda x: lax.squeeze(x, (1,)), "A 1 B", "[A B]"))
ok("squeeze", (lambda i: lax.squeeze(i, (0,)), "1 @A?", "[] @A?"))
ok(
    "reshape",
    (lambda x: x.reshape(3, 1, 3), "A B", "[A ~ B]"),
    (lambda x: x.reshape(3, 2, 2), "A 4", "[A . .]"),
    (lambda x: x.reshape(3, 12), "A t 4", "[A .]"),
    (lambda x: x.reshape(12, 3), "t 4 A", "[. A]"),
    (lambda x: jnp.zeros((3, 3)).reshape(9), "A", "[~]"),
    (lambda i: i.reshape(3, 2, 2), "A 4 @B?", "[A . .] @B?"),
    Case(lambda x: x.reshape(x.shape[0], -1), "A 2 t", "[A .]", sizes="symbolic"),
)
bad(
    "reshape",
    (lambda x: x.reshape(9), "A B", "merges or splits 'A'"),
    (lambda x: x.reshape(3, 6), "A B 2", "merges or splits 'B'"),
    (lambda x: x.reshape(6, 3), "2 A B", "merges or splits 'A'"),
    sized(lambda x: x.reshape(4, 3), "A B", "merges or splits 'A'", B=4),
    sized(lambda x: x.reshape(2, 2), "A", "merges or splits 'A'", A=4),
    Case(lambda x: x.reshape(-1), "A B", "merges or splits 'A'", sizes="symbolic"),
)
ok(
    "slice",
    (lambda x: x[:, 1:], "A t", "[A .]"),
    (lambda x: x[:, ::2], "A 4", "[A .]"),
    (lambda x: jnp.zeros((3, 3))[1:] + x[None], "A", "[~ A]"),
    (lambda i: i[1:], "t @A?", "[.] @A?"),
)
bad(
    "slice",
    (lambda x: x[1:], "A", "picks elements at fixed positions of 'A'"),
    (lambda x: lax.slice(x, (0,), (3,), (2,)), "A", "picks elements at fixed positions of 'A'"),
)
ok("rev", (lambda x: x[:, ::-1], "A t", "[A .]"), (lambda i: i[::-1], "t @A?", "[.] @A?"))
bad("rev", (lambda x: x[::-1], "A t", "reverses 'A'"))
ok(
    "concatenate",
    (lambda x, y: jnp.concatenate([x, y], 1), "A t, A 2", "[A .]"),
    (lambda i, j: jnp.concatenate([i, j]), "t @A, u @A?", "[.] @A?"),
    (lambda i: jnp.concatenate([i, jnp.full(2, -1)]), "t @A", "[.] @A?"),
    (lambda x: bind("concatenate", x, dimension=0), "A", "[A]"),
)
bad(
    "concatenate",
    (lambda x, y: jnp.concatenate([x, y], 0), "A t, A t", "puts something before or after 'A'"),
    (lambda x, y: jnp.concatenate([x, y], 1), "A t, B t", A_MEETS_B),
    (lambda i, j: jnp.concatenate([i, j]), "t @A, t @B", A_MEETS_B),
)
ok(
    "stack",
    (lambda x, y: bind("stack", x, y, axis=1), "A B, A B", "[A . B]"),
    (lambda i, j: bind("stack", i, j, axis=0), "A @B, A @B", "[. A] @B"),
)
bad(
    "stack",
    (lambda x, y: bind("stack", x, y, axis=0), "A, B", A_MEETS_B),
    (lambda i, j: bind("stack", i, j, axis=0), "t @A, t @B", A_MEETS_B),
)
ok(
    "split",
    (lambda x: jnp.split(x, 2, 1), "A 4", "[A .], [A .]"),
    (lambda i: jnp.split(i, [1]), "t @A", "[~] @A, [.] @A"),
    (lambda x: lax.split(x, (3,), 0), "A", "[A]"),
)
bad("split", (lambda x: jnp.split(x, 3), "A B", "picks elements at fixed positions of 'A'"))
ok("unstack", (lambda x: bind("unstack", x, axis=1), "A 2 B", "[A B], [A B]"))
bad("unstack", (lambda x: bind("unstack", x, axis=0), "A", "at fixed positions of 'A'"))
ok("tile", (lambda x: lax.tile(x, (1, 2)), "A t", "[A .]"))
bad("tile", (lambda x: lax.tile(x, (2, 1)), "A t", "repeats 'A'"))
ok(
    "pad",
    (lambda x: jnp.pad(x, ((0, 0), (1, 2))), "A t", "[A .]"),
    (lambda x: lax.pad(x, 0.0, ((0, 0, 0),)), "A", "[A]"),
    (lambda i: lax.pad(i, -1, ((1, 1, 1),)), "t @A", "[.] @A?"),
)
bad(
    "pad",
    (lambda x: lax.pad(x, 0.0, ((1, 0, 0),)), "A", "puts something before or after 'A'"),
    (lambda x: lax.pad(x, 0.0, ((0, 0, 1),)), "A", "puts something before or after 'A'"),
    (lambda x: lax.pad(x, 0.0, ((0, -1, 0),)), "A", "puts something before or after 'A'"),
    (lambda i: lax.pad(i, 0, ((1, 0, 0),)), "t @A", A_MEETS_NUMBERS),
)
ok("dim_as_value", Case(lambda x: x.sum(0) / x.shape[0], "A t", "[.]", sizes="symbolic"))
