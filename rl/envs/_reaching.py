"""What environments have in common in which something is brought to a goal."""

import abc

import jax.numpy as jnp
from gymnax.environments import environment
from jaxtyping import Array, Bool, Float, PyTree

from ._control import Control

_NEAR = 0.1  # of the reach


class Reaching(Control[environment.TEnvState, environment.TEnvParams]):
    """Bring something to a goal, and keep it there. An episode ends by time alone.

    With the distance `d` from the goal and the `reach` `R`, the rewards are `1 - d/R` (`"dense"`),
    1 within a tenth of the reach and 0 elsewhere (`"sparse"`), and what a subclass says (`"gym"`).
    The metric `reached` is 1 in steps that end within a tenth of the reach.
    """

    metrics = ("reached",)

    @property
    @abc.abstractmethod
    def reach(self) -> float:
        """`R`: half the greatest distance that there can be."""

    @abc.abstractmethod
    def distance(self, observation: Float[Array, " A"]) -> Float[Array, ""]:
        """From the goal, in an observation that is not scaled."""

    @abc.abstractmethod
    def original_reward(self, distance: Float[Array, ""]) -> Float[Array, ""]:
        """That of the original environment."""

    @property
    def observation_shift(self) -> tuple[float, ...]:
        """None."""
        return (0.0,) * len(self.observation_scale)

    def is_terminated(
        self, state: environment.TEnvState, params: environment.TEnvParams | None = None
    ) -> Bool[Array, ""]:
        """Never: an episode ends by time only."""
        del state, params
        return jnp.asarray(False)

    def skill_reward(
        self,
        previous: Float[Array, " A"],
        observation: Float[Array, " A"],
        action: Array,
        terminated: Bool[Array, ""],
        params: PyTree = None,
    ) -> Float[Array, ""]:
        """The reward of a step."""
        del previous, action, params
        if self.reward == "sparse":
            return self.measured(observation, terminated)["reached"]
        distance = self.distance(observation)
        if self.reward == "gym":
            return self.original_reward(distance)
        return 1.0 - distance / self.reach

    def measured(
        self, observation: Float[Array, " A"], terminated: Bool[Array, ""]
    ) -> dict[str, Float[Array, ""]]:
        """Whether it is at the goal."""
        del terminated
        near = self.distance(observation) <= _NEAR * self.reach
        return {"reached": near.astype(observation.dtype)}
