"""The RSSM: its distributions by hand, and resets inside a chunk."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import normal, weights

from planet_tf.models import recurrence, rssm

B, L, A, E = 2, 4, 2, 4
S, D, H = 3, 5, 6


@pytest.fixture(scope="module")
def cell():
    """A small cell with all of its weights random, biases too."""
    cell = rssm.RSSMCell(stoch_size=S, deter_size=D, hidden_size=H)
    cell.observe(
        normal(0, 1, 1, E), normal(1, 1, 1, A), tf.zeros([1, 1], tf.bool), normal(2, 1, 1, S)
    )
    rng = np.random.default_rng(0)
    for variable in cell.variables:
        variable.assign(rng.normal(size=variable.shape) * 0.7)
    return cell


@pytest.fixture(scope="module")
def chunk():
    return {
        "embed": normal(3, B, L, E),
        "action": tf.tanh(normal(4, B, L, A)),
        "is_first": tf.zeros([B, L], tf.bool),
        "noise": normal(5, B, L, S),
    }


@pytest.fixture(scope="module")
def start():
    return {"deter": tf.tanh(normal(6, B, D)), "stoch": normal(7, B, S)}


def first_at(*where):
    is_first = np.zeros([B, L], bool)
    for row, step in where:
        is_first[row, step] = True
    return tf.constant(is_first)


def values(observed):
    """Arrays of a filtered chunk, [B, L, ...]."""
    mean_std = [recurrence.mean_std(part) for part in (observed.posterior, observed.prior)]
    return [np.array(v) for v in tf.nest.flatten([mean_std, observed.states])]


def test_parameters_at_paper_size():
    cell = rssm.RSSMCell()
    cell.observe(
        tf.zeros([1, 1, 1024]), tf.zeros([1, 1, 6]), tf.zeros([1, 1], tf.bool), tf.zeros([1, 1, 30])
    )
    counts = {}
    for name, variable in weights(cell).items():
        part = name.split("/")[0].split("_")[0]
        counts[part] = counts.get(part, 0) + int(tf.size(variable))
    assert counts.pop("gates") + counts.pop("candidate") == 240_600
    assert counts == {"transition": 7_400, "prior": 52_260, "posterior": 257_060}


def test_transition_is_a_gru_of_relu_of_stoch_and_action(cell, start):
    w = {name: variable.numpy() for name, variable in weights(cell).items()}
    action = normal(8, B, A)
    x = np.concatenate([start["stoch"], action], -1) @ w["transition_hidden/kernel"]
    x = np.maximum(0, x + w["transition_hidden/bias"])
    expected = recurrence.gru(cell.gates, cell.candidate, tf.constant(x), start["deter"])
    np.testing.assert_allclose(cell.transition(start, action), expected, atol=1e-5)


def test_posterior_reads_deter_and_embed_and_prior_deter(cell):
    w = {name: variable.numpy() for name, variable in weights(cell).items()}
    deter, embed = normal(8, B, D).numpy(), normal(9, B, E).numpy()
    both = np.concatenate([deter, embed], -1)
    whole = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    posterior = cell.posterior(deter, cell.posterior_embed(embed))
    for which, x, kernel, bias, actual in (
        ("prior", deter, w["prior_hidden/kernel"], w["prior_hidden/bias"], cell.prior(deter)),
        ("posterior", both, whole, w["posterior_context/bias"], posterior),
    ):
        hidden = np.maximum(0, x @ kernel + bias)
        out = hidden @ w[f"{which}_out/kernel"] + w[f"{which}_out/bias"]
        np.testing.assert_allclose(actual.mean(), out[:, :S], atol=1e-5)
        np.testing.assert_allclose(actual.stddev(), np.log1p(np.exp(out[:, S:])) + 0.1, atol=1e-5)


def test_least_std_is_a_setting():
    for least, expected in ((0.1, 0.1), (0.5, 0.5)):
        cell = rssm.RSSMCell(S, D, H, min_std=least)
        projected = cell.posterior_embed(normal(1, B, E))
        cell.prior(normal(0, B, D)), cell.posterior(normal(0, B, D), projected)
        for out in (cell.prior_out, cell.posterior_out):
            out.set_weights([np.zeros([H, 2 * S]), np.full(2 * S, -100.0)])
        np.testing.assert_allclose(cell.prior(normal(0, B, D)).stddev(), np.full([B, S], expected))
        posterior = cell.posterior(normal(0, B, D), projected)
        np.testing.assert_allclose(posterior.stddev(), np.full([B, S], expected))


def test_features_are_stoch_then_deter():
    state = {"deter": tf.constant([[1.0, 2.0]]), "stoch": tf.constant([[3.0]])}
    np.testing.assert_array_equal(rssm.RSSMCell().features(state), [[3.0, 1.0, 2.0]])


def test_states_are_drawn_from_the_posteriors_and_priors_follow(cell, chunk):
    posterior, prior, states = cell.observe(**chunk)
    sample = posterior.mean() + posterior.stddev() * chunk["noise"]
    np.testing.assert_allclose(states["stoch"], sample, atol=1e-6)
    assert states["deter"].shape == (B, L, D)
    of_embed = cell.posterior(states["deter"], cell.posterior_embed(chunk["embed"]))
    for actual, expected in ((posterior, of_embed), (prior, cell.prior(states["deter"]))):
        assert (actual.batch_shape, actual.event_shape) == ((B, L), (S,))
        np.testing.assert_allclose(actual.mean(), expected.mean(), atol=1e-5)
        np.testing.assert_allclose(actual.stddev(), expected.stddev(), atol=1e-5)


def test_samples_carry_the_gradient_to_the_posterior(cell, chunk):
    bias = weights(cell)["posterior_out/bias"]
    with tf.GradientTape() as tape:
        posterior, _, states = cell.observe(**{key: value[:, :1] for key, value in chunk.items()})
        total = tf.reduce_sum(states["stoch"])
    # d stoch / d mean = 1; d stoch / d std = noise; the slope of softplus is 1 - e^-softplus.
    slope = 1 - np.exp(0.1 - posterior.stddev()[:, 0])
    expected = np.concatenate([[B] * S, (chunk["noise"][:, 0] * slope).numpy().sum(0)])
    np.testing.assert_allclose(tape.gradient(total, bias), expected, atol=1e-5)


def test_a_chunk_starts_from_zeros_and_its_own_action(cell, chunk):
    states = cell.observe(**chunk).states
    first = cell.transition(cell.initial_state(B), chunk["action"][:, 0])
    np.testing.assert_allclose(states["deter"][:, 0], first, atol=1e-6)
    action = tf.concat([-chunk["action"][:, :1], chunk["action"][:, 1:]], 1)
    other = cell.observe(**{**chunk, "action": action}).states
    assert (np.abs(states["deter"] - other["deter"]).max((1, 2)) > 1e-3).all()


def test_a_reset_inside_a_chunk_equals_a_new_start(cell, chunk):
    # Row 1 resets at step 2: from there on it is a chunk of its own, begun with no action.
    reset = values(cell.observe(**{**chunk, "is_first": first_at((1, 2))}))
    plain = values(cell.observe(**chunk))
    tail = {key: value[:, 2:] for key, value in chunk.items()}
    tail["action"] = tf.concat([tf.zeros([B, 1, A]), tail["action"][:, 1:]], 1)
    for actual, without, expected in zip(reset, plain, values(cell.observe(**tail)), strict=True):
        np.testing.assert_allclose(actual[1, 2:], expected[1], atol=1e-6)
        np.testing.assert_allclose(actual[1, :2], without[1, :2], atol=1e-6)
        np.testing.assert_allclose(actual[0], without[0], atol=1e-6)  # the other row continues
        assert np.abs(actual[1, 2:] - without[1, 2:]).max() > 1e-3


def test_nothing_before_a_reset_has_influence_after_it(cell, chunk):
    before = {key: tf.identity(chunk[key]) for key in ("embed", "action", "noise")}
    with tf.GradientTape() as tape:
        tape.watch(before)
        observed = cell.observe(**before, is_first=first_at((1, 2)))
        parts = [*recurrence.mean_std(observed.posterior), *recurrence.mean_std(observed.prior)]
        after = [tf.reduce_sum(v[:, 2:] ** 2) for v in (*parts, *observed.states.values())]
    grads = tape.gradient(after, before)
    for name, grad in grads.items():
        grad = grad.numpy()
        np.testing.assert_array_equal(grad[1, :2], 0, err_msg=name)
        assert np.abs(grad[0, :2]).max() > 1e-4, name  # row 0 was not reset
        assert np.abs(grad[1, 3]).max() > 1e-4, name
    # The action that "led to" a first image did not.
    np.testing.assert_array_equal(grads["action"][1, 2], 0)


@pytest.mark.parametrize(
    "key, shape",
    [
        ("embed", (B, L + 1, E)),
        ("action", (B, L - 1, A)),
        ("noise", (B + 1, L, S)),
        ("is_first", (B, L + 1)),
    ],
)
def test_a_chunk_whose_parts_disagree_is_refused(cell, chunk, key, shape):
    with pytest.raises(ValueError):
        cell.observe(**{**chunk, key: tf.zeros(shape, chunk[key].dtype)})


def test_results_are_the_same_compiled(cell, chunk, start, variant):
    def run(chunk, start):
        observed = cell.observe(**chunk)
        loop = cell.imagine(chunk["action"], chunk["noise"], start)
        static = cell.imagine(chunk["action"], chunk["noise"], start, static=True)
        distributions = observed.posterior, observed.prior, loop[0], static[0]
        return [recurrence.mean_std(d) for d in distributions], observed.states, loop[1], static[1]

    chunk = {**chunk, "is_first": first_at((0, 2), (1, 0))}
    actual = tf.nest.flatten(variant(run)(chunk, start))
    for one, expected in zip(actual, tf.nest.flatten(run(chunk, start)), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-5)
