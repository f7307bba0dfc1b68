"""All micro ticks of one step of a dense layer in one kernel, for GPUs; `Layer` is its oracle.

The kernel is written in Pallas and lowered by Triton. One program of its grid holds a block of
lives of one member on chip: it reads their cells and messages once, does every micro tick, renews
the messages between them, and writes cells and messages once.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._cell import LSTMCell, LSTMState
from ._layer import Layer, LayerState, Messages
from ._pallas_kernel import ON_CHIP_BYTES, Lives, Sent, call, on_chip_bytes


def supported(layer: Layer, state: LayerState) -> str | None:
    """Why `fused_ticks` cannot do the ticks of this layer in this state; `None` if it can.

    **Arguments:**

    - `layer`: the layer.
    - `state`: its state, of one life of one member.

    **Returns:**

    The reason in one line, or `None`.
    """
    if type(layer.cell) is not LSTMCell or layer.projection is None:
        return (
            f"The kernel does the ticks of an LSTMCell, and the cell is a "
            f"{type(layer.cell).__name__}; take the plain path."
        )
    arrays = jax.tree.leaves(eqx.filter((layer, state), eqx.is_inexact_array))
    others = {str(a.dtype) for a in arrays} - {"float32"}
    if others:
        return f"The kernel computes in float32, got {min(others)}; take the plain path."
    inputs, outputs = state.backward.shape[0], state.forward.shape[0]
    if not (isinstance(inputs, int) and isinstance(outputs, int)):
        sizes = f"{inputs} x {outputs}"
        return f"The kernel needs sizes that are numbers, got {sizes}; take the plain path."
    needed = on_chip_bytes(layer, inputs, outputs)
    if needed > ON_CHIP_BYTES:
        return (
            f"A life of {inputs} x {outputs} cells of {layer.cell.hidden_size} units needs "
            f"{needed:,} bytes on chip, and the kernel has {ON_CHIP_BYTES:,}; take the plain path."
        )
    return None


def fused_ticks(
    layer: Layer,
    state: LayerState,
    forward: Float[Array, "A Mf_in"],
    backward: Float[Array, "B Mb_in"],
    context: Float[Array, " C"] | None = None,
    *,
    ticks: int = 1,
    refresh: bool = True,
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST,
    block: int | None = None,
    interpret: bool = False,
) -> tuple[LayerState, Messages]:
    """All micro ticks of one step of a layer, in one kernel on a GPU.

    It gives what calls of the layer give, up to rounding. Under `jax.vmap`, in any nesting, what
    is mapped along with the parameters becomes members and what shares them becomes lives, and
    there is still one kernel. Derivatives, of any order and in both modes, are those of the plain
    path, which then also does the forward computation. Where a program is compiled for anything
    but CUDA, the plain path is compiled.

    **Arguments:**

    - `layer`, `state`, `forward`, `backward`, `context`: as for `Layer`.
    - `ticks`: micro ticks.
    - `refresh`: whether the layer's own messages are renewed between the micro ticks, or held.
    - `precision`: of the products of matrices on the GPU: `HIGHEST` is float32, `DEFAULT` lets it
        use TF32. Sums are float32 always.
    - `block`: how many lives one program holds, a power of two; chosen by default.
    - `interpret`: run the kernel itself, slowly, wherever the program is compiled for. For tests.

    **Returns:**

    The new state, and the messages: `forward` `[B Mf]`, `backward` `[A Mb]`.

    **Raises:** `ValueError` with the reason if the kernel does not support the layer; ask
    `supported` first.
    """
    reason = supported(layer, state)
    if reason is not None:
        raise ValueError(reason)
    if ticks < 1:
        raise ValueError(f"`ticks` must be at least 1, got {ticks}.")
    if block is not None and (block < 1 or block & (block - 1)):
        raise ValueError(f"`block` must be a power of two, got {block}.")
    if context is None:
        context = jnp.zeros((0,), state.forward.dtype)
    arrays, static = eqx.partition(layer, eqx.is_array)

    def plain(arrays: Layer, lives: Lives) -> Sent:
        whole = eqx.combine(arrays, static)
        cells, masks = LSTMState(lives.h, lives.c), (lives.input_mask, lives.output_mask)
        now = LayerState(cells, lives.sent_forward, lives.sent_backward, *masks)
        for _ in range(ticks if refresh else 1):
            now, _ = whole(
                now, lives.forward, lives.backward, lives.context, ticks=1 if refresh else ticks
            )
        return Sent(now.cells.h, now.cells.c, now.forward, now.backward)

    def on_gpu(arrays: Layer, lives: Lives) -> Sent:
        return call(eqx.combine(arrays, static), lives, ticks, refresh, precision, block, interpret)

    def many(arrays: Layer, lives: Lives) -> Sent:
        if interpret:
            return on_gpu(arrays, lives)
        every = jax.vmap(jax.vmap(plain, (None, 0)))
        return jax.lax.platform_dependent(arrays, lives, cuda=on_gpu, default=every)

    gathered = _gathered(many)

    @jax.custom_jvp
    def step(arrays: Layer, lives: Lives) -> Sent:
        ones = jax.tree.map(lambda x: x[None], arrays), jax.tree.map(lambda x: x[None, None], lives)
        return jax.tree.map(lambda x: x[0, 0], gathered(*ones))

    step.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))

    masks = (state.input_mask, state.output_mask)
    lives = Lives(
        *(state.cells.h, state.cells.c, state.forward, state.backward),
        *(forward, backward, context, *masks),
    )
    jax.eval_shape(plain, arrays, lives)  # the layer itself refuses what does not fit it
    h, c, ahead, back = step(arrays, lives)
    return LayerState(LSTMState(h, c), ahead, back, *masks), Messages(ahead, back)


def _gathered(many: Callable[[Layer, Lives], Sent]) -> Callable[[Layer, Lives], Sent]:
    """Make every axis over which `many` is mapped one of members or one of lives.

    The arrays of the layer have one leading axis, of members, those of lives two: members, lives.
    """
    many = jax.custom_batching.custom_vmap(many)

    @many.def_vmap
    def _(size: int, batched: list, arrays: Layer, lives: Lives) -> tuple[Sent, Sent]:
        def spread(x: Array, mapped: bool) -> Array:
            return x if mapped else jnp.broadcast_to(x[None], (size, *x.shape))

        lives = jax.tree.map(spread, lives, batched[1])
        if any(jax.tree.leaves(batched[0])):
            arrays = jax.tree.map(spread, arrays, batched[0])
            sent = many(*jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (arrays, lives)))
            sent = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), sent)
        else:
            lives = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), lives)
            lives = jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), lives)
            sent = many(arrays, lives)
            sent = jax.tree.map(lambda x: x.reshape(x.shape[0], size, -1, *x.shape[2:]), sent)
            sent = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), sent)
        return sent, jax.tree.map(lambda _: True, sent)

    return many
