"""What the laws of layers and networks share: noise, messages, masks, lives and what permutes."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import vsml

from .. import _spec
from .._cases import Received, Situation, Sizes
from .._execution import compiled, with_fields

Grid = vsml.Layer | vsml.Network
Noise = Array | tuple[Array, ...]


def sizes_of(grid: Grid, situation: Situation) -> Sizes:
    """The sizes of the situation, or some that suit the layer or network.

    **Raises:** `ValueError` if the situation has sizes of another depth.
    """
    depth = depth_of(grid)
    if situation.sizes is None:
        # From three units on, no permutation but a few commute with a shift.
        return tuple(3 + k % 2 for k in range((depth or 3) + 1))
    if depth is not None and len(situation.sizes) != depth + 1:
        raise ValueError(
            f"`sizes` must hold {depth + 1} numbers for this {type(grid).__name__}, got "
            f"{situation.sizes}."
        )
    return situation.sizes


def depth_of(grid: Grid) -> int | None:
    """How many layers there are; `None` where the sizes tell."""
    return 1 if isinstance(grid, vsml.Layer) else grid.depth


def stack(grid: Grid, depth: int) -> tuple[vsml.Layer, ...]:
    """The layers, one for each depth."""
    if isinstance(grid, vsml.Layer):
        return (grid,)
    return grid.layers * depth if len(grid.layers) == 1 else grid.layers


def noise_for(grid: Grid, sizes: Sizes, situation: Situation) -> Noise:
    """The noise of a birth."""
    layers = stack(grid, len(sizes) - 1)
    noise = tuple(
        situation.noise(sizes[k], sizes[k + 1], layer.cell.hidden_size, part=10 + k).astype(
            layer.dtype
        )
        for k, layer in enumerate(layers)
    )
    return noise[0] if isinstance(grid, vsml.Layer) else noise


def messages_for(grid: Grid, sizes: Sizes, situation: Situation, steps: int) -> Received:
    """What arrives from outside at each of the steps."""
    layers = stack(grid, len(sizes) - 1)
    first, last = layers[0], layers[-1]
    shapes = (
        (steps, sizes[0], first.forward_input_size),
        (steps, sizes[-1], last.backward_input_size),
        (steps, first.context_size),
    )
    return Received(
        *(
            (situation.loudness * situation.noise(*shape, part=20 + k)).astype(first.dtype)
            for k, shape in enumerate(shapes)
        )
    )


def masks_for(sizes: Sizes, situation: Situation) -> tuple[Any, Any]:
    """Which inputs and outputs exist."""
    one, other = situation.masks(sizes)
    return (None, None) if one is None else (jnp.asarray(one), jnp.asarray(other))


def birth(grid: Any, noise: Noise, masks: tuple) -> PyTree:
    """The state before the first step."""
    return grid.init_from(noise, input_mask=masks[0], output_mask=masks[1])


def tick(grid: Grid, state: PyTree, now: Received) -> tuple[PyTree, vsml.Messages]:
    """One call."""
    return grid(state, *now)


def live(grid: Grid, noise: Noise, masks: tuple, messages: Received) -> tuple:
    """The states after each of L steps, and what was sent then."""

    def step(state: PyTree, now: Received) -> tuple:
        state, sent = tick(grid, state, now)
        return state, (state, sent)

    return jax.lax.scan(step, birth(grid, noise, masks), messages)[1]


def born_and_called(grid: Grid, noise: Noise, masks: tuple, now: Received) -> tuple:
    """A birth and one call."""
    return tick(grid, birth(grid, noise, masks), now)


compiled_birth = compiled(birth)
compiled_tick = compiled(tick)


def at(messages: Received, step: int) -> Received:
    """What arrives at one step."""
    return Received(*(x[step] for x in messages))


# ------------------------------------------------------------------------------- what permutes


def labels_of(sizes: Sizes) -> list[str]:
    """A label for each interface: A, then H1 and so on within, then B."""
    return ["A", *(f"H{k}" for k in range(1, len(sizes) - 1)), "B"]


def orders_of(sizes: Sizes, situation: Situation) -> dict[str, np.ndarray]:
    """The permutations of the situation, by label."""
    return dict(zip(labels_of(sizes), situation.orders(sizes), strict=True))


def fixed(tree: PyTree) -> PyTree:
    """The specification of what does not permute, parameters for example."""

    def spec(x: Any) -> Any:
        if not eqx.is_array(x):
            return ...
        return _spec.Spec(tuple(_spec.Axis(n, None) for n in x.shape))

    return jax.tree.map(spec, tree)


def noise_spec(noise: Noise, labels: list[str]) -> PyTree:
    """Of noise: `A B N` for each layer."""
    if not isinstance(noise, tuple):
        return _axes(noise, labels[:2])
    return tuple(_axes(z, labels[k : k + 2]) for k, z in enumerate(noise))


def messages_spec(messages: Received, labels: list[str]) -> Received:
    """Of what arrives over L steps."""
    return Received(
        _axes(messages.forward, ["t", labels[0]]),
        _axes(messages.backward, ["t", labels[-1]]),
        _axes(messages.context, ["t"]),
    )


def masks_spec(masks: tuple, labels: list[str]) -> tuple:
    """Of masks of inputs and outputs."""
    return tuple(
        None if mask is None else _axes(mask, [label])
        for mask, label in zip(masks, (labels[0], labels[-1]), strict=True)
    )


def state_spec(state: PyTree, labels: list[str], lead: tuple[str, ...] = ()) -> PyTree:
    """Of a state, whose arrays may have axes before their own."""
    if isinstance(state, vsml.NetworkState):
        layers = tuple(state_spec(s, labels[k : k + 2], lead) for k, s in enumerate(state.layers))
        return with_fields(state, layers=layers)
    # What a layer of the user keeps beside is its own business.
    spec, (inputs, outputs) = jax.tree.map(lambda x: ..., state), labels
    return with_fields(
        spec,
        cells=jax.tree.map(lambda x: _axes(x, [*lead, inputs, outputs]), state.cells),
        forward=_axes(state.forward, [*lead, outputs]),
        backward=_axes(state.backward, [*lead, inputs]),
        input_mask=_masked(state.input_mask, [*lead, inputs]),
        output_mask=_masked(state.output_mask, [*lead, outputs]),
    )


def sent_spec(sent: vsml.Messages, labels: list[str], lead: tuple[str, ...] = ()) -> vsml.Messages:
    """Of what leaves."""
    return vsml.Messages(
        _axes(sent.forward, [*lead, labels[-1]]), _axes(sent.backward, [*lead, labels[0]])
    )


def _masked(mask: Any, names: list[str]) -> Any:
    return None if mask is None else _axes(mask, names)


def _axes(x: Any, names: list[str]) -> Any:
    rest = [str(n) for n in x.shape[len(names) :]]
    return _spec.parse(" ".join([*names, *rest]))


def take(specs: PyTree, values: PyTree, chosen: Mapping[str, np.ndarray]) -> PyTree:
    """Those entries of labelled axes that are chosen; what nothing is said of becomes `None`."""

    def one(spec: Any, x: Any) -> Any:
        if spec is ...:
            return None
        for place, axis in enumerate(spec.axes):
            if axis.label in chosen:
                x = x[(slice(None),) * place + (chosen[axis.label],)]
        return x

    return jax.tree.map(one, specs, values)
