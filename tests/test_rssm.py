import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from planet_tf import rssm

tfd = tfp.distributions

B, L, A, E = 2, 4, 2, 4
S, D, H = 3, 5, 6


def normal(seed, *shape):
    return tf.random.stateless_normal(shape, [seed, 0])


def weights(cell):
    """The cell's variables by 'layer/weight'."""
    return {"/".join(v.name.split(":")[0].split("/")[-2:]): v for v in cell.variables}


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


def values(results):
    """Arrays of everything in a nest of distributions and states."""
    flat = []
    for result in results:
        if isinstance(result, tfd.Distribution):
            flat += [result.mean(), result.stddev()]
        else:
            flat += [result["deter"], result["stoch"]]
    return [np.array(value) for value in flat]


def assert_same(actual, expected, atol=1e-5):
    for a, e in zip(values(actual), values(expected), strict=True):
        np.testing.assert_allclose(a, e, atol=atol)


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


def test_gate_bias_starts_at_one_and_the_candidates_at_zero():
    cell = rssm.RSSMCell(stoch_size=S, deter_size=3, hidden_size=H)
    cell.transition({"deter": tf.zeros([1, 3]), "stoch": tf.zeros([1, S])}, tf.zeros([1, A]))
    np.testing.assert_array_equal(weights(cell)["gates/bias"], [1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(weights(cell)["candidate/bias"], [0, 0, 0])


def test_transition_is_a_gru_that_resets_before_the_matmul(cell, start):
    w = {name: variable.numpy() for name, variable in weights(cell).items()}
    action = normal(8, B, A)
    h, s = start["deter"].numpy(), start["stoch"].numpy()

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    x = np.concatenate([s, action], -1) @ w["transition_hidden/kernel"]
    x = np.maximum(0, x + w["transition_hidden/bias"])
    (wr, wz), (ur, uz) = (np.split(part, 2, 1) for part in np.split(w["gates/kernel"], [H]))
    wc, uc = np.split(w["candidate/kernel"], [H])
    (br, bz), bc = np.split(w["gates/bias"], 2), w["candidate/bias"]
    update, reset = sigmoid(x @ wz + h @ uz + bz), sigmoid(x @ wr + h @ ur + br)
    before = update * h + (1 - update) * np.tanh(x @ wc + (reset * h) @ uc + bc)
    after = update * h + (1 - update) * np.tanh(x @ wc + reset * (h @ uc) + bc)

    assert np.abs(before - after).max() > 0.01  # the weights tell the two apart
    np.testing.assert_allclose(cell.transition(start, action), before, atol=1e-5)


def test_reset_before_the_matmul_by_hand():
    # Two units. No input; the candidate's matrix swaps the units; update 0, reset (1, 0).
    cell = rssm.RSSMCell(stoch_size=1, deter_size=2, hidden_size=1)
    state = {"deter": tf.constant([[0.5, 0.25]]), "stoch": tf.zeros([1, 1])}
    cell.transition(state, tf.zeros([1, 1]))
    w = weights(cell)
    w["gates/kernel"].assign(tf.zeros([3, 4]))
    w["gates/bias"].assign([100, -100, -100, -100])
    w["candidate/kernel"].assign([[0, 0], [0, 1], [1, 0]])
    # Before: swap(1 * 0.5, 0 * 0.25) = (0, 0.5). After would be (1, 0) * swap(...) = (0.25, 0).
    actual = cell.transition(state, tf.zeros([1, 1]))
    np.testing.assert_allclose(actual, [[0.0, np.tanh(0.5)]], atol=1e-6)


def test_transition_is_keras_gru_cell(cell, start):
    w = weights(cell)
    action = normal(8, B, A)
    gru = tf.keras.layers.GRUCell(D, reset_after=False)
    gru.build([None, H])
    gate_kernel, gate_recurrent = np.split(w["gates/kernel"], [H])
    kernel, recurrent = np.split(w["candidate/kernel"], [H])

    def in_keras_order(gates, candidate):  # update, reset, candidate
        reset, update = np.split(gates, 2, -1)
        return np.concatenate([update, reset, candidate], -1)

    gru.set_weights(
        [
            in_keras_order(gate_kernel, kernel),
            in_keras_order(gate_recurrent, recurrent),
            in_keras_order(w["gates/bias"].numpy(), w["candidate/bias"].numpy()),
        ]
    )

    def keras():
        x = cell.transition_hidden(tf.concat([start["stoch"], action], -1))
        return gru(x, [start["deter"]])[0]

    results = []
    for f in (lambda: cell.transition(start, action), keras):
        with tf.GradientTape() as tape:
            tape.watch(start)
            deter = f()
        hidden = cell.transition_hidden.trainable_variables
        results.append([deter, *tape.gradient(deter, [*start.values(), *hidden])])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("which", ["prior", "posterior"])
def test_standard_deviation_is_softplus_plus_a_tenth(which):
    cell = rssm.RSSMCell(stoch_size=S, deter_size=D, hidden_size=H)
    inputs = {"prior": [normal(0, B, D)], "posterior": [normal(0, B, D), normal(1, B, E)]}[which]
    getattr(cell, which)(*inputs)
    w = weights(cell)
    w[f"{which}_out/kernel"].assign(tf.zeros([H, 2 * S]))
    # softplus(0) = log 2, softplus(log(e^0.9 - 1)) = 0.9, softplus(-100) = 0
    w[f"{which}_out/bias"].assign([1.0, -2.0, 3.0, 0.0, np.log(np.exp(0.9) - 1), -100.0])
    distribution = getattr(cell, which)(*inputs)
    np.testing.assert_allclose(distribution.mean(), [[1.0, -2.0, 3.0]] * B)
    expected = [[np.log(2) + 0.1, 1.0, 0.1]] * B
    np.testing.assert_allclose(distribution.stddev(), expected, atol=1e-6)


def test_posterior_reads_relu_of_deter_and_embed_and_prior_of_deter(cell):
    w = {name: variable.numpy() for name, variable in weights(cell).items()}
    deter, embed = normal(8, B, D).numpy(), normal(9, B, E).numpy()
    both = np.concatenate([deter, embed], -1)
    whole = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    for which, x, kernel, bias, actual in (
        ("prior", deter, w["prior_hidden/kernel"], w["prior_hidden/bias"], cell.prior(deter)),
        ("posterior", both, whole, w["posterior_context/bias"], cell.posterior(deter, embed)),
    ):
        hidden = np.maximum(0, x @ kernel + bias)
        out = hidden @ w[f"{which}_out/kernel"] + w[f"{which}_out/bias"]
        np.testing.assert_allclose(actual.mean(), out[:, :S], atol=1e-5)
        np.testing.assert_allclose(actual.stddev(), np.log1p(np.exp(out[:, S:])) + 0.1, atol=1e-5)


def test_both_parts_of_the_posterior_start_as_glorot_has_the_whole():
    cell = rssm.RSSMCell()
    cell.posterior(tf.zeros([1, 200]), tf.zeros([1, 1024]))
    limit = np.sqrt(6 / (200 + 1024 + 200))
    for part in ("posterior_context", "posterior_embed"):
        kernel = weights(cell)[f"{part}/kernel"].numpy()
        np.testing.assert_allclose(np.abs(kernel).max(), limit, rtol=0.01)
        np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)


def test_features_are_stoch_then_deter():
    feat = rssm.RSSMCell().features(
        {"deter": tf.constant([[1.0, 2.0]]), "stoch": tf.constant([[3.0]])}
    )
    np.testing.assert_array_equal(feat, [[3.0, 1.0, 2.0]])


def test_initial_state_is_zero(cell):
    state = cell.initial_state(3)
    np.testing.assert_array_equal(state["deter"], np.zeros([3, D]))
    np.testing.assert_array_equal(state["stoch"], np.zeros([3, S]))


def test_observe_returns_distributions(cell, chunk):
    posterior, prior, states = cell.observe(**chunk)
    for distribution in (posterior, prior):
        assert isinstance(distribution, tfd.Distribution)
        assert distribution.batch_shape == (B, L)
        assert distribution.event_shape == (S,)
    assert states["deter"].shape == (B, L, D)
    assert states["stoch"].shape == (B, L, S)
    # The states are those of the two distributions, sampled with the noise handed in.
    sample = posterior.mean() + posterior.stddev() * chunk["noise"]
    np.testing.assert_allclose(states["stoch"], sample, atol=1e-6)
    of_embed = cell.posterior(states["deter"], chunk["embed"])
    assert_same([posterior, prior], [of_embed, cell.prior(states["deter"])])


def test_samples_carry_the_gradient_of_mean_and_std(cell, chunk):
    bias = weights(cell)["posterior_out/bias"]
    with tf.GradientTape() as tape:
        posterior, _, states = cell.observe(**{key: value[:, :1] for key, value in chunk.items()})
        total = tf.reduce_sum(states["stoch"])
    # d stoch / d mean = 1; d stoch / d std = noise; the slope of softplus is 1 - e^-softplus.
    slope = 1 - np.exp(0.1 - posterior.stddev()[:, 0])
    expected = np.concatenate([[B] * S, (chunk["noise"][:, 0] * slope).numpy().sum(0)])
    np.testing.assert_allclose(tape.gradient(total, bias), expected, atol=1e-5)


@pytest.mark.parametrize("unroll", [False, True])
def test_imagine_returns_a_distribution(cell, chunk, start, unroll):
    prior, states = cell.imagine(chunk["action"], chunk["noise"], start, unroll)
    assert isinstance(prior, tfd.Distribution)
    assert prior.batch_shape == (B, L)
    assert prior.event_shape == (S,)
    assert states["deter"].shape == (B, L, D)
    sample = prior.mean() + prior.stddev() * chunk["noise"]
    np.testing.assert_allclose(states["stoch"], sample, atol=1e-6)
    assert_same([prior], [cell.prior(states["deter"])])


def test_imagine_in_a_loop_is_imagine_unrolled(cell, chunk, start):
    loop = cell.imagine(chunk["action"], chunk["noise"], start)
    assert_same(cell.imagine(chunk["action"], chunk["noise"], start, unroll=True), loop, atol=1e-6)


@pytest.mark.parametrize("images", [True, False])
def test_a_chunk_is_its_steps_one_at_a_time(cell, chunk, start, images):
    if images:
        chunk = {**chunk, "is_first": first_at((0, 2), (1, 0))}
        posterior, _, states = cell.observe(**chunk, state=start)
    else:
        posterior, states = cell.imagine(chunk["action"], chunk["noise"], start)
    state = start
    for t in range(L):
        inputs = {key: chunk[key][:, t] for key in ("action", "noise")}
        inputs["is_first"] = tf.cast(chunk["is_first"][:, t, None], tf.float32)
        if images:
            inputs["embed"] = chunk["embed"][:, t]
        out, (state,) = cell(inputs, (state,))
        np.testing.assert_allclose(out["mean"], posterior.mean()[:, t], atol=1e-5)
        np.testing.assert_allclose(out["std"], posterior.stddev()[:, t], atol=1e-5)
        for key in ("deter", "stoch"):
            np.testing.assert_allclose(state[key], states[key][:, t], atol=1e-5)
            np.testing.assert_array_equal(out[key], state[key])


@pytest.mark.parametrize("images", [True, False])
def test_runs_in_a_keras_rnn(cell, chunk, images):
    inputs = {**chunk, "is_first": tf.cast(chunk["is_first"], tf.float32)[..., None]}
    if images:
        _, _, states = cell.observe(**chunk)
    else:
        del inputs["embed"]
        _, states = cell.imagine(chunk["action"], chunk["noise"], cell.initial_state(B))
    out, last = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)(inputs)
    for key in ("deter", "stoch"):
        np.testing.assert_allclose(out[key], states[key], atol=1e-6)
        np.testing.assert_allclose(last[key], states[key][:, -1], atol=1e-6)


def test_chunk_starts_from_zeros_and_its_own_action(cell, chunk):
    zeros = cell.initial_state(B)
    assert_same(cell.observe(**chunk), cell.observe(**chunk, state=zeros), atol=0)
    action = tf.concat([-chunk["action"][:, :1], chunk["action"][:, 1:]], 1)
    _, _, states = cell.observe(**chunk)
    _, _, other = cell.observe(**{**chunk, "action": action})
    assert (np.abs(states["deter"] - other["deter"]).max((1, 2)) > 1e-3).all()


def test_reset_inside_a_chunk_equals_a_fresh_start(cell, chunk, start):
    # Row 1 resets at step 2: from there on it is a chunk of its own, begun with no action.
    reset = cell.observe(**{**chunk, "is_first": first_at((1, 2))}, state=start)
    plain = cell.observe(**chunk, state=start)
    tail = {key: value[:, 2:] for key, value in chunk.items()}
    tail["action"] = tf.concat([tf.zeros([B, 1, A]), tail["action"][:, 1:]], 1)
    fresh = cell.observe(**tail)
    for actual, without, expected in zip(values(reset), values(plain), values(fresh), strict=True):
        np.testing.assert_allclose(actual[1, 2:], expected[1], atol=1e-6)
        np.testing.assert_allclose(actual[1, :2], without[1, :2], atol=1e-6)
        np.testing.assert_allclose(actual[0], without[0], atol=1e-6)  # the other row goes on
        assert np.abs(actual[1, 2:] - without[1, 2:]).max() > 1e-3


def test_nothing_before_a_reset_has_influence_on_what_follows(cell, chunk, start):
    is_first = first_at((1, 2))
    before = {key: tf.identity(chunk[key]) for key in ("embed", "action", "noise")}
    with tf.GradientTape() as tape:
        tape.watch((before, start))
        posterior, prior, states = cell.observe(**before, is_first=is_first, state=start)
        after = [posterior.mean(), posterior.stddev(), prior.mean(), prior.stddev()]
        after += [states["deter"], states["stoch"]]
        after = [tf.reduce_sum(tf.square(value[:, 2:])) for value in after]
    grads, start_grads = tape.gradient(after, (before, start))
    for name, grad in grads.items():
        grad = grad.numpy()
        np.testing.assert_array_equal(grad[1, :2], 0, err_msg=name)
        assert np.abs(grad[0, :2]).max() > 1e-4, name  # row 0 was not reset
        assert np.abs(grad[1, 3]).max() > 1e-4, name
    for name, grad in start_grads.items():
        np.testing.assert_array_equal(grad[1], 0, err_msg=name)
        assert np.abs(grad[0]).max() > 1e-5, name
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
def test_observe_refuses_chunks_that_disagree(cell, chunk, key, shape):
    wrong = tf.zeros(shape, chunk[key].dtype)
    with pytest.raises(ValueError, match=r"\[B, L\] of a chunk must agree"):
        cell.observe(**{**chunk, key: wrong})


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("shape", [(B, L - 1, S), (B + 1, L, S)])
def test_imagine_refuses_noise_that_disagrees(cell, chunk, start, shape, unroll):
    with pytest.raises(ValueError, match=r"\[B, L\] of a chunk must agree"):
        cell.imagine(chunk["action"], tf.zeros(shape), start, unroll)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_results_compiled(cell, chunk, start, jit_compile):
    chunk = {**chunk, "is_first": first_at((0, 2), (1, 0))}

    def run(chunk, start):
        posterior, prior, states = cell.observe(**chunk, state=start)
        last = {key: value[:, -1] for key, value in states.items()}
        ahead, imagined = cell.imagine(chunk["action"], chunk["noise"], last)
        _, unrolled = cell.imagine(chunk["action"], chunk["noise"], last, unroll=True)
        means = [posterior.mean(), posterior.stddev(), prior.mean(), prior.stddev()]
        return [*means, ahead.mean(), ahead.stddev(), states, imagined, unrolled]

    eager = tf.nest.flatten(run(chunk, start))
    compiled = tf.nest.flatten(tf.function(run, jit_compile=jit_compile)(chunk, start))
    for actual, expected in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
