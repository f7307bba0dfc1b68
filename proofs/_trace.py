"""From functions and specifications to programs: tracing with symbolic or concrete sizes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr
from jaxtyping import PyTree

from . import _spec

# What is traced here is code of the user: if it has no line of its own, this is not it.
source_info_util.register_exclusion(__file__)


class UnfitError(ValueError):
    """What a function returns does not fit what is claimed of it."""


@dataclass(frozen=True)
class Signature:
    """How a function transforms: the specifications of its arguments and of its result.

    - `ins`: one tree of specifications for each argument.
    - `out`: a tree of specifications; `...` for a part about which nothing is claimed.
    """

    ins: tuple[PyTree, ...]
    out: PyTree

    @classmethod
    def read(cls, ins: PyTree, out: PyTree = None) -> "Signature":
        """A signature from trees of strings, or from text such as `"A B 4, A -> B"`."""
        if isinstance(ins, str) and "->" in ins:
            if out is not None:
                raise ValueError(f"{ins!r} says what comes out; leave `out` out.")
            ins, out = ins.split("->")
        elif out is None:
            raise ValueError("Say what comes out: `out='B'`, or all in one: 'A B, A -> B'.")
        if isinstance(ins, str):
            ins = tuple(part.strip() for part in ins.split(",")) if ins.strip() else ()
        if isinstance(out, str):
            parts = [part.strip() for part in out.split(",")]
            parts = tuple(... if part == "..." else part for part in parts)
            out = parts[0] if len(parts) == 1 else parts
        if not isinstance(ins, tuple | list):
            raise ValueError(f"`ins` must hold one specification for each argument, got {ins!r}.")
        if any(leaf is ... for leaf in jax.tree.leaves(tuple(ins))):
            raise ValueError("`...` claims nothing of a result; each argument needs its type.")
        return cls(tuple(_spec.parse_tree(list(ins))), _spec.parse_tree(out))

    def __str__(self) -> str:
        def words(tree: PyTree) -> str:
            specs = jax.tree.leaves(tree)
            found = ["..." if spec is ... else f"[{spec}]" for spec in specs]
            return ", ".join(found)

        return f"{words(self.ins)} -> {words(self.out)}"

    @property
    def labels(self) -> list[str]:
        """The labels that are permuted."""
        return _spec.names(self.ins, self.out)[0]

    @property
    def names(self) -> list[str]:
        """The names of all sizes."""
        labels, others = _spec.names(self.ins, self.out)
        return labels + others


@dataclass(frozen=True)
class Program:
    """A traced function.

    - `jaxpr`: the program; its inputs are the parameters of the function, then its arguments.
    - `ins`, `titles`: the type and the name of each input.
    - `claims`: the type of each output, or `...`.
    - `places`: the name of each output.
    - `parameters`: the arrays that the function holds, its first inputs.
    - `sizes`: the size of each name.
    """

    jaxpr: ClosedJaxpr
    ins: list[_spec.Spec]
    titles: list[str]
    claims: list[Any]
    places: list[str]
    parameters: list[Any]
    sizes: dict[str, Any]


@contextmanager
def _unchecked_shapes() -> Iterator[None]:
    """Within: jaxtyping checks nothing, as it takes a symbolic size for no size at all."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def trace(fn: Callable, signature: Signature, sizes: Mapping[str, Any]) -> Program:
    """Trace a function for arguments of certain types and sizes.

    Arrays that the function holds, such as the parameters of an Equinox module, become inputs, so
    that what is shown holds for all their values.

    **Raises:** `UnfitError` if the result does not have the structure that the signature says.
    """
    held, rest = eqx.partition(fn, eqx.is_array)
    leaves, structure = jax.tree.flatten((held, signature.ins))
    count = len(jax.tree.leaves(held))
    parameters, specs = leaves[:count], leaves[count:]
    outs: list[Any] = []

    def flat(*values: Any) -> list[Any]:
        own, arguments = jax.tree.unflatten(structure, values)
        result = eqx.combine(own, rest)(*arguments)
        outs.append(_claims(signature.out, result, sizes))
        return jax.tree.leaves(result)

    def shape_of(array: Any) -> Any:
        return jax.ShapeDtypeStruct(array.shape, array.dtype)

    avals = [*map(shape_of, parameters), *(spec.aval(sizes) for spec in specs)]
    symbolic = not all(isinstance(size, int) for size in sizes.values())
    with _unchecked_shapes() if symbolic else nullcontext():
        jaxpr = jax.make_jaxpr(flat)(*avals)
    claims = outs[-1]
    fixed = [_spec.Spec(tuple(_spec.Axis(n, None) for n in p.shape)) for p in parameters]
    titles = [f"the parameter {_name(path)}" for path, _ in _paths(held)]
    titles += [f"argument {_name(path)}" for path, _ in _paths(signature.ins)]
    return Program(
        jaxpr,
        [*fixed, *specs],
        titles,
        [claim for _, claim in claims],
        [place for place, _ in claims],
        parameters,
        dict(sizes),
    )


def _paths(tree: PyTree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).lstrip(".") or "(the whole)"


def _claims(specs: PyTree, result: PyTree, sizes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The name and the claim of each array of a result; `...` speaks for all below it."""
    claims: list[tuple[str, Any]] = []

    def one(path: Any, spec: Any, part: Any) -> None:
        below = _paths(part)
        if spec is not ... and (len(below) != 1 or below[0][0] != ()):
            raise UnfitError(
                f"The result holds {len(below)} arrays at {_name(path)}, but the specification "
                f"there is one, '{spec}'. Give one for each of them, or `...` to claim nothing."
            )
        if spec is not ... and spec.shape(sizes) != jnp.shape(below[0][1]):
            raise UnfitError(
                f"The result at {_name(path)} has shape {jnp.shape(below[0][1])}, which does not "
                f"fit the specification '{spec}'."
            )
        claims.extend((_name((*path, *inner)), spec) for inner, _ in below)

    try:
        jax.tree_util.tree_map_with_path(one, specs, result)
    except UnfitError:
        raise
    except ValueError:
        raise UnfitError(
            f"The result has the structure {jax.tree.structure(result)}, but `out` has "
            f"{jax.tree.structure(specs)}. Give a specification for each array of the result."
        ) from None
    return claims
