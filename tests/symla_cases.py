"""Options that SymLA is tested with, its births, and twins of it that each have a fault."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import make
from jaxtyping import Array

import rl

# What the docstrings promise, in full and by hand.
OURS = {
    "hidden_size": 16,
    "forward_size": 8,
    "backward_size": 8,
    "hidden_sizes": (),
    "ticks": 2,
    "refresh": True,
    "order": "simultaneous",
    "cell": "lstm",
    "forget_bias": 1.0,
    "input_bias": -1.0,
    "reduction": "mean",
    "recurrent": True,
    "message_bias": "once",
    "initial_state": "normal",
    "state_scale": 0.5,
    "pad_messages": False,
    "ended_flag": False,
    "output_channel": 0,
    "logit_scale": 5.0,
    "soft_clip": None,
    "normalise": "none",
    "projection_size": None,
    "projection_shared": False,
    "continuous": "gaussian",
    "kernel": "plain",
}
PAPER = OURS | {
    "forget_bias": 0.0,
    "input_bias": 0.0,
    "reduction": "sum",
    "message_bias": "each",
    "state_scale": 1.0,
    "logit_scale": 1.0,
}
OFFICIAL = OURS | {
    "refresh": False,
    "forget_bias": 5.0,
    "input_bias": -5.0,
    "message_bias": "each",
    "initial_state": "official",
    "pad_messages": True,
    "output_channel": 1,
    "logit_scale": 1.0,
    "soft_clip": 100.0,
}
PRESETS = {"ours": OURS, "paper": PAPER, "official": OFFICIAL}
# Every option has each of its values somewhere, in sizes that are all different.
SMALL = {"hidden_size": 4, "forward_size": 3, "backward_size": 2}
CASES = {name: options | SMALL for name, options in PRESETS.items()} | {
    "sensing": OURS
    | SMALL
    | {
        "normalise": "running",
        "projection_size": 2,
        "ticks": 1,
        "soft_clip": 1.5,
        "message_bias": "none",
        "input_bias": -5.0,
    },
    "gru": OURS
    | SMALL
    | {
        "cell": "gru",
        "reduction": "scaled",
        "initial_state": "zeros",
        "hidden_sizes": (5,),
        "order": "forward",
        "ended_flag": True,
        "ticks": 3,
    },
    "deep": OURS
    | SMALL
    | {
        "hidden_sizes": (2, 5),
        "order": "forward-backward",
        "recurrent": False,
        "refresh": False,
        "reduction": "sum",
        "message_bias": "each",
        "output_channel": 2,
        "state_scale": 1.0,
        "forget_bias": 0.0,
    },
    "no backward messages": OURS | SMALL | {"backward_size": 0, "logit_scale": 2.0},
}
SENSORS, ARMS, STEPS = 3, 4, 5


def shape_of(build=rl.SymLA, /, **options):
    return eqx.filter_eval_shape(lambda: build(**options, key=jr.key(0)))


@functools.cache
def learner_of(case):
    return make(rl.SymLA, **CASES[case])


def noise_for(learner, sensors, actions, seed=0):
    """Noise of one birth, from NumPy."""
    rng = np.random.default_rng(seed)
    sizes = (learner.projection_size or sensors, *learner.hidden_sizes, actions)
    cells = tuple(
        jnp.asarray(rng.normal(size=(a, b, learner.hidden_size)), jnp.float32)
        for a, b in itertools.pairwise(sizes)
    )
    projection = None
    if learner.projection_size is not None:
        shape = (sensors, learner.projection_size)
        projection = jnp.asarray(rng.normal(size=shape), jnp.float32)
    return rl.SymLANoise(cells, projection)


FAULTS = (
    "none",
    "not told of its last action",
    "not told of rewards",
    "not told of the rewards that end episodes",
    "cells reset at the ends of episodes",
    "first step like the others",
    "sensors weighted by position",
    "logits weighted by position",
    "existing sensors only, no mask",
    "existing actions only, no mask",
)


class Faulty(rl.SymLA):
    """A twin of SymLA with one fault. Which one is an array: one program for all."""

    fault: Array

    def __init__(self, **options):
        super().__init__(**options)
        self.fault = jnp.asarray(0, jnp.int32)

    def has(self, fault):
        return self.fault == FAULTS.index(fault)

    def init_from(self, spaces, noise):
        masks = spaces.observation_mask, spaces.action_mask
        faults = FAULTS[-2:]
        observation_mask, action_mask = (
            None if mask is None else mask | self.has(fault)
            for mask, fault in zip(masks, faults, strict=True)
        )
        sizes = spaces.observation_size, spaces.num_actions
        return super().init_from(rl.Spaces(*sizes, observation_mask, action_mask), noise)

    def advance(self, state, timestep):
        deaf = self.has("not told of rewards") | (
            self.has("not told of the rewards that end episodes") & timestep.ended
        )
        first = self.has("first step like the others") & (timestep.action < 0)
        action = jnp.where(self.has("not told of its last action"), -1, timestep.action)
        observation = timestep.observation
        weights = 1.0 + 0.1 * jnp.arange(observation.shape[0]).astype(jnp.float32)
        timestep = eqx.tree_at(
            lambda t: (t.action, t.reward, t.observation),
            timestep,
            (
                jnp.where(first, 0, action),
                jnp.where(deaf, 0.0, timestep.reward),
                jnp.where(
                    self.has("sensors weighted by position"), observation * weights, observation
                ),
            ),
        )
        reset = self.has("cells reset at the ends of episodes") & timestep.ended
        cells = jax.tree.map(
            lambda x: jnp.where(reset, jnp.zeros_like(x), x), state.network.layers[0].cells
        )
        state = eqx.tree_at(lambda s: s.network.layers[0].cells, state, cells)
        state, logits = super().advance(state, timestep)
        weights = 1.0 + 0.1 * jnp.arange(logits.shape[0]).astype(jnp.float32)
        weigh = self.has("logits weighted by position")
        return state, jnp.where(weigh, logits * weights, logits)


def twin(fault):
    learner = make(Faulty, **CASES["ours"])
    return eqx.tree_at(lambda m: m.fault, learner, jnp.asarray(FAULTS.index(fault), jnp.int32))


def rejects(check, fault):
    """The check takes the twin without a fault and refuses the one with it."""
    check(twin("none"))
    with pytest.raises(AssertionError):
        check(twin(fault))
