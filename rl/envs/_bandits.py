"""Bernoulli bandits: the arms' probabilities are parameters, so that they last a whole life."""

from functools import lru_cache
from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._task import Task, TaskDistribution
from ._counts import Counts, bounds, checked, drawn

BanditKind = Literal["independent", "uniform", "easy", "medium", "hard"]
_CHOICES = {"easy": 0.1, "medium": 0.25, "hard": 0.4}


@struct.dataclass
class BanditState(environment.EnvState):
    """The state of a bandit: the number of pulls so far."""

    time: PyTree


@struct.dataclass
class BanditParams(environment.EnvParams):
    """The parameters of a bandit.

    - `probs`: the probability of a reward of 1 for each arm, shape `[B]`; 0 otherwise.
    - `max_steps_in_episode`: pulls after which the episode is truncated.
    """

    probs: PyTree = struct.field(default_factory=lambda: jnp.linspace(0.1, 0.9, 2))
    max_steps_in_episode: PyTree = 2**31 - 1


class BernoulliBandit(environment.Environment[BanditState, BanditParams]):
    """A bandit with B arms, each of which pays 1 with a probability of its own, else 0.

    There is nothing to see: the observation is a constant, one number, so that a network has an
    input (`constant`). `info["regret"]` is the expected regret of a pull, the best probability
    less that of the arm.
    """

    def __init__(self, arms: int, constant: float = 1.0):
        """**Arguments:**

        - `arms`: `B`.
        - `constant`: the observation.

        **Raises:** `ValueError` for no arms.
        """
        super().__init__()
        if arms < 1:
            raise ValueError(f"`arms` must be at least 1, got {arms}: a bandit needs an arm.")
        self.arms, self.constant = arms, constant

    @property
    def default_params(self) -> BanditParams:
        """Arms from 0.1 to 0.9, one endless episode."""
        return BanditParams(probs=jnp.linspace(0.1, 0.9, self.arms))

    def step_env(
        self,
        key: PRNGKeyArray,
        state: BanditState,
        action: int | float | Array,
        params: BanditParams,
    ) -> tuple[Array, BanditState, Array, Array, dict]:
        """Pull an arm."""
        chance = params.probs[jnp.asarray(action)]
        reward = jr.bernoulli(key, chance).astype(params.probs.dtype)
        state = BanditState(time=state.time + 1)
        info = {"regret": params.probs.max() - chance, "discount": jnp.ones_like(chance)}
        return self._observation(params), state, reward, jnp.asarray(False), info

    def reset_env(self, key: PRNGKeyArray, params: BanditParams) -> tuple[Array, BanditState]:
        """Start counting pulls."""
        del key
        return self._observation(params), BanditState(time=jnp.asarray(0, jnp.int32))

    def _observation(self, params: BanditParams) -> Float[Array, " 1"]:
        return jnp.full((1,), self.constant, params.probs.dtype)

    def is_terminated(self, state: BanditState, params: BanditParams) -> Array:
        """Never: pulling an arm ends nothing."""
        del state, params
        return jnp.asarray(False)

    @property
    def name(self) -> str:
        """The name of the environment."""
        return "BernoulliBandit"

    @property
    def num_actions(self) -> int:
        """The number of arms."""
        return self.arms

    def action_space(self, params: BanditParams | None = None) -> spaces.Discrete:
        """One discrete action for each arm."""
        del params
        return spaces.Discrete(self.arms)

    def observation_space(self, params: BanditParams | None = None) -> spaces.Box:
        """The constant."""
        del params
        return spaces.Box(self.constant, self.constant, (1,), jnp.float32)


@lru_cache(maxsize=64)
def _environment(arms: int, constant: float) -> BernoulliBandit:
    """One instance for each size: gymnax and JAX compile anew for every instance."""
    return BernoulliBandit(arms, constant)


class BernoulliBandits(TaskDistribution):
    """Bandits whose arms are drawn anew for each life.

    The kinds are those of Wang et al. 2016 (arXiv:1611.05763), as appendix B of SymLA lists them:

    - `"independent"`: every arm `p ~ U[0, 1]`, any number of arms.
    - `"uniform"`: two dependent arms, `p1 ~ U[0, 1]`, `p2 = 1 - p1`.
    - `"easy"`, `"medium"`, `"hard"`: `p1` is 0.1 or 0.9; 0.25 or 0.75; 0.4 or 0.6; `p2 = 1 - p1`.
    """

    arms: Counts = eqx.field(static=True)
    kind: BanditKind = eqx.field(static=True)
    constant: float = eqx.field(static=True)
    max_arms: int = eqx.field(static=True)

    def __init__(
        self,
        arms: Counts = 2,
        kind: BanditKind = "independent",
        *,
        constant: float = 1.0,
        max_arms: int | None = None,
    ):
        """**Arguments:**

        - `arms`: how many; or the least and the most, drawn uniformly for each life.
        - `kind`: how their probabilities are drawn.
        - `constant`: the observation (what SymLA's single input receives).
        - `max_arms`: the static size, the most arms by default; actions beyond a life's arms
            are masked.

        **Raises:** `ValueError` for no arms, or a dependent kind with other than two.
        """
        low, high = bounds(checked("arms", arms, 1))
        if kind not in get_args(BanditKind):
            raise ValueError(
                f"`kind` must be one of {', '.join(get_args(BanditKind))}; got {kind!r}."
            )
        if kind != "independent" and (low, high) != (2, 2):
            raise ValueError(f"A bandit of kind {kind!r} has exactly 2 arms, got {arms}.")
        if max_arms is not None and max_arms < high:
            raise ValueError(f"`max_arms` must be at least {high}, got {max_arms}.")
        self.arms, self.kind, self.constant = arms, kind, float(constant)
        self.max_arms = high if max_arms is None else max_arms

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A bandit with arms drawn for one life."""
        size_key, probs_key = jr.split(key)
        mask = None
        if self.kind == "independent":
            probs = jr.uniform(probs_key, (self.max_arms,))
        else:
            first = jr.uniform(probs_key)
            if self.kind != "uniform":
                low_p = _CHOICES[self.kind]
                first = jnp.where(first < 0.5, low_p, 1.0 - low_p).astype(first.dtype)
            probs = jnp.stack([first, 1.0 - first])
            probs = jnp.pad(probs, (0, self.max_arms - 2))
        if bounds(self.arms).least < self.max_arms:
            mask = jnp.arange(self.max_arms) < drawn(self.arms, key=size_key)
            probs = jnp.where(mask, probs, 0.0)
        environment = _environment(self.max_arms, self.constant)
        return Task(environment, BanditParams(probs=probs), action_mask=mask, metrics=("regret",))
