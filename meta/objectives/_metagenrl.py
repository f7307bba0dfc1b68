"""MetaGenRL: a policy that follows a learned objective, and critics that judge the objective."""

import inspect
from typing import Any

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from rl.classic import Networks, OffPolicyGradient, Segments, Transitions

from .._store import hyperparameters
from ._neural_objective import ActionInput, NeuralObjective, Padding, TimeInput, ValueInput

# Of the agents: tables 3 and 4, and the memory from the code.
_PRINTED: dict[str, Any] = {
    "hidden_sizes": (350, 350),
    "capacity": 1_000_000,
    "warm_up": 10_000,
    "batch_size": 100,
    "discount": 0.99,
}


class MetaGenRL(OffPolicyGradient):
    """A policy that follows a learned objective (Kirsch et al. 2020, arXiv:1910.04098).

    Its meta-variables are those of the objective, its learned variables policy and critics. The
    critics learn as in `TD3`; the policy minimises what the objective makes of stretches of its
    replay memory. Objectives know no size: one serves tasks with any observations and actions.

    `meta.CriticGradient` is the outer loop of the paper: it asks the critics whether a step down
    the objective made the policy better. Any other outer loop that changes arrays will do, too.

    The paper has continuous actions. Where they are discrete, an objective sees the one-hot of what
    was done beside the probabilities that the policy has now, and critics expect of these the mean
    of what they expect of each action.

    - `neural_objective`: the objective.
    """

    discrete = True

    neural_objective: NeuralObjective
    units: int = eqx.field(static=True)
    time_input: TimeInput = eqx.field(static=True)
    value_input: ValueInput = eqx.field(static=True)
    error_input: bool = eqx.field(static=True)
    padding: Padding = eqx.field(static=True)
    action_input: ActionInput = eqx.field(static=True)
    mirrored: bool = eqx.field(static=True)
    terminal_bonus: float = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        capacity: int = 50_000,
        warm_up: int = 500,
        critic_warm_up: int | None = None,
        every: int = 1,
        updates: int = 1,
        batch_size: int = 16,
        segment_length: int = 20,
        policy_delay: int = 2,
        learning_rate: float = 1e-3,
        discount: float = 0.98,
        max_gradient_norm: float = 1.0,
        tau: float = 0.005,
        exploration_noise: float = 0.1,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        layer_norm: bool = True,
        units: int = 32,
        time_input: TimeInput = "exclusive",
        value_input: ValueInput = "both",
        error_input: bool = False,
        padding: Padding = "none",
        action_input: ActionInput = "pair",
        mirrored: bool = False,
        terminal_bonus: float = 0.0,
        key: PRNGKeyArray,
    ):
        """In brackets what the paper has, in its tables 3 and 4. Those of agents, `hidden_sizes`
        to `layer_norm`, may differ between meta-training and meta-testing: see `with_agents`.

        **Arguments:**

        - `hidden_sizes`: of the policy and of each critic (350 and 350).
        - `capacity`: environment steps that are remembered, of each stream (1,000,000, in its
            code).
        - `warm_up`: environment steps with random actions, after which policies learn (10,000).
        - `critic_warm_up`: environment steps after which critics learn; `None` for as many (as
            many).
        - `every`: environment steps from one time of learning to the next (1).
        - `updates`: of the critics, each time (1).
        - `batch_size`: stretches drawn for each of them, for critics and policy alike (100).
        - `segment_length`: `T`, environment steps of each stretch (20).
        - `policy_delay`: updates of the critics for each one of the policy and the targets (2).
        - `learning_rate`: of Adam, for policy and critics (0.001).
        - `discount`: per environment step (0.99).
        - `max_gradient_norm`: above which the gradients of the policy are scaled down (1).
        - `tau`: the share of the way that the targets go (0.005).
        - `exploration_noise`: the standard deviation of the noise on actions, which are from -1 to
            1 (0.1).
        - `target_noise`, `target_noise_clip`: the standard deviation of the noise on the action of
            the target, and its greatest size (0.2, 0.5).
        - `layer_norm`: whether the hidden layers of policy and critics are normalised (they are).
        - `units`, `time_input`, `value_input`, `error_input`, `padding`, `action_input`,
            `mirrored`: of the objective; see `NeuralObjective`.
        - `terminal_bonus`: added to the reward of a step that ends an episode, for the critics
            only (0; 1 in its code, which looks like a leftover).
        - `key`: the random key of the objective's parameters.

        **Raises:** `ValueError` as `TD3` and `NeuralObjective`, and for stretches longer than
        `capacity` or `warm_up`.
        """
        super().__init__(
            hidden_sizes,
            capacity=capacity,
            warm_up=warm_up,
            critic_warm_up=critic_warm_up,
            every=every,
            updates=updates,
            batch_size=batch_size,
            segment_length=segment_length,
            policy_delay=policy_delay,
            learning_rate=learning_rate,
            discount=discount,
            max_gradient_norm=max_gradient_norm,
            tau=tau,
            exploration_noise=exploration_noise,
            target_noise=target_noise,
            target_noise_clip=target_noise_clip,
            layer_norm=layer_norm,
        )
        self.neural_objective = NeuralObjective(
            units,
            time_input=time_input,
            value_input=value_input,
            error_input=error_input,
            padding=padding,
            action_input=action_input,
            mirrored=mirrored,
            key=key,
        )
        self.units, self.time_input, self.value_input = units, time_input, value_input
        self.error_input, self.padding = error_input, padding
        self.action_input, self.mirrored = action_input, mirrored
        self.terminal_bonus = float(terminal_bonus)

    @classmethod
    def paper(cls, *, key: PRNGKeyArray) -> "MetaGenRL":
        """MetaGenRL as printed, in tables 3 and 4 and appendix B.1; with `CriticGradient.paper`."""
        return cls(**_PRINTED, time_input="inclusive", padding="masked", key=key)

    @classmethod
    def official(cls, *, key: PRNGKeyArray) -> "MetaGenRL":
        """MetaGenRL with the choices of its authors' code; with `CriticGradient.paper`.

        The time of the last step of a stretch is 0.95, what follows the end of an episode counts as
        zeros, and critics get a reward of 1 for the end itself.
        """
        return cls(**_PRINTED, padding="counted", terminal_bonus=1.0, key=key)

    def with_agents(self, **options: Any) -> "MetaGenRL":
        """The same objective for agents with other options: those of a meta-test need not be those
        of the meta-training.

        !!! Example

            ```python
            learner = meta.pretrained("metagenrl-light").with_agents(hidden_sizes=(256, 256))
            ```

        **Arguments:**

        - `options`: any of `hidden_sizes` to `layer_norm`, as for a new one; all others stay.

        **Raises:** `ValueError` for options that are not of agents, or cannot be.
        """
        known = inspect.signature(OffPolicyGradient).parameters
        wrong = sorted(set(options) - set(known))
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: agents have no such options, but {', '.join(known)}."
            )
        fresh = type(self)(**{**hyperparameters(self), **options}, key=jr.key(0))
        return eqx.tree_at(lambda x: x.neural_objective, fresh, self.neural_objective)

    def objective(self, segments: Segments) -> Float[Array, ""]:
        """What the learned objective makes of some stretches."""
        return self.neural_objective(segments, self.discount)

    def target(
        self,
        targets: Networks,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
        noise: Float[Array, "n B"],
    ) -> Float[Array, " n"]:
        """What the critics shall become, with the bonus at ends of episodes; see `TD3.target`."""
        wanted = super().target(targets, batch, masks, noise)
        return wanted + self.terminal_bonus * batch.terminated.astype(wanted.dtype)
