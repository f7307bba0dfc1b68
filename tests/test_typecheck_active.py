"""The import hook of conftest.py must reach every package: a wrong argument is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import meta
import rl
import vsml
from experiments._results import summary


def test_vsml(getkey):
    layer = vsml.Layer(hidden_size=4, forward_size=3, backward_size=2, key=getkey())
    state = layer.init(2, 3, key=getkey())
    forward, backward = jnp.zeros((2, 3)), jnp.zeros((3, 2))
    layer(state, forward, backward)
    with pytest.raises(TypeCheckError):
        layer(state, forward[0], backward)


def test_rl():
    rl.TimeStep.first(jnp.zeros(3))
    with pytest.raises(TypeCheckError):
        rl.TimeStep.first(jnp.zeros((3, 1)))


def test_meta():
    meta.shape_fitness(jnp.zeros(4), "rank")
    with pytest.raises(TypeCheckError):
        meta.shape_fitness(jnp.zeros((4, 1)), "rank")


def test_experiments():
    summary(np.zeros((2, 3)))
    with pytest.raises(TypeCheckError):
        summary("four")  # pyright: ignore[reportArgumentType]
