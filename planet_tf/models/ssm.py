"""The stochastic state-space model, an ablation (blog figure 2b): no deterministic path.

    prior      p(stoch_t | stoch_{t-1}, action_t)
    posterior  q(stoch_t | mean and std of the prior, embed_t)

Nothing of the past reaches the next step except through the sample.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import checks
from planet_tf.models import recurrence
from planet_tf.models.recurrence import Observed, State


@checks.configurable()
class SSMCell(tf.keras.layers.Layer):
    """One step of the SSM as a Keras recurrent cell, and chunks of steps; see `RSSMCell`.

    Args:
      stoch_size: S, components of the stochastic state.
      hidden_size: units of the dense layers before the prior and the posterior.
      min_std: added to the softplus of every standard deviation.
    """

    def __init__(
        self,
        stoch_size: checks.Count = 30,
        hidden_size: checks.Count = 200,
        min_std: checks.NonNegative = 0.1,
        name: str = "ssm",
    ):
        super().__init__(name=name, autocast=False)
        self.stoch_size, self._min_std = stoch_size, min_std
        self.state_sizes = {"stoch": stoch_size}
        self.state_size = (dict(self.state_sizes),)
        dense = tf.keras.layers.Dense
        self.prior_hidden = dense(hidden_size, activation="relu", name="prior_hidden")
        self.prior_out = dense(2 * stoch_size, name="prior_out", dtype="float32")
        context, embed = recurrence.split_layer(hidden_size, 2 * stoch_size)
        self.posterior_context, self.posterior_embed = context, embed
        self.posterior_out = dense(2 * stoch_size, name="posterior_out", dtype="float32")

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the zero state that every episode and every chunk starts from."""
        return recurrence.zero_state(self.state_sizes, batch_size)

    def features(self, state: State) -> tf.Tensor:
        """Returns stoch, float32 [..., S]: the input of every head."""
        return state["stoch"]

    # One step.

    def prior(self, state: State, action: tf.Tensor) -> tfd.Distribution:
        """Returns p(stoch | last stoch, action), batch shape [...], event shape [S]."""
        hidden = self.prior_hidden(tf.concat([state["stoch"], action], -1))
        return recurrence.gaussian_from(self.prior_out(hidden), self._min_std)

    def posterior(self, prior: tfd.Distribution, projected: tf.Tensor) -> tfd.Distribution:
        """Returns q(stoch | prior, embed), batch shape [...], event shape [S].

        Args:
          prior: of the same step.
          projected: posterior_embed(embed), [..., hidden_size].
        """
        context = tf.concat(recurrence.mean_std(prior), -1)
        hidden = recurrence.relu_sum(self.posterior_context(context), projected)
        return recurrence.gaussian_from(self.posterior_out(hidden), self._min_std)

    def prior_step(self, state: State, action: tf.Tensor, noise: tf.Tensor):
        """Imagines one step; see `RSSMCell.prior_step`."""
        prior = self.prior(state, action)
        return prior, {"stoch": recurrence.draw(prior, noise)}

    def posterior_step(
        self, state: State, action: tf.Tensor, embed: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tfd.Distribution, State]:
        """Filters one step; see `RSSMCell.posterior_step`."""
        posterior, _, state = self._filter(state, action, self.posterior_embed(embed), noise)
        return posterior, state

    def _filter(self, state, action, projected, noise):
        prior = self.prior(state, action)
        posterior = self.posterior(prior, projected)
        return posterior, prior, {"stoch": recurrence.draw(posterior, noise)}

    def call(self, inputs: dict[str, tf.Tensor], states: tuple[State]):
        """Takes one step as Keras's RNN layer wants it; see `RSSMCell.call`.

        Puts out `prior_mean` and `prior_std` too: here they cannot be computed after the loop.
        """
        state, action = recurrence.reset_rows(states[0], inputs["action"], inputs.get("is_first"))
        out = {}
        if "projected" in inputs:
            drawn, prior, state = self._filter(state, action, inputs["projected"], inputs["noise"])
            out["prior_mean"], out["prior_std"] = recurrence.mean_std(prior)
        else:
            drawn, state = self.prior_step(state, action, inputs["noise"])
        out["mean"], out["std"] = recurrence.mean_std(drawn)
        return {**state, **out}, (state,)

    # A chunk of steps.

    def observe(
        self, embed: tf.Tensor, action: tf.Tensor, is_first: tf.Tensor, noise: tf.Tensor
    ) -> Observed:
        """Filters a chunk; see `RSSMCell.observe`."""
        inputs = {"projected": self.posterior_embed(embed), "action": action, "noise": noise}
        inputs["is_first"] = recurrence.as_column(is_first)
        out = recurrence.unroll(self, inputs, None)
        return Observed(
            recurrence.gaussian(out["mean"], out["std"]),
            recurrence.gaussian(out["prior_mean"], out["prior_std"]),
            {"stoch": out["stoch"]},
        )

    def imagine(
        self, action: tf.Tensor, noise: tf.Tensor, state: State, static: bool = False
    ) -> tuple[tfd.Distribution, State]:
        """Rolls the prior forward without images; see `RSSMCell.imagine`."""
        out = recurrence.unroll(self, {"action": action, "noise": noise}, state, static)
        return recurrence.gaussian(out["mean"], out["std"]), {"stoch": out["stoch"]}
