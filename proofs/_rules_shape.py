"""The rules of the certifier for changes of shape: what moves entries and makes none."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jax.extend.core import JaxprEqn

from ._rulebook import Unsupported, rule
from ._rules import entries, holds_positions, in_order, is_one
from ._tags import UNI, Fixed, Tag, Uni, Value, Var, find
from ._walk import Judge


def view(value: Value, box: Any, axes: Sequence[int | None]) -> dict[str, Any]:
    """The random keys of a part of a value."""
    if value.key is None:
        return {}
    return {"key": replace(value.key, box=box, axes=tuple(axes))}


def _picked(value: Value, axes: Sequence[int]) -> list[int | None]:
    return [value.key.axes[axis] for axis in axes] if value.key is not None else []


@rule("iota")
def iota(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Positions along an axis: of whichever label its use decides."""
    del values
    shape, axis = equation.params["shape"], equation.params["dimension"]
    tags: list[Tag] = [UNI] * len(shape)
    if not holds_positions(equation.params["dtype"]):
        tags[axis] = Fixed(judge.origin())
        return judge.out(tags)
    tags[axis] = Var(shape[axis], noise=False, origin=judge.origin())
    if isinstance(shape[axis], int) and shape[axis] == 1:
        return judge.out(tags, known=0)
    return judge.out(tags, positions=tags[axis])


@rule("broadcast_in_dim")
def broadcast(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """New axes are constant along themselves."""
    value, places = values[0], equation.params["broadcast_dimensions"]
    rank = len(equation.params["shape"])
    tags: list[Tag] = [UNI] * rank
    axes: list[int | None] = [None] * rank
    for axis, place in enumerate(places):
        tags[place] = value.tags[axis]
        if value.key is not None and value.shape[axis] == equation.params["shape"][place]:
            axes[place] = value.key.axes[axis]
    key = view(value, value.key and value.key.box, axes)
    return judge.out(tags, **entries(value), **key)


@rule("transpose")
def transpose(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Axes in another order."""
    value, order = values[0], equation.params["permutation"]
    key = view(value, value.key and value.key.box, _picked(value, order))
    return judge.out([value.tags[axis] for axis in order], **entries(value), **key)


@rule("squeeze")
def squeeze(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Axes of size 1 go."""
    value = values[0]
    gone = {axis % len(value.tags) for axis in equation.params["dimensions"]}
    kept = [axis for axis in range(len(value.tags)) if axis not in gone]
    key = view(value, value.key and value.key.box, _picked(value, kept))
    return judge.out([value.tags[axis] for axis in kept], **entries(value), **key)


@rule("reshape")
def reshape(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Axes that stay keep their tags; axes that are merged or split must be ordered."""
    value, new = values[0], equation.params["new_sizes"]
    if equation.params.get("dimensions") is not None:
        raise Unsupported("it also transposes")
    tags: list[Tag] = [UNI] * len(new)
    old_axes = [i for i, size in enumerate(value.shape) if not is_one(size)]
    new_axes = [i for i, size in enumerate(new) if not is_one(size)]
    axes: list[int | None] = [None] * len(new)
    while old_axes and new_axes:
        groups = (
            (m, n)
            for total in range(2, len(old_axes) + len(new_axes) + 1)
            for m in range(1, len(old_axes) + 1)
            for n in range(1, len(new_axes) + 1)
            if m + n == total and _product(value.shape, old_axes[:m]) == _product(new, new_axes[:n])
        )
        m, n = next(groups, (len(old_axes), len(new_axes)))
        ins, outs = old_axes[:m], new_axes[:n]
        if m == n == 1:
            tags[outs[0]] = value.tags[ins[0]]
            axes[outs[0]] = value.key.axes[ins[0]] if value.key is not None else None
        elif not all(isinstance(find(value.tags[axis]), Uni) for axis in ins):
            for axis in ins:
                in_order(judge, value.tags[axis], "merges or splits")
            for axis in outs:
                tags[axis] = Fixed(judge.origin())
        old_axes, new_axes = old_axes[m:], new_axes[n:]
    for axis in old_axes:
        in_order(judge, value.tags[axis], "merges or splits")
    for axis in new_axes:
        tags[axis] = Fixed(judge.origin())
    key = view(value, value.key and value.key.box, axes)
    return judge.out(tags, **entries(value), **key)


def _product(shape: Sequence[Any], axes: Sequence[int]) -> Any:
    product: Any = 1
    for axis in axes:
        product = product * shape[axis]
    return product


@rule("slice")
def slicing(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """A part of an axis has fixed positions in it, the whole stays what it is."""
    value, params = values[0], equation.params
    strides = params["strides"] or (1,) * len(value.tags)
    spans = list(zip(params["start_indices"], params["limit_indices"], strides, strict=True))
    tags: list[Tag] = []
    for axis, (start, stop, step) in enumerate(spans):
        tag, size = value.tags[axis], value.shape[axis]
        whole = start == 0 and stop == size and step == 1
        if not whole and not isinstance(find(tag), Uni):
            tag = in_order(judge, tag, "picks elements at fixed positions of")
        tags.append(tag)
        if not whole and value.key is not None:
            found = narrowed(value, axis, start, stop if step == 1 else None)
            value = replace(value, key=replace(value.key, box=found))
    key = view(value, value.key and value.key.box, value.key.axes if value.key else ())
    return judge.out(tags, **entries(value), **key)


def narrowed(value: Value, axis: int, start: Any, stop: Any) -> Any:
    """The box of the keys from `start` to `stop` along an axis; `stop=None`: some of them."""
    if value.key is None or value.key.box is None or value.key.axes[axis] is None:
        return value.key and value.key.box
    root, box = value.key.axes[axis], list(value.key.box)
    known = box[root]
    box[root] = None if known is None or stop is None else (known[0] + start, known[0] + stop)
    return tuple(box)


@rule("rev")
def reverse(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """The other way round, which only an order has."""
    value = judge.use(values[0])
    tags = list(value.tags)
    for axis in equation.params["dimensions"]:
        if not isinstance(find(tags[axis]), Uni):
            tags[axis] = in_order(judge, tags[axis], "reverses")
    return judge.out(tags, **entries(value))


@rule("concatenate", "stack")
def concatenate(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """One after the other along an axis, old or new."""
    stacked = equation.primitive.name == "stack"
    axis = equation.params["axis" if stacked else "dimension"]
    if stacked:
        tags = judge.join_tags(values)
        tags.insert(axis, Fixed(judge.origin()))
    else:
        if len(values) > 1:
            for value in values:
                in_order(judge, value.tags[axis], "puts something before or after")
        tags = judge.join_tags([_without(value, axis) for value in values])
        tags.insert(axis, values[0].tags[axis] if len(values) == 1 else Fixed(judge.origin()))
    columns = stacked or all(is_one(value.shape[axis]) for value in values)
    found = [(value.positions, value.optional) for value in values]
    if any(positions is not None for positions, _ in found):
        if axis == len(tags) - 1 and columns and len(set(found)) > 1:
            return judge.out(tags, parts=tuple(found))
        return judge.out(tags, **judge.join_entries(values))
    return judge.out(tags)


def _without(value: Value, axis: int) -> Value:
    return replace(value, tags=value.tags[:axis] + value.tags[axis + 1 :])


@rule("split", "unstack")
def split(judge: Judge, equation: JaxprEqn, values: list[Value]) -> list[Value]:
    """Parts along an axis."""
    value, axis = values[0], equation.params["axis"]
    tags, unstacks = list(value.tags), equation.primitive.name == "unstack"
    if (unstacks or len(equation.outvars) > 1) and not isinstance(find(tags[axis]), Uni):
        tags[axis] = in_order(judge, tags[axis], "picks elements at fixed positions of")
    kept = [i for i in range(len(tags)) if not (unstacks and i == axis)]
    parts, start = [], 0
    for i, variable in enumerate(equation.outvars):
        aval: Any = variable.aval
        stop = start + (1 if unstacks else aval.shape[axis])
        key = view(value, narrowed(value, axis, start, stop), _picked(value, kept))
        parts.append(judge.out([tags[a] for a in kept], i, **entries(value), **key))
        start = stop
    return parts


@rule("tile")
def tile(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """The array over and over."""
    value, tags = values[0], []
    for tag, times in zip(value.tags, equation.params["reps"], strict=True):
        if not is_one(times) and not isinstance(find(tag), Uni):
            tag = in_order(judge, tag, "repeats")
        tags.append(tag)
    return judge.out(tags, **entries(value))


@rule("pad")
def pad(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Something before, between or after."""
    value, filler = values
    tags = list(value.tags)
    for axis, (low, high, inner) in enumerate(equation.params["padding_config"]):
        if not (low == 0 and high == 0 and inner == 0):
            tags[axis] = in_order(judge, tags[axis], "puts something before or after")
    return judge.out(tags, **judge.join_entries([value, filler]))


@rule("dim_as_value")
def size_of(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """A size is the same for every order."""
    del equation, values
    return judge.out([])
