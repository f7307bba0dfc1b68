"""The rules of the certifier for reading and writing at indices."""

from dataclasses import replace
from typing import Any

from jax.extend.core import JaxprEqn
from jax.lax import GatherScatterMode

from ._rulebook import Unsupported, rule
from ._rules import entries, in_order, is_one
from ._rules_shape import narrowed, view
from ._tags import UNI, Clash, Fixed, Label, Tag, Uni, Value, Var, decide, find, join
from ._walk import Judge


def place(
    judge: Judge,
    tag: Tag,
    size: Any,
    positions: Tag | None,
    optional: bool,
    drops: bool,
    what: str,
) -> Tag:
    """Check that one element of an axis may be picked by an index; the tag that the axis then has.

    **Arguments:**

    - `tag`, `size`: of the axis that is read or written.
    - `positions`, `optional`: what the index is.
    - `drops`: whether indices out of range are dropped or give a filler (they never do for
        positions along the axis's own label), instead of being moved into range.
    - `what`: words for the message.
    """
    tag = find(tag)
    positions = None if positions is None else find(positions)
    if isinstance(positions, Var) and positions.size != size:
        decide(positions, judge.origin())
        positions = find(positions)
    if positions is None or isinstance(positions, Fixed):
        if isinstance(tag, Uni):
            return tag
        return in_order(judge, tag, f"{what} at a fixed position of")
    if isinstance(positions, Label) and judge.sizes[positions.name] != size:
        raise Clash(
            f"it {what} at a position along '{positions}', in an axis of size {size}, "
            f"not {judge.sizes[positions.name]}"
        )
    if optional and not drops:
        raise Clash(f"it {what} at a position along '{positions}' that may be none (negative)")
    return join(tag, positions, judge.sizes)


def columns(judge: Judge, indices: Value, count: int) -> list[tuple[Tag | None, bool]]:
    """What the numbers in each column of an array of indices are."""
    if indices.parts is not None:
        return list(indices.parts)
    return [(indices.positions, indices.optional)] * count


@rule("dynamic_slice")
def dynamic_slice(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """One element at a position along its axis, or a part of an axis that is not permuted."""
    value, *starts = values
    tags: list[Tag] = []
    for axis, (start, size) in enumerate(zip(starts, equation.params["slice_sizes"], strict=True)):
        tag = value.tags[axis]
        if size == value.shape[axis]:
            tags.append(tag)  # moved into range, the start can only be 0
            continue
        if is_one(size):
            place(judge, tag, value.shape[axis], start.positions, start.optional, False, "reads")
            tags.append(UNI)
        else:
            judge.number(start)
            whole = isinstance(find(tag), Uni)
            tags.append(UNI if whole else in_order(judge, tag, "reads a part of"))
        if value.key is not None:
            value = replace(value, key=replace(value.key, box=narrowed(value, axis, 0, None)))
    key = view(value, value.key and value.key.box, value.key.axes if value.key else ())
    return judge.out(tags, **entries(value), **key)


@rule("dynamic_update_slice")
def dynamic_update_slice(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """One element is written at a position along its axis, or a part of one that is ordered."""
    del equation
    value, update, *starts = values
    tags: list[Tag] = []
    for axis, start in enumerate(starts):
        tag, size = value.tags[axis], value.shape[axis]
        if update.shape[axis] == size:
            tags.append(join(tag, update.tags[axis], judge.sizes))
        elif is_one(update.shape[axis]):
            tag = place(judge, tag, size, start.positions, start.optional, False, "writes")
            if isinstance(find(tag), Uni):
                tag = Fixed(judge.origin())
            tags.append(tag)
        else:
            judge.number(start)
            in_order(judge, update.tags[axis], "writes in the order of")
            tags.append(in_order(judge, tag, "writes a part of"))
    return judge.out(tags, **judge.join_entries([value, update]))


@rule("gather", parts=True)
def gather(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Elements at positions along their axes, the rest of the axes whole."""
    value, indices = values
    value = judge.use(value)
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    mode = GatherScatterMode.from_any(equation.params["mode"])
    drops, clips = mode == GatherScatterMode.FILL_OR_DROP, mode == GatherScatterMode.CLIP
    found = columns(judge, indices, len(numbers.start_index_map))
    inside = True  # whether every index is sure to be in range
    batch = list(indices.tags[:-1])
    in_order(judge, indices.tags[-1], "reads indices in the order of")
    for axis, where in zip(
        numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True
    ):
        batch[where] = join(batch[where], value.tags[axis], judge.sizes)
    left: list[Tag] = []
    for axis, size in enumerate(sizes):
        if axis in numbers.operand_batching_dims:
            continue
        tag, length = value.tags[axis], value.shape[axis]
        if axis in numbers.start_index_map:
            positions, optional = found[numbers.start_index_map.index(axis)]
            if is_one(size):
                place(judge, tag, length, positions, optional, drops, "reads")
                known = positions is not None and isinstance(find(positions), Label | Var)
                inside = inside and known and not optional
                tag = UNI
            else:
                # A window: where it starts is a number, and the axis must be ordered, unless it
                # is whole and moved into range.
                if not (size == length and clips):
                    _plain_column(positions)
                    inside = False
                    tag = (
                        tag
                        if isinstance(find(tag), Uni)
                        else in_order(judge, tag, "reads a part of")
                    )
        elif size != length and not isinstance(find(tag), Uni):
            tag = in_order(judge, tag, "picks elements at fixed positions of")
        if axis not in numbers.collapsed_slice_dims:
            left.append(tag)
    tags: list[Tag] = []
    for axis in range(len(batch) + len(left)):
        tags.append(left.pop(0) if axis in numbers.offset_dims else batch.pop(0))
    made = entries(replace(value, known=None))
    if value.positions is not None and drops and not inside:
        value = judge.number(value)
        made = {}
    return judge.out(tags, **made)


def _plain_column(positions: Tag | None) -> None:
    if positions is None:
        return
    if isinstance(find(positions), Label):
        raise Clash(f"positions along '{find(positions)}' say where a window starts")
    decide(positions, "the start of a window")


@rule(
    "scatter",
    "scatter-add",
    "scatter-sub",
    "scatter-mul",
    "scatter-min",
    "scatter-max",
    parts=True,
)
def scatter(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Elements are written at positions along their axes, the rest of the axes whole."""
    value, indices, updates = values
    value, updates = judge.use(value), judge.use(updates)
    overwrites = equation.primitive.name == "scatter"
    if overwrites and equation.params.get("update_jaxpr") is not None:
        raise Unsupported("it applies a function to what is there")
    if not overwrites:
        value, updates = judge.number(value), judge.number(updates)
    numbers = equation.params["dimension_numbers"]
    mode = GatherScatterMode.from_any(equation.params["mode"])
    drops = mode == GatherScatterMode.FILL_OR_DROP
    found = columns(judge, indices, len(numbers.scatter_dims_to_operand_dims))
    in_order(judge, indices.tags[-1], "reads indices in the order of")
    windows = numbers.update_window_dims
    points = [axis for axis in range(len(updates.tags)) if axis not in windows]
    batch = [
        join(updates.tags[axis], tag, judge.sizes)
        for axis, tag in zip(points, indices.tags[:-1], strict=True)
    ]
    tags: list[Tag] = [UNI] * len(value.tags)
    batched = dict(
        zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True)
    )
    for axis, where in batched.items():
        tags[axis] = batch[where] = join(value.tags[axis], batch[where], judge.sizes)
    if overwrites:
        for where, tag in enumerate(batch):
            if where not in batched.values() and not isinstance(find(tag), Uni):
                batch[where] = _written_once(judge, tag, equation.params["unique_indices"])
    window = iter(windows)
    for axis, tag in enumerate(value.tags):
        if axis in batched:
            continue
        size = value.shape[axis]
        inserted = axis in numbers.inserted_window_dims
        across = None if inserted else next(window)
        width = 1 if across is None else updates.shape[across]
        if axis in numbers.scatter_dims_to_operand_dims:
            positions, optional = found[numbers.scatter_dims_to_operand_dims.index(axis)]
            if is_one(width):
                tag = place(judge, tag, size, positions, optional, drops, "writes")
                tags[axis] = Fixed(judge.origin()) if isinstance(find(tag), Uni) else tag
                continue
            if not (width == size and mode == GatherScatterMode.CLIP):
                _plain_column(positions)
        if (
            width == size
            and across is not None
            and (axis not in numbers.scatter_dims_to_operand_dims or mode == GatherScatterMode.CLIP)
        ):
            tags[axis] = join(tag, updates.tags[across], judge.sizes)
            continue
        if across is not None:
            in_order(judge, updates.tags[across], "writes in the order of")
        tags[axis] = in_order(judge, tag, "writes a part of")
    return judge.out(tags, **(judge.join_entries([value, updates]) if overwrites else {}))


def _written_once(judge: Judge, tag: Tag, unique: bool) -> Tag:
    """The tag of an axis of points at which something is overwritten.

    If one element is written twice, the last one wins, which an axis that is permuted has not.
    """
    tag = find(tag)
    if isinstance(tag, Label) and unique:
        judge.assume("`scatter` writes nothing twice, as `unique_indices` says")
        return tag
    if isinstance(tag, Label):
        raise Unsupported(
            f"it may write an element twice, and the order along '{tag}' would matter; if it "
            "cannot, pass `unique_indices=True`"
        )
    return in_order(judge, tag, "writes in the order of")
