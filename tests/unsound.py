"""Small functions that a certifier is asked about, all axes of which have one size."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

import proofs
from proofs import _spec
from proofs._judge import judge

N = 3  # the size of everything: only tags can tell axes apart
SIZES = {"A": N, "B": N, "t": N}


class Case(NamedTuple):
    """A function of arrays of these types."""

    function: Callable
    specs: tuple[str, ...]


def case(function: Callable, *specs: str) -> Case:
    return Case(function, specs)


def traced(case: Case, sizes: Mapping[str, int] = SIZES) -> Any:
    """The program of a case, written for any configuration of JAX."""
    avals = [_spec.parse(text).aval(sizes) for text in case.specs]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return jax.make_jaxpr(case.function)(*avals)


def accepted(
    case: Case, randomness: Any = "pathwise", sizes: Mapping[str, int] = SIZES
) -> list[bool]:
    """Which of the outputs the certifier gives a type."""
    specs = [_spec.parse(text) for text in case.specs]
    found = judge(traced(case, sizes), specs, sizes, randomness=randomness)
    return [not isinstance(value, proofs.Fault) for value in found.outputs]


def ids(cases: dict[str, Any]) -> dict[str, Any]:
    """What `pytest.mark.parametrize` wants."""
    return {"argvalues": list(cases.values()), "ids": list(cases)}
