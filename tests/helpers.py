import importlib.util
import itertools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import reference
from compilation import OPTIMISED
from jaxtyping import Array, PyTree

import vsml

T = TypeVar("T")

# How far two computations of the same thing may be apart: relative and absolute.
TOLERANCE = {"float32": (2e-5, 5e-6), "float64": (1e-10, 1e-11)}


def quick_jit(f: Callable) -> Callable[..., Any]:
    """Compiled, but not optimised: compiling is most of the time that these tests take."""
    options = {"xla_backend_optimization_level": 0}
    return eqx.filter_jit(f, compiler_options=options)  # pyright: ignore[reportCallIssue]


def optimised_jit(f: Callable) -> Callable[..., Any]:
    """A function of a `key`, compiled as users have it: for programs that run long."""
    return jax.jit(lambda key: f(key=key), compiler_options=OPTIMISED)


def assert_trees_close(actual: PyTree, expected: PyTree, *, dtype: str | None = None) -> None:
    """The same structure, shapes and values. The coarser type of the two sets the tolerance."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, x in jax.tree_util.tree_leaves_with_path(actual):
        y = _at(expected, path)
        close(x, y, dtype=dtype, where=jax.tree_util.keystr(path))


def close(actual: object, expected: object, *, dtype: str | None = None, where: str = "") -> None:
    """Two arrays of one shape with the values of each other, up to `TOLERANCE`."""
    x, y = np.asarray(actual), np.asarray(expected)
    assert x.shape == y.shape, f"{where}: shapes {x.shape} and {y.shape}"
    coarse = dtype or ("float32" if np.float32 in (x.dtype, y.dtype) else "float64")
    rtol, atol = TOLERANCE[coarse]
    np.testing.assert_allclose(
        x.astype(np.float64), y.astype(np.float64), rtol=rtol, atol=atol, err_msg=where
    )


def _at(tree: PyTree, path: tuple) -> object:
    return dict(jax.tree_util.tree_leaves_with_path(tree))[path]


def assert_trees_identical(actual: PyTree, expected: PyTree) -> None:
    """The same structure and the same bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def parameter_count(module: PyTree) -> int:
    """How many numbers the arrays of a module hold. Shapes will do."""
    return sum(x.size for x in jax.tree.leaves(module))


def make(build: Callable[..., T], *args: Any, seed: int = 0, **options: Any) -> Any:
    """What `build(*args, **options, key=...)` makes, with `randomise`d parameters.

    The initial parameters are not computed, so that nothing has to be compiled for them.
    """
    shapes = eqx.filter_eval_shape(lambda: build(*args, **options, key=jr.key(0)))
    return randomise(shapes, seed)


def randomise(module: T, seed: int = 0, scale: float = 0.4) -> T:
    """The module with normal numbers for all its parameters: no bias stays at zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(scale * rng.normal(size=x.shape), dtype=x.dtype), module
    )


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Normal numbers, in the default floating point type of JAX at this moment."""
    return jnp.asarray(rng.normal(size=shape), dtype=float)


def pairwise(**options: Sequence) -> list[dict]:
    """Few combinations of options in which every two values of two options meet.

    A fault needs, as a rule, no more than two options together to show itself.
    """
    names = list(options)
    product = [dict(zip(names, v, strict=True)) for v in itertools.product(*options.values())]

    def pairs(case: dict) -> set[tuple]:
        return {(m, case[m], n, case[n]) for m, n in itertools.combinations(names, 2)}

    open_pairs = set().union(*map(pairs, product))
    chosen = []
    while open_pairs:
        best = max(product, key=lambda case: len(pairs(case) & open_pairs))
        chosen.append(best)
        open_pairs -= pairs(best)
    return chosen


def name(case: dict) -> str:
    """A test id that says what the case is."""
    return "-".join(f"{k}={v}" for k, v in case.items()).replace(" ", "")


def reference_weights(layer: vsml.Layer) -> reference.Weights:
    """The parameters of a layer of LSTM or GRU cells, for the reference."""
    cell = layer.cell
    assert isinstance(cell, vsml.LSTMCell | vsml.GRUCell)
    assert layer.projection is not None and layer.projection.bias is not None
    assert layer.forward_head is not None and layer.backward_head is not None
    lstm = isinstance(cell, vsml.LSTMCell)
    heads = {}
    for way, head in (("forward", layer.forward_head), ("backward", layer.backward_head)):
        bias = np.zeros(head.weight.shape[1]) if head.bias is None else _float64(head.bias)
        heads |= {f"{way}_head": _float64(head.weight), f"{way}_bias": bias}
    return reference.Weights(
        kind="lstm" if lstm else "gru",
        inputs=_float64(layer.projection.weight),
        bias=_float64(layer.projection.bias),
        own=_float64(cell.recurrent),
        forget_bias=cell.forget_bias if lstm else cell.update_bias,
        input_bias=cell.input_bias if lstm else 0.0,
        reduction=layer.reduction,
        message_bias=layer.message_bias,
        recurrent=layer.recurrent,
        **heads,
    )


def reference_state(state: vsml.LayerState) -> reference.State:
    """A state of LSTM or GRU cells, for the reference."""
    parts = [_float64(part) for part in _parts(state)]
    inputs, outputs = parts[0].shape[:2]
    all_inputs, all_outputs = np.ones(inputs, bool), np.ones(outputs, bool)
    return reference.State(
        [[tuple(part[a, b] for part in parts) for b in range(outputs)] for a in range(inputs)],
        _float64(state.forward),
        _float64(state.backward),
        all_inputs if state.input_mask is None else np.asarray(state.input_mask),
        all_outputs if state.output_mask is None else np.asarray(state.output_mask),
    )


def assert_states_close(
    actual: Iterable[vsml.LayerState], expected: Iterable[reference.State]
) -> None:
    """What the library and the reference say of the same layers."""
    for k, (state, oracle) in enumerate(zip(actual, expected, strict=True)):
        for i, part in enumerate(_parts(state)):
            close(part, oracle.part(i), where=f"layer {k + 1}, part {i} of the cells")
        close(state.forward, oracle.forward, where=f"layer {k + 1}, forward messages")
        close(state.backward, oracle.backward, where=f"layer {k + 1}, backward messages")


def _parts(state: vsml.LayerState) -> tuple[Array, ...]:
    cells = state.cells
    return (cells.h, cells.c) if isinstance(cells, vsml.LSTMState) else (cells,)


def _float64(x: Array) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)


class Received(NamedTuple):
    """What a layer or network receives at each of L steps."""

    forward: Any  # [L A Mf]
    backward: Any  # [L B Mb]
    context: Any  # [L C]


def received(
    layer: vsml.Layer, inputs: int, outputs: int, *, steps: int = 3, last: vsml.Layer | None = None
) -> Received:
    """Normal messages and contexts of the sizes that a layer (or a first and a last one) wants."""
    rng = np.random.default_rng(99)
    above = layer if last is None else last
    return Received(
        normal(rng, steps, inputs, layer.forward_input_size),
        normal(rng, steps, outputs, above.backward_input_size),
        normal(rng, steps, layer.context_size),
    )


def life_of_layer(
    layer: vsml.Layer,
    noise: Any,
    messages: Received,
    *,
    input_mask: Any = None,
    output_mask: Any = None,
    ticks: int = 1,
) -> tuple[vsml.LayerState, vsml.LayerState, vsml.Messages]:
    """The state of a layer at birth; its state after each of L steps; and what it sent then."""
    birth = layer.init_from(noise, input_mask=input_mask, output_mask=output_mask)

    def step(state: vsml.LayerState, now: Received) -> tuple:
        state, sent = layer(state, *now, ticks=ticks)
        return state, (state, sent)

    return birth, *jax.lax.scan(step, birth, messages)[1]


def life_of_network(
    network: vsml.Network,
    noise: tuple[Any, ...],
    messages: Received,
    *,
    input_mask: Any = None,
    output_mask: Any = None,
) -> tuple[vsml.NetworkState, vsml.NetworkState, vsml.Messages]:
    """As `life_of_layer`, for a network."""
    birth = network.init_from(noise, input_mask=input_mask, output_mask=output_mask)

    def step(state: vsml.NetworkState, now: Received) -> tuple:
        state, sent = network(state, *now)
        return state, (state, sent)

    return birth, *jax.lax.scan(step, birth, messages)[1]


run_layer = quick_jit(life_of_layer)
run_network = quick_jit(life_of_network)


def at(tree: T, step: int) -> T:
    """One step of what was stacked over steps."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[step]), tree)


def grid_noise(layer: vsml.Layer, *sizes: int, seed: int = 0) -> tuple[Array, ...]:
    """Standard normal noise for the cells between interfaces of these sizes."""
    rng = np.random.default_rng(seed)
    hidden = layer.cell.hidden_size
    return tuple(normal(rng, a, b, hidden) for a, b in itertools.pairwise(sizes))


def without_type_checks() -> ModuleType:
    """A second `vsml`, imported as users import it: nothing checks types before it does itself."""
    alias = "unchecked_vsml"
    if alias not in sys.modules:
        folder = pathlib.Path(vsml.__file__).parent
        spec = importlib.util.spec_from_file_location(
            alias, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module
        spec.loader.exec_module(module)
    return sys.modules[alias]


def logged(folder: Path) -> list[dict[str, Any]]:
    """What a training has written into its metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def on_devices(code: str, devices: int, folder: Path) -> Any:
    """What a process with so many devices prints as JSON.

    **Arguments:**

    - `code`: the program; its first argument is the folder of the tests.
    - `devices`: how many JAX shall see.
    - `folder`: where it runs.
    """
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(tests)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(tests.parent),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
