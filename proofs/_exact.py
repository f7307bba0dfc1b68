"""An evaluator of traced programs that reads every floating number as an integer modulo 2^32.

Sums and products are exact, so they do not depend on their order; `max`, comparisons and sorting
follow the order of int32; every other elementwise primitive is a fixed function as good as random.
A law that holds for real numbers by way of sums, products and such functions alone then holds bit
by bit, for programs of any length, where floating numbers would have drifted apart. A law that
rests on another identity (`exp(a) exp(b) = exp(a + b)`, say) is not seen: such programs fail.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Bool

from ._exact_rules import (
    NotExactError,
    Ties,
    interpret,
    is_float,
    may_tie,
    subjaxprs,
    to_exact as to_exact,
)
from ._rulebook import scan_counts

Path = tuple[int, ...]
OnDraw = Callable[[Path, Array], Array]
_Found = tuple[list[Any], Ties]


class ExactResult(NamedTuple):
    """What came of a program.

    - `outputs`: one array for each output, in the exact domain.
    - `ties`: whether any `argmax`, `argmin`, `top_k` or `sort` that carries others along met equal
        candidates, or any overwriting `scatter` wrote to one place twice: what came of it then
        depends on the order. Ties whose result is thrown away count too.
    """

    outputs: list[Array]
    ties: Bool[Array, ""]


def evaluate(
    jaxpr: ClosedJaxpr, arguments: Sequence[Array], *, on_draw: OnDraw | None = None
) -> ExactResult:
    """Run a program on integers modulo 2^32. Can be compiled.

    Random keys stay what they are, and so do the bits that are drawn from them.

    **Arguments:**

    - `jaxpr`: what `jax.make_jaxpr` makes of a function.
    - `arguments`: one array for each of its inputs, in the exact domain (`to_exact`).
    - `on_draw`: if given, the bits of every draw are replaced by `on_draw(path, bits)`, of the same
        shape and type. The path names the equation that draws by its index, after those of the
        equations around it from the outermost inwards. After the index of a `cond` comes the number
        of the branch, after that of a `while` 0 for the condition and 1 for the body.

    **Returns:**

    An `ExactResult`.

    **Raises:** `NotImplementedError` for a primitive on floating or complex numbers that has no
    exact meaning; `ValueError` for arguments that do not fit, and for symbolic shapes.
    """
    inputs = jaxpr.jaxpr.invars
    if len(arguments) != len(inputs):
        raise ValueError(f"The program has {len(inputs)} inputs, got {len(arguments)} arguments.")
    values = [
        _checked(i, x, v.aval) for i, (x, v) in enumerate(zip(arguments, inputs, strict=True))
    ]
    outputs, ties = _run(jaxpr, values, (), on_draw)
    return ExactResult([jnp.asarray(x) for x in outputs], _array(ties))


def _checked(index: int, argument: Array, aval: Any) -> Array:
    if not all(isinstance(n, int) for n in aval.shape):
        raise ValueError(
            f"Input {index} has the symbolic shape {aval.shape}: trace the program at concrete "
            "sizes to evaluate it."
        )
    argument = jnp.asarray(argument)
    dtype = jnp.dtype(np.int32) if is_float(aval.dtype) else aval.dtype
    if (argument.shape, argument.dtype) != (aval.shape, dtype):
        raise ValueError(
            f"Argument {index} must be {dtype}{list(aval.shape)}, got "
            f"{argument.dtype}{list(argument.shape)}. Did it go through `to_exact`?"
        )
    # Loops want to carry the very type that they began with: no weak types.
    weak = getattr(argument, "weak_type", False)
    return lax.convert_element_type(argument, dtype) if weak else argument


def _run(
    jaxpr: ClosedJaxpr, arguments: Sequence[Any], path: Path, on_draw: OnDraw | None
) -> _Found:
    """The outputs of a program, and whether it met ties; `None` if it cannot."""
    program: Jaxpr = jaxpr.jaxpr
    values: dict[Var, Any] = dict(zip(program.invars, arguments, strict=True))
    for var, const in zip(program.constvars, jaxpr.consts, strict=True):
        values[var] = _constant(const, var.aval)

    def read(atom: Any) -> Any:
        return _constant(atom.val, atom.aval) if isinstance(atom, Literal) else values[atom]

    ties = None
    for index, eqn in enumerate(program.eqns):
        rule = _CONTROL.get(eqn.primitive.name, _step)
        operands = [read(atom) for atom in eqn.invars]
        try:
            results, met = rule(eqn, operands, (*path, index), on_draw)
        except NotExactError as error:
            error.locate(eqn)  # the code of libraries has no line: take that of its call
            raise
        values.update(zip(eqn.outvars, results, strict=True))
        ties = _either(ties, met)
    return [read(atom) for atom in program.outvars], ties


def _constant(x: Any, aval: Any) -> Array:
    # Python numbers take the type that the program gives them, before they are read.
    return to_exact(x if isinstance(x, jax.Array) else np.asarray(x, aval.dtype))


def _either(a: Ties, b: Ties) -> Ties:
    if a is None or b is None:
        return a if b is None else b
    return a | b


def _array(ties: Ties) -> Bool[Array, ""]:
    return jnp.asarray(False) if ties is None else ties


# ------------------------------------------------------------- primitives that call, loop or draw


def _step(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    callee = _callee(eqn)
    return interpret(eqn, values) if callee is None else _run(callee, values, path, on_draw)


def _callee(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The one program that an equation applies to its operands, whatever parameter holds it."""
    programs = list(subjaxprs(eqn))
    if len(programs) != 1 or eqn.primitive.name in _NOT_CALLS:
        return None
    program = programs[0].jaxpr
    outside, inside = (*eqn.invars, None, *eqn.outvars), (*program.invars, None, *program.outvars)
    return programs[0] if list(map(_kind, outside)) == list(map(_kind, inside)) else None


def _kind(atom: Any) -> Any:
    return atom and (getattr(atom.aval, "shape", None), getattr(atom.aval, "dtype", None))


def _draw(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    ((bits,), ties) = interpret(eqn, values)
    if on_draw is None:
        return [bits], ties
    changed = jnp.asarray(on_draw(path, bits))
    if (changed.shape, changed.dtype) != (bits.shape, bits.dtype):
        raise ValueError(
            f"`on_draw` must return {bits.dtype}{list(bits.shape)} at {path}, got "
            f"{changed.dtype}{list(changed.shape)}."
        )
    return [changed], ties


def _scan(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    options, jaxpr = eqn.params, eqn.params["jaxpr"]
    fixed, carried = scan_counts(options)
    end = fixed + carried

    def body(carry: tuple, x: list) -> tuple[tuple, list]:
        before, state = carry
        results, met = _run(jaxpr, [*values[:fixed], *state, *x], path, on_draw)
        state, out = results[: len(state)], results[len(state) :]
        return (_array(_either(before, met)), state), out

    (ties, state), out = lax.scan(
        body,
        (_array(None), values[fixed:end]),
        values[end:],
        length=options["length"],
        reverse=options["reverse"],
        unroll=options["unroll"],
    )
    return [*state, *out], ties if may_tie(jaxpr.jaxpr) else None


def _while(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    test, jaxpr = eqn.params["cond_jaxpr"], eqn.params["body_jaxpr"]
    first = eqn.params["cond_nconsts"]
    second = first + eqn.params["body_nconsts"]

    def condition(state: list) -> tuple[Any, Ties]:
        (go,), met = _run(test, [*values[:first], *state], (*path, 0), on_draw)
        return go, met

    def body(carry: tuple) -> tuple:
        before, old = carry
        new, met = _run(jaxpr, [*values[first:second], *old], (*path, 1), on_draw)
        # Of loops that are vectorised, each has its own condition: those that ended stay as is.
        # What a condition met is found by asking it once more.
        go, asked = condition(old) if may_tie(test.jaxpr) or batched else (None, None)
        if batched:
            new = [_choose(go, x, y) for x, y in zip(new, old, strict=True)]
        return _array(_either(_either(before, met), asked)), new

    batched = test.out_avals[0].shape != ()
    carry = (_array(None), values[second:])
    ties, state = lax.while_loop(lambda carry: jnp.any(condition(carry[1])[0]), body, carry)
    if may_tie(test.jaxpr):
        ties = _either(ties, condition(state)[1])
    return state, ties if may_tie(test.jaxpr) or may_tie(jaxpr.jaxpr) else None


def _choose(where: Any, x: Any, y: Any) -> Array:
    """One of two arrays along the leading axes that both share with the choice."""
    return lax.select(lax.broadcast_in_dim(where, np.shape(x), range(np.ndim(where))), x, y)


def _cond(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    def branch(number: int, jaxpr: ClosedJaxpr) -> Callable:
        def run(*operands: Any) -> tuple[Any, list]:
            results, ties = _run(jaxpr, operands, (*path, number), on_draw)
            return _array(ties), results

        return run

    branches = eqn.params["branches"]
    index = lax.convert_element_type(values[0], np.int32)
    ties, results = lax.switch(
        index, [branch(number, jaxpr) for number, jaxpr in enumerate(branches)], *values[1:]
    )
    return results, ties if any(may_tie(jaxpr.jaxpr) for jaxpr in branches) else None


def _refuse(eqn: JaxprEqn, values: list, path: Path, on_draw: OnDraw | None) -> _Found:
    raise NotExactError(eqn, "it is a program for several devices or for a kernel")


# These carry programs that are not applied to the operands as they are.
_NOT_CALLS = frozenset({"reduce"})

_CONTROL: dict[str, Callable[[JaxprEqn, list, Path, OnDraw | None], _Found]] = {
    "cond": _cond,
    "pallas_call": _refuse,
    "random_bits": _draw,
    "scan": _scan,
    "shard_map": _refuse,
    "while": _while,
    "xla_pmap": _refuse,
}
