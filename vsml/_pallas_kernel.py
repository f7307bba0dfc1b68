"""The kernel of `fused_ticks`, and how it is called.

Triton wants every array to have a power of two of elements, so blocks are padded. What is padded
is read as zero, left out of the reductions and never written.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array

from ._cell import LSTMCell
from ._layer import Layer

# The registers of one streaming multiprocessor, and how many arrays of the size of the memories
# of all cells are in use at once at the peak of a tick.
ON_CHIP_BYTES = 65_536 * 4
LIVE_ARRAYS = 6
# How many numbers one array of a program should hold, where a life is not larger.
LEAST_NUMBERS, MOST_NUMBERS = 512, 2048
# How many of the numbers in use, parameters included, a thread should hold.
NUMBERS_PER_THREAD = 48

Ref = Any  # what a kernel reads from and writes to


class Lives(NamedTuple):
    """What differs from life to life."""

    h: Array
    c: Array
    sent_forward: Array
    sent_backward: Array
    forward: Array
    backward: Array
    context: Array
    input_mask: Array | None
    output_mask: Array | None


class Sent(NamedTuple):
    """What a step leaves behind."""

    h: Array
    c: Array
    sent_forward: Array
    sent_backward: Array


def on_chip_bytes(layer: Layer, inputs: int, outputs: int) -> int:
    """The bytes that the kernel holds on chip for one life of `inputs` by `outputs` cells."""
    cells = _padded(inputs) * _padded(outputs) * _padded_units(layer.cell.hidden_size)
    return 4 * (LIVE_ARRAYS * cells + _parameters(layer))


def _padded(size: int) -> int:
    """The least power of two that is not smaller."""
    return pl.next_power_of_2(size)


def _padded_units(size: int) -> int:
    """As `_padded`, and enough for a product of matrices."""
    return max(16, _padded(size))


def _parameters(layer: Layer) -> int:
    return sum(array.size for array in jax.tree.leaves(eqx.filter(layer, eqx.is_array)))


def _lives_per_program(lives: int, cells: int, units: int) -> int:
    """How many lives a program holds, if each has so many padded cells: with the least padding."""
    most = max(1, MOST_NUMBERS // (cells * units), 16 // cells)
    least = max(1, LEAST_NUMBERS // (cells * units), 16 // cells)
    choices = [1 << k for k in range(20) if least <= 1 << k <= most]
    return min(choices, key=lambda size: (-(-lives // size) * size, -size))


def call(
    layer: Layer,
    lives: Lives,
    ticks: int,
    refresh: bool,
    precision: jax.lax.Precision,
    block: int | None,
    interpret: bool,
) -> Sent:
    """The call of the kernel, for the members and lives of one gathered batch."""
    assert layer.projection is not None and layer.forward_head is not None
    assert layer.backward_head is not None and isinstance(layer.cell, LSTMCell)
    members, count, inputs, outputs, units = lives.h.shape
    padded = (_padded(inputs), _padded(outputs), _padded_units(units))
    cells = padded[0] * padded[1]
    held = block or _lives_per_program(count, cells, padded[2])
    parameters = {
        "projection": layer.projection.weight,
        "bias": layer.projection.bias,
        "recurrent": layer.cell.recurrent,
        "forward_head": layer.forward_head.weight,
        "forward_bias": layer.forward_head.bias,
        "backward_head": layer.backward_head.weight,
        "backward_bias": layer.backward_head.bias,
    }
    varying = {
        name: x if x is None else x.astype(jnp.float32) for name, x in lives._asdict().items()
    }
    there = {name: x for name, x in (parameters | varying).items() if x is not None and x.size > 0}

    def whole(x: Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, *x.shape[1:]), lambda p, _: (p, *(0,) * (x.ndim - 1)))

    def some(x: Array) -> pl.BlockSpec:
        sizes = [_padded(size) for size in x.shape[2:]]
        sizes = list(padded) if x.ndim == 5 else sizes
        return pl.BlockSpec((None, held, *sizes), lambda p, i: (p, i, *(0,) * (x.ndim - 2)))

    written = {name: there[name] for name in Sent._fields if name in there}
    names = tuple(there)

    def kernel(*refs: Ref) -> None:
        ins = dict(zip(names, refs[: len(names)], strict=True))
        out = dict(zip(written, refs[len(names) :], strict=True))
        sizes = {name: x.shape[2:] for name, x in there.items()}
        lives = held if count % held == 0 else count - pl.program_id(1) * held
        block = Block(layer, ins, sizes, lives, (held, *padded), precision)
        block.write(out, block.after(ticks, refresh))

    numbers = LIVE_ARRAYS * held * cells * padded[2] + _parameters(layer) // members
    warps = min(16, _padded(-(-numbers // (32 * NUMBERS_PER_THREAD))))
    sent = pl.pallas_call(
        kernel,
        grid=(members, pl.cdiv(count, held)),
        in_specs=[whole(x) if name in parameters else some(x) for name, x in there.items()],
        out_specs=[some(x) for x in written.values()],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in written.values()],
        input_output_aliases={names.index(name): k for k, name in enumerate(written)},
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=1),
        interpret=interpret,
        name="vsml_ticks",
    )(*there.values())
    found = dict(zip(written, sent, strict=True))
    return Sent(*(found.get(name, getattr(lives, name)) for name in Sent._fields))


class Block(NamedTuple):
    """What one program holds: some lives of one member, padded with zeros.

    - `refs`: what it reads.
    - `sizes`: the sizes of each in one life, as far as it is part of lives.
    - `lives`: how many lives there are from the first of this program on.
    - `grid`: lives of this program, inputs, outputs and units, padded.
    """

    layer: Layer
    refs: dict[str, Ref]
    sizes: dict[str, tuple[int, ...]]
    lives: int | Array
    grid: tuple[int, int, int, int]
    precision: jax.lax.Precision

    def after(self, ticks: int, refresh: bool) -> dict[str, Array | None]:
        """The cells and the messages after all micro ticks."""
        layer, (held, inputs, outputs, units) = self.layer, self.grid
        assert isinstance(layer.cell, LSTMCell)
        forget, write = layer.cell.forget_bias, layer.cell.input_bias
        silent = [jnp.zeros((held, inputs, units))] * 4
        biases = [self.gate_weights("bias", k, 0, 1, 1)[None] for k in range(4)]
        biases = [jnp.broadcast_to(b, (held, outputs, units)) for b in biases]
        # The parts of the inputs, in their order: row, own row, column, own column, context.
        received = [layer.forward_input_size, layer.backward_size * layer.recurrent]
        received += [layer.backward_input_size, layer.forward_size * layer.recurrent]
        received += [layer.context_size]
        parts = [(sum(received[:k]), width) for k, width in enumerate(received)]
        row = self.driven(silent, self.read("forward"), parts[0])
        column = self.driven(biases, self.read("backward"), parts[2])
        context = self.read("context")
        column = self.driven(column, None if context is None else context[:, None], parts[4])

        def gate(k: int, h: Array, rows: list[Array], columns: list[Array]) -> Array:
            weights = self.gate_weights("recurrent", k, 0, layer.cell.hidden_size, units)
            own = self.product(h.reshape(-1, units), weights).reshape(self.grid)
            return rows[k][:, :, None] + columns[k][:, None] + own

        def tick(cells: tuple[Array, Array], rows: list[Array], columns: list[Array]):
            h, c = cells
            i, g, f, o = (gate(k, h, rows, columns) for k in range(4))
            c = jax.nn.sigmoid(f + forget) * c + jax.nn.sigmoid(i + write) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c

        def several(carry: tuple, ticks: int) -> tuple:
            """Micro ticks in which the layer's own messages are held."""
            cells, ahead, back = carry
            rows = self.driven(row, back, parts[1])
            columns = self.driven(column, ahead, parts[3])
            cells = _repeat(ticks, lambda cells: tick(cells, rows, columns), cells)
            return cells, self.sent(cells[0], "forward"), self.sent(cells[0], "backward")

        carry = (
            (self.read("h"), self.read("c")),
            self.read("sent_forward"),
            self.read("sent_backward"),
        )
        if refresh:
            carry = _repeat(ticks, lambda carry: several(carry, 1), carry)
        else:
            carry = several(carry, ticks)
        (h, c), ahead, back = carry
        return {"h": h, "c": c, "sent_forward": ahead, "sent_backward": back}

    def driven(
        self, drive: list[Array], messages: Array | None, part: tuple[int, int]
    ) -> list[Array]:
        """What drives each gate, and what these messages add to it; `part` is their rows."""
        start, width = part
        if messages is None or width == 0:
            return drive
        flat, found = messages.reshape(-1, messages.shape[-1]), []
        for k in range(4):
            weights = self.gate_weights("projection", k, start, width, _padded(width))
            added = self.product(flat, weights).reshape(*messages.shape[:2], -1)
            found.append(drive[k] + jnp.broadcast_to(added, drive[k].shape))
        return found

    def sent(self, h: Array, way: str) -> Array | None:
        """The messages that the cells send forward or backward, padded."""
        layer, units = self.layer, self.grid[3]
        size = layer.forward_size if way == "forward" else layer.backward_size
        if size == 0:
            return None
        axis = 1 if way == "forward" else 2
        mask = self.read("input_mask" if axis == 1 else "output_mask")
        existing = self.sizes["h"][axis - 1]
        shape = (self.grid[0], self.grid[axis])
        inside = _inside(shape, (shape[0], existing))
        if mask is not None:
            exists = mask > 0.0
            inside = exists if inside is None else inside & exists
            count = jnp.maximum(jnp.where(exists, 1.0, 0.0).sum(1), 1.0)[:, None, None]
        else:
            count = jnp.full((shape[0], 1, 1), float(existing))
        if inside is not None:
            where = inside[:, :, None, None] if axis == 1 else inside[:, None, :, None]
            h = jnp.where(jnp.broadcast_to(where, h.shape), h, 0.0)
        scale = {"sum": jnp.ones_like, "mean": lambda n: 1.0 / n, "scaled": jax.lax.rsqrt}
        scale = scale[layer.reduction](count)
        pooled = h.sum(axis)
        pooled = pooled * jnp.broadcast_to(scale, pooled.shape)
        hidden = self.sizes["h"][2]
        head = self.matrix(f"{way}_head", (0, hidden, units), (0, size, _padded(size)))
        messages = self.product(pooled.reshape(-1, units), head)
        messages = messages.reshape(*pooled.shape[:2], -1)
        if f"{way}_bias" not in self.refs:
            return messages
        bias = self.matrix(f"{way}_bias", (0, 1, 1), (0, size, _padded(size)))[None]
        times = count * scale if layer.message_bias == "each" else jnp.ones_like(count)
        return messages + jnp.broadcast_to(bias, messages.shape) * jnp.broadcast_to(
            times, messages.shape
        )

    def product(self, x: Array, weights: Array) -> Array:
        """A product of matrices; tensor cores, if asked for, want at least 16 of everything."""
        if x.shape[1] > 2:
            large = min(*x.shape, *weights.shape) >= 16
            precision = self.precision if large else jax.lax.Precision.HIGHEST
            return jnp.dot(x, weights, precision=precision)
        return (x[:, :, None] * weights[None]).sum(1)

    def gate_weights(self, name: str, gate: int, start: int, rows: int, padded: int) -> Array:
        """Rows of a matrix, and of these the columns of one gate."""
        size, units = self.sizes["h"][2], self.grid[3]
        return self.matrix(name, (start, rows, padded), (gate * size, size, units))

    def matrix(self, name: str, rows: tuple[int, ...], columns: tuple[int, ...]) -> Array:
        """Part of a matrix or of a vector; rows and columns are `(first, how many, padded)`."""
        shape = (rows[2], columns[2])
        ref, mask = self.refs[name], _inside(shape, (rows[1], columns[1]))
        down, along = (jax.lax.broadcasted_iota(jnp.int32, shape, k) for k in (0, 1))
        down, along = down + rows[0], along + columns[0]
        return _load(ref.at[along] if len(ref.shape) == 1 else ref.at[down, along], mask)

    def room(self, name: str) -> Array | None:
        """Where the padded array of that name has numbers; `None` if everywhere."""
        return _inside(self.refs[name].shape, (self.lives, *self.sizes[name]))

    def read(self, name: str) -> Array | None:
        """An array of the lives, if there is one of that name."""
        return _load(self.refs[name].at[...], self.room(name)) if name in self.refs else None

    def write(self, refs: dict[str, Ref], values: dict[str, Array | None]) -> None:
        """Write what is no padding."""
        for name, ref in refs.items():
            value = values[name]
            assert value is not None
            plgpu.store(ref.at[...], value, mask=self.room(name))


def _inside(shape: tuple[int, ...], limits: tuple) -> Array | None:
    """Which places of a padded array have indices below the limits; `None` if all have."""
    inside = None
    for axis, (size, limit) in enumerate(zip(shape, limits, strict=True)):
        if not (isinstance(limit, int) and limit == size):
            below = jax.lax.broadcasted_iota(jnp.int32, shape, axis) < limit
            inside = below if inside is None else inside & below
    return inside


def _load(ref: Ref, mask: Array | None) -> Array:
    return plgpu.load(ref) if mask is None else plgpu.load(ref, mask=mask, other=0.0)


def _repeat(times: int, fn: Callable, carry: tuple) -> tuple:
    """`fn` applied so many times."""
    return fn(carry) if times == 1 else jax.lax.fori_loop(0, times, lambda _, c: fn(c), carry)
