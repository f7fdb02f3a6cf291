"""What every latent model has in common: one step as a Keras cell, and chunks of steps."""

import abc
import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

State = dict[str, tf.Tensor]


def gaussian(mean: tf.Tensor, std: tf.Tensor) -> tfd.Distribution:
    """Returns Normal(mean, std) of batch shape [...] and event shape [S]."""
    return tfd.Independent(tfd.Normal(mean, std), 1)


def _glorot_beside(other_inputs: Callable[[], int]):
    """Glorot's uniform initializer for a part of a dense layer that has other inputs beside it."""

    def initialize(shape, dtype=None):
        limit = math.sqrt(6.0 / (shape[0] + other_inputs() + shape[1]))
        return tf.keras.initializers.RandomUniform(-limit, limit)(shape, dtype)

    return initialize


class LatentCell(tf.keras.layers.Layer, abc.ABC):
    """One step of a latent model, for `tf.keras.layers.RNN` and for acting.

    As a Keras cell it takes a dict of `action` [B, A], `noise` [B, S], where rows may have to start
    anew `is_first` [B, 1] (0 or 1), and where there are images `embed` [B, E] and, if some are to
    be passed over, `seen` [B, 1] (0 or 1); without `embed` the step is taken in imagination. It
    puts out a dict of the state and, where something is drawn, the `mean` and `std` of the
    distribution that stoch was drawn from. (Keras cannot carry distribution objects through a loop:
    the methods below build them.) Under a mixed precision policy of Keras the matmuls are in 16
    bits; state, noise and distributions are float32.

    A step has two halves: what the state and the action say of the next step, the `context`
    [..., C], and what the image adds.

    Args:
      state_sizes: the sizes of the state's parts.
      context_size: C.
      hidden_size: units of the dense layers before prior and posterior.
      posterior_size: outputs of the posterior's last layer.
    """

    stoch_size = 0
    """S, the noise that a step takes."""
    blind_fraction = 0.0
    """Share of the images of a training chunk that are passed over, at random."""

    def __init__(
        self,
        state_sizes: dict[str, int],
        context_size: int,
        hidden_size: int,
        posterior_size: int,
        name: str,
    ):
        super().__init__(name=name, autocast=False)
        # A 1-tuple around the dict: Keras 2.15 takes no bare dict of states.
        self.state_size = (dict(state_sizes),)
        dense = tf.keras.layers.Dense
        # One layer of concat(context, embed) in two parts: a chunk's embeddings all go through
        # theirs at once. Each part starts as it would in the whole.
        self.posterior_embed = dense(
            hidden_size,
            use_bias=False,
            kernel_initializer=_glorot_beside(lambda: context_size),
            name="posterior_embed",
        )
        self.posterior_context = dense(
            hidden_size,
            kernel_initializer=_glorot_beside(lambda: self.posterior_embed.kernel.shape[0]),
            name="posterior_context",
        )
        self.posterior_out = dense(posterior_size, name="posterior_out", dtype="float32")

    # What the models differ in.

    @abc.abstractmethod
    def transition(self, state: State, action: tf.Tensor) -> tf.Tensor:
        """Returns the context [..., C] of the step after `state` by `action` [..., A]."""

    @abc.abstractmethod
    def _advance(self, context: tf.Tensor, projected: tf.Tensor | None, noise: tf.Tensor, seen):
        """Takes the second half of a step; projected is the embedding's, None in imagination.

        Only a model with a `blind_fraction` is ever given `seen`.

        Returns:
          The state, and what else the step puts out.
        """

    @abc.abstractmethod
    def features(self, states: State) -> tf.Tensor:
        """Returns feat, float32 [..., F], the input of every head, from what steps put out."""

    @abc.abstractmethod
    def layers_by_part(self) -> dict[str, list]:
        """Returns the dense layers that make transition, prior and posterior."""

    @property
    def posterior_layers(self) -> list[tf.keras.layers.Layer]:
        """The dense layers that make the posterior, or an RNN's correction."""
        return [self.posterior_context, self.posterior_embed, self.posterior_out]

    # One step.

    @property
    def state_sizes(self) -> dict[str, int]:
        """The size of each part of the state."""
        return self.state_size[0]

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the zero state that every episode and every chunk starts from."""
        return {key: tf.zeros([batch_size, size]) for key, size in self.state_sizes.items()}

    def call(self, inputs: dict[str, tf.Tensor], states: tuple[State]):
        """Takes one step; see the class."""
        (state,), action = states, inputs["action"]
        if "is_first" in inputs:
            # Chosen, not multiplied: a state that has become NaN does not outlive its episode.
            fresh = inputs["is_first"] > 0
            state = {key: tf.where(fresh, 0.0, value) for key, value in state.items()}
            action = tf.where(fresh, 0.0, action)
        context = self.transition(state, action)
        projected = inputs.get("projected")
        if "embed" in inputs:
            projected = self.posterior_embed(inputs["embed"])
        state, more = self._advance(context, projected, inputs["noise"], inputs.get("seen"))
        return {**state, **more}, (state,)

    def _posterior_out(self, context: tf.Tensor, projected: tf.Tensor) -> tf.Tensor:
        hidden = self.posterior_context(context)
        # Not tf.nn.relu: TensorFlow 2.15's graph optimizer breaks off at a fused matmul, bias, sum
        # and Relu, and leaves the whole graph as it was (everything takes longer).
        return self.posterior_out(tf.maximum(hidden + tf.cast(projected, hidden.dtype), 0.0))

    # A chunk.

    def observe(
        self,
        embed: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        noise: tf.Tensor,
        state: State | None = None,
        seen: tf.Tensor | None = None,
    ) -> tuple[tfd.Distribution | None, tfd.Distribution | None, State]:
        """Filters a chunk into posteriors and the priors that predicted them (paper eq. 3-4).

        Args:
          embed: float32 [B, L, E].
          action: float32 [B, L, A] in [-1, 1]; action[:, t] led to the image of step t.
          is_first: bool [B, L]; True resets the latent state (and the action) before the step.
          noise: float32 [B, L, S], standard normal.
          state: the state before the chunk; zeros if None.
          seen: bool [B, L], the images that a model with a `blind_fraction` may see; None: all.

        Returns:
          posterior, prior: distributions over stoch, batch shape [B, L], event shape [S]; None of
            a model that draws nothing.
          states: the states [B, L, ...], and what else `features` needs.

        Raises:
          ValueError: if B or L differ.
        """
        # What needs no recurrence is done for all steps at once: the embedding's part of the
        # posterior before it, the prior after it.
        inputs = {"projected": self.posterior_embed(embed), "action": action, "noise": noise}
        if seen is not None:
            inputs["seen"] = tf.cast(seen, tf.float32)[..., None]
        out = self._unroll({**inputs, "is_first": is_first}, state)
        return *self._distributions(out), self._states(out)

    def imagine(
        self, action: tf.Tensor, noise: tf.Tensor, state: State, unroll: bool = False
    ) -> tuple[tfd.Distribution | None, State]:
        """Rolls the prior forward without images.

        Args:
          action: float32 [B, L, A]; action[:, t] leads to step t.
          noise: float32 [B, L, S], standard normal.
          state: the state to start from.
          unroll: builds one graph of all L steps in place of a loop (faster for a short horizon).

        Returns:
          prior: distribution over stoch, batch shape [B, L], event shape [S]; None of a model that
            draws nothing.
          states: the states [B, L, ...].

        Raises:
          ValueError: if B or L differ.
        """
        out = self._unroll({"action": action, "noise": noise}, state, unroll)
        prior = gaussian(out["mean"], out["std"]) if "mean" in out else None
        return prior, self._states(out)

    def _distributions(self, out: State) -> tuple:
        """Returns the posterior and the prior of an observed chunk's outputs."""
        return None, None

    def _states(self, out: State) -> State:
        return {key: value for key, value in out.items() if key not in ("mean", "std", "context")}

    def _unroll(self, inputs, state, unroll=False):
        shapes = {key: value.shape[:2] for key, value in inputs.items()}
        for key, value in (state or {}).items():
            shapes[key] = value.shape[:1].concatenate([None])
        if any(not a.is_compatible_with(b) for a in shapes.values() for b in shapes.values()):
            raise ValueError(f"the leading dimensions [B, L] of a chunk must agree, got {shapes}")
        if "is_first" in inputs:
            inputs = {**inputs, "is_first": tf.cast(inputs["is_first"], tf.float32)[..., None]}
        if state is None:
            state = self.initial_state(tf.shape(inputs["action"])[0])
        if unroll:  # by hand: Keras's own unrolled loop takes no dict of inputs
            outputs = []
            for t in range(inputs["action"].shape[1]):
                step = {key: value[:, t] for key, value in inputs.items()}
                out, (state,) = self(step, (state,))
                outputs.append(out)
            return tf.nest.map_structure(lambda *steps: tf.stack(steps, 1), *outputs)
        # The RNN layer has no variables of its own: it need not be kept (and tracked twice).
        return tf.keras.layers.RNN(self, return_sequences=True)(inputs, initial_state=(state,))


class StochasticCell(LatentCell):
    """What the models that draw `stoch` share: prior and posterior are diagonal Gaussians."""

    def __init__(self, state_sizes, context_size, hidden_size, stoch_size, min_std, name):
        super().__init__(state_sizes, context_size, hidden_size, 2 * stoch_size, name)
        self.stoch_size = stoch_size
        self._min_std = min_std

    @abc.abstractmethod
    def prior(self, context: tf.Tensor) -> tfd.Distribution:
        """Returns p(stoch | context): batch shape [...], event shape [S]; context [..., C]."""

    def posterior(self, context: tf.Tensor, embed: tf.Tensor) -> tfd.Distribution:
        """Returns q(stoch | context, embed): batch shape [...], event [S]; embed [..., E]."""
        return self._posterior(context, self.posterior_embed(embed))

    def _posterior(self, context, projected):
        return gaussian(*self._mean_std(self._posterior_out(context, projected)))

    def _mean_std(self, out: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, std = tf.split(out, 2, -1)
        return mean, tf.nn.softplus(std) + self._min_std

    def _advance(self, context, projected, noise, seen):
        latent = self.prior(context) if projected is None else self._posterior(context, projected)
        mean, std = latent.distribution.loc, latent.distribution.scale
        return self._state(context, mean + std * noise, {"mean": mean, "std": std})

    @abc.abstractmethod
    def _state(self, context: tf.Tensor, stoch: tf.Tensor, more: State) -> tuple[State, State]:
        """Returns the state, and `more` with the context if it is not part of the state."""

    def _distributions(self, out):
        prior = self.prior(out["context"] if "context" in out else out["deter"])
        return gaussian(out["mean"], out["std"]), prior
