"""Symmetries of functions that JAX can trace, tested in exact arithmetic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import _spec
from ._execution import as_numpy, at_path, exactly, first_difference


def assert_equivariant(
    fn: Callable,
    ins: PyTree,
    out: PyTree,
    *,
    sizes: Mapping[str, int] | None = None,
    permutations: Mapping[str, Any] | None = None,
    args: Sequence[PyTree] | None = None,
    samples: int = 3,
    seed: int = 0,
) -> None:
    """`fn(g.x) = g.fn(x)` for permutations g of the labelled axes: bit for bit, no tolerance.

    The traced program is run in exact arithmetic (floating numbers read as integers modulo 2^32),
    in which the order of a sum changes nothing, so that programs of any length may be compared.
    There is no form of this for floating numbers: how far apart two right results may be depends
    on what is summed inside of `fn`. For a `vsml.Layer` this is known: see `laws.one_tick`.

    **Arguments:**

    - `fn`: the function, of arrays or trees of them.
    - `ins`: for each argument a specification such as `"A B 4"`, or a tree of them.
    - `out`: the specification of what `fn` returns; `...` claims nothing.
    - `sizes`: of the labels and named axes. Small ones are tried first, so that the failure
        reported is a small one; where smaller sizes raise, they are left out.
    - `permutations`: of each label; by default swaps, rotations and random ones.
    - `args`: what to call `fn` with; random arrays by default.
    - `samples`: how many random arguments to try at each of the sizes.
    - `seed`: of all that is random.

    **Raises:** `AssertionError` where the sides differ, or if every sample met a choice between
    equals (which depends on the order, so that nothing can be compared); `ValueError` where the
    specifications do not fit.
    """
    claim = _spec.parse_tree(out)
    _compare_orders(
        "equivariant", fn, ins, lambda _: claim, sizes, permutations, args, samples, seed
    )


def assert_invariant(
    fn: Callable,
    ins: PyTree,
    *,
    sizes: Mapping[str, int] | None = None,
    permutations: Mapping[str, Any] | None = None,
    args: Sequence[PyTree] | None = None,
    samples: int = 3,
    seed: int = 0,
) -> None:
    """`fn(g.x) = fn(x)` for permutations g of the labelled axes; see `assert_equivariant`."""

    def same(outputs: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x: _spec.Spec(tuple(_spec.Axis(n, None) for n in x.shape)), outputs
        )

    _compare_orders("invariant", fn, ins, same, sizes, permutations, args, samples, seed)


def _compare_orders(
    what: str,
    fn: Callable,
    ins: PyTree,
    out_of: Callable[[PyTree], PyTree],
    sizes: Mapping[str, int] | None,
    permutations: Mapping[str, Any] | None,
    args: Sequence[PyTree] | None,
    samples: int,
    seed: int,
) -> None:
    if samples < 1:
        raise ValueError(f"`samples` must be at least 1, got {samples}.")
    specs = _spec.parse_tree((ins,) if isinstance(ins, str) else tuple(ins))
    labels, others = _spec.names(specs)
    if args is not None:
        tries, samples = [_sizes_of(specs, tuple(args))], 1
    else:
        ladder = _ladder(labels, others, dict(sizes or {}))
        tries = ladder if permutations is None else ladder[-1:]
    compared, tied = 0, 0
    for at in tries:
        asked = at is tries[-1]
        orders = list(_orders(labels, at, seed)) if permutations is None else [permutations]
        if not orders and asked:
            raise ValueError(
                f"There is nothing to permute: the labels are {labels or 'none'}, the sizes {at}. "
                "Give an axis a label such as 'A', and a size of at least 2."
            )
        for sample in range(samples):
            x = _spec.draw(specs, at, seed + sample) if args is None else tuple(args)
            try:
                before = exactly(fn, *x)
            except Exception:
                # Smaller sizes are a courtesy; the last ones are what was asked for.
                if asked:
                    raise
                break
            claim = out_of(before.outputs)
            for g in orders:
                after = exactly(fn, *_spec.act(specs, x, g))
                if before.tied or after.tied:
                    tied += 1
                    continue
                compared += 1
                found = first_difference(_moved(claim, before.outputs, g), after.outputs)
                if found is not None:
                    raise AssertionError(_report(what, fn, specs, claim, at, g, x, found, seed))
    if not compared:
        raise AssertionError(
            f"Nothing was compared: in all {tied} comparisons a choice was made between equal "
            "candidates (`argmax`, `sort` or overwriting `scatter`), which depends on their order. "
            "Use other `args`, or break ties by noise."
        )


def _ladder(labels: list[str], others: list[str], given: dict[str, int]) -> list[dict[str, int]]:
    """Sizes to try, small ones first; those given are the last."""
    unknown = sorted(set(given) - {*labels, *others})
    if unknown:
        raise ValueError(
            f"`sizes` has {', '.join(unknown)}, but the specifications speak of "
            f"{', '.join([*labels, *others]) or 'no sizes at all'}."
        )
    rungs = [
        {name: 2 for name in labels} | {name: 2 for name in others},
        {name: 2 + k % 3 for k, name in enumerate(labels)} | {name: 3 for name in others},
        {name: 5 - k % 3 for k, name in enumerate(labels)} | {name: 3 for name in others},
    ]
    if given:
        top = rungs[-1] | given
        rungs = [{n: min(size, given.get(n, size)) for n, size in rung.items()} for rung in rungs]
        rungs = [*rungs[:2], top]
    return [rung for k, rung in enumerate(rungs) if rung not in rungs[:k]]


def _sizes_of(specs: PyTree, args: tuple) -> dict[str, int]:
    """The sizes that given arguments have, which must agree."""
    sizes: dict[str, int] = {}

    def read(spec: Any, value: Any) -> None:
        shape = np.shape(value)
        if len(shape) != len(spec.axes):
            raise ValueError(f"An argument of shape {shape} does not fit the axes of '{spec}'.")
        for axis, n in zip(spec.axes, shape, strict=True):
            wanted = sizes.setdefault(axis.size, n) if isinstance(axis.size, str) else axis.size
            if n != wanted:
                raise ValueError(
                    f"An argument of shape {shape} does not fit '{spec}': {axis} is {wanted} "
                    f"elsewhere."
                )

    jax.tree.map(lambda spec, value: None if spec is ... else read(spec, value), specs, args)
    return sizes


def _orders(labels: list[str], sizes: Mapping[str, int], seed: int) -> Iterator[dict]:
    """Swaps and rotations, which generate all permutations, and a random one of all labels."""
    identity = {label: np.arange(sizes[label]) for label in labels}
    movable = [label for label in labels if sizes[label] > 1]
    for label in movable:
        swapped = identity[label].copy()
        swapped[:2] = 1, 0
        yield identity | {label: swapped}
    for label in movable:
        if sizes[label] > 2:
            yield identity | {label: np.roll(identity[label], 1)}
    if movable:
        yield _spec.permutations(labels, sizes, seed)


def _moved(claim: PyTree, outputs: PyTree, g: Mapping) -> PyTree:
    try:
        # What nothing is claimed of becomes nothing.
        kept = jax.tree.map(lambda spec, x: None if spec is ... else x, claim, outputs)
        wanted = jax.tree.map(lambda spec: None if spec is ... else spec, claim)
        return jax.tree.map(lambda s, x: None if x is None else _spec.act(s, x, g), wanted, kept)
    except (ValueError, AttributeError) as error:
        shapes = jax.tree.map(lambda x: tuple(np.shape(x)), outputs)
        raise ValueError(
            f"The specification of the output, {_words(claim)}, does not fit what the function "
            f"returns, of shapes {shapes}: {error}"
        ) from error


def _words(claim: PyTree) -> str:
    return str(jax.tree.map(lambda s: "..." if s is ... else str(s), claim))


def _report(
    what: str,
    fn: Callable,
    specs: PyTree,
    claim: PyTree,
    sizes: Mapping[str, int],
    g: Mapping,
    x: tuple,
    found: tuple,
    seed: int,
) -> str:
    path, index, expected, actual, count = found
    right = "fn(x)" if what == "invariant" else "g.fn(x)"
    spec = dict(jax.tree_util.tree_leaves_with_path(claim)).get(path)
    moved = "; ".join(f"{label}: {cycles(order)}" for label, order in g.items())
    lines = [
        f"Not {what}: fn(g.x) is not {right} (in exact arithmetic, seed {seed}).",
        f"    sizes: {', '.join(f'{name}={n}' for name, n in sizes.items())}",
        f"    permutation g: {moved}",
        f"    output {at_path(path)} '{spec}': {count} of {expected.size} entries differ",
        f"    first at {list(index)}: fn(g.x) has {actual[index]}, {right} has {expected[index]}",
    ]
    try:
        outputs = jax.tree.map(as_numpy, fn(*jax.tree.map(jnp.asarray, x)))
        after = _spec.act(specs, jax.tree.map(jnp.asarray, x), g)
        after = jax.tree.map(as_numpy, fn(*after))
        one = dict(jax.tree_util.tree_leaves_with_path(after))[path]
        other = dict(jax.tree_util.tree_leaves_with_path(_moved(claim, outputs, g)))[path]
        gap = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
        lines.append(
            f"    in floating numbers: {one[index]} and {other[index]}; largest gap {gap:.3g}"
        )
    except Exception as error:  # the finding stands without it
        lines.append(f"    in floating numbers: not available ({type(error).__name__})")
    return "\n".join(lines)


def cycles(order: Any) -> str:
    """A permutation as its cycles, such as `(0 1)(2 4 3)`."""
    order, seen, found = [int(i) for i in order], set(), []
    for start in range(len(order)):
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start)
            start = order[start]
        if len(cycle) > 1:
            found.append(f"({' '.join(map(str, cycle))})")
    return "".join(found) or "identity"
