"""Latent dynamics as Keras recurrent cells (paper section 3; blog figure 2).

    RSSM (2c)  deter_t = f(deter_{t-1}, stoch_{t-1}, action_t)
               stoch_t ~ p(stoch_t | deter_t),  q(stoch_t | deter_t, embed_t)
    SSM  (2b)  stoch_t ~ p(stoch_t | stoch_{t-1}, action_t),  q(stoch_t | that p, embed_t)
    RNN  (2a)  deter_t = f(deter_{t-1}, action_t), then corrected by embed_t; nothing is drawn

p is the prior, q the posterior; `action_t` is the action that led to `image_t`. A state is a dict
of what the cell has of `deter` [..., D] and `stoch` [..., S]. Samples are `mean + std * noise` with
the noise handed in, so that everything here is a pure function: the same in eager code, in a
`tf.function` and under XLA.
"""

from collections.abc import Callable

import gin
import tensorflow as tf

from planet_tf import config, latent_cell


def _gru(gates, candidate, x: tf.Tensor, deter: tf.Tensor) -> tf.Tensor:
    """Returns the GRU's next state; it resets before the matmul (in Keras: reset_after=False).

    A GRU as two dense layers: on a CPU bias and sigmoid or tanh are then part of the matmul, which
    takes two thirds of the time of Keras's GRUCell.
    """
    half = tf.cast(deter, x.dtype)
    reset, update = tf.split(gates(tf.concat([x, half], -1)), 2, -1)
    new = candidate(tf.concat([x, reset * half], -1))
    update, new = tf.cast(update, tf.float32), tf.cast(new, tf.float32)
    return new + update * (deter - new)


@gin.configurable(module="planet_tf")
class RSSMCell(latent_cell.StochasticCell):
    """The recurrent state-space model: deter and stoch; the context is deter.

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
        config.check_whole_numbers(
            "RSSMCell",
            {"stoch_size": stoch_size, "deter_size": deter_size, "hidden_size": hidden_size},
        )
        sizes = {"deter": deter_size, "stoch": stoch_size}
        super().__init__(sizes, deter_size, hidden_size, stoch_size, min_std, name)
        dense = tf.keras.layers.Dense
        self.transition_hidden = dense(hidden_size, activation="relu", name="transition_hidden")
        self.gates = dense(2 * deter_size, "sigmoid", bias_initializer="ones", name="gates")
        self.candidate = dense(deter_size, "tanh", name="candidate")
        self.prior_hidden = dense(hidden_size, activation="relu", name="prior_hidden")
        self.prior_out = dense(2 * stoch_size, name="prior_out", dtype="float32")

    def transition(self, state, action):
        """Returns the next deter [..., D] = GRU(deter, relu(dense(stoch, action)))."""
        x = self.transition_hidden(tf.concat([state["stoch"], action], -1))
        return _gru(self.gates, self.candidate, x, state["deter"])

    def prior(self, context):
        """Returns p(stoch | deter): batch shape [...], event shape [S]; context is deter."""
        return latent_cell.gaussian(*self._mean_std(self.prior_out(self.prior_hidden(context))))

    def _state(self, context, stoch, more):
        return {"deter": context, "stoch": stoch}, more

    def features(self, states):
        """Returns concat(stoch, deter), float32 [..., S + D]."""
        return tf.concat([states["stoch"], states["deter"]], -1)

    def layers_by_part(self):
        """Returns the dense layers that make transition, prior and posterior."""
        return {
            "transition": [self.transition_hidden, self.gates, self.candidate],
            "prior": [self.prior_hidden, self.prior_out],
            "posterior": self.posterior_layers,
        }


@gin.configurable(module="planet_tf")
class SSMCell(latent_cell.StochasticCell):
    """The stochastic state-space model: stoch alone; the context is the prior's mean and std.

    Nothing of the past reaches the next step but through the sample.

    Args:
      stoch_size: S.
      hidden_size: units of the dense layers before the prior and the posterior.
      min_std: added to the softplus of every standard deviation.
    """

    def __init__(
        self,
        stoch_size: int = 30,
        hidden_size: int = 200,
        min_std: float = 0.1,
        name: str = "ssm",
    ):
        config.check_whole_numbers(
            "SSMCell", {"stoch_size": stoch_size, "hidden_size": hidden_size}
        )
        sizes = {"stoch": stoch_size}
        super().__init__(sizes, 2 * stoch_size, hidden_size, stoch_size, min_std, name)
        dense = tf.keras.layers.Dense
        self.prior_hidden = dense(hidden_size, activation="relu", name="prior_hidden")
        self.prior_out = dense(2 * stoch_size, name="prior_out", dtype="float32")

    def transition(self, state, action):
        """Returns concat(mean, std) [..., 2 S] of p(stoch | last stoch, action)."""
        hidden = self.prior_hidden(tf.concat([state["stoch"], action], -1))
        return tf.concat(self._mean_std(self.prior_out(hidden)), -1)

    def prior(self, context):
        """Returns p: batch shape [...], event shape [S]; context is its mean and std."""
        return latent_cell.gaussian(*tf.split(context, 2, -1))

    def _state(self, context, stoch, more):
        return {"stoch": stoch}, {**more, "context": context}

    def features(self, states):
        """Returns stoch, float32 [..., S]."""
        return states["stoch"]

    def layers_by_part(self):
        """Returns the dense layers that make transition, prior and posterior."""
        return {
            "transition": [],
            "prior": [self.prior_hidden, self.prior_out],
            "posterior": self.posterior_layers,
        }


@gin.configurable(module="planet_tf")
class RNNCell(latent_cell.LatentCell):
    """The deterministic model: deter alone; it draws nothing and has no divergence.

    The heads see deter as predicted, before the image corrects it: the likelihood is that of the
    next image given the past ones. In training a share of the images is passed over, at random:
    without a divergence nothing else would train predictions of more than one step, which are what
    planning needs.

    Args:
      deter_size: D, units of the GRU.
      hidden_size: units of the dense layers before the GRU and the correction.
      blind_fraction: the share of images passed over in training, at least 0 and below 1.

    Raises:
      ValueError: for another blind_fraction.
    """

    def __init__(
        self,
        deter_size: int = 200,
        hidden_size: int = 200,
        blind_fraction: float = 0.5,
        name: str = "rnn",
    ):
        config.check_whole_numbers(
            "RNNCell", {"deter_size": deter_size, "hidden_size": hidden_size}
        )
        super().__init__({"deter": deter_size}, deter_size, hidden_size, 2 * deter_size, name)
        if not 0 <= blind_fraction < 1:
            raise ValueError(
                f"RNNCell.blind_fraction must be at least 0 and below 1, got {blind_fraction}"
            )
        self.blind_fraction = blind_fraction
        dense = tf.keras.layers.Dense
        self.transition_hidden = dense(hidden_size, activation="relu", name="transition_hidden")
        self.gates = dense(2 * deter_size, "sigmoid", bias_initializer="ones", name="gates")
        self.candidate = dense(deter_size, "tanh", name="candidate")

    def transition(self, state, action):
        """Returns the predicted deter [..., D] = GRU(deter, relu(dense(action)))."""
        return _gru(self.gates, self.candidate, self.transition_hidden(action), state["deter"])

    def _advance(self, context, projected, noise, seen):
        if projected is None:
            return {"deter": context}, {}
        gate, new = tf.split(self._posterior_out(context, projected), 2, -1)
        correction = tf.sigmoid(gate) * (tf.tanh(new) - context)
        corrected = context + (correction if seen is None else seen * correction)
        return {"deter": corrected}, {"predicted": context}

    def features(self, states):
        """Returns deter as predicted, float32 [..., D]."""
        return states.get("predicted", states["deter"])

    def layers_by_part(self):
        """Returns the dense layers that make transition, prior and posterior."""
        return {
            "transition": [self.transition_hidden, self.gates, self.candidate],
            "prior": [],
            "posterior": self.posterior_layers,
        }


CELLS: dict[str, Callable[[], latent_cell.LatentCell]] = {
    "rssm": RSSMCell,
    "ssm": SSMCell,
    "rnn": RNNCell,
}
"""The latent models by the names that `WorldModel.latent` takes."""
