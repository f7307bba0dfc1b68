"""The machine: what it is, and what its arithmetic and its memory are measured to do."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from experiments import usable_cores

Devices = Sequence["jax.Device"]
# Of matrix products, (batch, size); of copies, numbers.
SHAPES, ACCELERATOR_SHAPES = [(1, 1024), (8, 256), (256, 64)], [(1, 8192), (64, 512)]
LENGTHS, ACCELERATOR_LENGTHS = [2**14, 2**17, 2**20, 2**24], [2**26, 2**28]
_REPEATS = 5
_SECONDS = 0.05


def describe() -> dict[str, str | int]:
    """What it is: processor, cores, platform and devices."""
    devices = jax.devices()
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
    }


def peak() -> dict[str, int]:
    """The most memory that an accelerator has held in this process; nothing is known of a CPU."""
    memory = jax.devices()[0].memory_stats() or {}
    found = memory.get("peak_bytes_in_use")
    return {} if found is None else {"peak_bytes_in_use": found}


def rates() -> dict[str, float]:
    """Operations of float32 matrix products, and bytes copied, per second on all devices.

    Each is the best over several sizes and forms, from those that stay in the caches to those that
    do not, so that what is derived from them is a floor. A multiplication and an addition are
    two operations; a byte read and a byte written are two bytes.
    """
    return {
        "operations_per_second": max(_matrix_rates()),
        "bytes_per_second": max(_copy_rates()),
    }


def _matrix_rates() -> list[float]:
    found = []
    for batch, size in SHAPES if jax.default_backend() == "cpu" else ACCELERATOR_SHAPES:
        operations = 2.0 * batch * size**3
        repeats = max(1, round(1e8 / operations))
        for devices in _device_sets():
            operand = _on(devices, (batch, size, size))

            def multiply(x: Array, repeats: int = repeats) -> Array:
                return jax.lax.fori_loop(0, repeats, lambda _, y: (y @ x) * 1e-3, x)

            seconds = _best_seconds(jax.jit(multiply), operand)
            found.append(operations * repeats * len(devices) / seconds)
    return found


def _copy_rates() -> list[float]:
    found = []
    for size in LENGTHS if jax.default_backend() == "cpu" else ACCELERATOR_LENGTHS:
        repeats = max(1, 2**24 // size)
        for devices in _device_sets():

            def copy(x: Array, repeats: int = repeats) -> Array:
                return jax.lax.fori_loop(0, repeats, lambda _, y: y * 0.5 + 1.0, x)

            seconds = _best_seconds(jax.jit(copy), _on(devices, (size,)))
            found.append(2.0 * 4 * size * repeats * len(devices) / seconds)
    return found


def _device_sets() -> list[Devices]:
    """One device alone, which may have all cores, and all of them at once."""
    devices = jax.devices()
    return [devices[:1]] if len(devices) == 1 else [devices[:1], devices]


def _on(devices: Devices, shape: tuple[int, ...]) -> Array:
    """Numbers of that shape on each of the devices."""
    sharding = NamedSharding(Mesh(np.array(devices), ("device",)), PartitionSpec("device"))
    numbers = np.random.default_rng(0).normal(size=(len(devices), *shape)).astype(np.float32)
    return jax.device_put(numbers, sharding)


def _best_seconds(program: Callable[[Array], PyTree], operand: Array) -> float:
    """The quickest of several calls, each repeated for long enough to be told from nothing."""
    compiled = jax.jit(program).lower(operand).compile()
    jax.block_until_ready(compiled(operand))
    tick = time.perf_counter()
    jax.block_until_ready(compiled(operand))
    calls = max(1, round(_SECONDS / (time.perf_counter() - tick)))
    best = float("inf")
    for _ in range(_REPEATS):
        tick = time.perf_counter()
        jax.block_until_ready([compiled(operand) for _ in range(calls)])
        best = min(best, (time.perf_counter() - tick) / calls)
    return best


def _processor() -> str:
    """The model of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
