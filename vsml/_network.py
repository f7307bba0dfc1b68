from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ._layer import Layer, LayerState, Messages

Order = Literal["simultaneous", "forward", "forward-backward"]
Kernel = Literal["plain", "pallas", "interpret"]


class NetworkState(eqx.Module):
    """The state of a network: one `LayerState` for each of its K layers."""

    layers: tuple[LayerState, ...]


class Network(eqx.Module):
    """K layers of VSML, which pass messages forward and backward to their neighbours.

    One layer given alone is shared by every depth: its parameters are stored once, and K comes
    from the sizes given at `init`. Several layers given as a tuple are one for each depth.

    !!! Example

        ```python
        network = vsml.Network(layer, ticks=2)
        state = network.init((4, 32, 32, 2), key=key)
        state, messages = network(state, forward, backward, context)
        ```
    """

    layers: tuple[Layer, ...]
    depth: int | None = eqx.field(static=True)
    ticks: int = eqx.field(static=True)
    refresh: bool = eqx.field(static=True)
    order: Order = eqx.field(static=True)
    kernel: Kernel = eqx.field(static=True)

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        depth: int | None = None,
        *,
        ticks: int = 1,
        refresh: bool = True,
        order: Order = "simultaneous",
        kernel: Kernel = "plain",
    ):
        """**Arguments:**

        - `layers`: one layer for all depths, or one for each.
        - `depth`: `K`; by default the number of layers given, or, for a shared layer, whatever
            `init` asks for.
        - `ticks`: micro ticks in each call.
        - `refresh`: whether messages are renewed between the micro ticks (the sweep is done
            `ticks` times), or held (one sweep in which each layer ticks `ticks` times).
        - `order`: in a `"simultaneous"` sweep all layers read the messages of the tick before.
            In a `"forward"` sweep forward messages travel through all layers at once and
            backward messages one layer a sweep. A `"forward-backward"` sweep goes forward with
            silent (zero) backward messages, then back through the layers with the forward
            messages that were just made.
        - `kernel`: how the micro ticks of one layer are computed: `"plain"`, as `vsml.Layer` does
            each, or `"pallas"`, all of a call in one kernel where the program is compiled for CUDA
            (see docs/performance.md). Equal up to rounding. `"interpret"` runs that kernel on any
            platform, slowly, for tests.

        **Raises:** `ValueError` where the layers do not fit together or an option is unknown.
        """
        shared = isinstance(layers, Layer)
        self.layers = (layers,) if shared else tuple(layers)
        if not self.layers:
            raise ValueError("A network needs at least one layer, got none.")
        if not shared and depth is not None and depth != len(self.layers):
            raise ValueError(
                f"`depth` is {depth} but {len(self.layers)} layers were given; give one layer to "
                "share it over every depth, or leave `depth` out."
            )
        if depth is not None and depth < 1:
            raise ValueError(f"`depth` must be at least 1, got {depth}.")
        if ticks < 1:
            raise ValueError(f"`ticks` must be at least 1, got {ticks}.")
        if order not in ("simultaneous", "forward", "forward-backward"):
            raise ValueError(
                f"`order` must be one of simultaneous, forward, forward-backward; got {order!r}."
            )
        if kernel not in ("plain", "pallas", "interpret"):
            raise ValueError(f"`kernel` must be one of plain, pallas, interpret; got {kernel!r}.")
        self.depth = depth if shared else len(self.layers)
        if kernel != "plain" and (self.depth != 1 or order == "forward-backward"):
            raise ValueError(
                f"`kernel={kernel!r}` is for one layer (`depth=1`) without a forward-backward "
                f"sweep, got depth {self.depth} and order {order!r}; take 'plain'."
            )
        self.ticks, self.refresh, self.order, self.kernel = ticks, refresh, order, kernel
        several = depth != 1 if shared else len(self.layers) > 1
        if several and not (shared and depth is None):
            _check_joints(self._stack(self.depth or 2))

    def _stack(self, depth: int) -> tuple[Layer, ...]:
        return self.layers * depth if len(self.layers) == 1 else self.layers

    def init(
        self,
        sizes: tuple[int, ...],
        *,
        input_mask: Bool[Array, " A"] | None = None,
        output_mask: Bool[Array, " B"] | None = None,
        key: PRNGKeyArray,
    ) -> NetworkState:
        """A new state.

        **Arguments:**

        - `sizes`: the sizes of the K + 1 interfaces, from the inputs to the outputs.
        - `input_mask`, `output_mask`: which of the network's inputs and outputs exist.
        - `key`: the random key of the states.

        **Raises:** `ValueError` if the number of sizes does not fit the depth.
        """
        layers = self._layers_for(len(sizes) - 1)
        if min(sizes) < 1:
            raise ValueError(f"Every one of `sizes` must be at least 1, got {sizes}.")
        noise = tuple(
            jr.normal(k, (a, b, layer.cell.hidden_size), layer.dtype)
            for k, a, b, layer in zip(
                jr.split(key, len(layers)), sizes[:-1], sizes[1:], layers, strict=True
            )
        )
        return self.init_from(noise, input_mask=input_mask, output_mask=output_mask)

    def init_from(
        self,
        noise: tuple[Float[Array, "_A _B _N"], ...],
        *,
        input_mask: Bool[Array, " A"] | None = None,
        output_mask: Bool[Array, " B"] | None = None,
    ) -> NetworkState:
        """As `init`, from standard normal noise for each layer: equivariant pathwise."""
        layers = self._layers_for(len(noise))
        last = len(layers) - 1
        return NetworkState(
            tuple(
                layer.init_from(
                    z,
                    input_mask=input_mask if k == 0 else None,
                    output_mask=output_mask if k == last else None,
                )
                for k, (layer, z) in enumerate(zip(layers, noise, strict=True))
            )
        )

    def _layers_for(self, depth: int) -> tuple[Layer, ...]:
        if depth < 1 or (self.depth is not None and depth != self.depth):
            wanted = "at least two sizes" if self.depth is None else f"{self.depth + 1} sizes"
            raise ValueError(
                f"The network needs {wanted} (K + 1 interfaces of K layers), got {depth + 1}."
            )
        layers = self._stack(depth)
        _check_joints(layers)
        return layers

    def __call__(
        self,
        state: NetworkState,
        forward: Float[Array, "A Mf_in"],
        backward: Float[Array, "B Mb_in"],
        context: Float[Array, " C"] | None = None,
    ) -> tuple[NetworkState, Messages]:
        """All micro ticks of one step.

        **Arguments:**

        - `state`: the state of the network.
        - `forward`: messages to the inputs of the first layer.
        - `backward`: messages to the outputs of the last layer.
        - `context`: what every cell of every layer receives.

        **Returns:**

        The new state, and the messages that leave the network: `forward` `[B Mf]` from the
        last layer, `backward` `[A Mb]` from the first.
        """
        if self.kernel != "plain":
            from ._pallas import fused_ticks

            layer, (state_of_layer,) = self.layers[0], state.layers
            new, messages = fused_ticks(
                *(layer, state_of_layer, forward, backward, context),
                ticks=self.ticks,
                refresh=self.refresh,
                interpret=self.kernel == "interpret",
            )
            return NetworkState((new,)), messages
        sweep = {
            "simultaneous": self._simultaneous,
            "forward": self._forward,
            "forward-backward": self._forward_backward,
        }[self.order]
        held = 1 if self.refresh else self.ticks
        repeats = self.ticks if self.refresh else 1

        def one(states: tuple[LayerState, ...]) -> tuple[LayerState, ...]:
            return sweep(states, forward, backward, context, held)

        # A loop, even for two: XLA then makes one program of a micro tick and fuses nothing across
        # two of them, which on CPU is faster (docs/performance.md) and halves the compilation.
        states = state.layers
        if repeats == 1:
            states = one(states)
        else:
            states = jax.lax.fori_loop(0, repeats, lambda _, s: one(s), states)
        return NetworkState(states), Messages(states[-1].forward, states[0].backward)

    def _simultaneous(
        self,
        states: tuple[LayerState, ...],
        forward: Array,
        backward: Array,
        context: Array | None,
        ticks: int,
    ) -> tuple[LayerState, ...]:
        ahead = (forward, *(s.forward for s in states[:-1]))
        back = (*(s.backward for s in states[1:]), backward)
        layers = self._stack(len(states))
        return tuple(
            layer(s, f, b, context, ticks=ticks)[0]
            for layer, s, f, b in zip(layers, states, ahead, back, strict=True)
        )

    def _forward(
        self,
        states: tuple[LayerState, ...],
        forward: Array,
        backward: Array,
        context: Array | None,
        ticks: int,
    ) -> tuple[LayerState, ...]:
        back = (*(s.backward for s in states[1:]), backward)
        new = []
        for layer, s, b in zip(self._stack(len(states)), states, back, strict=True):
            s, messages = layer(s, forward, b, context, ticks=ticks)
            forward = messages.forward
            new.append(s)
        return tuple(new)

    def _forward_backward(
        self,
        states: tuple[LayerState, ...],
        forward: Array,
        backward: Array,
        context: Array | None,
        ticks: int,
    ) -> tuple[LayerState, ...]:
        layers = self._stack(len(states))
        ahead, new = [forward], []
        for layer, s in zip(layers, states, strict=True):
            silent = jnp.zeros((s.forward.shape[0], layer.backward_input_size), s.forward.dtype)
            s, messages = layer(s, ahead[-1], silent, context, ticks=ticks)
            ahead.append(messages.forward)
            new.append(s)
        for k in reversed(range(len(layers))):
            new[k], messages = layers[k](new[k], ahead[k], backward, context, ticks=ticks)
            backward = messages.backward
        return tuple(new)


def _check_joints(layers: tuple[Layer, ...]) -> None:
    """Refuse neighbours whose messages have different sizes, and contexts that differ."""
    for k, (below, above) in enumerate(zip(layers[:-1], layers[1:], strict=True), start=1):
        for way, sent, received in (
            ("forward", below.forward_size, above.forward_input_size),
            ("backward", above.backward_size, below.backward_input_size),
        ):
            if sent != received:
                raise ValueError(
                    f"Between layers {k} and {k + 1}, {way} messages are sent with size {sent} "
                    f"and received with size {received}; make them equal."
                )
        if below.context_size != above.context_size:
            raise ValueError(
                f"Layers {k} and {k + 1} have context sizes {below.context_size} and "
                f"{above.context_size}; all layers receive the same context."
            )
