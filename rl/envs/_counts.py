"""A number for all lives, or the least and the most of what is drawn for each."""

from typing import NamedTuple

import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray

Counts = int | tuple[int, int]


class Bounds(NamedTuple):
    """The least and the most, both included."""

    least: int
    most: int


def bounds(value: Counts) -> Bounds:
    """Of a number, itself twice."""
    return Bounds(value, value) if isinstance(value, int) else Bounds(*value)


def checked(name: str, value: Counts, at_least: int) -> Counts:
    """The value.

    **Raises:** `ValueError` for numbers below `at_least`, or a most below its least.
    """
    least, most = bounds(value)
    if least < at_least or most < least:
        raise ValueError(
            f"`{name}` must be at least {at_least}, or (least, most) of them; got {value}."
        )
    return value


def drawn(value: Counts, *, key: PRNGKeyArray) -> Int[Array, ""]:
    """One of the numbers, each as likely."""
    least, most = bounds(value)
    return jr.randint(key, (), least, most + 1)
