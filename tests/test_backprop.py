"""A network of `BackpropCell`s is gradient descent (equations 1 to 3 of SymLA)."""

import broken
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal, parameter_count, quick_jit

import vsml

SIZES = {1: (3, 2), 2: (3, 4, 2), 3: (3, 4, 3, 2)}
STEPS = 5
RATE = 0.07


def loss(weights, x, target):
    """Squared error of a dense linear network."""
    for w in weights:
        x = x @ w
    return 0.5 * jnp.sum((x - target) ** 2)


def descend(weights, learning_rate, xs, targets):
    """Gradient descent by `jax.grad`: weights, losses, gradients by the inputs at each step."""

    def step(weights, now):
        value, (by_weights, by_input) = jax.value_and_grad(loss, argnums=(0, 1))(weights, *now)
        weights = jax.tree.map(lambda w, g: w - learning_rate * g, weights, by_weights)
        return weights, (weights, value, by_input)

    return jax.lax.scan(step, weights, (xs, targets))[1]


def backprop_layer(cell: vsml.BackpropCell) -> vsml.Layer:
    return vsml.Layer(
        forward_size=1,
        backward_size=1,
        context_size=0,
        cell=cell,
        recurrent=False,
        reduction="sum",
        key=jax.random.key(0),
    )


def learn(weights, cell, xs, targets, order: vsml.Order = "forward-backward"):
    """The same by messages: a prediction, then its error sent back through the network."""
    network = vsml.Network(backprop_layer(cell), order=order)
    birth = network.init_from(tuple(w[..., None] for w in weights))

    def step(state, now):
        x, target = now
        state, sent = network(state, x[:, None], jnp.zeros((target.shape[0], 1), x.dtype))
        error = sent.forward[:, 0] - target  # of the squared error by the prediction
        state, sent = network(state, x[:, None], error[:, None])
        value = 0.5 * jnp.sum(error**2)
        return state, (
            [layer.cells for layer in state.layers],
            value,
            sent.backward[:, 0],
        )

    return jax.lax.scan(step, birth, (xs, targets))[1]


def problem(depth: int) -> tuple:
    rng = np.random.default_rng(depth)
    sizes = SIZES[depth]
    weights = [normal(rng, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return weights, normal(rng, STEPS, sizes[0]), normal(rng, STEPS, sizes[-1])


def check_descent(
    kind: type[vsml.BackpropCell], depth: int, order: vsml.Order = "forward-backward"
) -> None:
    """Weights, predictions and errors are those of gradient descent, for several steps."""
    with jax.enable_x64(True):
        weights, xs, targets = problem(depth)
        expected = quick_jit(descend)(weights, RATE, xs, targets)
        actual = quick_jit(learn)(weights, kind(RATE), xs, targets, order)
        assert actual[0][0].shape == (STEPS, *SIZES[depth][:2])
        for k in range(depth):
            close(actual[0][k], expected[0][k], where=f"weights of layer {k + 1}")
        close(actual[1], expected[1], where="losses")
        close(actual[2], expected[2], where="gradient by the input")
        moved = np.abs(np.asarray(expected[0][0][-1] - weights[0])).max()
        assert moved > 0.01, "nothing was learned: the comparison would be empty"


@pytest.mark.parametrize("depth", SIZES)
def test_networks_of_backprop_cells_are_gradient_descent(depth):
    check_descent(vsml.BackpropCell, depth)


@pytest.mark.parametrize(
    ("twin", "depth"), [(broken.AscendingBackprop, 1), (broken.LateBackprop, 2)]
)
def test_cells_that_are_not_gradient_descent_are_noticed(twin, depth):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_descent(twin, depth)


@pytest.mark.parametrize("order", ["simultaneous", "forward"])
def test_only_the_way_forward_and_back_is_gradient_descent(order):
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_descent(vsml.BackpropCell, 2, order)


def check_learning_rate_can_be_learned(kind: type[vsml.BackpropCell]) -> None:
    """The slope of the losses along the learning rate is that of gradient descent."""
    with jax.enable_x64(True):
        weights, xs, targets = problem(2)

        def total_by_rate(rate):
            return descend(weights, rate, xs, targets)[1].sum()

        def total_by_cell(cell):
            return learn(weights, cell, xs, targets)[1].sum()

        cell = kind(RATE)
        assert parameter_count(cell) == 1
        expected = quick_jit(jax.grad(total_by_rate))(jnp.asarray(RATE))
        actual = quick_jit(jax.grad(total_by_cell))(cell)
        close(actual.learning_rate, expected)
        assert abs(float(expected)) > 0.01


def test_the_learning_rate_is_a_parameter():
    check_learning_rate_can_be_learned(vsml.BackpropCell)


def test_a_learning_rate_out_of_reach_is_noticed():
    with pytest.raises(AssertionError):
        check_learning_rate_can_be_learned(broken.UnlearnableRate)
