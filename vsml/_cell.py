"""The shared recurrent cell: what a single weight of a network is replaced by.

A cell is written for one position `(a, b)` of the grid and never sees where it is. The layer
maps it over the grid, so whatever cell keeps this protocol, the layer made of it is
equivariant to permutations of its inputs and outputs.
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._affine import fan_in_normal

State = TypeVar("State")


class AbstractCell(eqx.Module, Generic[State]):
    """The protocol of a cell (`f_RNN` of equation 6 of SymLA, arXiv:2109.10781).

    A cell declares two sizes, and the layer around it acts on them:

    - `drive_size`: the cell wants its inputs mapped affinely to that many numbers before it
        sees them (four gates of an LSTM, say). The layer computes the map on `A + B` vectors
        instead of `A x B`. `None`: the cell wants the inputs as they are, concatenated.
    - `content_size`: the cell emits that many numbers towards each side, which the layer
        reduces and then maps affinely to messages. `None`: what it emits are the messages.

    The inputs are, in this order: the forward message of row `a`, the layer's own backward
    message of row `a` (if recurrent), the backward message of column `b`, the layer's own
    forward message of column `b` (if recurrent), and the context.
    """

    hidden_size: eqx.AbstractVar[int]
    drive_size: eqx.AbstractVar[int | None]
    content_size: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def init(self, values: Float[Array, " N"]) -> State:
        """The state of one cell at birth.

        **Arguments:**

        - `values`: `N = hidden_size` numbers, i.i.d. over the grid, from the layer's recipe.
        """

    @abc.abstractmethod
    def __call__(
        self, state: State, drive: Float[Array, " D"]
    ) -> tuple[State, Float[Array, " F"], Float[Array, " G"]]:
        """One micro tick of one cell.

        **Arguments:**

        - `state`: the state of this cell.
        - `drive`: the projected inputs (`D = drive_size`) or the inputs themselves.

        **Returns:**

        The new state, what the cell sends forward and what it sends backward: `content_size`
        numbers each, or a whole message each if `content_size` is `None`.
        """


class LSTMState(eqx.Module):
    """Hidden state and memory of LSTM cells."""

    h: Float[Array, "*grid N"]
    c: Float[Array, "*grid N"]


class LSTMCell(AbstractCell[LSTMState]):
    """A long short-term memory whose gates may be biased towards keeping what it holds.

    `i, g, f, o = drive + h U` (`drive` holds the projected inputs and the learned bias), then
    `c = sigmoid(f + forget_bias) c + sigmoid(i + input_bias) tanh(g)` and
    `h = sigmoid(o) tanh(c)`. Both messages are made from `h`.
    """

    recurrent: Float[Array, "N D"]
    hidden_size: int = eqx.field(static=True)
    drive_size: int = eqx.field(static=True)
    content_size: int = eqx.field(static=True)
    forget_bias: float = eqx.field(static=True)
    input_bias: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int,
        *,
        forget_bias: float = 0.0,
        input_bias: float = 0.0,
        fan_in: int | None = None,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `hidden_size`: `N`, the units of the cell.
        - `forget_bias`, `input_bias`: constants added to the forget and input gates, on top of
            the learned biases. The code of VSML has +5 and -5: a new cell then keeps 0.993 of
            its memory at each micro tick and writes 0.007.
        - `fan_in`: what scales the initial weights: all inputs of a gate, `N` by default.
        - `key`: the random key of the initial weights.
        """
        self.hidden_size = self.content_size = hidden_size
        self.drive_size = 4 * hidden_size
        self.forget_bias = float(forget_bias)
        self.input_bias = float(input_bias)
        self.recurrent = fan_in_normal(
            (hidden_size, 4 * hidden_size), fan_in or hidden_size, key=key
        )

    def init(self, values: Float[Array, " N"]) -> LSTMState:
        """Memory `c` from the recipe, hidden state zero."""
        return LSTMState(h=jnp.zeros_like(values), c=values)

    def __call__(
        self, state: LSTMState, drive: Float[Array, " D"]
    ) -> tuple[LSTMState, Float[Array, " N"], Float[Array, " N"]]:
        """One micro tick; see `AbstractCell`."""
        i, g, f, o = jnp.split(drive + state.h @ self.recurrent, 4)
        keep = jax.nn.sigmoid(f + self.forget_bias)
        write = jax.nn.sigmoid(i + self.input_bias)
        c = keep * state.c + write * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h=h, c=c), h, h


class GRUCell(AbstractCell[Array]):
    """A gated recurrent unit.

    `r = sigmoid(d_r + h U_r)`, `z = sigmoid(d_z + h U_z + update_bias)`,
    `n = tanh(d_n + r (h U_n))` and `h = z h + (1 - z) n`, where `d` is the drive.
    """

    recurrent: Float[Array, "N D"]
    hidden_size: int = eqx.field(static=True)
    drive_size: int = eqx.field(static=True)
    content_size: int = eqx.field(static=True)
    update_bias: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int,
        *,
        update_bias: float = 0.0,
        fan_in: int | None = None,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `hidden_size`: `N`, the units of the cell.
        - `update_bias`: a constant added to the update gate; positive keeps the state longer.
        - `fan_in`: what scales the initial weights: all inputs of a gate, `N` by default.
        - `key`: the random key of the initial weights.
        """
        self.hidden_size = self.content_size = hidden_size
        self.drive_size = 3 * hidden_size
        self.update_bias = float(update_bias)
        self.recurrent = fan_in_normal(
            (hidden_size, 3 * hidden_size), fan_in or hidden_size, key=key
        )

    def init(self, values: Float[Array, " N"]) -> Float[Array, " N"]:
        """The state is what the recipe gives."""
        return values

    def __call__(
        self, state: Float[Array, " N"], drive: Float[Array, " D"]
    ) -> tuple[Float[Array, " N"], Float[Array, " N"], Float[Array, " N"]]:
        """One micro tick; see `AbstractCell`."""
        drive_r, drive_z, drive_n = jnp.split(drive, 3)
        own_r, own_z, own_n = jnp.split(state @ self.recurrent, 3)
        reset = jax.nn.sigmoid(drive_r + own_r)
        keep = jax.nn.sigmoid(drive_z + own_z + self.update_bias)
        h = keep * state + (1.0 - keep) * jnp.tanh(drive_n + reset * own_n)
        return h, h, h


class BackpropCell(AbstractCell[Array]):
    """Backpropagation as a cell: equations 1 to 3 of SymLA (arXiv:2109.10781), exactly.

    The state is one weight `w`. Given the activation `x_a` as the forward message and the error
    `d_b` as the backward message it sends `w x_a` forward, `w d_b` backward, and then takes a
    step of gradient descent, `w - learning_rate x_a d_b`. A network of these cells, in the order
    `forward-backward`, is gradient descent on a dense linear network: the proof that the layer
    contains what it generalises.

    Use it in a layer with `forward_size=1, backward_size=1, context_size=0, recurrent=False`.
    """

    learning_rate: Float[Array, ""]
    hidden_size: int = eqx.field(static=True)
    drive_size: None = eqx.field(static=True)
    content_size: None = eqx.field(static=True)

    def __init__(self, learning_rate: float):
        """**Arguments:**

        - `learning_rate`: the step size; an array of the module, so it can be meta-learned.
        """
        self.learning_rate = jnp.asarray(learning_rate, dtype=float)
        self.hidden_size = 1
        self.drive_size = self.content_size = None

    def init(self, values: Float[Array, " 1"]) -> Float[Array, ""]:
        """The weight is what the recipe gives."""
        return values[0]

    def __call__(
        self, state: Float[Array, ""], drive: Float[Array, " 2"]
    ) -> tuple[Float[Array, ""], Float[Array, " 1"], Float[Array, " 1"]]:
        """One micro tick; see `AbstractCell`."""
        activation, error = drive
        weight = state - self.learning_rate * activation * error
        return weight, (state * activation)[None], (state * error)[None]
