"""The fused kernel against the plain path, its oracle; in interpret mode, on any machine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, quick_jit

import proofs
import vsml
from vsml import _pallas_kernel
from vsml._pallas import fused_ticks, supported

# JAX 0.11 announces that the way from Pallas to Triton will be removed from a later release.
pytestmark = [
    pytest.mark.usefixtures("cheap_compilation"),
    pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning"),
]


class Case(NamedTuple):
    """A layer, its state and the messages that it receives."""

    layer: vsml.Layer
    state: vsml.LayerState
    forward: jax.Array
    backward: jax.Array
    context: jax.Array


def noisy(tree: Any, seed: int, *axes: int) -> Any:
    """The tree with leading axes, along which its numbers differ; masks are the same.

    NumPy makes the numbers, as there is nothing to compile then. Shapes become arrays.
    """
    rng = np.random.default_rng(seed)

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array | jax.ShapeDtypeStruct):
            return x
        if x.dtype == bool:
            return jnp.asarray(np.broadcast_to(np.asarray(x), (*axes, *x.shape)))
        base = np.asarray(x) if isinstance(x, jax.Array) else 0.0
        values = base + rng.normal(0.0, 0.3, (*axes, *x.shape))
        return jnp.asarray(values.astype(np.float32))

    return jax.tree.map(one, tree)


def make(inputs: int, outputs: int, key: jax.Array, *, masks: bool = False, **options: Any) -> Case:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "forward_size": 8,
        "backward_size": 8,
        "context_size": 1,
    }

    def case(key: jax.Array) -> Case:
        layer = vsml.Layer(**(sizes | options), key=key)
        state = layer.init(inputs, outputs, key=key)
        received = (
            jnp.zeros((inputs, layer.forward_input_size)),
            jnp.zeros((outputs, layer.backward_input_size)),
            jnp.zeros((layer.context_size,)),
        )
        return Case(layer, state, *received)

    found = noisy(eqx.filter_eval_shape(case, key), 1)
    if masks:
        exist = jnp.asarray(np.arange(inputs) % 3 != 1), jnp.asarray(np.arange(outputs) % 2 == 0)
        state = found.state
        state = vsml.LayerState(state.cells, state.forward, state.backward, *exist)
        found = found._replace(state=state)
    return found


def oracle(*case: Any, ticks: int = 2, refresh: bool = True) -> Any:
    layer, state, *received = case
    if not refresh:
        return layer(state, *received, ticks=ticks)
    for _ in range(ticks - 1):
        state, _ = layer(state, *received)
    return layer(state, *received)


def kernel(*case: Any, ticks: int = 2, refresh: bool = True, **options: Any) -> Any:
    return fused_ticks(*case, ticks=ticks, refresh=refresh, interpret=True, **options)


narrow: dict[str, Any] = {"forward_input_size": 1, "backward_input_size": 1}


@pytest.mark.parametrize(
    ("sizes", "ticks", "refresh", "options"),
    [
        ((1, 2), 1, True, {"context_size": 0, "hidden_size": 5}),
        ((4, 2), 2, True, {**narrow, "reduction": "mean", "forget_bias": 1.0, "input_bias": -1.0}),
        ((4, 2), 2, False, {"recurrent": False, "message_bias": "each", "context_size": 3}),
        ((3, 5), 3, True, {"masks": True, "reduction": "scaled", "message_bias": "each"}),
        ((3, 5), 2, True, {"masks": True, "reduction": "mean", "message_bias": "none"}),
        ((3, 4), 3, False, {"reduction": "scaled", "backward_size": 0, "hidden_size": 17}),
        ((2, 2), 2, True, {"forward_size": 0, "forward_input_size": 3, "backward_size": 5}),
        ((75, 4), 2, True, {**narrow, "reduction": "mean", "message_bias": "each"}),
    ],
)
def test_the_kernel_is_the_layer(sizes: tuple[int, int], ticks, refresh, options, getkey):
    case = make(*sizes, getkey(), **options)
    assert supported(case.layer, case.state) is None
    how = {"ticks": ticks, "refresh": refresh}
    assert_trees_close(*quick_jit(lambda *a: (kernel(*a, **how), oracle(*a, **how)))(*case))


Mapped = Callable[[Callable], Callable]


def mapped(case: Case, order: str, members: int = 2, lives: int = 5) -> tuple[Mapped, tuple]:
    """A map of functions of a case over members and lives, and arguments for what it makes."""
    arrays, static = eqx.partition(case.layer, eqx.is_array)
    whole, shared = (0, 0, 0, 0, 0), (None, 0, 0, 0, 0)
    axes, sizes = {
        "members, lives": ((whole, shared), (members, lives)),
        "lives, members": ((shared, whole), (lives, members)),
        "members": ((whole,), (members,)),
        "contexts": (((None, None, None, None, 0),), (lives,)),
    }[order]

    def over(fn: Callable) -> Callable:
        def one(arrays: Any, *rest: Any) -> Any:
            return fn(eqx.combine(arrays, static), *rest)

        for axis in reversed(axes):
            one = jax.vmap(one, axis)
        return one

    if order == "contexts":
        return over, (arrays, *case[1:-1], noisy(case.context, 3, lives))
    return over, (noisy(arrays, 3, members), *noisy(tuple(case[1:]), 4, *sizes))


def assert_same(ours: Callable, theirs: Callable, *args: Any) -> None:
    """Two functions give the same; compiled as one program."""
    assert_trees_close(*quick_jit(lambda *args: (ours(*args), theirs(*args)))(*args))


@pytest.mark.parametrize("order", ["members, lives", "lives, members", "members", "contexts"])
def test_one_kernel_for_all_members_and_lives(order, getkey):
    case = make(4, 2, getkey(), masks=order == "members, lives", **narrow)
    over, args = mapped(case, order)
    assert str(jax.make_jaxpr(over(kernel))(*args)).count("pallas_call[") == 1
    assert_same(over(kernel), over(oracle), *args)


def test_lives_that_do_not_fill_the_blocks(getkey):
    over, args = mapped(make(2, 3, getkey(), hidden_size=4, masks=True), "members, lives")
    assert_same(over(lambda *a: kernel(*a, block=2)), over(oracle), *args)


def test_the_kernel_in_a_scan(getkey):
    over, args = mapped(make(4, 2, getkey(), **narrow), "members, lives")

    def life(fn: Callable) -> Callable:
        def run(layer, state, forward, backward, context):
            def step(state, reward):
                return fn(layer, state, forward, backward, context + reward)

            return jax.lax.scan(step, state, jnp.arange(3.0))

        return run

    assert_same(over(life(kernel)), over(life(oracle)), *args)


def test_derivatives_are_those_of_the_plain_path(getkey):
    over, args = mapped(make(3, 2, getkey(), masks=True, hidden_size=4), "members, lives", 2, 2)

    def loss(fn: Callable) -> Callable:
        def total(arrays, context):
            new, sent = over(fn)(arrays, *args[1:-1], context)
            return jnp.sum(jnp.sin(new.cells.c)) + sum(jnp.sum(m**2) for m in sent)

        return total

    def both(fn: Callable) -> Callable:
        return lambda *a: (jax.grad(loss(fn), (0, 1))(*a), jax.jvp(loss(fn), a, a)[1])

    assert_same(both(kernel), both(oracle), args[0], args[-1])


def test_without_cuda_it_is_the_plain_path(getkey):
    if jax.default_backend() == "gpu":
        pytest.skip("this is the path of other platforms")
    over, args = mapped(make(4, 2, getkey(), **narrow), "members, lives")
    shipped = over(lambda *a: fused_ticks(*a, ticks=2))
    text = jax.jit(shipped).lower(*args).as_text()
    assert "dot_general" in text and "while" not in text and "triton" not in text
    assert_same(shipped, over(oracle), *args)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [(1, 2), (4, 2), (3, 5), (75, 4)])
def test_the_kernel_on_a_gpu(sizes: tuple[int, int], getkey):
    over, args = mapped(make(*sizes, getkey(), masks=True), "members, lives")
    with jax.default_matmul_precision("highest"):
        assert_same(over(lambda *a: fused_ticks(*a, ticks=2)), over(oracle), *args)


def lowered_for_cuda(fn: Any, *args: Any) -> str:
    """The program for a GPU, as far as it is made without one: the kernel is Triton's language.

    Since JAX 0.11 it wants to be told of which kind the GPU would be.
    """
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    allowed = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    with jax.sharding.use_abstract_mesh(mesh):
        export = jax.export.export(jax.jit(fn), platforms=["cuda"], disabled_checks=allowed)
        return export(*args).mlir_module()


@pytest.mark.parametrize(
    ("sizes", "options"),
    [((4, 2), {**narrow, "reduction": "mean"}), ((3, 5), {"masks": True, "hidden_size": 7})],
)
def test_on_cuda_it_is_one_kernel(sizes: tuple[int, int], options, getkey):
    over, args = mapped(make(*sizes, getkey(), **options), "members, lives", 4, 10)
    text = lowered_for_cuda(over(lambda *a: fused_ticks(*a, ticks=2)), *args)
    assert text.count("stablehlo.custom_call @__gpu$xla.gpu.triton") == 1
    assert "stablehlo.dot_general" not in text and "stablehlo.tanh" not in text
    assert 'name = "vsml_ticks"' in text and "grid_x = 4 " in text


def test_a_wrong_kernel_is_caught(getkey, monkeypatch):
    case, block = make(3, 3, getkey()), _pallas_kernel.Block
    right, swapped = block.sent, {"forward": "backward", "backward": "forward"}
    monkeypatch.setattr(block, "sent", lambda self, h, way: right(self, h, swapped[way]))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same(kernel, oracle, *case)


def test_the_kernel_is_equivariant(getkey):
    case = make(4, 3, getkey(), masks=True)
    rows, columns = np.array([2, 0, 3, 1]), np.array([1, 2, 0])

    def moved(state: vsml.LayerState) -> vsml.LayerState:
        masks = state.input_mask[rows], state.output_mask[columns]  # pyright: ignore
        cells = jax.tree.map(lambda x: x[rows][:, columns], state.cells)
        return vsml.LayerState(cells, state.forward[columns], state.backward[rows], *masks)

    def relabelled(layer, state, forward, backward, context):
        return kernel(layer, moved(state), forward[rows], backward[columns], context)

    def relabels(*case):
        new, sent = kernel(*case)
        return moved(new), vsml.Messages(sent.forward[columns], sent.backward[rows])

    assert_same(relabelled, relabels, *case)


def test_what_it_cannot_do_it_says(getkey):
    case = make(4, 2, getkey())
    gru = make(4, 2, getkey(), cell="gru")
    assert "GRUCell" in (supported(gru.layer, gru.state) or "")
    wide = case.layer.init(128, 16, key=getkey())
    assert "bytes on chip" in (supported(case.layer, wide) or "")
    half = eqx.tree_at(lambda s: s.forward, case.state, case.state.forward.astype(jnp.bfloat16))
    assert "float32, got bfloat16" in (supported(case.layer, half) or "")
    with pytest.raises(ValueError, match="GRUCell"):
        kernel(*gru)
    with pytest.raises(ValueError, match="`block` must be a power of two, got 3"):
        kernel(*case, block=3)
    with pytest.raises(ValueError, match="`ticks` must be at least 1, got 0"):
        kernel(*case, ticks=0)
    with pytest.raises(ValueError, match="`forward` must have shape"):
        kernel(case.layer, case.state, case.forward[:2], case.backward, case.context)


@pytest.mark.parametrize("sizes", [None, {"A": 3, "B": 2}])
def test_the_certifier_does_not_vouch_for_it(sizes, getkey):
    layer = make(3, 2, getkey(), hidden_size=4, forward_size=2, backward_size=2).layer

    def tick(h, c, ahead, back, forward, backward, context):
        state = vsml.LayerState(vsml.LSTMState(h, c), ahead, back, None, None)
        return tuple(kernel(layer, state, forward, backward, context)[1])

    ins = ("A B 4", "A B 4", "B 2", "A 2", "A 2", "B 2", "1")
    found = proofs.certify(tick, ins, ("B 2", "A 2"), sizes=sizes, refute=False, sweep=())
    assert found.verdict == "UNKNOWN"
    named = "needs sizes that are numbers" if sizes is None else "custom_vmap_call"
    assert named in str(found)
