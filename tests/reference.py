"""VSML in plain NumPy: what the tests hold `vsml` against.

Cell by cell and in float64, without anything clever: no map over the grid, no factored
projection, no linear map pulled out of a sum. Only NumPy is imported here, so that no mistake
of the library can be repeated by sharing its code.

Source of the equations: Kirsch et al. 2022 (SymLA, arXiv:2109.10781), equations 1 to 9.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray
Cell = tuple[Array, ...]  # (h, c) of an LSTM, (h,) of a GRU


@dataclasses.dataclass
class Weights:
    """The parameters and options of one layer, everything that is shared by its cells."""

    kind: str  # lstm, gru
    inputs: Array  # [I D]
    bias: Array  # [D]
    own: Array  # [N D]
    forward_head: Array  # [N Mf]
    forward_bias: Array  # [Mf], zeros if there is none
    backward_head: Array  # [N Mb]
    backward_bias: Array  # [Mb]
    forget_bias: float
    input_bias: float
    reduction: str
    message_bias: str
    recurrent: bool


@dataclasses.dataclass
class State:
    """The state of one layer: `cells[a][b]`, and the messages it sent last."""

    cells: list[list[Cell]]
    forward: Array  # [B Mf]
    backward: Array  # [A Mb]
    input_mask: Array  # [A]
    output_mask: Array  # [B]

    def part(self, k: int) -> Array:
        """One part of the state of all cells, as an array `[A B N]`."""
        return np.array([[cell[k] for cell in row] for row in self.cells])


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def lstm(c: Array, gates: Array, forget_bias: float, input_bias: float) -> Cell:
    """One step of an LSTM from the four gates before their non-linearities: i, g, f, o."""
    n = len(c)
    i, g, f, o = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
    new_c = sigmoid(f + forget_bias) * c + sigmoid(i + input_bias) * np.tanh(g)
    return sigmoid(o) * np.tanh(new_c), new_c


def gru(h: Array, drive: Array, own: Array, update_bias: float) -> Cell:
    """One step of a GRU from its inputs mapped to r, z, n, and its `own` recurrent weights."""
    n = len(h)
    r = sigmoid(drive[:n] + h @ own[:, :n])
    z = sigmoid(drive[n : 2 * n] + h @ own[:, n : 2 * n] + update_bias)
    candidate = np.tanh(drive[2 * n :] + r * (h @ own[:, 2 * n :]))
    return (z * h + (1.0 - z) * candidate,)


def cell_tick(weights: Weights, cell: Cell, x: Array) -> Cell:
    """Equation 6 at one position: the whole input at once, times the whole matrix."""
    if weights.kind == "lstm":
        h, c = cell
        matrix = np.concatenate([weights.inputs, weights.own])
        gates = np.concatenate([x, h]) @ matrix + weights.bias
        return lstm(c, gates, weights.forget_bias, weights.input_bias)
    assert weights.kind == "gru"
    (h,) = cell
    return gru(h, x @ weights.inputs + weights.bias, weights.own, weights.forget_bias)


def pool(messages: list[Array], reduction: str) -> Array:
    total = np.sum(messages, axis=0)
    if reduction == "mean":
        return total / len(messages)
    if reduction == "scaled":
        return total / np.sqrt(len(messages))
    assert reduction == "sum"
    return total


def message(weights: Weights, hs: list[Array], head: Array, bias: Array) -> Array:
    """Equations 7 and 8: a head on each cell, then one message from all of them."""
    each = bias if weights.message_bias == "each" else np.zeros_like(bias)
    once = bias if weights.message_bias == "once" else np.zeros_like(bias)
    return pool([h @ head + each for h in hs], weights.reduction) + once


def layer(
    weights: Weights, state: State, forward: Array, backward: Array, context: Array, ticks: int
) -> State:
    """Micro ticks of a layer in which everything received, its own messages too, is held."""
    cells = [list(row) for row in state.cells]
    inputs, outputs = range(len(cells)), range(len(cells[0]))
    for _ in range(ticks):
        for a in inputs:
            for b in outputs:
                own_backward = [state.backward[a]] if weights.recurrent else []
                own_forward = [state.forward[b]] if weights.recurrent else []
                x = [forward[a], *own_backward, backward[b], *own_forward, context]
                cells[a][b] = cell_tick(weights, cells[a][b], np.concatenate(x))
    new_forward = [
        message(
            weights,
            [cells[a][b][0] for a in inputs if state.input_mask[a]],
            weights.forward_head,
            weights.forward_bias,
        )
        for b in outputs
    ]
    new_backward = [
        message(
            weights,
            [cells[a][b][0] for b in outputs if state.output_mask[b]],
            weights.backward_head,
            weights.backward_bias,
        )
        for a in inputs
    ]
    return State(
        cells,
        np.array(new_forward),
        np.array(new_backward),
        state.input_mask,
        state.output_mask,
    )


def network(
    layers: Sequence[Weights],
    states: Sequence[State],
    forward: Array,
    backward: Array,
    context: Array,
    *,
    ticks: int,
    refresh: bool,
    order: str,
    silent: Sequence[int] = (),
) -> list[State]:
    """All micro ticks of one step of K layers.

    `silent`: for the order forward-backward, the sizes of the zero messages of the way forward.
    """
    held, sweeps = (1, ticks) if refresh else (ticks, 1)
    last = len(layers) - 1
    now = list(states)
    for _ in range(sweeps):
        if order == "simultaneous":
            before = list(now)
            for k in range(last + 1):
                f = forward if k == 0 else before[k - 1].forward
                b = backward if k == last else before[k + 1].backward
                now[k] = layer(layers[k], before[k], f, b, context, held)
        elif order == "forward":
            before = list(now)
            for k in range(last + 1):
                f = forward if k == 0 else now[k - 1].forward
                b = backward if k == last else before[k + 1].backward
                now[k] = layer(layers[k], now[k], f, b, context, held)
        else:
            assert order == "forward-backward"
            sent = [forward]
            for k in range(last + 1):
                zeros = np.zeros((len(now[k].forward), silent[k]))
                now[k] = layer(layers[k], now[k], sent[k], zeros, context, held)
                sent.append(now[k].forward)
            for k in range(last, -1, -1):
                b = backward if k == last else now[k + 1].backward
                now[k] = layer(layers[k], now[k], sent[k], b, context, held)
    return now


def official_code(
    matrix: Array,
    bias: Array,
    forward_head: tuple[Array, Array],
    backward_head: tuple[Array, Array],
    memory: Array,
    inputs: Array,
    errors: Array,
    ticks: int = 2,
) -> tuple[Array, Array, Array]:
    """One dense layer of the code of VSML over a sequence (Kirsch & Schmidhuber 2021).

    One affine map of (forward message, backward message, h) gives the gates i, g, f, o; the
    forget gate gets +5 and the input gate -5; messages are linear heads with a bias on each
    cell, then the mean over a (forward) or b (backward); the same messages arrive at every tick.

    **Arguments:**

    - `matrix` `[2M+N 4N]`, `bias` `[4N]`, the heads as pairs `[N M]`, `[M]`.
    - `memory`: `[A B N]`, the cells' memory at birth; h is zero.
    - `inputs` `[L A M]`, `errors` `[L B M]`: padded messages at each of L steps.

    **Returns:**

    Forward messages `[L B M]`, backward messages `[L A M]` and the memory at the end `[A B N]`.
    """
    count_a, count_b, n = memory.shape
    c, h = memory.copy(), np.zeros_like(memory)
    all_forward, all_backward = [], []
    for x, e in zip(inputs, errors, strict=True):
        for _ in range(ticks):
            for a in range(count_a):
                for b in range(count_b):
                    z = np.concatenate([x[a], e[b], h[a, b]]) @ matrix + bias
                    i, g, f, o = np.split(z, 4)
                    f, i = f + 5.0, i - 5.0
                    c[a, b] = c[a, b] / (1.0 + np.exp(-f)) + np.tanh(g) / (1.0 + np.exp(-i))
                    h[a, b] = np.tanh(c[a, b]) / (1.0 + np.exp(-o))
        all_forward.append((h @ forward_head[0] + forward_head[1]).mean(axis=0))
        all_backward.append((h @ backward_head[0] + backward_head[1]).mean(axis=1))
    assert c.shape == (count_a, count_b, n)
    return np.array(all_forward), np.array(all_backward), c


def directional_derivative(
    f: Callable[[float], float],
    step: float = 1e-6,
) -> float:
    """The derivative of `f` at 0 by central differences."""
    return (f(step) - f(-step)) / (2.0 * step)
