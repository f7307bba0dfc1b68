"""Laws of layers in floating numbers that know by how much two right results may differ."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import vsml

from .. import _assertions, _spec
from .._cases import Received, Situation
from .._execution import first_true, with_fields
from . import _grids
from ._grids import at, compiled_birth, compiled_tick
from ._registry import law


@law(
    "|f(g.h, g.x) - g.f(h, x)| <= 2 (n + F + 3) u sum |terms|, for messages of one tick in floats",
    about="layer",
)
def one_tick(layer: vsml.Layer, situation: Situation) -> None:
    """In floating numbers, one tick is equivariant up to what the order of a sum may change.

    A message sums `n F` products (n cells, F numbers from each), and each of them is rounded
    `n + F + 3` times at most on its way, so that two orders differ by no more than the bound, in
    which u is half the machine epsilon. The terms are known, so the bound is; it needs no guess.
    The cells themselves agree to `proofs.TOLERANCE`. Broken as `equivariance` is, and by arithmetic
    that depends on where it happens (some matrix products on accelerators).

    Longer runs have no such bound: right programs drift apart. See `equivariance` for those.
    """
    sizes = _grids.sizes_of(layer, situation)
    labels, masks = _grids.labels_of(sizes), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(layer, sizes, situation, 2)
    seen = _recorded(layer)
    start = compiled_birth(seen, _grids.noise_for(layer, sizes, situation), masks)
    start, _ = compiled_tick(seen, start, at(messages, 0))
    orders = _grids.orders_of(sizes, situation)
    now = at(messages, 1)
    now_spec = Received(
        _spec.parse(f"A {now.forward.shape[1]}"), _spec.parse(f"B {now.backward.shape[1]}"), ...
    )
    moved_start = _spec.act(_grids.state_spec(start, labels), start, orders)
    after, sent = compiled_tick(seen, start, now)
    moved, moved_sent = compiled_tick(seen, moved_start, _spec.act(now_spec, now, orders))
    after = _spec.act(_grids.state_spec(after, labels), after, orders)
    sent = _spec.act(_grids.sent_spec(sent, labels), sent, orders)
    for x, y in zip(
        jax.tree.leaves(moved.cells.state), jax.tree.leaves(after.cells.state), strict=True
    ):
        difference = _assertions.far_apart(x, y)
        if difference is not None:
            raise AssertionError(f"The cells after one tick of g.x and g of those: {difference}")
    for way, axis in (("forward", 0), ("backward", 1)):
        _check_bound(layer, way, axis, moved, getattr(moved_sent, way), after, getattr(sent, way))


@law(
    "f([h, h], [x, x]) = f(h, x) in what is sent forward, where the reduction is the mean",
    about="layer",
    when=lambda layer: layer.reduction == "mean",
)
def replication(layer: vsml.Layer, situation: Situation) -> None:
    """A mean does not know how often it hears the same.

    Every input twice, with the states of its cells: the messages to the outputs stay, and both
    copies are sent the same. In floating numbers, over one tick, to the bound of `one_tick`. Broken
    by a sum, and by a count that is not that of the inputs.
    """
    sizes = _grids.sizes_of(layer, situation)
    messages = _grids.messages_for(layer, sizes, situation, 2)
    seen = _recorded(layer)
    noise, masks = _grids.noise_for(layer, sizes, situation), _grids.masks_for(sizes, situation)
    start, _ = compiled_tick(seen, compiled_birth(seen, noise, masks), at(messages, 0))
    now = at(messages, 1)

    def twice(x: Array) -> Array:
        return jnp.concatenate([x, x])

    doubled = with_fields(
        start,
        cells=jax.tree.map(twice, start.cells),
        backward=twice(start.backward),
        input_mask=None if start.input_mask is None else twice(start.input_mask),
    )
    after, sent = compiled_tick(seen, start, now)
    both, both_sent = compiled_tick(seen, doubled, now._replace(forward=twice(now.forward)))
    _check_bound(layer, "forward", 0, both, both_sent.forward, after, sent.forward)
    for half in np.split(np.asarray(both_sent.backward), 2):
        difference = _assertions.far_apart(half, sent.backward)
        if difference is not None:
            raise AssertionError(f"What a copy and the original are sent back: {difference}")


class _Seen(eqx.Module):
    """The state of a cell, and what it emitted last."""

    state: PyTree
    ahead: Array
    back: Array


class _Recorder(vsml.AbstractCell):
    """A cell that remembers what it emitted."""

    cell: Any
    emits: tuple[int, int] = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    drive_size: int | None = eqx.field(static=True)
    content_size: int | None = eqx.field(static=True)

    def init(self, values: Array) -> _Seen:
        """See `AbstractCell`."""
        zeros = (jnp.zeros((n,), values.dtype) for n in self.emits)
        return _Seen(self.cell.init(values), *zeros)

    def __call__(self, state: _Seen, drive: Array) -> tuple[_Seen, Array, Array]:
        """See `AbstractCell`."""
        new, ahead, back = self.cell(state.state, drive)
        return _Seen(new, ahead, back), ahead, back


@law(
    "a call with the fused kernel = the same call without, up to rounding",
    about="network",
    when=lambda network: _fusible(network),
    situation=Situation(steps=3),
)
def fused(network: vsml.Network, situation: Situation) -> None:
    """The kernel computes what the plain path does, in every call of a life of the latter.

    Both start each call from the same state, so that what they round differently does not add up
    over calls; to 10 times `proofs.TOLERANCE`, because it does over the ticks of a call. The kernel
    is interpreted, so no accelerator is needed. Applies to networks of one layer of LSTM cells
    without a forward-backward sweep. Broken by a kernel that leaves out anything.
    """
    sizes = _grids.sizes_of(network, situation)
    noise, masks = _grids.noise_for(network, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(network, sizes, situation, situation.steps)
    plain, kernel = (with_fields(network, kernel=k) for k in ("plain", "interpret"))
    state = compiled_birth(plain, noise, masks)
    for step in range(situation.steps):
        now = at(messages, step)
        expected, found = compiled_tick(plain, state, now), compiled_tick(kernel, state, now)
        leaves = zip(
            jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
        )
        for (path, x), y in leaves:
            difference = _assertions.far_apart(x, y, 10.0)
            if difference is not None:
                raise AssertionError(
                    f"After call {step + 1}, {jax.tree_util.keystr(path)} of the kernel and of the "
                    f"plain path: {difference}"
                )
        state = expected[0]


def _fusible(network: vsml.Network) -> bool:
    layer = network.layers[0]
    return (
        network.depth == 1
        and network.order != "forward-backward"
        and type(layer.cell) is vsml.LSTMCell
        and layer.dtype == jnp.float32
    )


def _recorded(layer: vsml.Layer) -> vsml.Layer:
    cell: Any = layer.cell
    content = cell.content_size
    emits = (layer.forward_size, layer.backward_size) if content is None else (content, content)
    sizes = {"hidden_size": cell.hidden_size, "drive_size": cell.drive_size}
    recorder = _Recorder(cell=cell, emits=emits, content_size=content, **sizes)
    return with_fields(layer, cell=recorder)


def _check_bound(
    layer: vsml.Layer, way: str, axis: int, one: PyTree, sent: Any, other: PyTree, expected: Any
) -> None:
    """Messages made of known terms, which `other` may have fewer of, agree to the last bits."""
    sent, expected = np.asarray(sent, np.float64), np.asarray(expected, np.float64)
    terms = [_terms(layer, way, axis, state) for state in (one, other)]
    sizes = [magnitudes.sum(axis=axis) for magnitudes, _ in terms]
    # What the cells differ by, the messages may differ by.
    means = [signed.sum(axis=axis) for _, signed in terms]
    given = np.abs(means[0] - means[1])
    n, units = one.cells.ahead.shape[axis], one.cells.ahead.shape[2]
    u = float(jnp.finfo(layer.dtype).eps) / 2
    allowed = (n + units + 3) * u * (sizes[0] + sizes[1]) * (1.0 + 1e-3) + given
    gap = np.abs(sent - expected)
    wrong = ~(gap <= allowed)
    if wrong.any():
        index = first_true(wrong)
        raise AssertionError(
            f"The {way} messages differ beyond rounding in {wrong.sum()} of {wrong.size} entries, "
            f"first at {list(index)}: {sent[index]} and {expected[index]} are {gap[index]:.3g} "
            f"apart, where the order of {n * units} terms may make {allowed[index]:.3g}."
        )


def _terms(layer: vsml.Layer, way: str, axis: int, state: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """Of all terms `[A B M]` of messages: the sums of their sizes and of themselves, in float64."""
    content = np.asarray(state.cells.ahead if way == "forward" else state.cells.back, np.float64)
    mask = state.input_mask if way == "forward" else state.output_mask
    count = content.shape[axis]
    if mask is not None:
        content = np.where(np.expand_dims(np.asarray(mask), (1 - axis, 2)), content, 0.0)
        count = max(int(np.asarray(mask).sum()), 1)
    scale = {"sum": 1.0, "mean": 1.0 / count, "scaled": count**-0.5}[layer.reduction]
    head = layer.forward_head if way == "forward" else layer.backward_head
    if head is None:
        return np.abs(content) * scale, content * scale
    weight = np.asarray(head.weight, np.float64)
    bias = np.zeros(weight.shape[1]) if head.bias is None else np.asarray(head.bias, np.float64)
    times = count * scale if layer.message_bias == "each" else 1.0
    bias = bias * times / content.shape[axis]
    return np.abs(content) @ np.abs(weight) * scale + np.abs(bias), content @ weight * scale + bias
