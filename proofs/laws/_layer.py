"""Laws of layers; those that networks keep, too, say so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import vsml

from .. import _assertions
from .._cases import Received, Situation
from .._execution import compiled, exactly, with_fields
from . import _grids
from ._grids import Grid, at, compiled_birth, compiled_tick, live, tick
from ._oracle import layer_by_hand
from ._registry import assert_same, law

# ---------------------------------------------------------------------------------- symmetries


@law(
    "f(g.h, g.x) = g.f(h, x), for all permutations g of inputs, outputs and hidden units",
    about=("layer", "network"),
    situation=Situation(steps=50),
)
def equivariance(grid: Grid, situation: Situation) -> None:
    """The order of inputs, of outputs and of all that is between them does not matter.

    All cells share their parameters, and sums do not know the order of what they add. Over the
    whole of a long life, bit for bit, in exact arithmetic. Broken by whatever depends on a
    position: weights of its own for an input, an embedding of its index, a neighbour.
    """
    sizes = _grids.sizes_of(grid, situation)
    labels, masks = _grids.labels_of(sizes), _grids.masks_for(sizes, situation)
    noise = _grids.noise_for(grid, sizes, situation)
    messages = _grids.messages_for(grid, sizes, situation, situation.steps)
    args = (grid, noise, masks, messages)
    states, sent = eqx.filter_eval_shape(live, *args)
    _assertions.assert_equivariant(
        live,
        (
            _grids.fixed(grid),
            _grids.noise_spec(noise, labels),
            _grids.masks_spec(masks, labels),
            _grids.messages_spec(messages, labels),
        ),
        (_grids.state_spec(states, labels, ("t",)), _grids.sent_spec(sent, labels, ("t",))),
        args=args,
        permutations=None if situation.permutations is None else _grids.orders_of(sizes, situation),
        seed=situation.seed,
    )


# -------------------------------------------------------------------------------------- sizes


@law(
    "one set of parameters serves all sizes: f_theta is defined for all A, B (and K)",
    about=("layer", "network"),
)
def size_freedom(grid: Grid, situation: Situation) -> None:
    """The parameters are those of one cell, so they do not depend on how many cells there are.

    The same module is traced at several sizes and must return messages for each unit. Broken by
    parameters for each input, each output or (where a layer is shared) each depth. To test how a
    class is *built* for different sizes, use `assert_size_free`.
    """
    del situation
    depth = _grids.depth_of(grid)
    depths = (1, 3) if depth is None else (depth,)
    menu = [(2, 3, 4, 1, 5), (1,), (5, 2, 1, 3)]
    sizes = [tuple(s[i % len(s)] for i in range(k + 1)) for k in depths for s in menu]

    def run(grid: Grid, *sizes: int) -> None:
        situation = Situation(sizes=sizes)
        noise = _grids.noise_for(grid, sizes, situation)
        messages = _grids.messages_for(grid, sizes, situation, 2)
        _, sent = live(grid, noise, (None, None), messages)
        shapes = (sent.forward.shape[1], sent.backward.shape[1])
        if shapes != (sizes[-1], sizes[0]):
            raise ValueError(f"messages leave for {shapes[0]} outputs and {shapes[1]} inputs")

    _assertions.assert_size_free(lambda *sizes: grid, sizes, run=run)


@law(
    "f(h, x; mask) = f(h[mask], x[mask]) for all that exists",
    about=("layer", "network"),
    situation=Situation(masked=True, steps=4),
)
def masked_is_smaller(grid: Grid, situation: Situation) -> None:
    """Inputs and outputs that do not exist leave no trace.

    Bit for bit, in exact arithmetic: what exists behaves as in the smaller layer or network that
    was made without the rest, whose noise and messages it shares. Broken where masked cells are
    summed, or counted in a mean.
    """
    situation = replace(situation, masked=True)
    sizes = _grids.sizes_of(grid, situation)
    labels, masks = _grids.labels_of(sizes), _grids.masks_for(sizes, situation)
    noise = _grids.noise_for(grid, sizes, situation)
    messages = _grids.messages_for(grid, sizes, situation, situation.steps)
    whole = exactly(live, grid, noise, masks, messages).outputs
    chosen = {"A": np.flatnonzero(masks[0]), "B": np.flatnonzero(masks[1])}
    small_noise = _grids.take(_grids.noise_spec(noise, labels), noise, chosen)
    small_messages = _grids.take(_grids.messages_spec(messages, labels), messages, chosen)
    small = exactly(live, grid, small_noise, (None, None), small_messages).outputs
    kept = []
    for states, sent in (whole, small):
        specs = (_grids.state_spec(states, labels, ("t",)), _grids.sent_spec(sent, labels, ("t",)))
        existing = chosen if states is whole[0] else {}
        kept.append(_grids.take(specs, (states, sent), existing))
    kept = [(_without_masks(states), sent) for states, sent in kept]
    assert_same(
        kept[0],
        kept[1],
        f"A {type(grid).__name__} of sizes {sizes} of which inputs {chosen['A'].tolist()} and "
        f"outputs {chosen['B'].tolist()} exist",
        one="it",
        other="the smaller one",
    )


def _without_masks(state: PyTree) -> PyTree:
    if isinstance(state, vsml.NetworkState):
        return with_fields(state, layers=tuple(map(_without_masks, state.layers)))
    return with_fields(state, input_mask=None, output_mask=None)


# ------------------------------------------------------------------------------------ influence


@law(
    "h_ab' depends on h_ab, the messages of input a and output b, and the context alone",
    about="layer",
)
def locality(layer: vsml.Layer, situation: Situation) -> None:
    """Within a tick, a cell sees its row and its column and nothing else.

    The messages of one input (or output) at a time are changed; in exact arithmetic, the cells of
    all other rows (columns) must stay what they are, bit for bit. Broken by cells that read a
    neighbour, or any statistic over others than their own row and column.
    """
    sizes = _grids.sizes_of(layer, situation)
    noise, masks = _grids.noise_for(layer, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(layer, sizes, situation, 2)
    before = _last_cells(layer, noise, masks, messages)
    heard = messages.forward.size + messages.backward.size == 0
    for way, axis, unit in (("forward", 0, "input"), ("backward", 1, "output")):
        for k in range(sizes[axis]):
            received = getattr(messages, way)
            news = messages._replace(**{way: received.at[-1, k].add(0.375)})
            after = _last_cells(layer, noise, masks, news)
            for x, y in zip(before, after, strict=True):
                changed = (x != y).any(axis=tuple(range(2, x.ndim))).any(axis=1 - axis)
                heard = heard or bool(changed[k])
                changed[k] = False
                if changed.any():
                    raise AssertionError(
                        f"The message of {unit} {k} changed, within one tick, cells of {unit} "
                        f"{np.flatnonzero(changed).tolist()} in a layer of sizes {sizes}."
                    )
    if not heard:
        raise AssertionError("No cell changed with any message: there is nothing to be seen.")


def _last_cells(layer: vsml.Layer, noise: Any, masks: tuple, messages: Received) -> list:
    states, _ = exactly(live, layer, noise, masks, messages).outputs
    return [x[-1] for x in jax.tree.leaves(states.cells)]


@law(
    "n ticks of one call = n calls of one tick, with all messages held: f^(m + n) = f^n f^m",
    about="layer",
    situation=Situation(ticks=3),
)
def held_ticks(layer: vsml.Layer, situation: Situation) -> None:
    """Ticks compose: a call of many is as many calls of one that hear the same.

    All ticks of a call hear what was there before the first, the layer's own messages too. In exact
    arithmetic. Broken where messages are renewed between the ticks, or a tick is lost.
    """
    sizes = _grids.sizes_of(layer, situation)
    noise, masks = _grids.noise_for(layer, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(layer, sizes, situation, 2)
    n = situation.ticks
    one_call, many_calls = exactly(_held, layer, noise, masks, messages, n).outputs
    assert_same(one_call, many_calls, "A layer", one=f"{n} ticks", other=f"{n} calls of one tick")


def _held(
    layer: vsml.Layer, noise: Array, masks: tuple, messages: Received, n: int
) -> tuple[PyTree, PyTree]:
    # Own messages are zero at birth, so a step comes first.
    start, sent = layer(_grids.birth(layer, noise, masks), *at(messages, 0))
    now = at(messages, 1)

    def call(before: tuple, _: None) -> tuple[tuple, None]:
        held = with_fields(before[0], forward=start.forward, backward=start.backward)
        return layer(held, *now), None

    many_calls, _ = jax.lax.scan(call, (start, sent), None, length=n)
    return layer(start, *now, ticks=n), many_calls


# ------------------------------------------------------------------------------ transformations


@law("jit(f) = f", about=("layer", "network"))
def same_under_jit(grid: Grid, situation: Situation) -> None:
    """A birth and a call compute the same compiled and not, to `proofs.TOLERANCE`.

    Broken by Python that looks at values or at whether it is traced.
    """
    sizes = _grids.sizes_of(grid, situation)
    noise, masks = _grids.noise_for(grid, sizes, situation), _grids.masks_for(sizes, situation)
    now = at(_grids.messages_for(grid, sizes, situation, 1), 0)
    _assertions.assert_same_under_jit(_grids.born_and_called, grid, noise, masks, now)


@law("vmap(f)(x)_k = f(x_k)", about=("layer", "network"))
def same_under_vmap(grid: Grid, situation: Situation) -> None:
    """Lives side by side are the lives one by one, to `proofs.TOLERANCE`.

    Broken where lives hear each other through the axis they are mapped over (here of the name
    `lives`).
    """
    sizes = _grids.sizes_of(grid, situation)
    masks = _grids.masks_for(sizes, situation)
    lives = [
        (_grids.noise_for(grid, sizes, s), _grids.messages_for(grid, sizes, s, 2))
        for s in (replace(situation, seed=situation.seed + k) for k in range(3))
    ]
    noise, messages = jax.tree.map(lambda *x: jnp.stack(x), *lives)
    _assertions.assert_same_under_vmap(
        _live_masked, noise, messages, shared=(grid, masks), axis_name="lives"
    )


def _live_masked(grid: Grid, masks: tuple, noise: Any, messages: Received) -> tuple:
    return live(grid, noise, masks, messages)


@law("f is compiled once for all states and messages of one shape", about=("layer", "network"))
def compiled_once(grid: Grid, situation: Situation) -> None:
    """A state keeps its shapes and types from step to step, so nothing is compiled again.

    Broken by a state that is born with another type (or weak type) than it has later, and by sizes
    or values that are static.
    """
    sizes = _grids.sizes_of(grid, situation)
    noise, masks = _grids.noise_for(grid, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(grid, sizes, situation, 3)
    state, calls = compiled_birth(grid, noise, masks), []
    for step in range(3):
        calls.append((grid, state, at(messages, step)))
        state, _ = compiled_tick(*calls[-1])
    _assertions.assert_compiles_once(tick, calls)


@law("f(x) and df/dx are finite, from silence too", about=("layer", "network"))
def finite_gradients(grid: Grid, situation: Situation) -> None:
    """What is sent, and its gradients by parameters, states and messages, are finite numbers.

    Also where nothing is received and all cells are alike and silent, which is where norms,
    square roots and divisions fail.
    """
    sizes = _grids.sizes_of(grid, situation)
    masks = _grids.masks_for(sizes, situation)
    noise = _grids.noise_for(grid, sizes, situation)
    messages = _grids.messages_for(grid, sizes, situation, 2)
    for silent in (False, True):
        if silent:
            noise, messages = jax.tree.map(jnp.zeros_like, (noise, messages))
        _assertions.assert_gradients_finite(_sent, grid, noise, masks, messages)


def _sent(grid: Grid, noise: Any, masks: tuple, messages: Received) -> vsml.Messages:
    return live(grid, noise, masks, messages)[1]


# ---------------------------------------------------------------------------------- the oracle

Oracle = Callable[[vsml.Layer, vsml.LayerState, Received, int], tuple[PyTree, PyTree]]


@law("the layer in float64 = its equations in NumPy, one cell at a time", about="layer")
def oracle(layer: vsml.Layer, situation: Situation, oracle: Oracle | None = None) -> None:
    """A layer computes equations 6 to 9 of SymLA (arXiv:2109.10781), and nothing else.

    Three steps in float64 against loops over cells in NumPy. The cell is the layer's own, called at
    one position at a time, unless you give an `oracle` of yours:
    `(layer, state at birth, messages over L steps, ticks) -> (states, messages)` as NumPy arrays
    over L steps, with the structure that the layer returns.
    """
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), float) if eqx.is_inexact_array(x) else x, layer
        )
        sizes = _grids.sizes_of(wide, situation)
        noise, masks = _grids.noise_for(wide, sizes, situation), _grids.masks_for(sizes, situation)
        messages = _grids.messages_for(wide, sizes, situation, 3)
        start = compiled_birth(wide, noise, masks)
        states, sent = _ticks(wide, start, messages, situation.ticks)
        expected = (oracle or layer_by_hand)(wide, start, messages, situation.ticks)
        for name, one, other in (
            ("cells", states.cells, expected[0].cells),
            ("messages", sent, expected[1]),
        ):
            for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
                difference = _assertions.far_apart(x, np.asarray(y))
                if difference is not None:
                    raise AssertionError(f"The {name}, and those of the oracle: {difference}")


@compiled
def _ticks(layer: vsml.Layer, start: PyTree, messages: Received, ticks: int) -> tuple:
    def step(state: PyTree, now: Received) -> tuple:
        state, sent = layer(state, *now, ticks=ticks)
        return state, (state, sent)

    return jax.lax.scan(step, start, messages)[1]
