"""How laws and assertions run what they judge: compiled once for each shape, or exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree

from ._exact import evaluate, to_exact
from ._keys import is_key

T = TypeVar("T")


def compiled(f: Callable) -> Callable[..., Any]:
    """Compiled, but not optimised: programs of laws run a few times only."""
    options = {"xla_backend_optimization_level": 0}
    return eqx.filter_jit(f, compiler_options=options)  # pyright: ignore[reportCallIssue]


class Exact(NamedTuple):
    """What came of a function in exact arithmetic.

    - `outputs`: as the function returns them, every floating array as integers modulo 2^32.
    - `tied`: whether a choice between equal candidates was made on the way.
    """

    outputs: PyTree
    tied: bool


def exactly(f: Callable, *args: PyTree) -> Exact:
    """Trace a function and run it in exact arithmetic; see `proofs._exact`.

    The program is kept for as long as `f`, so that functions of a module are compiled once for all
    arguments of the same shapes.

    **Arguments:**

    - `f`: what JAX can trace, returning arrays.
    - `args`: its arguments; leaves that are not arrays are static.

    **Raises:** as `evaluate` in `proofs._exact`.
    """
    arrays, static = eqx.partition(args, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    avals = tuple(jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in leaves)
    exact = [to_exact(x) for x in leaves]
    outputs, tied = _program(f, (structure, avals), static, exact)
    return Exact(jax.tree.map(lambda x: x if _is_key(x) else np.asarray(x), outputs), bool(tied))


@compiled
def _program(f: Callable, arrays: tuple, static: PyTree, exact: list[Array]) -> tuple:
    structure, avals = arrays

    def call(*leaves: Array) -> PyTree:
        return f(*eqx.combine(jax.tree.unflatten(structure, leaves), static))

    jaxpr, shapes = jax.make_jaxpr(call, return_shape=True)(*avals)
    result = evaluate(jaxpr, exact)
    return jax.tree.unflatten(jax.tree.structure(shapes), result.outputs), result.ties


def as_numpy(x: Any) -> np.ndarray:
    """A NumPy array; random keys as the words that they hold."""
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and is_key(x.dtype)


def at_path(path: tuple) -> str:
    """A path within a tree in words; the tree itself if it is a leaf."""
    return jax.tree_util.keystr(path) or "the value"


def first_difference(expected: PyTree, actual: PyTree) -> tuple | None:
    """Path, index, both arrays and the number of differences, of the first leaf with any."""
    others = dict(jax.tree_util.tree_leaves_with_path(actual))
    for path, x in jax.tree_util.tree_leaves_with_path(expected):
        x, y = as_numpy(x), as_numpy(others[path])
        if x.shape != y.shape:
            raise AssertionError(f"{at_path(path)} has the shapes {y.shape} and {x.shape}.")
        differs = (x != y) & ((x == x) | (y == y))  # NaN is itself
        if differs.any():
            return path, first_true(differs), x, y, int(differs.sum())
    return None


def first_true(wrong: np.ndarray) -> tuple[int, ...]:
    """The index of the first entry that is true."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(wrong), np.shape(wrong)))


def with_fields(module: T, **fields: Any) -> T:
    """A module with other values for some of its fields, static ones too."""
    copy = object.__new__(type(module))
    for name, value in {**vars(module), **fields}.items():
        object.__setattr__(copy, name, value)
    return copy
