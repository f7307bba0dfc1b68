"""Bodies of brax, whose mass, strength and ground can differ from life to life."""

import contextlib
import copy
import difflib
import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

BraxBackend = Literal["generalized", "positional", "spring"]
BraxBody = Literal[
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
]

_STANDARD_GRAVITY = 9.81


@struct.dataclass
class BraxState(environment.EnvState):
    """An episode of a body.

    - `time`: environment steps of this episode.
    - `body`: the state of brax.
    """

    time: PyTree
    body: PyTree


@struct.dataclass
class BraxParams(environment.EnvParams):
    """The parameters of a body and of its ground.

    - `mass`: of all its parts, as a multiple of what brax has.
    - `strength`: of its motors, likewise.
    - `friction`: of all surfaces, likewise.
    - `gravity`: in m/s^2.
    - `slope`: of the ground, as the tangent of its angle; above 0 the way in which these bodies
        are paid to go leads uphill.
    - `max_steps_in_episode`: environment steps after which the episode is truncated.
    """

    mass: PyTree = 1.0
    strength: PyTree = 1.0
    friction: PyTree = 1.0
    gravity: PyTree = _STANDARD_GRAVITY
    slope: PyTree = 0.0
    max_steps_in_episode: PyTree = 1000


class Brax(environment.Environment[BraxState, BraxParams]):
    """A body of brax (Freeman et al. 2021, arXiv:2106.13281): Hopper, Ant, HalfCheetah and others,
    with continuous actions. Needs the extra `symla[brax]`.

    Observations, rewards and ends are those of `brax.envs`, and with the default parameters so are
    the dynamics. An episode begins anew from a state drawn afresh, where brax's own wrapper goes
    back to the first one, and what is cut off by time is truncated, not terminated. Returns are
    not comparable with those of MuJoCo, nor those of one backend with those of another.

    The metric `falls` counts the episodes that terminated.

    !!! example

        ```python
        tasks = rl.envs.Vary(rl.envs.Brax("ant"), mass=(0.5, 2.0), friction=(0.5, 2.0))
        ```
    """

    metrics = ("falls",)
    derived = ()
    permuted = None

    def __init__(self, body: str, *, backend: str = "generalized"):
        """Brax itself is loaded when it is needed first, which takes some seconds.

        **Arguments:**

        - `body`: its name in `brax.envs`; one of `BraxBody`.
        - `backend`: the physics: `"generalized"` is the most exact, `"spring"` the fastest, and
            `"positional"` between them.

        **Raises:** `ValueError` for an unknown body or backend, and `ImportError` without brax.
        """
        super().__init__()
        for name, value, kinds in (("body", body, BraxBody), ("backend", backend, BraxBackend)):
            known = get_args(kinds)
            if value not in known:
                near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"`{name}` must be one of {', '.join(known)}; got {value!r}. Did you mean "
                    f"{near!r}?"
                )
        if importlib.util.find_spec("brax") is None:
            raise ImportError(
                "The bodies of brax need an extra of this package. Install it: pip install "
                "'symla[brax]'."
            )
        self.body, self.backend = body, backend

    @property
    def name(self) -> str:
        """The name of the body."""
        return self.body

    @property
    def num_actions(self) -> int:
        """How many motors it has."""
        return _load(self.body, self.backend).action_size

    @property
    def default_params(self) -> BraxParams:
        """Those of brax."""
        return BraxParams()

    def action_space(self, params: BraxParams | None = None) -> spaces.Box:
        """A number from -1 to 1 for each motor."""
        del params
        return spaces.Box(-1.0, 1.0, (self.num_actions,), jnp.float32)

    def observation_space(self, params: BraxParams | None = None) -> spaces.Box:
        """Numbers without bounds."""
        del params
        return spaces.Box(
            -jnp.inf, jnp.inf, (_observation_size(self.body, self.backend),), jnp.float32
        )

    def reset_env(self, key: PRNGKeyArray, params: BraxParams) -> tuple[Array, BraxState]:
        """Start an episode."""
        with _as_brax_computes():
            body = self._built(params).reset(key)
        body = jax.tree.map(jnp.asarray, body)
        return body.obs, BraxState(time=jnp.asarray(0, jnp.int32), body=body)

    def step_env(
        self,
        key: PRNGKeyArray,
        state: BraxState,
        action: int | float | Array,
        params: BraxParams,
    ) -> tuple[Array, BraxState, Array, Array, dict]:
        """Take one step, of several steps of the physics."""
        del key
        before = state.body
        with _as_brax_computes():
            # It writes into the dictionaries of what it is given.
            after = self._built(params).step(jax.tree.map(lambda x: x, before), action)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, before)
        terminated = after.done > 0.5
        info = {"falls": terminated.astype(jnp.float32), "discount": 1.0 - after.done}
        state = BraxState(time=state.time + 1, body=after)
        return after.obs, state, after.reward, terminated, info

    def is_terminated(self, state: BraxState, params: BraxParams) -> Array:
        """Whether the body has fallen, where its task ends then."""
        del params
        return state.body.done > 0.5

    def get_obs(
        self,
        state: BraxState,
        params: BraxParams | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " A"]:
        """What brax shows of a state."""
        del params, key
        return state.body.obs

    def _built(self, params: BraxParams) -> Any:
        """The environment of brax with other parameters."""
        built = copy.copy(_load(self.body, self.backend))
        built.sys = _changed(built.sys, self.backend, params)
        return built

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.body!r}, backend={self.backend!r})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.body, self.backend))


def _changed(system: Any, backend: str, params: BraxParams) -> Any:
    """A system of brax with other masses, motors, surfaces and gravity."""
    link, inertia, dof = system.link, system.link.inertia, system.dof
    powers = 1.0, 1.0
    if backend != "generalized":
        # They take powers of masses, of which nothing may be left to vary: applied here instead.
        powers = 1.0 - system.spring_mass_scale, 1.0 - system.spring_inertia_scale
    inertia = inertia.replace(
        mass=params.mass * inertia.mass ** powers[0], i=params.mass * inertia.i ** powers[1]
    )
    steep = jnp.stack([-params.slope, jnp.zeros_like(params.slope), -jnp.ones_like(params.slope)])
    return system.replace(
        link=link.replace(inertia=inertia, invweight=link.invweight / params.mass),
        dof=dof.replace(invweight=dof.invweight / params.mass),
        actuator=system.actuator.replace(gear=params.strength * system.actuator.gear),
        geom_friction=params.friction * system.geom_friction,
        gravity=params.gravity * steep / jnp.sqrt(1.0 + params.slope**2),
        spring_mass_scale=0.0,
        spring_inertia_scale=0.0,
    )


@functools.cache
def _load(body: str, backend: str) -> Any:
    """The environment of brax, read once: it takes seconds."""
    # What it prints on its optional parts does not belong into the output of a program.
    with _as_brax_computes(), contextlib.redirect_stdout(io.StringIO()):
        from brax import envs

        # The arrays of a body are no part of whatever program is being traced.
        with jax.ensure_compile_time_eval():
            return envs.get_environment(body, backend=backend)


@functools.cache
def _observation_size(body: str, backend: str) -> int:
    with _as_brax_computes():
        shown = jax.eval_shape(_load(body, backend).reset, jax.random.key(0)).obs
    return shown.shape[0]


@contextlib.contextmanager
def _as_brax_computes() -> Iterator[None]:
    """Brax mixes kinds and shapes of numbers as NumPy does, and announces what is to come."""
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
