"""The least time that a generation can take on a machine, by its arithmetic and its memory."""

import rl
import vsml

from .cases import Case


def operations_per_step(case: Case, learner: rl.SymLA) -> int:
    """Operations of one environment step of SymLA, at least.

    Counted are the multiplications and additions of matrix products, one each: in every micro
    tick and every layer of A x B cells with N units and messages of Mf and Mb numbers,

    - the recurrent weights of every cell: `A B N 4N`;
    - the projection of what inputs, outputs and all cells receive, factored:
        `(A (Mf_in + Mb) + B (Mb_in + Mf) + C) 4N`;
    - the heads, after pooling: `B N Mf + A N Mb`.

    Not counted: sigmoids, tanh, sums over the grid, random numbers and the environment.
    """
    total = 0
    for layer, (inputs, outputs) in _grids(case, learner):
        units, gates = layer.cell.hidden_size, 4 * layer.cell.hidden_size
        rows = inputs * (layer.forward_input_size + layer.backward_size)
        columns = outputs * (layer.backward_input_size + layer.forward_size)
        total += inputs * outputs * units * gates
        total += (rows + columns + layer.context_size) * gates
        total += units * (outputs * layer.forward_size + inputs * layer.backward_size)
    return 2 * case.ticks * total


def bytes_per_step(case: Case, learner: rl.SymLA) -> int:
    """Bytes moved in one environment step, at least: all states read and written once a tick."""
    numbers = sum(
        2 * inputs * outputs * layer.cell.hidden_size
        for layer, (inputs, outputs) in _grids(case, learner)
    )
    return 2 * case.ticks * numbers * learner.network.layers[0].dtype.itemsize


def floor_seconds(case: Case, rates: dict[str, float]) -> float:
    """The least seconds of one generation: the larger of what arithmetic and memory need."""
    learner = case.learner
    arithmetic = operations_per_step(case, learner) / rates["operations_per_second"]
    memory = bytes_per_step(case, learner) / rates["bytes_per_second"]
    return case.environment_steps * max(arithmetic, memory)


def _grids(case: Case, learner: rl.SymLA) -> list[tuple[vsml.Layer, tuple[int, int]]]:
    """Each layer with the sizes of its grid."""
    sizes = (case.inputs, *case.hidden_sizes, case.outputs)
    layer = learner.network.layers[0]
    return [(layer, grid) for grid in zip(sizes[:-1], sizes[1:], strict=True)]
