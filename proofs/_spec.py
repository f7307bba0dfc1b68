"""Specifications: what a symmetry permutes, written as short strings, and the action itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.export import SymbolicScope, symbolic_shape
from jaxtyping import PyTree

Kind = Literal["float", "int", "bool", "key"]
_KINDS = ("float", "int", "bool", "key")
_RESERVED = ("min", "max", "mod", "floordiv")
_AXIS = re.compile(r"(?P<ordered>\.?)(?P<name>[A-Za-z]\w*)|(?P<size>\d+)")


@dataclass(frozen=True)
class Axis:
    """One axis: a label that may be permuted, or an ordered axis of a named or fixed size."""

    size: str | int
    label: str | None

    def __str__(self) -> str:
        named_by_label = self.label is None and str(self.size)[0].isupper()
        return f".{self.size}" if named_by_label else str(self.size)


@dataclass(frozen=True)
class Spec:
    """The type of one array.

    - `axes`: its axes.
    - `positions`: the label along which its entries are positions, or `None`.
    - `optional`: whether entries may also be negative, "none".
    - `kind`: what it holds.
    """

    axes: tuple[Axis, ...]
    positions: str | None = None
    optional: bool = False
    kind: Kind = "float"

    def __str__(self) -> str:
        words = [self.kind] if self.kind != "float" and self.positions is None else []
        words += [str(axis) for axis in self.axes]
        if self.positions is not None:
            words.append(f"@{self.positions}{'?' if self.optional else ''}")
        return " ".join(words)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that its axes and entries speak of."""
        labels = [axis.label for axis in self.axes if axis.label is not None]
        labels += [] if self.positions is None else [self.positions]
        return tuple(dict.fromkeys(labels))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all sizes it speaks of."""
        sizes = [axis.size for axis in self.axes if isinstance(axis.size, str)]
        return tuple(dict.fromkeys([*sizes, *self.labels]))

    def shape(self, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
        """Its shape for sizes given by name."""
        return tuple(sizes[a.size] if isinstance(a.size, str) else a.size for a in self.axes)

    def aval(self, sizes: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        """Its shape and type, for tracing."""
        dtype: Any = {
            "float": jnp.zeros(()).dtype,
            "int": jnp.dtype("int32"),
            "bool": jnp.dtype(bool),
        }.get(self.kind)
        if self.kind == "key":
            dtype = jax.eval_shape(lambda: jr.key(0)).dtype
        return jax.ShapeDtypeStruct(self.shape(sizes), dtype)


@lru_cache(maxsize=4096)
def parse(text: str) -> Spec:
    """Read one specification.

    `A` (upper case first) is a label whose axis may be permuted, `t` an ordered axis of any size,
    `4` one of a fixed size, `.B` an ordered axis as long as B. A first word `float` (the
    default), `int`, `bool` or `key` says what the array holds. A last word `@B` says that its
    entries are positions along B, `@B?` that they may also be negative, for none.

    **Raises:** `ValueError` if it cannot be read.
    """
    if not isinstance(text, str):
        raise ValueError(f"A specification is a string such as 'A B 4', got {text!r}.")
    words = text.split()
    kind: Kind = "float"
    positions, optional = None, False
    if words and words[0] in _KINDS:
        kind = words.pop(0)  # pyright: ignore[reportAssignmentType]
    if words and words[-1].startswith("@"):
        word = words.pop()
        optional = word.endswith("?")
        positions = word[1:].removesuffix("?")
        if kind not in ("float", "int"):
            raise ValueError(f"In {text!r}, positions ({word}) are integers, and no {kind}.")
        if not re.fullmatch(r"[A-Z]\w*", positions):
            raise ValueError(
                f"In {text!r}, {word!r} should name a label, as in '@B': entries that are "
                "positions along B."
            )
        kind = "int"
    axes = []
    for word in words:
        found = _AXIS.fullmatch(word)
        if found is None or word in (*_KINDS, *_RESERVED):
            raise ValueError(
                f"In {text!r}, {word!r} is not an axis. Axes are labels that may be permuted "
                "('A'), ordered axes ('t', or '.B' for one as long as B) and sizes ('4'); "
                "'key', 'int', 'bool' and 'float' come first, '@B' last."
            )
        if found["size"] is not None:
            axes.append(Axis(int(found["size"]), None))
        else:
            is_label = found["name"][0].isupper() and not found["ordered"]
            axes.append(Axis(found["name"], found["name"] if is_label else None))
    return Spec(tuple(axes), positions, optional, kind)


def parse_tree(tree: PyTree) -> PyTree:
    """Read a tree of specifications; leaves that are `...` stay, they claim nothing."""

    def read(leaf: Any) -> Any:
        return leaf if leaf is ... or isinstance(leaf, Spec) else parse(leaf)

    return jax.tree.map(read, tree)


def leaves(tree: PyTree) -> list[Spec]:
    """All specifications of a tree, without the `...`."""
    return [leaf for leaf in jax.tree.leaves(parse_tree(tree)) if leaf is not ...]


def names(*trees: PyTree) -> tuple[list[str], list[str]]:
    """The labels, and the other named sizes, in the order in which they appear."""
    specs = [spec for tree in trees for spec in leaves(tree)]
    labels = list(dict.fromkeys(label for spec in specs for label in spec.labels))
    sizes = list(dict.fromkeys(name for spec in specs for name in spec.names))
    return labels, [name for name in sizes if name not in labels]


def symbolic_sizes(wanted: Sequence[str], min_size: int = 1) -> dict[str, Any]:
    """A symbolic dimension for each name, all of one scope."""
    constraints = [f"{name} >= {min_size}" for name in wanted] if min_size > 1 else []
    scope = SymbolicScope(constraints)
    return {name: symbolic_shape(name, scope=scope)[0] for name in wanted}


def act(specs: PyTree, values: PyTree, permutations: Mapping[str, Any]) -> PyTree:
    """Let a group element act: `(g.x)[i] = x[p[i]]` along labelled axes.

    **Arguments:**

    - `specs`: strings (or `...`, which leaves a value alone), with the structure of `values`.
    - `values`: arrays.
    - `permutations`: for each label an integer array that holds each position once; labels
        that are left out stay in order.

    **Returns:**

    The permuted arrays. Entries that are positions along a label become the places where the
    permutation puts what stood there; negative ones stay.
    """
    orders = {name: np.asarray(p) for name, p in permutations.items()}
    return jax.tree.map(
        lambda spec, value: value if spec is ... else _act(spec, value, orders),
        parse_tree(specs),
        values,
    )


def _act(spec: Spec, value: Any, orders: Mapping[str, np.ndarray]) -> Any:
    if len(spec.axes) != value.ndim:
        raise ValueError(f"The array of shape {value.shape} does not fit the axes of '{spec}'.")
    for place, axis in enumerate(spec.axes):
        if axis.label is not None and axis.label in orders:
            order = orders[axis.label]
            if value.shape[place] != len(order):
                raise ValueError(
                    f"Axis {place} of an array '{spec}' has size {value.shape[place]}, but the "
                    f"permutation of {axis.label} has {len(order)} entries."
                )
            value = value[(slice(None),) * place + (order,)]
    if spec.positions is not None and spec.positions in orders:
        inverse = np.argsort(orders[spec.positions])
        if isinstance(value, np.ndarray):
            value = np.where(value < 0, value, inverse[np.maximum(value, 0)]).astype(value.dtype)
        else:
            moved = jnp.asarray(inverse, value.dtype)[jnp.maximum(value, 0)]
            value = jnp.where(value < 0, value, moved)
    return value


def draw(specs: PyTree, sizes: Mapping[str, int], seed: int) -> PyTree:
    """Random concrete arrays of a type.

    **Arguments:**

    - `specs`: a tree of strings.
    - `sizes`: an int for each name.
    - `seed`: arrays are the same for the same seed.

    **Returns:**

    NumPy arrays: normal floats, ints from 0 to 4, fair bools, positions in range (with -1 where
    they are optional); keys are typed JAX keys.
    """
    generator = np.random.default_rng(seed)

    def one(spec: Spec) -> Any:
        shape = spec.shape(sizes)
        if spec.kind == "key":
            count = int(np.prod(shape, dtype=int))
            return jr.split(jr.key(int(generator.integers(2**31))), max(count, 1))[:count].reshape(
                shape
            )
        if spec.positions is not None:
            low = -1 if spec.optional else 0
            return generator.integers(low, sizes[spec.positions], shape).astype(np.int32)
        if spec.kind == "int":
            return generator.integers(0, 5, shape).astype(np.int32)
        if spec.kind == "bool":
            return generator.integers(0, 2, shape).astype(bool)
        return np.asarray(generator.normal(size=shape), spec.aval(sizes).dtype)

    return jax.tree.map(one, parse_tree(specs))


def permutations(labels: Sequence[str], sizes: Mapping[str, int], seed: int) -> dict:
    """A random permutation of each label, not all of them the identity if that can be."""
    generator = np.random.default_rng(seed)
    orders = {label: generator.permutation(sizes[label]) for label in labels}
    movable = [label for label in labels if sizes[label] > 1]
    if movable and all(np.all(np.diff(orders[label]) > 0) for label in movable):
        orders[movable[0]] = np.roll(orders[movable[0]], 1)
    return orders
