"""Random keys while draws may be permuted: each may be used at one place only."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import InconclusiveDimensionOperation

from ._tags import Clash


class Branch(int):
    """The number of a branch of a `cond` in the path of an equation; one of them is taken.

    - `loops`: how many loops the `cond` is in.
    """

    loops: int

    def __new__(cls, number: int, loops: int):
        """The branch of a number, in a `cond` in so many loops."""
        branch = super().__new__(cls, number)
        branch.loops = loops
        return branch


@dataclass(frozen=True)
class Keys:
    """Which random keys a value holds, while draws may be permuted.

    - `root`: names the array of keys they belong to.
    - `box`: the part of that array, `(start, stop)` for each axis; `None` for not known.
    - `axes`: the axis of the root that each axis of the value is; `None` where it was added.
    - `constant`: whether they are always the same, so that draws are numbers like others.
    """

    root: tuple
    box: tuple[tuple[Any, Any] | None, ...] | None
    axes: tuple[int | None, ...]
    constant: bool


class Ledger:
    """Which keys were used, and where."""

    def __init__(self):
        self.uses: dict[Any, list] = {}

    def consume(
        self, key: Keys, how: str, site: tuple[int, ...], where: str, data: Any = None
    ) -> None:
        """Note that keys are used up.

        Draws of one site may repeat (in a loop): they are all permuted alike.

        **Raises:** `Clash` if they were used elsewhere.
        """
        if key.constant:
            return
        earlier = self.uses.setdefault(key.root, [])
        for box, before, place, datum, there in earlier:
            if place == site or _exclusive(place, site) or not _overlap(box, key.box):
                continue
            if how == before == "fold_in" and data is not None and datum is not None:
                if data != datum:
                    continue
            raise Clash(
                f"a random key is used a second time, first by {before} at {there}; split it "
                "into one key for each use"
            )
        earlier.append((key.box, how, site, data, where))


def is_key(dtype: Any) -> bool:
    """Whether a type is that of typed random keys."""
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _exclusive(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two equations are in different branches of one `cond`, outside of loops.

    In a loop, one round may take one branch and the next round another, with the same keys.
    """
    for a, b in zip(one, other, strict=False):
        if a != b:
            return isinstance(a, Branch) and isinstance(b, Branch) and not a.loops
    return False


def _overlap(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return True
    for a, b in zip(one, other, strict=True):
        try:
            if a is not None and b is not None and (a[1] <= b[0] or b[1] <= a[0]):
                return False
        except InconclusiveDimensionOperation:
            pass
    return True
