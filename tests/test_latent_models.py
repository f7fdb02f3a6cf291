"""What the three latent models have in common, and what sets them apart (blog figure 2)."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import planners, rssm, world_model

B, L, A, N, E = 2, 5, 2, 3, 4
MODELS = ["rssm", "ssm", "rnn"]


def normal(seed, *shape):
    return tf.random.stateless_normal(shape, [seed, 0])


def make_cell(latent):
    sizes = {"rssm": dict(stoch_size=3, deter_size=5), "ssm": dict(stoch_size=3)}
    cell = rssm.CELLS[latent](**sizes.get(latent, dict(deter_size=5)), hidden_size=6)
    size = cell.stoch_size
    cell.observe(
        normal(0, 1, 1, E), normal(1, 1, 1, A), tf.zeros([1, 1], bool), normal(2, 1, 1, size)
    )
    random = np.random.default_rng(0)
    for variable in cell.variables:
        variable.assign(random.normal(size=variable.shape) * 0.7)
    return cell


def weights(cell):
    return {"/".join(v.name.split(":")[0].split("/")[-2:]): v.numpy() for v in cell.variables}


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def small():
    with gin.unlock_config():
        gin.parse_config(
            """
            RSSMCell.stoch_size = 3
            RSSMCell.deter_size = 5
            RSSMCell.hidden_size = 6
            SSMCell.stoch_size = 3
            SSMCell.hidden_size = 6
            RNNCell.deter_size = 5
            RNNCell.hidden_size = 6
            StateEncoder.units = 7
            StateDecoder.units = 7
            RewardHead.units = 7
            RewardHead.layers = 1
            ContinuationHead.units = 7
            """
        )


def make_model(latent="rssm", **settings):
    """A model that reads a state of N numbers, all of its weights random."""
    model = world_model.WorldModel(A, None, N, latent=latent, **settings)
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.normal(size=variable.shape) * 0.5)
    return model


@pytest.fixture
def batch():
    random = np.random.default_rng(1)
    return {
        "state": tf.constant(random.normal(size=[B, L, N]), tf.float32),
        "action": tf.constant(random.uniform(-1, 1, [B, L, A]), tf.float32),
        "reward": tf.constant(random.normal(size=[B, L]), tf.float32),
        "discount": tf.constant([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]], tf.float32),
        "is_first": tf.constant([[True] + 4 * [False], 5 * [False]]),
    }


def seed(value=5):
    return tf.constant([value, 0])


def test_ssm_step_by_hand():
    cell = make_cell("ssm")
    w = weights(cell)
    stoch, action, embed, noise = (normal(i, B, n).numpy() for i, n in enumerate([3, A, E, 3]))
    hidden = relu(
        np.concatenate([stoch, action], -1) @ w["prior_hidden/kernel"] + w["prior_hidden/bias"]
    )
    mean, std = np.split(hidden @ w["prior_out/kernel"] + w["prior_out/bias"], 2, -1)
    prior = np.concatenate([mean, np.log1p(np.exp(std)) + 0.1], -1)
    context = cell.transition({"stoch": stoch}, action)
    np.testing.assert_allclose(context, prior, atol=1e-5)
    np.testing.assert_allclose(cell.prior(context).mean(), mean, atol=1e-5)
    both = np.concatenate([prior, embed], -1)
    kernel = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    hidden = relu(both @ kernel + w["posterior_context/bias"])
    mean, std = np.split(hidden @ w["posterior_out/kernel"] + w["posterior_out/bias"], 2, -1)
    inputs = {"embed": embed, "action": action, "noise": noise}
    out, (state,) = cell(inputs, ({"stoch": tf.constant(stoch)},))
    expected = mean + (np.log1p(np.exp(std)) + 0.1) * noise
    np.testing.assert_allclose(state["stoch"], expected, atol=1e-5)
    assert cell.state_sizes == {"stoch": 3}  # all that reaches the next step is the sample


def test_rnn_step_by_hand():
    cell = make_cell("rnn")
    w = weights(cell)
    deter, action, embed = (normal(i, B, n).numpy() for i, n in enumerate([5, A, E]))
    x = relu(action @ w["transition_hidden/kernel"] + w["transition_hidden/bias"])
    gates = sigmoid(np.concatenate([x, deter], -1) @ w["gates/kernel"] + w["gates/bias"])
    reset, update = np.split(gates, 2, -1)
    both = np.concatenate([x, reset * deter], -1)
    new = np.tanh(both @ w["candidate/kernel"] + w["candidate/bias"])
    predicted = update * deter + (1 - update) * new
    kernel = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    hidden = relu(np.concatenate([predicted, embed], -1) @ kernel + w["posterior_context/bias"])
    gate, new = np.split(hidden @ w["posterior_out/kernel"] + w["posterior_out/bias"], 2, -1)
    corrected = predicted + sigmoid(gate) * (np.tanh(new) - predicted)
    inputs = {"embed": embed, "action": action, "noise": tf.zeros([B, 0])}
    out, (state,) = cell(inputs, ({"deter": tf.constant(deter)},))
    np.testing.assert_allclose(state["deter"], corrected, atol=1e-5)
    np.testing.assert_allclose(cell.features(out), predicted, atol=1e-5)


@pytest.mark.parametrize("latent", MODELS)
def test_a_chunk_is_filtered_as_its_steps_are(latent):
    cell = make_cell(latent)
    chunk = {"action": normal(1, B, L, A), "noise": normal(2, B, L, cell.stoch_size)}
    embed = normal(3, B, L, E)
    is_first = tf.constant([[True] + 4 * [False], [False, False, True, False, False]])
    posterior, prior, states = cell.observe(embed, is_first=is_first, **chunk)
    state, feats = cell.initial_state(B), []
    for t in range(L):
        step = {key: value[:, t] for key, value in chunk.items()}
        first = tf.cast(is_first[:, t], tf.float32)[:, None]
        out, (state,) = cell({**step, "embed": embed[:, t], "is_first": first}, (state,))
        feats.append(cell.features(out))
        for key in cell.state_sizes:
            np.testing.assert_allclose(states[key][:, t], state[key], atol=1e-5)
    np.testing.assert_allclose(cell.features(states), tf.stack(feats, 1), atol=1e-5)
    assert (posterior is None) == (prior is None) == (latent == "rnn")
    if prior is not None:
        assert prior.batch_shape == posterior.batch_shape == [B, L]
        one = tf.concat([cell.initial_state(B)[key] for key in cell.state_sizes], -1)
        assert float(tf.reduce_max(tf.abs(one))) == 0
        first = cell.prior(cell.transition(cell.initial_state(B), tf.zeros([B, A])))
        np.testing.assert_allclose(prior.mean()[0, 0], first.mean()[0], atol=1e-5)


@pytest.mark.parametrize("latent", MODELS)
def test_one_update_changes_all_parameters_of_a_model(small, batch, latent):
    model = make_model(latent, free_nats=0.0, continuation_scale=1.0)
    with tf.GradientTape() as tape:
        loss, terms = tf.function(model.loss)(batch, seed())
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name
    assert (terms["kl"] == 0) == (latent == "rnn")
    assert ("prior_entropy" in terms) == (latent != "rnn")


@pytest.mark.parametrize("latent", MODELS)
def test_open_loop_ignores_observations_after_the_context(small, batch, latent):
    model = make_model(latent)
    out = model.predict(batch, 2, seed())
    later = tf.concat([batch["state"][:, :2], 9 + batch["state"][:, 2:]], 1)
    other = model.predict({**batch, "state": later}, 2, seed())
    np.testing.assert_array_equal(out["observation"], other["observation"])
    earlier = tf.concat([9 + batch["state"][:, :2], batch["state"][:, 2:]], 1)
    other = model.predict({**batch, "state": earlier}, 2, seed())
    assert np.abs(out["observation"] - other["observation"])[:, 2:].max() > 1e-3


def test_only_the_rnn_says_the_same_twice(small, batch):
    for latent in MODELS:
        model = make_model(latent)
        said = [model.predict(batch, 2, seed(value))["reward"].numpy() for value in range(3)]
        assert len(np.unique(said, axis=0)) == (1 if latent == "rnn" else 3)


@pytest.mark.parametrize("latent", MODELS)
def test_every_model_can_be_planned_with(small, latent):
    model = make_model(latent)
    state = {key: normal(1, 6, size) for key, size in model.cell.state_sizes.items()}
    returns = model.imagined_return(
        state, normal(2, 6, 3, A), normal(3, 6, 3, model.cell.stoch_size)
    )
    total, step = 0.0, state
    for t in range(3):
        noise = normal(3, 6, 3, model.cell.stoch_size)[:, t]
        out, (step,) = model.cell({"action": normal(2, 6, 3, A)[:, t], "noise": noise}, (step,))
        total += model.reward(model.cell.features(out))
    np.testing.assert_allclose(returns, total, atol=1e-4)


def test_overshooting_of_distance_1_is_none_and_more_adds_its_term(small, batch):
    plain, _ = make_model().loss(batch, seed())
    one, terms = make_model(overshooting_distance=1).loss(batch, seed())
    assert plain == one and "overshooting_loss" not in terms
    more, terms = make_model(overshooting_distance=3, overshooting_scale=0.5).loss(batch, seed())
    assert terms["overshooting_loss"] > 0
    np.testing.assert_allclose(more - plain, 0.5 * terms["overshooting_loss"], rtol=1e-3)


def test_overshooting_of_a_model_pair_by_pair(small, batch):
    """The whole loss, against single steps from every posterior with the same noise."""
    model = make_model(overshooting_distance=3, free_nats=0.5)
    batch["is_first"] = tf.constant([[True] + 4 * [False], [False, False, True, False, False]])
    _, terms = model.loss(batch, seed())
    noise_seed = tf.unstack(world_model.split_seed(seed(), 2))[1]
    noise = world_model.stateless_normal([B, L, 3], noise_seed)
    embed = model.encoder(batch["state"])
    chunk = batch["action"], batch["is_first"], noise
    posterior, _, states = model.cell.observe(embed, *chunk)
    fold = world_model.stateless_fold_in(seed(), 2)
    noise = tf.reshape(world_model.stateless_normal([B * L, 3, 3], fold), [B, L, 3, 3])
    pairs = []
    for row in range(B):
        for t in range(L):
            state = {key: value[row : row + 1, t] for key, value in states.items()}
            for d in range(1, 4):
                if t + d >= L or batch["is_first"][row, t + d]:
                    break
                step = {"action": batch["action"][row : row + 1, t + d]}
                step["noise"] = noise[row : row + 1, t, d - 1]
                out, (state,) = model.cell(step, (state,))
                m1, s1 = posterior.mean()[row, t + d], posterior.stddev()[row, t + d]
                m2, s2 = out["mean"][0], out["std"][0]
                kl = np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
                if d > 1:
                    pairs.append(max(0.0, kl.numpy().sum() - 0.5))
    assert len(pairs) == (3 + 2) + 1  # row 0: 3 of two steps, 2 of three; row 1: one of two
    np.testing.assert_allclose(terms["overshooting_loss"], np.mean(pairs), rtol=1e-4)


def test_an_rnn_is_trained_to_predict_without_images(small, batch):
    """Half of the images are passed over in training, none in acting."""
    cell = make_cell("rnn")
    chunk = {"action": normal(1, B, L, A), "noise": normal(2, B, L, 0)}
    chunk |= {"embed": normal(3, B, L, E), "is_first": tf.zeros([B, L], bool)}
    _, _, all_seen = cell.observe(**chunk)
    _, _, same = cell.observe(**chunk, seen=tf.ones([B, L], bool))
    np.testing.assert_array_equal(all_seen["deter"], same["deter"])
    _, _, blind = cell.observe(**chunk, seen=tf.zeros([B, L], bool))
    _, imagined = cell.imagine(chunk["action"], chunk["noise"], cell.initial_state(B))
    np.testing.assert_allclose(blind["deter"], imagined["deter"], atol=1e-6)
    half = {float(make_model("rnn").loss(batch, seed(i))[0]) for i in range(4)}
    gin.bind_parameter("RNNCell.blind_fraction", 0.0)
    assert len(half) > 1
    assert len({float(make_model("rnn").loss(batch, seed(i))[0]) for i in range(4)}) == 1
    gin.bind_parameter("RNNCell.blind_fraction", 1.0)
    with pytest.raises(ValueError, match="blind_fraction must be at least 0 and below 1, got 1.0"):
        make_model("rnn")


@pytest.mark.parametrize(
    "setting", ["overshooting_scale", "global_prior_scale", "continuation_scale"]
)
def test_weights_of_terms_are_not_negative(small, setting):
    with pytest.raises(ValueError, match=f"{setting} must not be negative, got -1.0"):
        make_model(**{setting: -1.0})


def test_the_global_prior_adds_its_share(small, batch):
    plain, _ = make_model().loss(batch, seed())
    more, terms = make_model(global_prior_scale=0.1).loss(batch, seed())
    np.testing.assert_allclose(more - plain, 0.1 * terms["global_prior_loss"], rtol=1e-3)
    assert terms["global_prior_loss"] > 0


@pytest.mark.parametrize("setting", [dict(overshooting_distance=2), dict(global_prior_scale=0.1)])
def test_a_model_that_draws_nothing_has_no_such_terms(small, setting):
    with pytest.raises(ValueError, match="'rnn' draws nothing"):
        make_model("rnn", **setting)


def test_what_cannot_be_chosen_is_named(small):
    with pytest.raises(ValueError, match="latent must be one of rssm, ssm, rnn, got 'lstm'"):
        make_model("lstm")
    with pytest.raises(ValueError, match="neither an image nor a state"):
        world_model.WorldModel(A, None, 0)
    with pytest.raises(
        ValueError, match="overshooting_distance must be at least 1 and whole, got 0"
    ):
        make_model(overshooting_distance=0)


def test_a_state_beside_the_image_is_learned_without_touching_the_model():
    gin.parse_config("Encoder.filters = (4, 8)\nDecoder.filters = (4,)\nDecoder.units = 8")
    gin.parse_config("Decoder.kernel_sizes = (4, 4)")
    model = world_model.WorldModel(A, (20, 20, 3), N, image_size=10)
    random = np.random.default_rng(0)
    batch = {
        "image": tf.constant(random.integers(0, 256, [B, L, 20, 20, 3]), tf.uint8),
        "state": tf.constant(random.normal(size=[B, L, N]), tf.float32),
        "action": tf.zeros([B, L, A]),
        "reward": tf.zeros([B, L]),
        "is_first": tf.zeros([B, L], tf.bool),
    }
    with tf.GradientTape(persistent=True) as tape:
        loss, terms = model.loss(batch, seed())
        of_state = terms["state_loss"]
    head = model.diagnosis.trainable_variables
    assert all(gradient is not None for gradient in tape.gradient(of_state, head))
    others = model.encoder.trainable_variables + model.cell.trainable_variables
    assert all(gradient is None for gradient in tape.gradient(of_state, others))


def test_the_continuation_head_learns_a_chain_with_a_known_end(small):
    """Five steps along a line, one number of state; the episode ends on the step that reaches 5."""
    gin.bind_parameter("WorldModel.continuation_scale", 1.0)
    tf.keras.utils.set_random_seed(0)
    model = world_model.WorldModel(1, None, 1, free_nats=0.0)
    place = np.tile(np.arange(6.0), (8, 1))[..., None].astype(np.float32)
    batch = {
        "state": tf.constant(place),
        "action": tf.ones([8, 6, 1]),
        "reward": tf.ones([8, 6]),
        "discount": tf.constant(place[..., 0] < 5, tf.float32),
        "is_first": tf.constant(place[..., 0] == 0),
    }
    optimizer = tf.keras.optimizers.Adam(1e-2)

    @tf.function
    def update(i):
        with tf.GradientTape() as tape:
            loss, terms = model.loss(batch, tf.stack([0, i]))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return terms

    for i in tf.range(300):
        terms = update(i)
    assert terms["continuation_loss"] < 0.1
    _, _, states = model.cell.observe(
        model.encoder(batch["state"]),
        batch["action"],
        batch["is_first"],
        tf.zeros([8, 6, model.cell.stoch_size]),
    )
    goes_on = tf.sigmoid(model.continuation(model.cell.features(states)))[0]
    assert np.all(goes_on[:5] > 0.8) and goes_on[5] < 0.4


def test_rewards_beyond_a_likely_end_count_little(small):
    model = make_model(continuation_scale=1.0)
    model.reward = lambda feat: tf.constant([[1.0, 10.0, 100.0]])
    model.continuation = lambda feat: tf.constant([[0.0, -100.0, 0.0]])  # 1/2, 0, 1/2
    state = {key: tf.zeros([1, size]) for key, size in model.cell.state_sizes.items()}
    # The reward of the step that ends it counts still: 1 + 10 / 2 + 100 * 0.
    value = model.imagined_return(state, tf.zeros([1, 3, A]), tf.zeros([1, 3, 3]))
    np.testing.assert_allclose(value, [6.0], atol=1e-5)


def test_a_plan_shuns_a_failure_that_the_model_foresees(small):
    """Going right pays more at once, but ends the episode."""
    model = make_model(continuation_scale=1.0)

    def imagine(action, noise, state, unroll=False):
        return None, {
            "stoch": tf.concat([action[..., :1]] * 3, -1),
            "deter": tf.zeros([*action.shape[:2], 5]),
        }

    model.cell.imagine = imagine
    model.reward = lambda feat: 1.0 + 0.1 * feat[..., 0]
    model.continuation = lambda feat: -50.0 * feat[..., 0]

    def evaluate(actions, i):
        flat = tf.reshape(actions, [-1, 4, 1])
        state = model.cell.initial_state(flat.shape[0])
        noise = tf.zeros([flat.shape[0], 4, 3])
        return tf.reshape(model.imagined_return(state, flat, noise), [1, -1])

    noise = lambda shape, i: tf.random.stateless_normal([1, *shape], tf.stack([0, i]))  # noqa: E731
    mean, _ = planners.cem(evaluate, noise, 1, 1, horizon=4, candidates=100, elites=10)
    assert mean[0, 0, 0] < 0.1
    model.continuation = None
    mean, _ = planners.cem(evaluate, noise, 1, 1, horizon=4, candidates=100, elites=10)
    assert mean[0, 0, 0] > 0.9
