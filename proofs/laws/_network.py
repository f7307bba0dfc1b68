"""Laws of networks beside those that they share with layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import vsml

from .._cases import Received, Situation
from .._execution import exactly, with_fields
from . import _grids
from ._grids import at, live
from ._registry import assert_same, law


@law(
    "news from either end reach layer k after as many sweeps as the order says",
    about="network",
)
def propagation(network: vsml.Network, situation: Situation) -> None:
    """Messages travel at the speed of the order, and not any faster.

    In which sweep what arrives at the inputs, or at the outputs, first changes the cells of layer
    k of K: `simultaneous`: k from the inputs, K - k + 1 from the outputs. `forward`: 1 and
    K - k + 1. `forward-backward`: 1 and 1. With `ticks` and `refresh`, a call is as many sweeps. In
    exact arithmetic. Broken by layers that read messages of another tick than they should.
    """
    sizes = _grids.sizes_of(network, situation)
    depth = len(sizes) - 1
    noise, masks = _grids.noise_for(network, sizes, situation), (None, None)
    messages = _grids.messages_for(network, sizes, situation, depth + 1)
    states, _ = exactly(live, network, noise, masks, messages).outputs
    sweeps = network.ticks if network.refresh else 1
    far = [k + 1 for k in range(depth)]
    expected = {
        "forward": far if network.order == "simultaneous" else [1] * depth,
        "backward": [1] * depth if network.order == "forward-backward" else far[::-1],
    }
    for way, delays in expected.items():
        received = getattr(messages, way)
        if received.size == 0:
            continue
        news = messages._replace(**{way: received + 0.375})
        changed, _ = exactly(live, network, noise, masks, news).outputs
        found = [
            _first_change(before.cells, after.cells)
            for before, after in zip(states.layers, changed.layers, strict=True)
        ]
        calls = [-(-delay // sweeps) for delay in delays]
        if found != calls:
            raise AssertionError(
                f"In a network of order {network.order!r} and sizes {sizes}, {way} news should "
                f"reach the layers in calls {calls}, but do in {found} (None: never)."
            )


def _first_change(before: PyTree, after: PyTree) -> int | None:
    """The first call, counted from 1, after which cells differ."""
    differs = np.zeros(jax.tree.leaves(before)[0].shape[0], bool)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        differs |= (x != y).any(axis=tuple(range(1, x.ndim)))
    return 1 + int(np.argmax(differs)) if differs.any() else None


@law(
    "n ticks of one call = n calls of one tick, with messages renewed: f^(m + n) = f^n f^m",
    about="network",
    when=lambda network: network.refresh,
    situation=Situation(ticks=6),
)
def ticks(network: vsml.Network, situation: Situation) -> None:
    """Ticks compose: a call of many is as many calls of one that receive the same.

    In exact arithmetic; from 5 ticks on, they are a loop. Broken by a loop that is a tick too
    short, and by a state that is not all that a network remembers.
    """
    sizes = _grids.sizes_of(network, situation)
    noise, masks = _grids.noise_for(network, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(network, sizes, situation, 1)
    n = situation.ticks
    one_call, many_calls = exactly(_composed, network, noise, masks, messages, n).outputs
    assert_same(one_call, many_calls, "A network", one=f"{n} ticks", other=f"{n} calls of one tick")


def _composed(
    network: vsml.Network, noise: Any, masks: tuple, messages: Received, n: int
) -> tuple[tuple, tuple]:
    start, now = _grids.birth(network, noise, masks), at(messages, 0)

    def call(before: tuple, _: None) -> tuple[tuple, None]:
        return with_fields(network, ticks=1)(before[0], *now), None

    whole = with_fields(network, ticks=n)(start, *now)
    silent = jax.tree.map(jnp.zeros_like, whole[1])
    return whole, jax.lax.scan(call, (start, silent), None, length=n)[0]


@law(
    "a network of one layer that holds its messages = that layer, with as many ticks",
    about="network",
    when=lambda network: not network.refresh and network.depth in (None, 1),
)
def held_network(network: vsml.Network, situation: Situation) -> None:
    """Without `refresh`, the ticks of a call are those of the layer, which hear the same.

    In exact arithmetic, for three ticks. Broken where messages are renewed all the same.
    """
    sizes = situation.sizes if situation.sizes and len(situation.sizes) == 2 else (3, 2)
    noise, masks = _grids.noise_for(network, sizes, situation), _grids.masks_for(sizes, situation)
    messages = _grids.messages_for(network, sizes, situation, 2)
    network = with_fields(network, ticks=3)
    together, alone = exactly(_both, network, noise, masks, messages).outputs
    assert_same(together, alone, "Two calls of three ticks", one="the network", other="the layer")


def _both(network: vsml.Network, noise: Any, masks: tuple, messages: Received) -> tuple:
    layer = network.layers[0]
    one, other = _grids.birth(network, noise, masks), _grids.birth(layer, noise[0], masks)
    sent = sent_alone = None
    for step in range(2):
        now = at(messages, step)
        one, sent = network(one, *now)
        if network.order == "forward-backward":  # which goes through it twice
            silent = now._replace(backward=0.0 * now.backward)
            other, _ = layer(other, *silent, ticks=network.ticks)
        other, sent_alone = layer(other, *now, ticks=network.ticks)
    return (one.layers[0], sent), (other, sent_alone)
