"""The fused kernel of `vsml` against the plain path, on a GPU.

    python benchmarks/pallas.py [--members 512] [--lives 10] [--steps 500] [--rounds 7] [--json]

Both do the ticks of whole lives, a scan over environment steps without an environment, of a layer
at the size of classic control (A = 4, B = 2, N = 16, two micro ticks). They are compared first and
then timed in turn.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.stages import Wrapped

import vsml

TICKS = 2
KERNELS: tuple[vsml.Kernel, ...] = ("plain", "pallas")


def lives(layer: vsml.Layer, steps: int, kernel: vsml.Kernel) -> Wrapped:
    """Lives of all members, as a function of the members' arrays, states and what happens."""
    static = eqx.partition(layer, eqx.is_array)[1]

    def one(arrays: Any, state: vsml.NetworkState, sensors: Any, rewards: Any) -> vsml.NetworkState:
        own = vsml.Network(eqx.combine(arrays, static), 1, ticks=TICKS, kernel=kernel)
        feedback = jnp.zeros((state.layers[-1].forward.shape[0], 1))

        def body(state: vsml.NetworkState, now: tuple) -> tuple[vsml.NetworkState, None]:
            sensor, reward = now
            return own(state, sensor[:, None], feedback, reward[None])[0], None

        return jax.lax.scan(body, state, (sensors, rewards), length=steps)[0]

    return jax.jit(jax.vmap(jax.vmap(one, (None, 0, None, None)), (0, 0, None, None)))


def seconds(run: Callable, args: tuple) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run(*args))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, value in (("members", 512), ("lives", 10), ("steps", 500), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true", help="print one object")
    options = parser.parse_args()
    if jax.default_backend() != "gpu":
        sys.exit(
            f"This measures a kernel for CUDA, and JAX sees only {jax.default_backend()}; "
            "run it where `jax.devices()` shows a GPU."
        )
    keys = jr.split(jr.key(0), 4)
    layer = vsml.Layer(
        reduction="mean",
        context_size=1,
        forward_input_size=1,
        backward_input_size=1,
        forget_bias=1.0,
        input_bias=-1.0,
        key=keys[0],
    )
    size = (options.members, options.lives)
    arrays = jax.tree.map(
        lambda x: x[None] + 0.05 * jr.normal(keys[1], (size[0], *x.shape)),
        eqx.filter(layer, eqx.is_array),
    )
    born = functools.partial(vsml.Network(layer, 1).init, (4, 2))
    states = jax.vmap(jax.vmap(lambda key: born(key=key)))(jr.split(keys[2], size))
    moments = jr.normal(keys[3], (options.steps, 5))
    args = (arrays, states, moments[:, :4], moments[:, 4])

    # Rounding grows along a life: compare a few steps, with products of full precision.
    few = (arrays, states, moments[:3, :4], moments[:3, 4])
    with jax.default_matmul_precision("highest"):
        ends = [jax.tree.leaves(lives(layer, 3, kernel)(*few)) for kernel in KERNELS]
    for x, y in zip(*ends, strict=True):
        if not jnp.allclose(x, y, rtol=2e-5, atol=5e-6):
            sys.exit("The kernel differs from the plain path: there is nothing to compare.")

    runs, compiling = {}, {}
    for name in KERNELS:
        began = time.perf_counter()
        with jax.default_matmul_precision("highest"):
            runs[name] = lives(layer, options.steps, name).lower(*args).compile()
        compiling[name] = time.perf_counter() - began
        seconds(runs[name], args)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(seconds(runs[name], args))
    found = {}
    for name, own in times.items():
        ratios = [p / t for p, t in zip(times["plain"], own, strict=True)]
        found[name] = {
            "microseconds_per_step": statistics.median(own) / options.steps * 1e6,
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "compile_seconds": compiling[name],
        }
    if options.json:
        device = jax.devices()[0].device_kind
        print(json.dumps({"device_kind": device, "sizes": vars(options), "cases": found}))
        return
    print(f"{'':<24}{'us a step':>12}{'ratio':>10}{'low':>10}{'high':>10}{'compile s':>12}")
    for name, row in found.items():
        us, *ratios, compiled = row.values()
        print(f"{name:<24}{us:>12.1f}{''.join(f'{r:>10.2f}' for r in ratios)}{compiled:>12.2f}")


if __name__ == "__main__":
    main()
