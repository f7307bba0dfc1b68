"""What is shown of a learner: its state as a table of numbers, cell by cell where it has cells."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

import rl

_MOST_NUMBERS = 4096


class Cells(NamedTuple):
    """The state of a learner at one moment, to be drawn as a heat map.

    - `values`: a table of numbers; NaN where there is nothing.
    - `title`: what they are.
    - `rows`, `columns`: labels of the blocks of cells from top to bottom and from left to right;
        empty where the table has no blocks.
    - `height`, `width`: the numbers of one block.
    """

    values: Float[np.ndarray, "rows columns"]
    title: str
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    height: int = 1
    width: int = 1


def cells(state: PyTree) -> Cells | None:
    """The numbers to show of the state of any learner, or `None` where there are none or too many.

    The cells of a SymLA, wherever it is in the state, stay apart: a block for each. Of another
    learner's state all numbers are shown.
    """
    found = [s for s in jax.tree.leaves(state, is_leaf=_is_symla) if _is_symla(s)]
    if found:
        return _grid(found[0])
    numbers = [np.asarray(leaf, np.float32).ravel() for leaf in _arrays(state)]
    flat = np.concatenate([np.zeros(0, np.float32), *numbers])
    if not 0 < flat.size <= _MOST_NUMBERS:
        return None
    columns = int(np.ceil(np.sqrt(2 * flat.size)))
    rows = -(-flat.size // columns)
    table = np.full(rows * columns, np.nan, np.float32)
    table[: flat.size] = flat
    return Cells(table.reshape(rows, columns), f"state of the learner: {flat.size} numbers")


def _grid(state: rl.SymLAState) -> Cells:
    """One block for each cell of the first layer: sensors from above, actions from the left.

    The units of a cell lie along the shorter side of the grid, so that the table is near a square.
    """
    layers = state.network.layers
    layer = layers[0]
    hidden = layer.cells.h if hasattr(layer.cells, "h") else jax.tree.leaves(layer.cells)[0]
    values = np.array(hidden, np.float32)
    for axis, mask in enumerate((layer.input_mask, layer.output_mask)):
        if mask is not None:
            values[(slice(None),) * axis + (~np.asarray(mask),)] = np.nan
    sensors, actions, units = values.shape
    upright = sensors < actions
    height, width = (units, 1) if upright else (1, units)
    table = values.transpose(0, 2, 1) if upright else values
    last = "action" if len(layers) == 1 else "unit"
    depth = "" if len(layers) == 1 else f", layer 1 of {len(layers)}"
    return Cells(
        table.reshape(sensors * height, actions * width),
        f"states of the {sensors} x {actions} cells, {units} units each{depth}",
        [f"sensor {i + 1}" for i in range(sensors)],
        [f"{last} {i + 1}" for i in range(actions)],
        height,
        width,
    )


def _arrays(state: PyTree) -> list[Array]:
    """The arrays of a state that are numbers; masks and random keys are not."""
    arrays = [leaf for leaf in jax.tree.leaves(state) if eqx.is_array(leaf)]
    return [a for a in arrays if jnp.issubdtype(a.dtype, np.number)]


def _is_symla(node: object) -> bool:
    return isinstance(node, rl.SymLAState)
