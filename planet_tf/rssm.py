"""The recurrent state-space model as a Keras recurrent cell (paper section 3, blog figure 2c).

    deter_t = f(deter_{t-1}, stoch_{t-1}, action_t)      deterministic state
    stoch_t ~ p(stoch_t | deter_t)                       prior
    stoch_t ~ q(stoch_t | deter_t, embed_t)              posterior

`action_t` is the action that led to `image_t`. A state is a dict of `deter` [..., D] and `stoch`
[..., S]. Samples are `mean + std * noise` with the noise handed in, so that everything here is a
pure function: the same in eager code, in a `tf.function` and under XLA.
"""

import math
from collections.abc import Callable

import gin
import tensorflow as tf
from tensorflow_probability import distributions as tfd

State = dict[str, tf.Tensor]


def features(state: State) -> tf.Tensor:
    """Returns feat = concat(stoch, deter), float32 [..., S + D]: the input of every head."""
    return tf.concat([state["stoch"], state["deter"]], -1)


def _distribution(mean: tf.Tensor, std: tf.Tensor) -> tfd.Distribution:
    return tfd.Independent(tfd.Normal(mean, std), 1)


def _glorot_beside(other_inputs: Callable[[], int]):
    """Glorot's uniform initializer for a part of a dense layer that has other inputs beside it."""

    def initialize(shape, dtype=None):
        limit = math.sqrt(6.0 / (shape[0] + other_inputs() + shape[1]))
        return tf.keras.initializers.RandomUniform(-limit, limit)(shape, dtype)

    return initialize


@gin.configurable(module="planet_tf")
class RSSMCell(tf.keras.layers.Layer):
    """One step of the RSSM, for `tf.keras.layers.RNN` and for acting.

    As a Keras cell it takes a dict of `action` [B, A], `noise` [B, S], where rows may have to start
    anew `is_first` [B, 1] (0 or 1), and where there are images `embed` [B, E]; without it the step
    is taken in imagination. It puts out a dict of `deter`, `stoch` and the `mean` and `std` of
    the distribution that stoch was drawn from. (Keras cannot carry distribution objects through a
    loop: the methods below build them.) Under a mixed precision policy of Keras the matmuls are in
    16 bits; state, noise and distributions are float32.

    Args:
      stoch_size: S.
      deter_size: D, units of the GRU.
      hidden_size: units of the dense layers before the GRU, the prior and the posterior.
      min_std: added to the softplus of every standard deviation.
    """

    def __init__(
        self,
        stoch_size: int = 30,
        deter_size: int = 200,
        hidden_size: int = 200,
        min_std: float = 0.1,
        name: str = "rssm",
    ):
        super().__init__(name=name, autocast=False)
        self.stoch_size = stoch_size
        self.deter_size = deter_size
        # A 1-tuple around the dict: Keras 2.15 takes no bare dict of states.
        self.state_size = ({"deter": deter_size, "stoch": stoch_size},)
        self._min_std = min_std
        dense = tf.keras.layers.Dense
        self.transition_hidden = dense(hidden_size, activation="relu", name="transition_hidden")
        # The GRU as two dense layers: on a CPU bias and sigmoid or tanh are then part of the
        # matmul, which takes two thirds of the time of Keras's GRUCell.
        self.gates = dense(2 * deter_size, "sigmoid", bias_initializer="ones", name="gates")
        self.candidate = dense(deter_size, "tanh", name="candidate")
        self.prior_hidden = dense(hidden_size, activation="relu", name="prior_hidden")
        self.prior_out = dense(2 * stoch_size, name="prior_out", dtype="float32")
        # One layer of concat(deter, embed) in two parts: a chunk's embeddings all go through theirs
        # at once. Each part starts as it would in the whole.
        self.posterior_embed = dense(
            hidden_size,
            use_bias=False,
            kernel_initializer=_glorot_beside(lambda: deter_size),
            name="posterior_embed",
        )
        self.posterior_deter = dense(
            hidden_size,
            kernel_initializer=_glorot_beside(lambda: self.posterior_embed.kernel.shape[0]),
            name="posterior_deter",
        )
        self.posterior_out = dense(2 * stoch_size, name="posterior_out", dtype="float32")

    # One step.

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the zero state that every episode and every chunk starts from."""
        return {
            "deter": tf.zeros([batch_size, self.deter_size]),
            "stoch": tf.zeros([batch_size, self.stoch_size]),
        }

    def transition(self, state: State, action: tf.Tensor) -> tf.Tensor:
        """Returns the next deter [B, D] = GRU(deter, relu(dense(stoch, action))).

        The GRU resets before the matmul (in Keras's words, reset_after=False).
        """
        x = self.transition_hidden(tf.concat([state["stoch"], action], -1))
        deter = tf.cast(state["deter"], x.dtype)
        reset, update = tf.split(self.gates(tf.concat([x, deter], -1)), 2, -1)
        candidate = self.candidate(tf.concat([x, reset * deter], -1))
        update, candidate = tf.cast(update, tf.float32), tf.cast(candidate, tf.float32)
        return candidate + update * (state["deter"] - candidate)

    def prior(self, deter: tf.Tensor) -> tfd.Distribution:
        """Returns p(stoch | deter): batch shape [...], event shape [S]; deter [..., D]."""
        return _distribution(*self._mean_std(self.prior_out(self.prior_hidden(deter))))

    def posterior(self, deter: tf.Tensor, embed: tf.Tensor) -> tfd.Distribution:
        """Returns q(stoch | deter, embed): batch shape [...], event [S]; embed [..., E]."""
        return self._posterior(deter, self.posterior_embed(embed))

    def _posterior(self, deter: tf.Tensor, projected: tf.Tensor) -> tfd.Distribution:
        hidden = self.posterior_deter(deter)
        # Not tf.nn.relu: TensorFlow 2.15's graph optimizer breaks off at a fused matmul, bias, sum
        # and Relu, and leaves the whole graph as it was (everything takes longer).
        hidden = tf.maximum(hidden + tf.cast(projected, hidden.dtype), 0.0)
        return _distribution(*self._mean_std(self.posterior_out(hidden)))

    def _mean_std(self, out: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, std = tf.split(out, 2, -1)
        return mean, tf.nn.softplus(std) + self._min_std

    def call(self, inputs: dict[str, tf.Tensor], states: tuple[State]):
        """Takes one step; see the class."""
        (state,), action = states, inputs["action"]
        if "is_first" in inputs:
            # Chosen, not multiplied: a state that has become NaN does not outlive its episode.
            fresh = inputs["is_first"] > 0
            state = {key: tf.where(fresh, 0.0, value) for key, value in state.items()}
            action = tf.where(fresh, 0.0, action)
        deter = self.transition(state, action)
        if "embed" in inputs:
            latent = self.posterior(deter, inputs["embed"])
        elif "projected" in inputs:
            latent = self._posterior(deter, inputs["projected"])
        else:
            latent = self.prior(deter)
        mean, std = latent.distribution.loc, latent.distribution.scale
        state = {"deter": deter, "stoch": mean + std * inputs["noise"]}
        return {**state, "mean": mean, "std": std}, (state,)

    # A chunk.

    def observe(
        self,
        embed: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        noise: tf.Tensor,
        state: State | None = None,
    ) -> tuple[tfd.Distribution, tfd.Distribution, State]:
        """Filters a chunk into posteriors and the priors that predicted them (paper eq. 3-4).

        Args:
          embed: float32 [B, L, E].
          action: float32 [B, L, A] in [-1, 1]; action[:, t] led to the image of step t.
          is_first: bool [B, L]; True resets the latent state (and the action) before the step.
          noise: float32 [B, L, S], standard normal.
          state: the state before the chunk; zeros if None.

        Returns:
          posterior, prior: distributions over stoch, batch shape [B, L], event shape [S].
          states: deter [B, L, D] and stoch [B, L, S] drawn from the posterior.

        Raises:
          ValueError: if B or L differ.
        """
        # What needs no recurrence is done for all steps at once: the embedding's part of the
        # posterior before it, the prior (of deter alone) after it.
        inputs = {"projected": self.posterior_embed(embed), "action": action, "is_first": is_first}
        inputs["noise"] = noise
        out = self._unroll(inputs, state)
        states = {"deter": out["deter"], "stoch": out["stoch"]}
        return _distribution(out["mean"], out["std"]), self.prior(out["deter"]), states

    def imagine(
        self, action: tf.Tensor, noise: tf.Tensor, state: State, unroll: bool = False
    ) -> tuple[tfd.Distribution, State]:
        """Rolls the prior forward without images.

        Args:
          action: float32 [B, L, A]; action[:, t] leads to step t.
          noise: float32 [B, L, S], standard normal.
          state: the state to start from, deter [B, D] and stoch [B, S].
          unroll: builds one graph of all L steps in place of a loop (faster for a short horizon).

        Returns:
          prior: distribution over stoch, batch shape [B, L], event shape [S].
          states: deter [B, L, D] and stoch [B, L, S] drawn from the prior.

        Raises:
          ValueError: if B or L differ.
        """
        out = self._unroll({"action": action, "noise": noise}, state, unroll)
        states = {"deter": out["deter"], "stoch": out["stoch"]}
        return _distribution(out["mean"], out["std"]), states

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
