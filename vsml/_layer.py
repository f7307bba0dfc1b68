from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from . import _states
from ._affine import Affine
from ._cell import AbstractCell, GRUCell, LSTMCell

Reduction = Literal["sum", "mean", "scaled"]
MessageBias = Literal["once", "each", "none"]


class Messages(NamedTuple):
    """What a layer or a network sends: forward to its outputs, backward to its inputs."""

    forward: Float[Array, "B Mf"]
    backward: Float[Array, "A Mb"]


class LayerState(eqx.Module):
    """The state of a layer. Its sizes live here, not in the parameters.

    - `cells`: the states of the cells, every array with leading axes `A B`.
    - `forward`, `backward`: the messages of the last micro tick, zero at birth.
    - `input_mask`, `output_mask`: which inputs and outputs exist; `None` where all do.
    """

    cells: PyTree[Array]
    forward: Float[Array, "B Mf"]
    backward: Float[Array, "A Mb"]
    input_mask: Bool[Array, " A"] | None
    output_mask: Bool[Array, " B"] | None


class Layer(eqx.Module):
    """One cell replicated over a grid of A inputs by B outputs: a dense layer of VSML.

    At each micro tick, every cell `(a, b)` updates its state from the forward message of its
    input, the backward message of its output and the context (equation 6 of SymLA,
    arXiv:2109.10781), and, if `recurrent`, from the messages the layer itself sent at the tick
    before (equation 9). New messages are the reduced emissions of the cells: forward over the
    inputs (equation 7), backward over the outputs (equation 8).

    All cells share one set of parameters, so the same layer serves any A and B.

    !!! Example

        ```python
        layer = vsml.Layer(hidden_size=16, forward_size=8, backward_size=8, key=key)
        state = layer.init(4, 2, key=key)
        state, messages = layer(state, jnp.zeros((4, 8)), jnp.zeros((2, 8)))
        ```
    """

    cell: AbstractCell
    projection: Affine | None
    forward_head: Affine | None
    backward_head: Affine | None
    forward_size: int = eqx.field(static=True)
    backward_size: int = eqx.field(static=True)
    forward_input_size: int = eqx.field(static=True)
    backward_input_size: int = eqx.field(static=True)
    context_size: int = eqx.field(static=True)
    reduction: Reduction = eqx.field(static=True)
    recurrent: bool = eqx.field(static=True)
    message_bias: MessageBias = eqx.field(static=True)
    initial_state: str | _states.Recipe = eqx.field(static=True)
    state_scale: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int = 16,
        forward_size: int = 8,
        backward_size: int = 8,
        context_size: int = 0,
        *,
        cell: Literal["lstm", "gru"] | AbstractCell = "lstm",
        forget_bias: float = 0.0,
        input_bias: float = 0.0,
        reduction: Reduction = "sum",
        recurrent: bool = True,
        message_bias: MessageBias = "once",
        initial_state: str | _states.Recipe = "normal",
        state_scale: float = 1.0,
        forward_input_size: int | None = None,
        backward_input_size: int | None = None,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `hidden_size`: `N`, the units of each cell.
        - `forward_size`, `backward_size`: `Mf` and `Mb`, the sizes of the messages it sends.
            Zero is allowed: no messages that way.
        - `context_size`: `C`, numbers that every cell receives (the reward, for example).
        - `cell`: `"lstm"`, `"gru"`, or any module that keeps the protocol of `AbstractCell`
            (then `hidden_size` and the gate biases are its own business and ignored here).
        - `forget_bias`, `input_bias`: constants added to the gates of the LSTM. For the GRU
            `forget_bias` is added to the update gate.
        - `reduction`: how emissions are pooled: `"sum"` as the papers print, `"mean"` as the
            code of VSML does, or `"scaled"`, the sum over the square root of the count.
        - `recurrent`: whether the layer's own messages of the tick before are fed back.
        - `message_bias`: whether the bias of a message is added `"once"`, or by `"each"` cell
            before the reduction, or not at all (`"none"`).
        - `initial_state`: the recipe of random states, i.i.d. over the grid: `"normal"`,
            `"official"`, `"zeros"`, or a function `(noise[A B N], inputs[]) -> [A B N]`.
        - `state_scale`: the standard deviation of the recipe `"normal"`.
        - `forward_input_size`, `backward_input_size`: sizes of the messages it receives; those
            it sends by default. Smaller ones save the parameters of channels that stay empty.
        - `key`: the random key of the initial parameters.

        **Raises:** `ValueError` for a size below zero or an unknown option.
        """
        for name, size in {
            "forward_size": forward_size,
            "backward_size": backward_size,
            "context_size": context_size,
            "forward_input_size": forward_input_size or 0,
            "backward_input_size": backward_input_size or 0,
        }.items():
            if size < 0:
                raise ValueError(f"`{name}` must be at least 0, got {size}.")
        if hidden_size < 1:
            raise ValueError(f"`hidden_size` must be at least 1, got {hidden_size}.")
        _one_of("reduction", reduction, ("sum", "mean", "scaled"))
        _one_of("message_bias", message_bias, ("once", "each", "none"))
        _states.resolve(initial_state, state_scale)
        self.forward_size, self.backward_size = forward_size, backward_size
        self.forward_input_size = forward_size if forward_input_size is None else forward_input_size
        self.backward_input_size = (
            backward_size if backward_input_size is None else backward_input_size
        )
        self.context_size, self.reduction = context_size, reduction
        self.recurrent, self.message_bias = recurrent, message_bias
        self.initial_state, self.state_scale = initial_state, float(state_scale)

        inputs = sum(self._input_sizes)
        cell_key, projection_key, forward_key, backward_key = jr.split(key, 4)
        if not isinstance(cell, str):
            self.cell = cell
        elif cell == "lstm":
            self.cell = LSTMCell(
                hidden_size,
                forget_bias=forget_bias,
                input_bias=input_bias,
                fan_in=inputs + hidden_size,
                key=cell_key,
            )
        else:
            _one_of("cell", cell, ("lstm", "gru"))
            self.cell = GRUCell(
                hidden_size, update_bias=forget_bias, fan_in=inputs + hidden_size, key=cell_key
            )
        drive, content = self.cell.drive_size, self.cell.content_size
        use_bias = message_bias != "none"
        self.projection = self.forward_head = self.backward_head = None
        if drive is not None:
            self.projection = Affine(
                inputs, drive, fan_in=inputs + self.cell.hidden_size, key=projection_key
            )
        if content is not None:
            self.forward_head = Affine(content, forward_size, use_bias=use_bias, key=forward_key)
            self.backward_head = Affine(content, backward_size, use_bias=use_bias, key=backward_key)

    @classmethod
    def official(
        cls, hidden_size: int = 16, message_size: int = 8, *, key: PRNGKeyArray
    ) -> "Layer":
        """The layer as the code of VSML (arXiv:2012.14905) has it, 2,384 parameters by default.

        Mean reduction, gates biased by +5 (forget) and -5 (input), half of the memory random,
        messages padded to `message_size`, no context, own messages not fed back. That code
        presents the same messages at both of its micro ticks: call it with `ticks=2`.
        """
        return cls(
            hidden_size,
            message_size,
            message_size,
            forget_bias=5.0,
            input_bias=-5.0,
            reduction="mean",
            recurrent=False,
            message_bias="each",
            initial_state="official",
            key=key,
        )

    @property
    def _input_sizes(self) -> tuple[int, int, int, int, int]:
        own = (self.forward_size, self.backward_size) if self.recurrent else (0, 0)
        return (
            self.forward_input_size,
            own[1],
            self.backward_input_size,
            own[0],
            self.context_size,
        )

    @property
    def dtype(self) -> jnp.dtype:
        """The type of the parameters, which states and messages share."""
        arrays = jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array))
        return jnp.result_type(*arrays) if arrays else jnp.dtype(float)

    def init(
        self,
        inputs: int,
        outputs: int,
        *,
        input_mask: Bool[Array, " A"] | None = None,
        output_mask: Bool[Array, " B"] | None = None,
        key: PRNGKeyArray,
    ) -> LayerState:
        """A new state of `inputs` by `outputs` cells.

        **Arguments:**

        - `inputs`, `outputs`: `A` and `B`.
        - `input_mask`, `output_mask`: `False` where an input or output does not exist. The
            layer then behaves as if it had been made without it.
        - `key`: the random key of the states.

        **Raises:** `ValueError` for a size below one.
        """
        for name, size in (("inputs", inputs), ("outputs", outputs)):
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1, got {size}.")
        noise = jr.normal(key, (inputs, outputs, self.cell.hidden_size), self.dtype)
        return self.init_from(noise, input_mask=input_mask, output_mask=output_mask)

    def init_from(
        self,
        noise: Float[Array, "A B N"],
        *,
        input_mask: Bool[Array, " A"] | None = None,
        output_mask: Bool[Array, " B"] | None = None,
    ) -> LayerState:
        """As `init`, from standard normal noise instead of a key: equivariant pathwise."""
        inputs, outputs = noise.shape[:2]
        _shaped("noise", noise, (inputs, outputs, self.cell.hidden_size))
        if input_mask is not None:
            _shaped("input_mask", input_mask, (inputs,))
        if output_mask is not None:
            _shaped("output_mask", output_mask, (outputs,))
        recipe = _states.resolve(self.initial_state, self.state_scale)
        values = recipe(noise, _count(input_mask, inputs, noise.dtype))
        return LayerState(
            cells=jax.vmap(jax.vmap(self.cell.init))(values),
            forward=jnp.zeros((outputs, self.forward_size), noise.dtype),
            backward=jnp.zeros((inputs, self.backward_size), noise.dtype),
            input_mask=input_mask,
            output_mask=output_mask,
        )

    def __call__(
        self,
        state: LayerState,
        forward: Float[Array, "A Mf_in"],
        backward: Float[Array, "B Mb_in"],
        context: Float[Array, " C"] | None = None,
        *,
        ticks: int = 1,
    ) -> tuple[LayerState, Messages]:
        """One micro tick, or several in which the received messages are held.

        **Arguments:**

        - `state`: the state of the layer.
        - `forward`: one message for each input.
        - `backward`: one message for each output.
        - `context`: what every cell receives; may be left out if `context_size` is 0.
        - `ticks`: micro ticks. All of them see the same messages, also the layer's own.

        **Returns:**

        The new state, and the messages: `forward` `[B Mf]`, `backward` `[A Mb]`.
        """
        if ticks < 1:
            raise ValueError(f"`ticks` must be at least 1, got {ticks}.")
        inputs, outputs = state.backward.shape[0], state.forward.shape[0]
        if context is None:
            context = jnp.zeros((0,), state.forward.dtype)
        _shaped("forward", forward, (inputs, self.forward_input_size))
        _shaped("backward", backward, (outputs, self.backward_input_size))
        _shaped("context", context, (self.context_size,))
        row, column = forward, backward
        if self.recurrent:
            row = jnp.concatenate([forward, state.backward], axis=-1)
            column = jnp.concatenate([backward, state.forward], axis=-1)
        drive = self._drive(row, column, context)
        tick = jax.vmap(jax.vmap(self.cell))
        cells, ahead, back = tick(state.cells, drive)
        for _ in range(ticks - 1):
            cells, ahead, back = tick(cells, drive)
        messages = Messages(
            self._reduce(ahead, 0, state.input_mask, self.forward_head, self.forward_size),
            self._reduce(back, 1, state.output_mask, self.backward_head, self.backward_size),
        )
        new = LayerState(
            cells, messages.forward, messages.backward, state.input_mask, state.output_mask
        )
        return new, messages

    def _drive(
        self, row: Float[Array, "A R"], column: Float[Array, "B S"], context: Float[Array, " C"]
    ) -> Float[Array, "A B D"]:
        """The inputs of every cell, projected on A + B + 1 vectors if the cell wants it so."""
        if self.projection is None:
            grid = (row.shape[0], column.shape[0])
            parts = (row[:, None], column[None], context[None, None])
            return jnp.concatenate([jnp.broadcast_to(p, grid + p.shape[2:]) for p in parts], -1)
        weight, bias = self.projection.weight, self.projection.bias
        rows, columns = row.shape[-1], column.shape[-1]
        everywhere = context @ weight[rows + columns :]
        if bias is not None:
            everywhere = everywhere + bias
        shared = column @ weight[rows : rows + columns] + everywhere[None]
        return (row @ weight[:rows])[:, None] + shared[None]

    def _reduce(
        self,
        content: Float[Array, "A B F"],
        axis: int,
        mask: Bool[Array, " n"] | None,
        head: Affine | None,
        size: int,
    ) -> Float[Array, "n_left M"]:
        """Pool what the cells emit over one axis of the grid, then make messages of it."""
        count = _count(mask, content.shape[axis], content.dtype)
        if mask is not None:
            content = jnp.where(jnp.expand_dims(mask, (1 - axis, 2)), content, 0.0)
        scale = {"sum": jnp.ones_like(count), "mean": 1.0 / count, "scaled": count**-0.5}
        pooled = content.sum(axis) * scale[self.reduction]
        if head is not None:
            pooled = pooled @ head.weight
            if head.bias is not None:
                times = count * scale[self.reduction] if self.message_bias == "each" else 1.0
                pooled = pooled + (head.bias * times)[None]
        elif pooled.shape[-1] != size:
            raise ValueError(
                f"The cell {type(self.cell).__name__} emits messages of size {pooled.shape[-1]}, "
                f"but the layer was made for {size}. Give the layer the cell's message sizes."
            )
        return pooled


def _count(mask: Bool[Array, " n"] | None, size: int, dtype: jnp.dtype) -> Float[Array, ""]:
    """How many of an axis exist; at least one, so that means stay finite."""
    if mask is None:
        return jnp.asarray(size).astype(dtype)
    return jnp.maximum(mask.sum(), 1).astype(dtype)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(allowed)}; got {value!r}.")


def _shaped(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(
            f"`{name}` must have shape {shape} (from the sizes of the layer and its state), "
            f"got {array.shape}."
        )
