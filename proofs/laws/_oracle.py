"""A layer in NumPy and float64, cell by cell: what `laws.oracle` holds layers against."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import vsml

from .._cases import Received
from .._execution import compiled, with_fields


def layer_by_hand(
    layer: vsml.Layer, birth: vsml.LayerState, messages: Received, ticks: int
) -> tuple[vsml.LayerState, vsml.Messages]:
    """The states and messages of L steps; nothing is mapped over the grid or taken out of sums."""
    state, states, sent = jax.tree.map(np.asarray, birth), [], []
    for step in range(messages.forward.shape[0]):
        now = Received(*(np.asarray(x[step]) for x in messages))
        state = _step(layer, state, now, ticks)
        states.append(state)
        sent.append(vsml.Messages(state.forward, state.backward))
    return _stacked(states), _stacked(sent)


def _stacked(trees: list) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def _step(layer: vsml.Layer, state: Any, now: Received, ticks: int) -> Any:
    forward, backward, context = now
    inputs, outputs = state.backward.shape[0], state.forward.shape[0]
    grid = [(a, b) for a in range(inputs) for b in range(outputs)]
    cells, ahead, back = {}, {}, {}
    for a, b in grid:
        own_backward = state.backward[a] if layer.recurrent else np.zeros(0)
        own_forward = state.forward[b] if layer.recurrent else np.zeros(0)
        drive = np.concatenate([forward[a], own_backward, backward[b], own_forward, context])
        if layer.projection is not None:
            bias = layer.projection.bias
            drive = drive @ np.asarray(layer.projection.weight)
            drive = drive if bias is None else drive + np.asarray(bias)
        cell = jax.tree.map(lambda x, a=a, b=b: x[a, b], state.cells)
        for _ in range(ticks):
            cell, ahead[a, b], back[a, b] = _cell(layer.cell, cell, drive)
        cells[a, b] = cell
    exists = [np.ones(inputs, bool), np.ones(outputs, bool)]
    exists = [e if m is None else m for e, m in zip(exists, _masks(state), strict=True)]
    new_forward = [
        _message(layer, "forward", [ahead[a, b] for a in range(inputs) if exists[0][a]])
        for b in range(outputs)
    ]
    new_backward = [
        _message(layer, "backward", [back[a, b] for b in range(outputs) if exists[1][b]])
        for a in range(inputs)
    ]
    whole = jax.tree.map(
        lambda *x: np.reshape(np.stack(x), (inputs, outputs, *np.shape(x[0]))),
        *(cells[place] for place in grid),
    )
    return with_fields(
        state, cells=whole, forward=np.stack(new_forward), backward=np.stack(new_backward)
    )


def _masks(state: Any) -> tuple:
    return state.input_mask, state.output_mask


@compiled
def _tick(cell: vsml.AbstractCell, state: PyTree, drive: Any) -> tuple:
    return cell(state, drive)


def _cell(cell: vsml.AbstractCell, state: PyTree, drive: np.ndarray) -> tuple:
    """One tick of one cell alone."""
    new = _tick(cell, jax.tree.map(jnp.asarray, state), jnp.asarray(drive))
    return jax.tree.map(np.asarray, new)


def _message(layer: vsml.Layer, way: str, emitted: list[np.ndarray]) -> np.ndarray:
    """Equations 7 and 8: a head on what each cell emits, then one message from all of them."""
    head = layer.forward_head if way == "forward" else layer.backward_head
    bias = 0.0 if head is None or head.bias is None else np.asarray(head.bias)
    if head is not None:
        emitted = [x @ np.asarray(head.weight) for x in emitted]
    if layer.message_bias == "each":
        emitted = [x + bias for x in emitted]
    total = np.sum(emitted, axis=0)
    if layer.reduction == "mean":
        total = total / len(emitted)
    elif layer.reduction == "scaled":
        total = total / np.sqrt(len(emitted))
    return total + bias if layer.message_bias == "once" else total
