"""The SSM's step by hand."""

import numpy as np
import tensorflow as tf
from helpers import normal, weights

from planet_tf.models import ssm

B, A, E, S, H = 2, 2, 4, 3, 6


def test_a_step_by_hand(variant):
    cell = ssm.SSMCell(stoch_size=S, hidden_size=H)
    stoch, action, embed, noise = (normal(i, B, n).numpy() for i, n in enumerate([S, A, E, S]))
    cell.posterior_step({"stoch": stoch}, action, embed, noise)
    random = np.random.default_rng(0)
    for variable in cell.variables:
        variable.assign(random.normal(size=variable.shape) * 0.7)
    w = {name: variable.numpy() for name, variable in weights(cell).items()}

    def layers(x, kernel, which, bias):
        hidden = np.maximum(x @ kernel + bias, 0)
        out = hidden @ w[f"{which}_out/kernel"] + w[f"{which}_out/bias"]
        mean, std = np.split(out, 2, -1)
        return mean, np.log1p(np.exp(std)) + 0.1

    both = np.concatenate([stoch, action], -1)
    prior = layers(both, w["prior_hidden/kernel"], "prior", w["prior_hidden/bias"])
    both = np.concatenate([*prior, embed], -1)
    kernel = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    posterior = layers(both, kernel, "posterior", w["posterior_context/bias"])

    def run(stoch, action, embed, noise):
        imagined, ahead = cell.prior_step({"stoch": stoch}, action, noise)
        filtered, state = cell.posterior_step({"stoch": stoch}, action, embed, noise)
        parts = [part.mean() for part in (imagined, filtered)]
        return parts, [part.stddev() for part in (imagined, filtered)], ahead, state

    means, stds, ahead, state = variant(run)(stoch, action, embed, noise)
    np.testing.assert_allclose(means, [prior[0], posterior[0]], atol=1e-5)
    np.testing.assert_allclose(stds, [prior[1], posterior[1]], atol=1e-5)
    np.testing.assert_allclose(ahead["stoch"], prior[0] + prior[1] * noise, atol=1e-5)
    np.testing.assert_allclose(state["stoch"], posterior[0] + posterior[1] * noise, atol=1e-5)
    # All that reaches the next step is the sample.
    assert cell.state_sizes == {"stoch": S} and state.keys() == ahead.keys() == {"stoch"}
    np.testing.assert_array_equal(cell.features(state), state["stoch"])


def test_parameters_at_paper_size():
    cell = ssm.SSMCell()
    cell.posterior_step(
        {"stoch": tf.zeros([1, 30])}, tf.zeros([1, 6]), tf.zeros([1, 1024]), tf.zeros([1, 30])
    )
    counts = {name: int(tf.size(variable)) for name, variable in weights(cell).items()}
    prior = 36 * 200 + 200 + 200 * 60 + 60
    posterior = (60 + 1024) * 200 + 200 + 200 * 60 + 60
    assert sum(counts.values()) == prior + posterior == 248_520
