"""Ways to make a generation faster that were weighed: each beside what ships, in turns.

    python -m benchmarks.ideas --case control --rounds 11

Every variant computes the same ticks up to rounding, and is refused otherwise.
"""

import argparse
import dataclasses
import statistics
from typing import TYPE_CHECKING, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import vsml
from experiments import use_all_cores

if TYPE_CHECKING:
    import rl

    from .cases import Case

_WIDTH, _FUSION = "xla_cpu_prefer_vector_width", "xla_cpu_experimental_ynn_fusion_type"
Tick = Literal["shipped", "hoisted", "unfactored", "joined", "heads", "composite", "tanh"]


@dataclasses.dataclass(frozen=True)
class Idea:
    """A variant of the program.

    - `text`: what it changes.
    - `predicted`: the speed over what ships that was expected before it was measured.
    - `tick`: how a micro tick is written.
    - `unrolled`: whether micro ticks are written one after another and not as a loop.
    - `one_device`: whether all cores are one device.
    - `without`: which of the compiler's options are left out.
    - `members_at_once`: members side by side, the others in sequence.
    """

    text: str
    predicted: str
    tick: Tick = "shipped"
    unrolled: bool = False
    one_device: bool = False
    without: tuple[str, ...] = ()
    members_at_once: int | None = None


IDEAS = {
    "one-device": Idea("one device for all cores", "0.6", one_device=True),
    "unfactored": Idea("inputs projected for each cell", "0.7", tick="unfactored"),
    "unrolled": Idea("micro ticks unrolled, not a loop", "1.0", unrolled=True),
    "defaults": Idea("neither option of the compiler", "0.8", without=(_WIDTH, _FUSION)),
    "width": Idea("the compiler's width of vectors", "0.9", without=(_WIDTH,)),
    "fusion": Idea("the compiler's library fusions", "0.9", without=(_FUSION,)),
    "hoisted": Idea("what is held is projected before the loop", "1.05", tick="hoisted"),
    "chunks": Idea("4 members at once, to stay in cache", "1.2", members_at_once=4),
    "joined": Idea("context and bias within the column's matrix", "1.05", tick="joined"),
    "heads": Idea("heads within the recurrent matrix", "1.05", tick="heads"),
    "composite": Idea("heads multiplied into the projection", "1.1", tick="composite"),
    "tanh": Idea("logistic through tanh", "1.05", tick="tanh"),
}


class Variant(vsml.Network):
    """A network of one layer of LSTM cells that average, whose ticks are written in another way."""

    tick: Tick = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __init__(self, network: vsml.Network, tick: Tick, unrolled: bool):
        """**Arguments:** what it computes, and how."""
        super().__init__(network.layers[0], 1, ticks=network.ticks)
        self.tick, self.unrolled = tick, unrolled

    def __call__(
        self,
        state: vsml.NetworkState,
        forward: Float[Array, "A Mf_in"],
        backward: Float[Array, "B Mb_in"],
        context: Float[Array, " C"] | None = None,
    ) -> tuple[vsml.NetworkState, vsml.Messages]:
        """All micro ticks of one step."""
        assert context is not None
        layer, (start,) = self.layers[0], state.layers

        weight, bias, sizes = *_projection(layer), (forward.shape[1], backward.shape[1])
        column, last = sizes[0] + layer.backward_size, weight.shape[0] - context.shape[0]
        everywhere = context @ weight[last:] + bias
        held = (
            forward @ weight[: sizes[0]],
            backward @ weight[column : column + sizes[1]] + everywhere[None],
        )

        def one(now: vsml.LayerState) -> vsml.LayerState:
            if self.tick == "shipped":
                return layer(now, forward, backward, context)[0]
            return _ticked(self.tick, layer, now, forward, backward, context, held)

        if self.unrolled:
            new = start
            for _ in range(self.ticks):
                new = one(new)
        else:
            new = jax.lax.fori_loop(0, self.ticks, lambda _, now: one(now), start)
        return vsml.NetworkState((new,)), vsml.Messages(new.forward, new.backward)


def _projection(layer: vsml.Layer) -> tuple[Array, Array]:
    assert layer.projection is not None and layer.projection.bias is not None
    return layer.projection.weight, layer.projection.bias


def _ticked(
    tick: Tick,
    layer: vsml.Layer,
    now: vsml.LayerState,
    forward: Float[Array, "A Mf_in"],
    backward: Float[Array, "B Mb_in"],
    context: Float[Array, " C"],
    held: tuple[Float[Array, "A D"], Float[Array, "B D"]],
) -> vsml.LayerState:
    """One micro tick of the layer, written as the variant has it."""
    w, ahead, back = layer.projection, layer.forward_head, layer.backward_head
    assert w is not None and ahead is not None and back is not None
    assert w.bias is not None and ahead.bias is not None and back.bias is not None
    assert isinstance(layer.cell, vsml.LSTMCell)
    h, c = now.cells.h, now.cells.c
    row = jnp.concatenate([forward, now.backward], -1)
    column = jnp.concatenate([backward, now.forward], -1)
    cuts = (row.shape[-1], row.shape[-1] + column.shape[-1])
    by_row, by_column, by_context = jnp.split(w.weight, cuts)
    if tick == "unfactored":
        parts = (row[:, None], column[None], context[None, None])
        inputs = jnp.concatenate(
            [jnp.broadcast_to(p, (*h.shape[:2], p.shape[-1])) for p in parts], -1
        )
        drive = inputs @ w.weight + w.bias
    elif tick == "hoisted":
        first, second = forward.shape[1], backward.shape[1]
        rows = now.backward @ by_row[first:] + held[0]
        drive = rows[:, None] + (now.forward @ by_column[second:] + held[1])[None]
    elif tick == "joined":
        rest = jnp.concatenate([context, jnp.ones((1,))])
        rest = jnp.broadcast_to(rest, (column.shape[0], rest.shape[0]))
        matrix = jnp.concatenate([by_column, by_context, w.bias[None]])
        drive = (row @ by_row)[:, None] + (jnp.concatenate([column, rest], -1) @ matrix)[None]
    elif tick == "composite":
        own_row, own_column = by_row[forward.shape[1] :], by_column[backward.shape[1] :]
        # Messages are zero, not the bias of a head, until the first tick.
        born = jnp.any(now.forward != 0.0).astype(h.dtype)
        bias = w.bias + born * (back.bias @ own_row + ahead.bias @ own_column)
        rows = h.mean(1) @ (back.weight @ own_row) + forward @ by_row[: forward.shape[1]]
        columns = h.mean(0) @ (ahead.weight @ own_column)
        columns = columns + backward @ by_column[: backward.shape[1]]
        drive = rows[:, None] + (columns + (context @ by_context + bias)[None])[None]
    else:
        drive = (row @ by_row)[:, None]
        drive = drive + (column @ by_column + (context @ by_context + w.bias)[None])[None]
    i, g, f, o = jnp.split(drive + h @ layer.cell.recurrent, 4, axis=-1)
    logistic = (lambda x: 0.5 * jnp.tanh(0.5 * x) + 0.5) if tick == "tanh" else jax.nn.sigmoid
    c = logistic(f + layer.cell.forget_bias) * c
    c = c + logistic(i + layer.cell.input_bias) * jnp.tanh(g)
    h = logistic(o) * jnp.tanh(c)
    if tick == "heads":
        sent = h @ jnp.concatenate([ahead.weight, back.weight], 1)
        size = layer.forward_size
        messages = (sent[..., :size].mean(0) + ahead.bias, sent[..., size:].mean(1) + back.bias)
    else:
        messages = (h.mean(0) @ ahead.weight + ahead.bias, h.mean(1) @ back.weight + back.bias)
    return vsml.LayerState(vsml.LSTMState(h, c), *messages, now.input_mask, now.output_mask)


def learner_of(case: "Case", idea: Idea) -> "rl.SymLA":
    """The learner of a case, with its ticks written as the idea has them.

    **Raises:** `RuntimeError` if they do not compute the same.
    """
    learner = case.learner
    if idea.tick == "shipped" and not idea.unrolled:
        return learner
    other = Variant(learner.network, idea.tick, idea.unrolled)
    sizes = (case.inputs, case.outputs)
    received = [jr.normal(jr.key(k), (n, 1)) for k, n in enumerate(sizes)]

    def end(network: vsml.Network) -> list[Array]:
        state = network.init(sizes, key=jr.key(3))
        for _ in range(3):
            state, _ = network(state, received[0], received[1], jnp.ones((1,)))
        return jax.tree.leaves(state)

    pairs = zip(end(learner.network), end(other), strict=True)
    apart = max(float(jnp.abs(x - y).max()) for x, y in pairs)
    if apart > 1e-5:
        raise RuntimeError(f"{idea.text}: computes something else, {apart:.1e} away.")
    return eqx.tree_at(lambda x: x.network, learner, other)


def main() -> None:
    """Measure all ideas and print a table."""
    parser = argparse.ArgumentParser(description="Weigh ideas, each beside what ships.")
    parser.add_argument("--case", default="control", help="bandit, control, image or wide")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--ideas", default=",".join(IDEAS), help="names, separated by commas")
    asked = parser.parse_args()
    use_all_cores()  # before anything below starts JAX
    import meta

    from . import programs, suite
    from .cases import PRESETS

    case = PRESETS["laptop"][asked.case]
    devices = suite.shares(case, jax.devices())
    options = meta.compiler_options()
    timed = {"ships": programs.ours(case, case.learner, devices, 2)}
    for name in asked.ideas.split(","):
        idea = IDEAS[name]
        at_once = idea.members_at_once
        if at_once is not None:
            at_once = min(at_once, case.members // len(devices))
        timed[name] = programs.ours(
            case,
            learner_of(case, idea),
            devices[:1] if idea.one_device else devices,
            2,
            options={k: v for k, v in options.items() if k not in idea.without},
            members_at_once=at_once,
        )
    seconds = suite.in_turns(timed, asked.rounds)
    ships = timed["ships"]
    speed = ships.steps / statistics.median(seconds["ships"])
    print(f"{case.name}, {speed:,.0f} environment steps per second as it ships")
    print("| instead | predicted | measured (low to high) |\n|---|---|---|")
    for name in list(timed)[1:]:
        ratios = [a / b for a, b in zip(seconds["ships"], seconds[name], strict=True)]
        middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {IDEAS[name].text} | {IDEAS[name].predicted} | {middle} |")


if __name__ == "__main__":
    main()
