"""An environment whose physical parameters are drawn anew for each life."""

import dataclasses
import difflib
import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PRNGKeyArray

from .._task import Task, TaskDistribution

_Number = float | int
_Range = _Number | tuple[_Number, _Number]


class Vary(TaskDistribution):
    """Tasks of one environment, with parameters drawn anew for each life.

    !!! example

        ```python
        tasks = rl.envs.Vary(rl.envs.CartPole(), length=(0.25, 1.0), gravity=9.0)
        ```
    """

    environment: Environment = eqx.field(static=True)
    steps_in_episode: int | None = eqx.field(static=True)
    ranges: tuple[tuple[str, _Range], ...] = eqx.field(static=True)

    def __init__(
        self,
        environment: Environment,
        *,
        steps_in_episode: int | None = None,
        **ranges: _Range,
    ):
        """**Arguments:**

        - `environment`: any environment of gymnax or of `rl.envs` with parameters.
        - `steps_in_episode`: environment steps after which an episode is truncated; the
            environment's own by default. With no less than the steps of a life, none is.
        - `ranges`: parameters by name: the least and the most, between which each life's is drawn
            log-uniformly, or a number for all. Others keep the environment's default.

        **Raises:** `ValueError` for a parameter that the environment does not have or that follows
        from others, and for a range that is not from a positive number to one not below it.
        """
        if steps_in_episode is not None and steps_in_episode < 1:
            raise ValueError(f"`steps_in_episode` must be at least 1, got {steps_in_episode}.")
        _check(environment, ranges)
        self.environment = environment
        self.steps_in_episode = steps_in_episode
        self.ranges = tuple(sorted((name, _plain(ranges[name])) for name in ranges))

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task with parameters drawn for one life."""
        params = jax.tree.map(jnp.asarray, self.environment.default_params)
        keys = jr.split(key, max(len(self.ranges), 1))
        drawn = {
            name: _drawn(range_, like=getattr(params, name), key=key)
            for (name, range_), key in zip(self.ranges, keys, strict=False)
        }
        if self.steps_in_episode is not None:
            drawn["max_steps_in_episode"] = jnp.asarray(self.steps_in_episode, jnp.int32)
        metrics = tuple(getattr(self.environment, "metrics", ()))
        return Task(self.environment, dataclasses.replace(params, **drawn), metrics=metrics)


def _drawn(range_: _Range, *, like: Array, key: PRNGKeyArray) -> Float[Array, ""]:
    if not isinstance(range_, tuple):
        return jnp.asarray(range_, like.dtype)
    low, high = map(math.log, range_)
    return jnp.exp(jr.uniform(key, (), like.dtype, low, high))


def _check(environment: Environment, ranges: Mapping[str, _Range]) -> None:
    name_of, params = type(environment).__name__, environment.default_params
    derived = getattr(environment, "derived", ())
    known = [field.name for field in dataclasses.fields(params)]
    for name, value in ranges.items():
        if name == "max_steps_in_episode":
            raise ValueError(f"Give `steps_in_episode={value}` instead of `{name}`.")
        if name in derived:
            raise ValueError(f"`{name}` of {name_of} follows from other parameters: vary those.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{name_of} has no parameter {name!r}; did you mean {near!r}? It has "
                f"{', '.join(k for k in known if k not in derived)}."
            )
        default = jnp.asarray(getattr(params, name))
        if default.shape or not jnp.issubdtype(default.dtype, jnp.floating):
            raise ValueError(
                f"`{name}` of {name_of} is {default.dtype}{list(default.shape)}; only parameters "
                "that are one real number can vary."
            )
        low, high = value if isinstance(value, tuple) else (value, value)
        if isinstance(value, tuple) and not 0 < low <= high < math.inf:
            raise ValueError(
                f"`{name}` is drawn log-uniformly from (least, most), with 0 < least <= most; got "
                f"{value}. A number fixes it."
            )


def _plain(range_: _Range) -> _Range:
    return tuple(map(float, range_)) if isinstance(range_, tuple) else float(range_)  # pyright: ignore
