"""The deterministic model, an ablation (blog figure 2a): nothing is drawn, no divergence.

    predicted_t = GRU(deter_{t-1}, dense(action_t))
    deter_t     = predicted_t, corrected by embed_t

The heads see the prediction, before the image corrects it: the likelihood is that of the next image
given the past ones.
"""

import tensorflow as tf

from planet_tf import checks
from planet_tf.models import recurrence
from planet_tf.models.recurrence import Observed, State


@checks.configurable()
class RNNCell(tf.keras.layers.Layer):
    """One step of the RNN as a Keras recurrent cell, and chunks of steps; see `RSSMCell`.

    In training a random fraction of the images is hidden: without a divergence nothing else would
    train predictions over several steps, which planning needs.

    Args:
      deter_size: D, units of the GRU.
      hidden_size: units of the dense layers before the GRU and the correction.
      blind_fraction: fraction of a training chunk's images that are hidden.
    """

    stoch_size = 0

    def __init__(
        self,
        deter_size: checks.Count = 200,
        hidden_size: checks.Count = 200,
        blind_fraction: checks.Fraction = 0.5,
        name: str = "rnn",
    ):
        super().__init__(name=name, autocast=False)
        self.blind_fraction = blind_fraction
        self.state_sizes = {"deter": deter_size}
        self.state_size = (dict(self.state_sizes),)
        dense = tf.keras.layers.Dense
        self.transition_hidden = dense(hidden_size, activation="relu", name="transition_hidden")
        self.gates, self.candidate = recurrence.gru_layers(deter_size)
        context, embed = recurrence.split_layer(hidden_size, deter_size)
        self.posterior_context, self.posterior_embed = context, embed
        self.posterior_out = dense(2 * deter_size, name="posterior_out", dtype="float32")

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the zero state that every episode and every chunk starts from."""
        return recurrence.zero_state(self.state_sizes, batch_size)

    def features(self, state: State) -> tf.Tensor:
        """Returns deter as predicted, float32 [..., D]: the input of every head."""
        return state.get("predicted", state["deter"])

    # One step.

    def transition(self, state: State, action: tf.Tensor) -> tf.Tensor:
        """Returns the predicted deter, float32 [..., D]; action is [..., A]."""
        x = self.transition_hidden(action)
        return recurrence.gru(self.gates, self.candidate, x, state["deter"])

    def correct(self, predicted: tf.Tensor, projected: tf.Tensor, seen=None) -> tf.Tensor:
        """Returns deter after the image, float32 [..., D].

        Args:
          predicted: deter before it, float32 [..., D].
          projected: posterior_embed(embed), [..., hidden_size].
          seen: float32 [..., 1], 0 where the image is hidden, else 1; None: all are seen.
        """
        hidden = recurrence.relu_sum(self.posterior_context(predicted), projected)
        gate, new = tf.split(self.posterior_out(hidden), 2, -1)
        correction = tf.sigmoid(gate) * (tf.tanh(new) - predicted)
        return predicted + (correction if seen is None else seen * correction)

    def prior_step(self, state: State, action: tf.Tensor, noise: tf.Tensor):
        """Imagines one step; returns None, as there is no prior, and the state."""
        return None, {"deter": self.transition(state, action)}

    def posterior_step(
        self, state: State, action: tf.Tensor, embed: tf.Tensor, noise: tf.Tensor
    ) -> tuple[None, State]:
        """Filters one step; returns None, as there is no posterior, and the state."""
        predicted = self.transition(state, action)
        return None, {"deter": self.correct(predicted, self.posterior_embed(embed))}

    def call(self, inputs: dict[str, tf.Tensor], states: tuple[State]):
        """Takes one step as Keras's RNN layer wants it; see `RSSMCell.call`.

        Args:
          inputs: also `seen` [B, 1], 0 where the image is hidden.
          states: the state, in a tuple.
        """
        state, action = recurrence.reset_rows(states[0], inputs["action"], inputs.get("is_first"))
        predicted = self.transition(state, action)
        if "projected" not in inputs:
            state = {"deter": predicted}
            return state, (state,)
        state = {"deter": self.correct(predicted, inputs["projected"], inputs.get("seen"))}
        return {**state, "predicted": predicted}, (state,)

    # A chunk of steps.

    def observe(
        self,
        embed: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        noise: tf.Tensor,
        seen: tf.Tensor | None = None,
    ) -> Observed:
        """Filters a chunk; see `RSSMCell.observe`.

        Args:
          embed, action, is_first, noise: as the RSSM's; S is 0.
          seen: bool [B, L], False where the image is hidden; None: all are seen.
        """
        inputs = {"projected": self.posterior_embed(embed), "action": action, "noise": noise}
        inputs["is_first"] = recurrence.as_column(is_first)
        if seen is not None:
            inputs["seen"] = recurrence.as_column(seen)
        return Observed(None, None, recurrence.unroll(self, inputs, None))

    def imagine(
        self, action: tf.Tensor, noise: tf.Tensor, state: State, static: bool = False
    ) -> tuple[None, State]:
        """Predicts without images; see `RSSMCell.imagine`."""
        inputs = {"action": action, "noise": noise}
        return None, recurrence.unroll(self, inputs, state, static)
