import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ._learner import Action, Learner, Spaces, TimeStep
from ._readout import Categorical, Gaussian, Readout


class MetaRNNState(eqx.Module):
    """The learned variables of a MetaRNN: the state of its LSTM.

    - `h`, `c`: hidden state and memory.
    - `action_mask`: which actions exist; `None` where all do.
    """

    h: Float[Array, " N"]
    c: Float[Array, " N"]
    action_mask: Bool[Array, " B"] | None


class MetaRNN(Learner[MetaRNNState]):
    """One LSTM over the history of a life: RL2 (Duan et al. 2016, arXiv:1611.02779; Wang et al.
    2016, arXiv:1611.05763).

    At each step it receives the observation, the previous action (as a one-hot if it is discrete),
    its reward and whether it ended an episode; a linear map of its hidden state gives the logits,
    or the means and deviations of continuous actions. The state is reset at birth only. Every
    input and output has weights of its own, so the sizes are fixed and their order matters.
    """

    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear
    readout: Categorical | Gaussian
    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    hidden_size: int = eqx.field(static=True)
    ticks: int = eqx.field(static=True)
    ended_flag: bool = eqx.field(static=True)
    logit_scale: float = eqx.field(static=True)
    soft_clip: float | None = eqx.field(static=True)
    continuous: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_size: int,
        num_actions: int,
        hidden_size: int = 48,
        *,
        ticks: int = 1,
        ended_flag: bool = True,
        logit_scale: float = 1.0,
        soft_clip: float | None = None,
        continuous: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `observation_size`, `num_actions`: `A` and `B`; fixed for good.
        - `hidden_size`: `N`, the units of the LSTM. 48 as in Wang et al.'s bandits; the code of
            VSML has 128 (choice 12: the paper gives none for control and grid worlds).
        - `ticks`: how often the LSTM sees each time step; 2 in the code of VSML.
        - `ended_flag`: whether it is told that an episode has ended (as Duan et al. have it).
        - `logit_scale`, `soft_clip`: as for `SymLA`.
        - `continuous`: whether it is for continuous actions, which are `rl.Gaussian`.
        - `key`: the random key of the initial parameters.

        **Raises:** `ValueError` for a size or a number of ticks below one.
        """
        for name, value in {
            "observation_size": observation_size,
            "num_actions": num_actions,
            "hidden_size": hidden_size,
            "ticks": ticks,
        }.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.observation_size, self.num_actions = observation_size, num_actions
        self.hidden_size, self.ticks, self.ended_flag = hidden_size, ticks, ended_flag
        self.logit_scale = float(logit_scale)
        self.soft_clip = None if soft_clip is None else float(soft_clip)
        self.continuous = continuous
        if continuous:
            self.readout, outputs = Gaussian(self.logit_scale), num_actions * Gaussian.channels
        else:
            self.readout, outputs = Categorical(self.logit_scale, self.soft_clip), num_actions
        cell_key, head_key = jr.split(key)
        inputs = observation_size + num_actions + 1 + int(ended_flag)
        self.cell = eqx.nn.LSTMCell(inputs, hidden_size, key=cell_key)
        self.head = eqx.nn.Linear(hidden_size, outputs, key=head_key)

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> MetaRNNState:
        """A zero state; see `Learner.init`.

        **Raises:** `ValueError` for other sizes or another kind of actions than it was made for.
        """
        del key
        spaces.check_fixed(self, self.observation_size, self.num_actions, self.continuous)
        zeros = jnp.zeros((self.hidden_size,), self.head.weight.dtype)
        return MetaRNNState(zeros, zeros, spaces.action_mask)

    def step(
        self, state: MetaRNNState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[MetaRNNState, Action]:
        """One time step through the LSTM, then a sample; see `Learner.step`."""
        noise = self.readout.noise(self.num_actions, state.h.dtype, key=key)
        return self.act(state, timestep, noise)

    def act(
        self, state: MetaRNNState, timestep: TimeStep, noise: Float[Array, " B"]
    ) -> tuple[MetaRNNState, Action]:
        """As `step`, with the noise of the choice as an argument."""
        state, logits = self.advance(state, timestep)
        return state, self.readout.choose(logits, noise)

    def advance(
        self, state: MetaRNNState, timestep: TimeStep
    ) -> tuple[MetaRNNState, Float[Array, "B *parameters"]]:
        """The deterministic part of a step: the new state and the logits of the next action."""
        timestep.check_kind(self.continuous)
        dtype = state.h.dtype
        parts = [
            timestep.observation.astype(dtype),
            self.readout.feedback(timestep.action, self.num_actions, dtype),
            timestep.reward.astype(dtype)[None],
        ]
        if self.ended_flag:
            parts.append(timestep.ended.astype(dtype)[None])
        inputs = jnp.concatenate(parts)
        h, c = state.h, state.c
        for _ in range(self.ticks):
            h, c = self.cell(inputs, (h, c))
        outgoing = self.head(h)
        if self.continuous:
            outgoing = outgoing.reshape(self.num_actions, Gaussian.channels)
        logits = self.readout.logits(outgoing, state.action_mask)
        return MetaRNNState(h, c, state.action_mask), logits

    def readout_of(self, state: MetaRNNState) -> Readout:
        """What the logits mean: the same in every life."""
        del state
        return self.readout
