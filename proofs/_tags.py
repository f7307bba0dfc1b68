"""Abstract values: how a permutation of the labels acts on each axis and on the entries.

Every axis of an array has a tag. `UNI`: the array is constant along it, so that any permutation
leaves it alone; `Fixed`: positions along it mean something and stay where they are; `Label`: it
is permuted with that label; `Var`: not decided yet (an axis of `iota`, or of noise).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Uni:
    """The tag of an axis along which an array is constant."""

    def __str__(self) -> str:
        return "~"


UNI = Uni()


@dataclass(frozen=True)
class Fixed:
    """The tag of an axis whose positions mean something; `origin` says where they came from."""

    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True)
class Label:
    """The tag of an axis that is permuted with a label."""

    name: str

    def __str__(self) -> str:
        return self.name


class Var:
    """The tag of an axis that is not decided yet, of a certain size.

    - `noise`: whether it belongs to an array of noise, whose uses must all agree. Others come
        from `iota` and are decided anew at each use.
    - `bound`: what it was decided to be.
    """

    __slots__ = ("bound", "noise", "origin", "size")

    def __init__(self, size: Any, noise: bool, origin: str):
        self.size, self.noise, self.origin = size, noise, origin
        self.bound: Tag | None = None

    def __str__(self) -> str:
        return "?"


Tag: TypeAlias = Uni | Fixed | Label | Var


def find(tag: Tag) -> Tag:
    """What a tag was decided to be."""
    while isinstance(tag, Var) and tag.bound is not None:
        tag = tag.bound
    return tag


class Clash(Exception):
    """Two tags that cannot be one."""


def decide(tag: Tag, origin: str) -> None:
    """Decide that an undecided tag has fixed positions."""
    tag = find(tag)
    if isinstance(tag, Var):
        tag.bound = Fixed(tag.origin or origin)


def join(one: Tag, other: Tag, sizes: dict[str, Any]) -> Tag:
    """The tag of what is made elementwise of two arrays. Decides undecided tags.

    **Raises:** `Clash` if the arrays are permuted differently.
    """
    one, other = find(one), find(other)
    if one is other or isinstance(other, Uni):
        return one
    if isinstance(one, Uni):
        return other
    if isinstance(one, Var) and isinstance(other, Var):
        if one.size != other.size:
            decide(one, "")
            decide(other, "")
            return find(one)
        if one.noise:
            one, other = other, one
        one.bound = other
        return other
    if isinstance(one, Var):
        one, other = other, one
    if isinstance(other, Var):
        if isinstance(one, Label) and sizes[one.name] != other.size:
            decide(other, "")
        else:
            other.bound = one
            return one
    one, other = find(one), find(other)
    if isinstance(one, Fixed) and isinstance(other, Fixed):
        return one
    if one == other:
        return one
    raise Clash(_clash(one, other))


def _clash(one: Tag, other: Tag) -> str:
    if isinstance(one, Label) and isinstance(other, Label):
        return f"an axis permuted with '{one}' meets an axis permuted with '{other}'"
    label, fixed = (one, other) if isinstance(one, Label) else (other, one)
    origin = fixed.origin if isinstance(fixed, Fixed) else ""
    came = f", which come from {origin}" if origin else ""
    return f"an axis permuted with '{label}' meets an axis with fixed positions{came}"


@dataclass(frozen=True)
class Value:
    """What is known of an array.

    - `shape`, `dtype`: as traced.
    - `tags`: one for each axis.
    - `positions`: the label (or undecided tag) along which its entries are positions; `None` for
        plain entries, which no permutation changes.
    - `optional`: whether entries that are positions may also be negative, for none.
    - `known`: the number that all its entries are, if known.
    - `pending`: undecided tags that must turn out fixed if this value is used at all.
    - `parts`: for integer arrays whose last axis was put together of single columns, the
        `(positions, optional)` of each column, if they differ.
    - `key`: for random keys, which ones they are.
    """

    shape: tuple[Any, ...]
    dtype: Any
    tags: tuple[Tag, ...]
    positions: Tag | None = None
    optional: bool = False
    known: Any = None
    pending: tuple[Var, ...] = ()
    parts: tuple[tuple[Tag | None, bool], ...] | None = None
    key: Any = None

    def __str__(self) -> str:
        tags = " ".join(str(find(tag)) for tag in self.tags)
        entries = "" if self.positions is None else f" @{find(self.positions)}"
        return f"[{tags}]{entries}"

    @property
    def labels(self) -> bool:
        """Whether any permutation changes it, or may turn out to."""
        tags = [*self.tags, *(tag for tag, _ in self.parts or ()), self.positions]
        return any(isinstance(find(tag), Label | Var) for tag in tags if tag is not None)

    def variables(self) -> list[Var]:
        """The undecided tags in it."""
        tags = [*self.tags, *(tag for tag, _ in self.parts or ()), self.positions]
        found = [find(tag) for tag in tags if tag is not None]
        return [tag for tag in found if isinstance(tag, Var)]

    def resolved(self) -> "Value":
        """The same, with decided tags in place of what was undecided."""
        tags = tuple(find(tag) for tag in self.tags)
        positions = None if self.positions is None else find(self.positions)
        if isinstance(positions, Fixed):
            positions = None
        parts = None
        if self.parts is not None:
            found = [(tag if tag is None else find(tag), may) for tag, may in self.parts]
            parts = tuple((None if isinstance(t, Fixed) else t, may) for t, may in found)
        return replace(self, tags=tags, positions=positions, parts=parts)

    def instance(self, noise: bool = False) -> "Value":
        """The same with fresh undecided tags for each that does not belong to noise.

        **Arguments:**

        - `noise`: whether the fresh ones are to be treated as noise, decided once for all uses.
        """
        value = self.resolved()
        fresh = {v: Var(v.size, noise, v.origin) for v in value.variables() if not v.noise}
        if not fresh:
            return value

        def new(tag: Any) -> Any:
            return fresh.get(tag, tag) if isinstance(tag, Var) else tag

        return replace(
            value,
            tags=tuple(new(tag) for tag in value.tags),
            positions=new(value.positions),
            parts=value.parts and tuple((new(tag), may) for tag, may in value.parts),
        )


def same(one: Sequence[Value], other: Sequence[Value]) -> bool:
    """Whether two lists of values have the same types."""

    def signature(value: Value) -> tuple:
        value = value.resolved()
        known = None if value.known is None else np.asarray(value.known).item()
        return value.tags, value.positions, value.optional, known, value.parts, value.key

    return all(signature(a) == signature(b) for a, b in zip(one, other, strict=True))
