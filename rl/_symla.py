from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

import vsml

from ._learner import Action, Learner, Spaces, TimeStep
from ._readout import Categorical, Deterministic, Gaussian, Readout


class SymLANoise(eqx.Module):
    """All the randomness of a SymLA at birth: what `init` draws from its key.

    - `cells`: standard normal noise for each layer.
    - `projection`: standard normal noise of the random projection, if there is one.
    """

    cells: tuple[Float[Array, "_A _B N"], ...]
    projection: Float[Array, "A P"] | None


class SymLAState(eqx.Module):
    """The learned variables of a SymLA: the states of all its cells.

    - `network`: the states of the layers.
    - `projection`: the random projection of the observations, if there is one.
    - `count`, `mean`, `spread`: running moments of the observations, if they are normalised.
    - `continuous`: whether the actions of the task are continuous.
    """

    network: vsml.NetworkState
    projection: Float[Array, "A P"] | None
    count: Float[Array, ""] | None
    mean: Float[Array, " A"] | None
    spread: Float[Array, " A"] | None
    continuous: bool = eqx.field(static=True, default=False)


class SymLA(Learner[SymLAState]):
    """A symmetric learning agent (Kirsch et al. 2022, arXiv:2109.10781, algorithm 1).

    Each weight of a policy network is a small recurrent cell. The observation arrives as
    forward messages at the inputs, the previous action as backward messages at the outputs, the
    reward at every cell; the forward messages that leave are the logits of the next action. The
    cells share their parameters, so the same learner fits any number of sensors and actions,
    discrete or continuous, and does not care about their order.

    What the paper leaves open is an option here. The defaults are what works best in this
    library; `SymLA.paper` and `SymLA.official` are the other two readings.

    !!! Example

        ```python
        learner = rl.SymLA(key=key)
        life = rl.lifetime(learner, task, steps=100, key=key)
        ```
    """

    network: vsml.Network
    readout: Categorical
    continuous_readout: Gaussian | Deterministic
    hidden_size: int = eqx.field(static=True)
    forward_size: int = eqx.field(static=True)
    backward_size: int = eqx.field(static=True)
    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    ticks: int = eqx.field(static=True)
    refresh: bool = eqx.field(static=True)
    order: vsml.Order = eqx.field(static=True)
    cell: Literal["lstm", "gru"] = eqx.field(static=True)
    forget_bias: float = eqx.field(static=True)
    input_bias: float = eqx.field(static=True)
    reduction: vsml.Reduction = eqx.field(static=True)
    recurrent: bool = eqx.field(static=True)
    message_bias: vsml.MessageBias = eqx.field(static=True)
    initial_state: str | vsml.Recipe = eqx.field(static=True)
    state_scale: float = eqx.field(static=True)
    pad_messages: bool = eqx.field(static=True)
    ended_flag: bool = eqx.field(static=True)
    output_channel: int = eqx.field(static=True)
    logit_scale: float = eqx.field(static=True)
    soft_clip: float | None = eqx.field(static=True)
    normalise: Literal["none", "running"] = eqx.field(static=True)
    projection_size: int | None = eqx.field(static=True)
    projection_shared: bool = eqx.field(static=True)
    continuous: Literal["gaussian", "deterministic"] = eqx.field(static=True)
    kernel: vsml.Kernel = eqx.field(static=True)

    def __init__(
        self,
        hidden_size: int = 16,
        forward_size: int = 8,
        backward_size: int = 8,
        *,
        hidden_sizes: tuple[int, ...] = (),
        ticks: int = 2,
        refresh: bool = True,
        order: vsml.Order = "simultaneous",
        cell: Literal["lstm", "gru"] = "lstm",
        forget_bias: float = 1.0,
        input_bias: float = -1.0,
        reduction: vsml.Reduction = "mean",
        recurrent: bool = True,
        message_bias: vsml.MessageBias = "once",
        initial_state: str | vsml.Recipe = "normal",
        state_scale: float = 0.5,
        pad_messages: bool = False,
        ended_flag: bool = False,
        output_channel: int = 0,
        logit_scale: float = 5.0,
        soft_clip: float | None = None,
        normalise: Literal["none", "running"] = "none",
        projection_size: int | None = None,
        projection_shared: bool = False,
        continuous: Literal["gaussian", "deterministic"] = "gaussian",
        kernel: vsml.Kernel = "plain",
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `hidden_size`: `N`, the units of each cell.
        - `forward_size`, `backward_size`: `Mf` and `Mb`, the sizes of the messages.
        - `hidden_sizes`: sizes of the interfaces between layers; `K` is one more than there
            are. The paper has none (K = 1). The layers share one cell.
        - `ticks`: micro ticks in each environment step.
        - `refresh`: whether messages are renewed between micro ticks, or held (choice 4).
        - `order`: the sweep order where there are several layers; see `vsml.Network`.
        - `cell`: `"lstm"` or `"gru"`.
        - `forget_bias`, `input_bias`: constants on the gates (choice 2).
        - `reduction`: how messages are pooled (choice 1).
        - `recurrent`: whether a layer receives its own messages (equation 9).
        - `message_bias`: how often the bias of a message is added; see `vsml.Layer`.
        - `initial_state`, `state_scale`: the recipe of the random states (choice 3).
        - `pad_messages`: pad what comes from the environment with zeros to the full size of a
            message, as the code of VSML does. It adds parameters that only noise reaches.
        - `ended_flag`: whether the cells are also told that an episode has ended. The paper
            tells them the reward only.
        - `output_channel`: the channel of the forward message that is the logit (choice 5).
        - `logit_scale`: what logits are multiplied by.
        - `soft_clip`: the bound of `bound tanh(logit / bound)`, or `None` (choice 5).
        - `normalise`: `"running"` divides out the mean and deviation of each sensor so far in
            this life; `"none"` takes observations as they are (choice 10).
        - `projection_size`: project the observations with a random Glorot-normal matrix to so
            many numbers, or `None`.
        - `projection_shared`: one projection for all lives instead of one for each (choice 11).
        - `continuous`: what continuous actions are: `"gaussian"`, a sample whose mean is the
            hyperbolic tangent of the logit and whose deviation is read from the next channel; or
            `"deterministic"`, the mean itself (choice 13). Discrete tasks do not need it.
        - `kernel`: `"pallas"` for one kernel in each step on CUDA; see `vsml.Network`.
        - `key`: the random key of the initial parameters.

        **Raises:** `ValueError` for options that cannot be.
        """
        if not 0 <= output_channel < forward_size:
            raise ValueError(
                f"`output_channel` must be a channel of the forward message, 0 to "
                f"{forward_size - 1}; got {output_channel}."
            )
        if normalise not in ("none", "running"):
            raise ValueError(f"`normalise` must be none or running; got {normalise!r}.")
        if continuous not in ("gaussian", "deterministic"):
            raise ValueError(f"`continuous` must be gaussian or deterministic; got {continuous!r}.")
        if projection_size is not None and projection_size < 1:
            raise ValueError(f"`projection_size` must be at least 1, got {projection_size}.")
        if min(hidden_sizes, default=1) < 1:
            raise ValueError(f"`hidden_sizes` must all be at least 1, got {hidden_sizes}.")
        full = pad_messages or len(hidden_sizes) > 0
        if full and backward_size < 1:
            raise ValueError(
                "The previous action needs a channel: `backward_size` must be at least 1 with "
                "`pad_messages` or several layers; got 0."
            )
        self.hidden_size, self.forward_size, self.backward_size = (
            hidden_size,
            forward_size,
            backward_size,
        )
        self.hidden_sizes, self.ticks, self.refresh = tuple(hidden_sizes), ticks, refresh
        self.order, self.cell = order, cell
        self.forget_bias, self.input_bias = float(forget_bias), float(input_bias)
        self.reduction, self.recurrent, self.message_bias = reduction, recurrent, message_bias
        self.initial_state, self.state_scale = initial_state, float(state_scale)
        self.pad_messages, self.ended_flag = pad_messages, ended_flag
        self.output_channel, self.logit_scale = output_channel, float(logit_scale)
        self.soft_clip = None if soft_clip is None else float(soft_clip)
        self.normalise = normalise
        self.projection_size, self.projection_shared = projection_size, projection_shared
        self.continuous, self.kernel = continuous, kernel
        self.readout = Categorical(self.logit_scale, self.soft_clip)
        chosen = Gaussian if continuous == "gaussian" else Deterministic
        self.continuous_readout = chosen(self.logit_scale)
        layer = vsml.Layer(
            hidden_size,
            forward_size,
            backward_size,
            2 if ended_flag else 1,
            cell=cell,
            forget_bias=forget_bias,
            input_bias=input_bias,
            reduction=reduction,
            recurrent=recurrent,
            message_bias=message_bias,
            initial_state=initial_state,
            state_scale=state_scale,
            forward_input_size=None if full else 1,
            backward_input_size=None if full else 1,
            key=key,
        )
        self.network = vsml.Network(
            layer,
            len(hidden_sizes) + 1,
            ticks=ticks,
            refresh=refresh,
            order=order,
            kernel=kernel,
        )

    @classmethod
    def paper(cls, hidden_size: int = 16, *, key: PRNGKeyArray) -> "SymLA":
        """SymLA as printed: sums, a plain LSTM, logits as they come, states standard normal."""
        return cls(
            hidden_size,
            forget_bias=0.0,
            input_bias=0.0,
            reduction="sum",
            message_bias="each",
            state_scale=1.0,
            logit_scale=1.0,
            key=key,
        )

    @classmethod
    def official(cls, hidden_size: int = 16, *, key: PRNGKeyArray) -> "SymLA":
        """SymLA with the choices of the code of VSML, its closest relative.

        Means, gates biased by +5 and -5, half of the memory random, messages padded and held
        between micro ticks, logits from channel 1, softly clipped at 100.
        """
        return cls(
            hidden_size,
            refresh=False,
            forget_bias=5.0,
            input_bias=-5.0,
            reduction="mean",
            message_bias="each",
            initial_state="official",
            pad_messages=True,
            output_channel=1,
            logit_scale=1.0,
            soft_clip=100.0,
            key=key,
        )

    def draw(self, spaces: Spaces, *, key: PRNGKeyArray) -> SymLANoise:
        """The noise of one birth, for `init_from`."""
        layer = self.network.layers[0]
        cells_key, projection_key = jr.split(key)
        inputs = self.projection_size or spaces.observation_size
        sizes = (inputs, *self.hidden_sizes, spaces.num_actions)
        keys = jr.split(cells_key, len(sizes) - 1)
        projection = None
        if self.projection_size is not None:
            shape = (spaces.observation_size, self.projection_size)
            if self.projection_shared:
                projection_key = jr.key(0)
            projection = jr.normal(projection_key, shape, layer.dtype)
        return SymLANoise(
            tuple(
                jr.normal(k, (a, b, layer.cell.hidden_size), layer.dtype)
                for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
            ),
            projection,
        )

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> SymLAState:
        """Random states of `observation_size x num_actions` cells; see `Learner.init`.

        **Raises:** `ValueError` if continuous actions need more channels than messages have.
        """
        return self.init_from(spaces, self.draw(spaces, key=key))

    def init_from(self, spaces: Spaces, noise: SymLANoise) -> SymLAState:
        """As `init`, from noise instead of a key: equivariant pathwise."""
        channels = self.continuous_readout.channels
        if spaces.continuous and self.forward_size < channels:
            raise ValueError(
                f"Continuous actions that are {self.continuous} take {channels} channels of the "
                f"forward message; `forward_size` must be at least that, got {self.forward_size}."
            )
        mask, projection = spaces.observation_mask, None
        if noise.projection is not None:
            (sensors, size), dtype = noise.projection.shape, noise.projection.dtype
            count = jnp.asarray(sensors) if mask is None else mask.sum()
            weights = noise.projection * jnp.sqrt(2.0 / (count + size).astype(dtype))
            projection = weights if mask is None else jnp.where(mask[:, None], weights, 0.0)
            mask = None
        running = self.normalise == "running"
        zeros = jnp.zeros((spaces.observation_size,), self.network.layers[0].dtype)
        return SymLAState(
            network=self.network.init_from(
                noise.cells, input_mask=mask, output_mask=spaces.action_mask
            ),
            projection=projection,
            count=jnp.zeros((), zeros.dtype) if running else None,
            mean=zeros if running else None,
            spread=zeros if running else None,
            continuous=spaces.continuous,
        )

    def step(
        self, state: SymLAState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[SymLAState, Action]:
        """All micro ticks of one environment step, then a sample; see `Learner.step`."""
        outputs = state.network.layers[-1].forward
        noise = self.readout_of(state).noise(outputs.shape[0], outputs.dtype, key=key)
        return self.act(state, timestep, noise)

    def act(
        self, state: SymLAState, timestep: TimeStep, noise: Float[Array, " B"]
    ) -> tuple[SymLAState, Action]:
        """As `step`, with the noise of the choice as an argument: equivariant pathwise."""
        state, logits = self.advance(state, timestep)
        return state, self.readout_of(state).choose(logits, noise)

    def advance(
        self, state: SymLAState, timestep: TimeStep
    ) -> tuple[SymLAState, Float[Array, "B *parameters"]]:
        """The deterministic part of a step: the new state and the logits of the next action.

        Where actions are continuous, what `rl.Gaussian` or `rl.Deterministic` chooses by.

        **Raises:** `ValueError` if the last action is of another kind than the task's at birth.
        """
        timestep.check_kind(state.continuous)
        layers, last = self.network.layers, state.network.layers[-1]
        dtype, actions = last.forward.dtype, last.forward.shape[0]
        state, sensors = self._sense(state, timestep.observation.astype(dtype))
        readout = self.readout_of(state)
        feedback = readout.feedback(timestep.action, actions, dtype)
        context = timestep.reward.astype(dtype)[None]
        if self.ended_flag:
            context = jnp.concatenate([context, timestep.ended.astype(dtype)[None]])
        network, messages = self.network(
            state.network,
            _channels(sensors, layers[0].forward_input_size),
            _channels(feedback, layers[0].backward_input_size),
            context,
        )
        if isinstance(readout, Categorical):
            outgoing = messages.forward[:, self.output_channel]
        else:
            channels = [self.output_channel + c for c in range(readout.channels)]
            outgoing = jnp.stack(
                [messages.forward[:, c % self.forward_size] for c in channels], axis=1
            )
        logits = readout.logits(outgoing, last.output_mask)
        return eqx.tree_at(lambda s: s.network, state, network), logits

    def readout_of(self, state: SymLAState) -> Readout:
        """What the logits of this life mean."""
        return self.continuous_readout if state.continuous else self.readout

    def _sense(
        self, state: SymLAState, observation: Float[Array, " A"]
    ) -> tuple[SymLAState, Float[Array, " inputs"]]:
        """Normalise and project the observation, as far as asked for."""
        if state.count is not None and state.mean is not None and state.spread is not None:
            count = state.count + 1.0
            error = observation - state.mean
            mean = state.mean + error / count
            spread = state.spread + error * (observation - mean)
            deviation = jnp.sqrt(spread / count + 1e-2)
            observation = (observation - mean) / deviation
            moments = (count, mean, spread)
            state = eqx.tree_at(lambda s: (s.count, s.mean, s.spread), state, moments)
        if state.projection is not None:
            observation = observation @ state.projection
        return state, observation


def _channels(values: Float[Array, " n"], size: int) -> Float[Array, "n M"]:
    """One message for each value: the value in channel 0, zeros in the others."""
    return jnp.pad(values[:, None], ((0, 0), (0, size - 1)))
