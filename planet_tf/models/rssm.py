"""The recurrent state-space model, whole (paper section 3; blog figure 2c).

    deter_t = GRU(deter_{t-1}, dense(stoch_{t-1}, action_t))
    prior      p(stoch_t | deter_t)
    posterior  q(stoch_t | deter_t, embed_t)

`action_t` is the action that led to `image_t`. Noise is an argument, so that everything here is a
pure function: the same in eager code, in a `tf.function` and under XLA.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import checks
from planet_tf.models import recurrence
from planet_tf.models.recurrence import Observed, State


@checks.configurable()
class RSSMCell(tf.keras.layers.Layer):
    """One step of the RSSM as a Keras recurrent cell, and chunks of steps.

    Under a mixed precision policy of Keras the matmuls are in 16 bits; states, noise and
    distributions are float32.

    Args:
      stoch_size: S, components of the stochastic state.
      deter_size: D, units of the GRU.
      hidden_size: units of the dense layers before the GRU, the prior and the posterior.
      min_std: added to the softplus of every standard deviation.
    """

    def __init__(
        self,
        stoch_size: checks.Count = 30,
        deter_size: checks.Count = 200,
        hidden_size: checks.Count = 200,
        min_std: checks.NonNegative = 0.1,
        name: str = "rssm",
    ):
        super().__init__(name=name, autocast=False)
        self.stoch_size, self._min_std = stoch_size, min_std
        self.state_sizes = {"deter": deter_size, "stoch": stoch_size}
        self.state_size = (dict(self.state_sizes),)  # a tuple: Keras takes no bare dict here
        dense = tf.keras.layers.Dense
        self.transition_hidden = dense(hidden_size, activation="relu", name="transition_hidden")
        self.gates, self.candidate = recurrence.gru_layers(deter_size)
        self.prior_hidden = dense(hidden_size, activation="relu", name="prior_hidden")
        self.prior_out = dense(2 * stoch_size, name="prior_out", dtype="float32")
        context, embed = recurrence.split_layer(hidden_size, deter_size)
        self.posterior_context, self.posterior_embed = context, embed
        self.posterior_out = dense(2 * stoch_size, name="posterior_out", dtype="float32")

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the zero state that every episode and every chunk starts from."""
        return recurrence.zero_state(self.state_sizes, batch_size)

    def features(self, state: State) -> tf.Tensor:
        """Returns feat, concat(stoch, deter), float32 [..., S + D]: the input of every head."""
        return tf.concat([state["stoch"], state["deter"]], -1)

    # One step. Its two halves: the GRU predicts deter, then stoch is drawn.

    def transition(self, state: State, action: tf.Tensor) -> tf.Tensor:
        """Returns the next deter, float32 [..., D]; action is [..., A]."""
        x = self.transition_hidden(tf.concat([state["stoch"], action], -1))
        return recurrence.gru(self.gates, self.candidate, x, state["deter"])

    def prior(self, deter: tf.Tensor) -> tfd.Distribution:
        """Returns p(stoch | deter), batch shape [...], event shape [S]."""
        return recurrence.gaussian_from(self.prior_out(self.prior_hidden(deter)), self._min_std)

    def posterior(self, deter: tf.Tensor, projected: tf.Tensor) -> tfd.Distribution:
        """Returns q(stoch | deter, embed), batch shape [...], event shape [S].

        Args:
          deter: float32 [..., D].
          projected: posterior_embed(embed), [..., hidden_size].
        """
        hidden = recurrence.relu_sum(self.posterior_context(deter), projected)
        return recurrence.gaussian_from(self.posterior_out(hidden), self._min_std)

    def prior_step(self, state: State, action: tf.Tensor, noise: tf.Tensor):
        """Imagines one step.

        Args:
          state: parts [B, ...].
          action: float32 [B, A], the action that leads to the next step.
          noise: float32 [B, S], standard normal.

        Returns:
          the prior over the next stoch, and the next state.
        """
        deter = self.transition(state, action)
        prior = self.prior(deter)
        return prior, {"deter": deter, "stoch": recurrence.draw(prior, noise)}

    def posterior_step(
        self, state: State, action: tf.Tensor, embed: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tfd.Distribution, State]:
        """Filters one step; embed, float32 [B, E], is of the image that `action` led to.

        Returns:
          the posterior over stoch, and the state; see `prior_step`.
        """
        return self._filter(state, action, self.posterior_embed(embed), noise)

    def _filter(self, state, action, projected, noise):
        deter = self.transition(state, action)
        posterior = self.posterior(deter, projected)
        return posterior, {"deter": deter, "stoch": recurrence.draw(posterior, noise)}

    def call(self, inputs: dict[str, tf.Tensor], states: tuple[State]):
        """Takes one step as Keras's RNN layer wants it: tensors in, tensors out.

        Args:
          inputs: action [B, A], noise [B, S]; to filter, `projected` [B, units], the output of
            posterior_embed; optionally is_first [B, 1], 1 where the state starts from zero.
          states: the state, in a tuple.

        Returns:
          the next state with the `mean` and `std` that stoch was drawn from, and the state again.
        """
        state, action = recurrence.reset_rows(states[0], inputs["action"], inputs.get("is_first"))
        if "projected" in inputs:
            drawn, state = self._filter(state, action, inputs["projected"], inputs["noise"])
        else:
            drawn, state = self.prior_step(state, action, inputs["noise"])
        mean, std = recurrence.mean_std(drawn)
        return {**state, "mean": mean, "std": std}, (state,)

    # A chunk of steps.

    def observe(
        self, embed: tf.Tensor, action: tf.Tensor, is_first: tf.Tensor, noise: tf.Tensor
    ) -> Observed:
        """Filters a chunk into posteriors and the priors that predicted them (paper eq. 3-4).

        What needs no recurrence is computed for all steps at once: the embeddings' part of the
        posterior before the loop, the prior after it.

        Args:
          embed: float32 [B, L, E].
          action: float32 [B, L, A] in [-1, 1]; action[:, t] led to the image of step t.
          is_first: bool [B, L]; True resets the state (and the action) before the step.
          noise: float32 [B, L, S], standard normal.

        Raises:
          ValueError: if B or L differ.
        """
        inputs = {"projected": self.posterior_embed(embed), "action": action, "noise": noise}
        inputs["is_first"] = recurrence.as_column(is_first)
        out = recurrence.unroll(self, inputs, None)
        states = {"deter": out["deter"], "stoch": out["stoch"]}
        posterior = recurrence.gaussian(out["mean"], out["std"])
        return Observed(posterior, self.prior(out["deter"]), states)

    def imagine(
        self, action: tf.Tensor, noise: tf.Tensor, state: State, static: bool = False
    ) -> tuple[tfd.Distribution, State]:
        """Rolls the prior forward without images.

        Args:
          action: float32 [B, L, A]; action[:, t] leads to step t.
          noise: float32 [B, L, S], standard normal.
          state: the state to start from, parts [B, ...].
          static: see `recurrence.unroll`.

        Returns:
          prior: distribution over stoch, batch shape [B, L], event shape [S].
          states: parts [B, L, ...].

        Raises:
          ValueError: if B or L differ.
        """
        out = recurrence.unroll(self, {"action": action, "noise": noise}, state, static)
        states = {"deter": out["deter"], "stoch": out["stoch"]}
        return recurrence.gaussian(out["mean"], out["std"]), states
