"""Twins of the library's modules with one fault each.

Every law that the tests state is also put to a twin that breaks it: a check that does not
reject the twin would not notice the fault in the library either.
"""

# pyright: reportIncompatibleMethodOverride=false
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array

import vsml


class PositionWeighted(vsml.Layer):
    """The reduction weights positions: inputs and outputs are no longer alike."""

    def _reduce(self, content: Array, axis: int, *rest: Any) -> Array:
        weights = 1.0 + jnp.arange(content.shape[axis]).astype(content.dtype)
        return super()._reduce(content * jnp.expand_dims(weights, (1 - axis, 2)), axis, *rest)


class NeighbourReader(vsml.Layer):
    """Every cell reads the messages of the row before its own."""

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(jnp.roll(row, 1, axis=0), column, context)


class ContextBlind(vsml.Layer):
    """The context arrives as zeros."""

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(row, column, jnp.zeros_like(context))


class Amnesiac(vsml.Layer):
    """The layer's own messages of the tick before are lost."""

    def __call__(self, state: vsml.LayerState, *args: Any, **kwargs: Any) -> tuple:
        silent = jax.tree.map(jnp.zeros_like, (state.forward, state.backward))
        state = eqx.tree_at(lambda s: (s.forward, s.backward), state, silent)
        return super().__call__(state, *args, **kwargs)


class MaskBlind(vsml.Layer):
    """Cells that do not exist take part in the reduction."""

    def _reduce(self, content: Array, axis: int, mask: Any, *rest: Any) -> Array:
        del mask
        return super()._reduce(content, axis, None, *rest)


class MaskMiscounted(vsml.Layer):
    """Cells that do not exist are left out of the sum, but counted in the mean."""

    def _reduce(self, content: Array, axis: int, mask: Array | None, *rest: Any) -> Array:
        if mask is not None:
            content = content * jnp.expand_dims(mask, (1 - axis, 2)).astype(content.dtype)
        return super()._reduce(content, axis, None, *rest)


class TickRefresher(vsml.Layer):
    """With several ticks, the layer's own messages are renewed between them."""

    def __call__(self, state: vsml.LayerState, *args: Any, ticks: int = 1) -> tuple:
        for _ in range(ticks - 1):
            state, _ = super().__call__(state, *args, ticks=1)
        return super().__call__(state, *args, ticks=1)


class UnsafeNorm(vsml.Layer):
    """Messages are divided by their norm, whose gradient does not exist at zero."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        return super()._reduce(content / (1.0 + jnp.linalg.norm(content)), *rest)


class Detached(vsml.Layer):
    """The gradient of what the cells emit is cut."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        return super()._reduce(jax.lax.stop_gradient(content), *rest)


class LifeMixer(vsml.Layer):
    """Lives that are mapped over an axis of the name `lives` hear each other."""

    def _reduce(self, *args: Any) -> Array:
        try:
            return jax.lax.pmean(super()._reduce(*args), "lives")
        except NameError:  # nothing is mapped under that name
            return super()._reduce(*args)


class TraceAware(vsml.Layer):
    """Behaves otherwise where it is compiled."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        compiled = isinstance(content, Tracer)
        return super()._reduce(content * 1.1 if compiled else content, *rest)


class ShortLoop(vsml.Network):
    """Where the ticks become a loop, one is lost."""

    def __call__(self, *args: Any) -> tuple:
        if self.ticks <= 4:
            return super().__call__(*args)
        shorter = vsml.Network(
            self.layers[0], self.depth, ticks=self.ticks - 1, refresh=True, order=self.order
        )
        return shorter(*args)


class AlwaysRefreshed(vsml.Network):
    """Messages that should be held are renewed between the ticks."""

    def __call__(self, *args: Any) -> tuple:
        layers = self.layers[0] if self.depth is None else self.layers
        network = vsml.Network(layers, ticks=self.ticks, order=self.order)
        return network(*args)


class HiddenShift(vsml.Network):
    """Messages between the layers arrive one unit further on."""

    def _simultaneous(self, states: tuple, *args: Any) -> tuple:
        return super()._simultaneous(_shifted(states), *args)

    def _forward(self, states: tuple, *args: Any) -> tuple:
        return super()._forward(_shifted(states), *args)

    def _forward_backward(self, states: tuple, *args: Any) -> tuple:
        return super()._forward_backward(_shifted(states), *args)


def _shifted(states: tuple) -> tuple:
    first = eqx.tree_at(lambda s: s.forward, states[0], jnp.roll(states[0].forward, 1, axis=0))
    return (first, *states[1:])


class SwappedGates(vsml.LSTMCell):
    """The biases of the input and forget gates are exchanged."""

    def __call__(self, state: vsml.LSTMState, drive: Array) -> tuple:
        i, g, f, o = jnp.split(drive + state.h @ self.recurrent, 4)
        keep = jax.nn.sigmoid(f + self.input_bias)
        write = jax.nn.sigmoid(i + self.forget_bias)
        c = keep * state.c + write * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return vsml.LSTMState(h=h, c=c), h, h


class LateBackprop(vsml.BackpropCell):
    """The error is sent on through the weight as it is after the step of descent."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        weight, ahead, _ = super().__call__(state, drive)
        return weight, ahead, (weight * error)[None]


class AscendingBackprop(vsml.BackpropCell):
    """The step goes uphill."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        _, ahead, back = super().__call__(state, drive)
        return state + self.learning_rate * activation * error, ahead, back


class UnlearnableRate(vsml.BackpropCell):
    """No gradient reaches the learning rate."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        _, ahead, back = super().__call__(state, drive)
        rate = jax.lax.stop_gradient(self.learning_rate)
        return state - rate * activation * error, ahead, back


def one_row(noise: Array, inputs: Array) -> Array:
    """A recipe that gives every row of the grid the same values."""
    del inputs
    return jnp.broadcast_to(noise[:1], noise.shape)


def uncut(noise: Array, inputs: Array) -> Array:
    """The official recipe without its cut at two standard deviations."""
    units = noise.shape[-1]
    return jnp.where(jnp.arange(units) < units // 2, noise / jnp.sqrt(inputs), 0.0)
