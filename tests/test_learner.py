"""The protocol that every algorithm keeps."""

import inspect
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical
from jaxtyping import TypeCheckError

import meta
import rl
import rl.classic

SMALL = {"hidden_size": 3, "forward_size": 3, "backward_size": 2}
# With no option at its default, so that one that is not kept is found out.
EVERYTHING = SMALL | {
    "hidden_sizes": (2,),
    "ticks": 3,
    "refresh": False,
    "order": "forward",
    "cell": "gru",
    "forget_bias": 2.0,
    "input_bias": -3.0,
    "reduction": "sum",
    "recurrent": False,
    "message_bias": "each",
    "initial_state": "official",
    "state_scale": 0.7,
    "pad_messages": True,
    "ended_flag": True,
    "output_channel": 2,
    "logit_scale": 2.0,
    "soft_clip": 3.0,
    "normalise": "running",
    "projection_size": 4,
    "projection_shared": True,
    "continuous": "deterministic",
}
ON_POLICY = {
    "hidden_sizes": (4,),
    "rollout": 4,
    "learning_rate": 0.01,
    "discount": 0.9,
    "gae_lambda": 0.8,
    "entropy_weight": 0.02,
    "max_gradient_norm": 1.0,
    "normalise_observations": True,
}
REPLAY = {
    "hidden_sizes": (4,),
    "capacity": 10,
    "warm_up": 5,
    "critic_warm_up": 4,
    "every": 2,
    "updates": 3,
    "batch_size": 4,
    "policy_delay": 3,
    "learning_rate": 0.01,
    "discount": 0.9,
    "tau": 0.1,
    "exploration_noise": 0.2,
    "target_noise": 0.1,
    "target_noise_clip": 0.3,
    "layer_norm": True,
}
LEARNERS = {
    "SymLA": (rl.SymLA, EVERYTHING),
    "MetaRNN": (
        rl.MetaRNN,
        {
            "observation_size": 3,
            "num_actions": 2,
            "hidden_size": 5,
            "ticks": 2,
            "ended_flag": False,
            "logit_scale": 2.0,
            "soft_clip": 3.0,
            "continuous": True,
        },
    ),
    "MAML": (
        rl.classic.MAML,
        {
            "observation_size": 3,
            "num_actions": 2,
            "hidden_sizes": (4,),
            "rollout": 5,
            "learning_rate": 0.2,
            "discount": 0.9,
            "gae_lambda": 0.8,
            "value_weight": 0.25,
            "continuous": True,
        },
    ),
    "RandomPlayer": (rl.classic.RandomPlayer, {}),
    "ThompsonSampling": (rl.classic.ThompsonSampling, {}),
    "UCB1": (rl.classic.UCB1, {}),
    "GreedyPosteriorMean": (rl.classic.GreedyPosteriorMean, {}),
    "BayesOptimal": (rl.classic.BayesOptimal, {"kind": "uniform", "horizon": 3}),
    "REINFORCE": (
        rl.classic.REINFORCE,
        {**ON_POLICY, "value_steps": 3, "value_learning_rate": 0.02},
    ),
    "A2C": (
        rl.classic.A2C,
        {**ON_POLICY, "value_weight": 0.25, "normalise_advantages": False},
    ),
    "A3C": (
        rl.classic.A3C,
        {**ON_POLICY, "value_weight": 0.25, "normalise_advantages": False},
    ),
    "MetaGradientA2C": (
        rl.classic.MetaGradientA2C,
        {
            **ON_POLICY,
            "value_weight": 0.25,
            "normalise_advantages": False,
            "meta_learning_rate": 0.1,
            "meta_discount": 0.95,
            "meta_gae_lambda": 0.9,
        },
    ),
    "PSRL": (
        rl.classic.PSRL,
        {
            "horizon": 3,
            "concentration": 0.5,
            "prior_mean": 0.0,
            "prior_std": 2.0,
            "reward_std": 0.5,
        },
    ),
    "PPO": (
        rl.classic.PPO,
        {**ON_POLICY, "epochs": 2, "minibatches": 1, "clip": 0.3, "value_weight": 0.25},
    ),
    "OffPolicyREINFORCE": (
        rl.classic.OffPolicyREINFORCE,
        {
            **REPLAY,
            "segment_length": 3,
            "gae_lambda": 0.8,
            "reduction": "sum",
            "normalise_advantages": False,
            "max_gradient_norm": 0.5,
        },
    ),
    "MetaGenRL": (
        meta.MetaGenRL,
        {
            **REPLAY,
            "segment_length": 3,
            "max_gradient_norm": 0.5,
            "layer_norm": False,
            "units": 4,
            "time_input": "none",
            "value_input": "current",
            "error_input": True,
            "padding": "masked",
            "action_input": "difference",
            "mirrored": True,
            "terminal_bonus": 1.0,
        },
    ),
    "EPG": (
        meta.EPG,
        {
            "observation_size": 3,
            "num_actions": 2,
            "hidden_sizes": (4,),
            "rollout": 12,
            "buffer": 24,
            "minibatches": 3,
            "learning_rate": 0.01,
            "continuous": True,
        },
    ),
    "LPG": (
        meta.LPG,
        {
            "hidden_sizes": (4,),
            "rollout": 5,
            "learning_rate": 0.2,
            "discount": 0.9,
            "prediction_weight": 0.25,
            "units": 4,
            "predictions": 3,
            "embedding": 2,
        },
    ),
    "TD3": (rl.classic.TD3, REPLAY),
}


# They take another learner as their argument: nothing to save, and no row of table 1 of their own.
WRAPPERS = {"Frozen", "ShuffledRewards", "Settled"}


def exported():
    """The learners that users see."""
    found = {}
    for package in (rl, rl.classic, meta):
        for name, value in vars(package).items():
            if isinstance(value, type) and issubclass(value, rl.Learner):
                if not inspect.isabstract(value):
                    found[name] = value
    return found


def build(name):
    cls, arguments = LEARNERS[name]
    key = {"key": jr.key(0)} if "key" in inspect.signature(cls).parameters else {}
    return eqx.filter_eval_shape(lambda: cls(**arguments, **key))


def test_every_learner_is_tested_here():
    assert set(exported()) == set(LEARNERS) | WRAPPERS


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_keep_their_arguments(name):
    cls, arguments = LEARNERS[name]
    parameters = {k: p for k, p in inspect.signature(cls).parameters.items() if k != "key"}
    for option, value in arguments.items():
        assert parameters[option].default != value, f"{option} is at its default"
    kept = meta.hyperparameters(build(name))
    assert set(kept) == set(parameters)
    for option, value in arguments.items():
        assert kept[option] == value
    # As JSON and back they make the same learner.
    read = json.loads(json.dumps(kept, allow_nan=False))
    rebuilt = {k: tuple(v) if isinstance(v, list) else v for k, v in read.items()}
    assert rebuilt == kept
    key = {"key": jr.key(0)} if "key" in inspect.signature(cls).parameters else {}
    again = eqx.filter_eval_shape(lambda: cls(**rebuilt, **key))
    assert jax.tree.structure(again) == jax.tree.structure(build(name))
    assert jax.tree.leaves(again) == jax.tree.leaves(build(name))


def test_a_learner_that_forgets_an_argument_is_noticed():
    class Forgetful(rl.classic.RandomPlayer):
        def __init__(self, patience=3):
            del patience

    with pytest.raises(ValueError, match="Forgetful does not keep .* patience"):
        meta.hyperparameters(Forgetful())


@pytest.mark.parametrize("name", LEARNERS)
def test_arguments_are_no_meta_variables(name):
    learner = build(name)
    for option in meta.hyperparameters(learner):
        field = type(learner).__dataclass_fields__[option]
        assert field.metadata.get("static"), f"{option} is not static"
    assert all(eqx.is_inexact_array_like(x) or x.dtype for x in jax.tree.leaves(learner))


def test_a_learner_needs_init_and_step():
    class Lazy(rl.Learner):
        def init(self, spaces, *, key):
            return ()

    with pytest.raises(TypeError, match="abstract"):
        Lazy()  # pyright: ignore[reportAbstractUsage]
    with pytest.raises(TypeError, match="abstract"):
        rl.Learner()  # pyright: ignore[reportAbstractUsage]


# ---- time steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_first_time_step_has_seen_nothing(dtype):
    observation = jnp.asarray([1.0, 2.0], dtype)
    first = rl.TimeStep.first(observation)
    assert_trees_identical(first.observation, observation)
    assert_trees_identical(first.final_observation, observation)
    assert (first.action.dtype, first.reward.dtype) == (jnp.int32, dtype)
    assert first.action == -1
    assert first.reward == 0.0
    assert not first.terminated
    assert not first.truncated
    assert not first.ended


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("truncated", [False, True])
def test_an_episode_ends_for_either_reason(terminated, truncated):
    now = eqx.tree_at(
        lambda t: (t.terminated, t.truncated),
        rl.TimeStep.first(jnp.zeros(1)),
        (jnp.asarray(terminated), jnp.asarray(truncated)),
    )
    assert bool(now.ended) is (terminated or truncated)


def test_time_steps_have_one_kind_of_observation():
    first = rl.TimeStep.first(jnp.zeros(2))
    with pytest.raises(TypeCheckError):
        rl.TimeStep(
            first.observation,
            first.action,
            first.reward,
            first.terminated,
            first.truncated,
            jnp.zeros(3),
        )


# ---- spaces -------------------------------------------------------------------------------


def test_sizes_are_static_and_masks_are_not():
    mask = jnp.asarray(np.array([True, False]))
    spaces = rl.Spaces(3, 2, action_mask=mask)
    assert jax.tree.leaves(spaces) == [mask]
    assert jax.tree.leaves(rl.Spaces(3, 2)) == []
    assert rl.Spaces(3, 2).observation_mask is rl.Spaces(3, 2).action_mask is None
    sizes = jax.jit(lambda s: s.observation_size * jnp.ones(s.num_actions))(spaces)
    np.testing.assert_array_equal(sizes, [3.0, 3.0])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2), "`observation_size` must be at least 1, got 0"),
        ((3, -1), "`num_actions` must be at least 1, got -1"),
    ],
)
def test_spaces_without_room_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        rl.Spaces(*sizes)


@pytest.mark.parametrize("masks", [{"observation_mask": 2}, {"action_mask": 3}], ids=str)
def test_masks_that_do_not_fit_are_refused(masks):
    arrays = {name: jnp.ones(size, bool) for name, size in masks.items()}
    with pytest.raises(ValueError, match="_mask` must have shape"):
        rl.Spaces(3, 2, **arrays)  # pyright: ignore[reportArgumentType]
