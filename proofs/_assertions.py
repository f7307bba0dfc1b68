"""Assertions about functions that JAX can trace: `AssertionError` says what was found."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._equivariance import (
    assert_equivariant as assert_equivariant,
    assert_invariant as assert_invariant,
    cycles as cycles,
)
from ._execution import as_numpy, at_path, compiled, first_true

TOLERANCE = {
    "float64": (1e-10, 1e-11),
    "float32": (2e-5, 5e-6),
    "float16": (2e-2, 5e-3),
    "bfloat16": (1e-1, 4e-2),
}
"""How far two forms of one short computation may be apart: relative and absolute, by type.

This is for `jit`, `vmap` and NumPy against each other over a few steps. Longer runs drift apart
without bound though both are right; symmetries of those are tested in exact arithmetic.
"""

# ----------------------------------------------------------------------------------------- sizes


def assert_size_free(
    make: Callable[..., PyTree],
    sizes: Sequence[tuple[int, ...]],
    *,
    run: Callable[..., Any] | None = None,
) -> None:
    """The parameters of what `make` builds do not depend on the sizes it is built for.

    **Arguments:**

    - `make`: `make(*sizes)` builds a module, with a random key that is always the same.
    - `sizes`: two or more sets of sizes.
    - `run`: `run(module, *sizes)` runs the module; if given, what was made for the first sizes
        must run (it is only traced) at all the others.

    **Raises:** `AssertionError` if shapes, types, counts or values differ, or a run raises.
    """
    if len(set(map(tuple, sizes))) < 2:
        raise ValueError(f"`sizes` must hold two different sets of sizes at least, got {sizes}.")
    first, built = tuple(sizes[0]), make(*sizes[0])
    known = dict(jax.tree_util.tree_leaves_with_path(eqx.filter(built, eqx.is_array)))
    for other in map(tuple, sizes[1:]):
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(make(*other), eqx.is_array))
        found = dict(leaves)
        lines = [
            f"{at_path(path)}: {_aval(known.get(path))} and {_aval(found.get(path))}"
            for path in {**known, **found}
            if _aval(known.get(path)) != _aval(found.get(path))
        ]
        if lines:
            counts = [sum(x.size for x in tree.values()) for tree in (known, found)]
            raise AssertionError(
                f"The parameters depend on the sizes: at {first} and {other} there are {counts[0]} "
                f"and {counts[1]} numbers.\n    " + "\n    ".join(lines)
            )
        for path, x in known.items():
            if not np.array_equal(as_numpy(x), as_numpy(found[path])):
                raise AssertionError(
                    f"The values of parameters depend on the sizes: {at_path(path)} is not the "
                    f"same at {first} and {other}, for the same random key."
                )
    if run is None:
        return
    for other in sizes:
        try:
            eqx.filter_eval_shape(run, built, *other)
        except Exception as error:
            raise AssertionError(
                f"What was made for the sizes {first} does not run at {tuple(other)}: {error}"
            ) from error


def _aval(x: Any) -> str:
    return "nothing" if x is None else f"{x.dtype}{list(x.shape)}"


# -------------------------------------------------------------------------------- transformations


def assert_same_under_jit(fn: Callable, *args: PyTree) -> None:
    """Compiled, the function gives what it gives without: integers exactly, floats to `TOLERANCE`.

    Arrays in `args` are traced, all else is static.
    """
    _assert_close(_jitted(fn, args), fn(*args), "compiled", "eager")


def assert_same_under_vmap(
    fn: Callable, *batched: PyTree, shared: tuple = (), axis_name: str | None = None
) -> None:
    """Mapped over a first axis, the function gives what it gives one by one; see `TOLERANCE`.

    **Arguments:**

    - `fn`: called as `fn(*shared, *batched)`.
    - `batched`: arguments all of whose arrays have the axis.
    - `shared`: arguments that are the same for all.
    - `axis_name`: the name of the axis, for functions that may ask for it.
    """
    counts = {x.shape[0] for x in jax.tree.leaves(eqx.filter(batched, eqx.is_array))}
    if len(counts) != 1:
        raise ValueError(f"The arrays must share the length of their first axis, got {counts}.")
    together = _vmapped(fn, axis_name, shared, batched)
    for k in range(counts.pop()):
        one = jax.tree.map(lambda x, k=k: x[k] if eqx.is_array(x) else x, batched)
        part = jax.tree.map(lambda x, k=k: x[k], together)
        _assert_close(part, _quick(fn, (*shared, *one)), f"mapped, number {k}", "alone")


def assert_compiles_once(fn: Callable, many_args: Sequence[Sequence[PyTree]]) -> None:
    """Called with each of `many_args`, the function is traced the first time only."""
    traced: list[dict] = []

    def counted(*args: PyTree) -> PyTree:
        traced.append(_signature(args))
        return fn(*args)

    if len(many_args) < 2:
        raise ValueError(f"`many_args` must hold two calls at least, got {len(many_args)}.")
    call = compiled(counted)
    for number, args in enumerate(many_args):
        call(*args)
        if len(traced) > 1:
            before, after = traced[0], traced[-1]
            changes = [
                f"{name}: {before.get(name, 'nothing')}, then {after.get(name, 'nothing')}"
                for name in {**before, **after}
                if before.get(name) != after.get(name)
            ]
            raise AssertionError(
                f"Compiled again at call {number + 1} of {len(many_args)}; what changed:\n    "
                + ("\n    ".join(changes) or "static fields within the modules")
            )


def _signature(args: PyTree) -> dict[str, str]:
    """What the compiler looks at: shapes, types and weak types of arrays, and all else itself."""
    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(args):
        if eqx.is_array(x):
            weak = " (weak type)" if getattr(x, "weak_type", False) else ""
            found[f"argument {at_path(path)}"] = _aval(x) + weak
        else:
            found[f"argument {at_path(path)}"] = f"the static value {x!r}"
    return found


def assert_gradients_finite(fn: Callable, *args: PyTree) -> None:
    """The outputs, and the gradients of their sum by every floating array of `args`, are finite."""
    outputs, slopes = _slopes(fn, args)
    for what, tree in (("output", outputs), ("gradient by argument", slopes)):
        for path, x in jax.tree_util.tree_leaves_with_path(tree):
            bad = ~np.isfinite(np.asarray(x, np.float64))
            if bad.any():
                index = first_true(bad)
                raise AssertionError(
                    f"The {what} {at_path(path)} is not finite: {bad.sum()} of {bad.size} entries, "
                    f"first at {list(index)}, where it is {np.asarray(x)[index]}."
                )


@eqx.filter_jit
def _jitted(fn: Callable, args: tuple) -> PyTree:
    return fn(*args)


@compiled
def _quick(fn: Callable, args: tuple) -> PyTree:
    return fn(*args)


@compiled
def _vmapped(fn: Callable, axis_name: str | None, shared: tuple, batched: tuple) -> PyTree:
    return eqx.filter_vmap(lambda args: fn(*shared, *args), axis_name=axis_name)(batched)  # pyright: ignore[reportArgumentType]


@compiled
def _slopes(fn: Callable, args: tuple) -> tuple[PyTree, PyTree]:
    def total(args: tuple) -> tuple[Any, PyTree]:
        outputs = eqx.filter(fn(*args), eqx.is_inexact_array)
        return sum((x.sum() for x in jax.tree.leaves(outputs)), jnp.zeros(())), outputs

    (_, outputs), slopes = eqx.filter_value_and_grad(total, has_aux=True)(args)
    return outputs, slopes


def _assert_close(actual: PyTree, expected: PyTree, one: str, other: str) -> None:
    if jax.tree.structure(actual) != jax.tree.structure(expected):
        raise AssertionError(
            f"{one} and {other} differ in structure: {jax.tree.structure(actual)} and "
            f"{jax.tree.structure(expected)}."
        )
    others = dict(jax.tree_util.tree_leaves_with_path(expected))
    for path, x in jax.tree_util.tree_leaves_with_path(actual):
        difference = far_apart(x, others[path])
        if difference is not None:
            raise AssertionError(f"{at_path(path)}, {one} and {other}: {difference}")


def far_apart(x: Any, y: Any, slack: float = 1.0) -> str | None:
    """How two arrays differ, in words; `None` if they are the same up to `slack * TOLERANCE`."""
    x, y = as_numpy(x), as_numpy(y)
    if x.shape != y.shape or x.dtype.kind != y.dtype.kind:
        return f"{x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}"
    if x.dtype.name in TOLERANCE:
        rtol, atol = max(TOLERANCE[x.dtype.name], TOLERANCE[y.dtype.name])
        rtol, atol = slack * rtol, slack * atol
        kind, (one, two) = f"rtol {rtol}, atol {atol}", (a.astype(np.float64) for a in (x, y))
        wrong = ~np.isclose(one, two, rtol=rtol, atol=atol, equal_nan=True)
        with np.errstate(invalid="ignore"):
            gap = np.abs(one - two)
    else:
        kind, wrong, gap = "exactly", np.asarray(x != y), None
    if not wrong.any():
        return None
    index = first_true(wrong)
    largest = "" if gap is None else f"; largest gap {np.nanmax(gap):.3g}"
    return (
        f"{wrong.sum()} of {wrong.size} entries differ ({kind}), first at {list(index)}: "
        f"{x[index]} and {y[index]}{largest}"
    )
