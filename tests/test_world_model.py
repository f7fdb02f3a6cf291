import gin
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from planet_tf import networks, world_model

tfd = tfp.distributions

B, L, A = 2, 4, 2
S, D = 3, 5
SIDE, SMALL = 20, 10  # pixels of the environment's image and of the model's
HALF_LOG_2PI = 0.9189385332046727

TINY = f"""
planet_tf.Encoder.filters = (4, 8)
planet_tf.RSSMCell.stoch_size = {S}
planet_tf.RSSMCell.deter_size = {D}
planet_tf.RSSMCell.hidden_size = 6
planet_tf.Decoder.units = 8
planet_tf.Decoder.filters = (4,)
planet_tf.Decoder.kernel_sizes = (4, 4)
planet_tf.RewardHead.units = 6
planet_tf.RewardHead.layers = 2
"""


@pytest.fixture(scope="module", autouse=True)
def clear_gin():
    gin.clear_config()
    yield
    gin.clear_config()


def make(**kwargs):
    """A model of few weights, all of them random (biases too, so that none can go missing)."""
    with gin.unlock_config():
        gin.parse_config(TINY)
    try:
        model = world_model.WorldModel(A, (SIDE, SIDE, 3), image_size=SMALL, **kwargs)
    finally:
        gin.clear_config()
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return model


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    return {
        "image": tf.constant(rng.integers(0, 256, [B, L, SIDE, SIDE, 3]), tf.uint8),
        "action": tf.constant(rng.uniform(-1, 1, [B, L, A]), tf.float32),
        "reward": tf.constant(rng.normal(size=[B, L]), tf.float32),
        # Row 0 begins with its episode; row 1 begins amid one (and has another inside).
        "is_first": tf.constant([[True, False, False, False], [False, False, True, False]]),
    }


def seed(value):
    return tf.constant([value, 0], tf.int32)


def changed(batch, key, where, value):
    array = batch[key].numpy().copy()
    array[where] = value
    return {**batch, key: tf.constant(array)}


def target(batch, image_seed):
    """The preprocessed image, by numpy: 2x2 blocks averaged, quantised, dequantised, centred."""
    image = batch["image"].numpy().reshape([B, L, SMALL, 2, SMALL, 2, 3]).mean((3, 5)).round()
    noise = world_model.stateless_uniform(image.shape, image_seed).numpy()
    return (np.floor(image / 8) + noise) / 32 - 0.5


def filtered(model, batch, image, noise):
    """Posterior, prior and features of a chunk, step by step from zeros: arrays [B, L, ...]."""
    state = model.cell.initial_state(B)
    posterior, prior, feat = [], [], []
    for t in range(L):
        args = (image[:, t], batch["action"][:, t], batch["is_first"][:, t])
        state = model.step(*args, state, noise[:, t])
        q = model.cell.posterior(state["deter"], model.encoder(image[:, t]))
        p = model.cell.prior(state["deter"])
        np.testing.assert_allclose(q.mean() + q.stddev() * noise[:, t], state["stoch"], atol=1e-5)
        posterior.append([q.mean(), q.stddev()])
        prior.append([p.mean(), p.stddev()])
        feat.append(np.concatenate([state["stoch"], state["deter"]], -1))
    return *np.moveaxis([posterior, prior], 1, 3), np.stack(feat, 1)


def gaussian_kl(q, p):
    """KL of diagonal Gaussians, (mean, std) [2, ..., S] each: [...]."""
    (mean, std), (other, wide) = q, p
    return np.sum(np.log(wide / std) + (std**2 + (mean - other) ** 2) / (2 * wide**2) - 0.5, -1)


def gaussian_nats(x, mean):
    return 0.5 * (np.float64(x) - mean) ** 2 + HALF_LOG_2PI


def test_parameters_at_paper_size():
    model = world_model.WorldModel(6)
    assert sum(v.shape.num_elements() for v in model.trainable_variables) == 5_293_220
    assert len(model.variables) == len(model.trainable_variables)
    parts = (model.encoder, model.cell, model.decoder, model.reward)
    cell = 7_400 + 240_600 + 52_260 + 257_060
    assert [part.count_params() for part in parts] == [690_144, cell, 3_795_555, 250_201]


def test_loss_is_the_bound_computed_by_numpy(model, batch):
    loss, terms = model.loss(batch, seed(5))
    terms = {key: float(value) for key, value in terms.items()}

    image_seed, stoch_seed = tf.unstack(world_model.split_seed(seed(5), 2))
    image = target(batch, image_seed)
    noise = world_model.stateless_normal([B, L, S], stoch_seed)
    (m1, s1), (m2, s2), feat = filtered(model, batch, tf.constant(image, tf.float32), noise)

    nats = gaussian_nats(image, model.decoder(feat).numpy()).sum((2, 3, 4))
    np.testing.assert_allclose(terms["observation_loss"], nats.mean(), rtol=1e-5)
    nats = gaussian_nats(batch["reward"], model.reward(feat).numpy())
    np.testing.assert_allclose(terms["reward_loss"], nats.mean(), rtol=1e-5)
    kl = (np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)
    assert kl.min() < 3 < kl.max()  # the free nats apply to some steps and not to others
    np.testing.assert_allclose(terms["kl"], kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["kl_loss"], np.maximum(0, kl - 3).mean(), rtol=1e-5)
    # Entropy of a Gaussian: log std + 1/2 + 1/2 log 2 pi.
    for key, std in (("posterior_entropy", s1), ("prior_entropy", s2)):
        expected = (np.log(std) + 0.5 + HALF_LOG_2PI).sum(-1).mean()
        np.testing.assert_allclose(terms[key], expected, rtol=1e-4)

    expected = terms["observation_loss"] + 10 * terms["reward_loss"] + terms["kl_loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_scales_and_free_nats_reach_the_loss(batch):
    loss, terms = make(observation_scale=0.5, reward_scale=3.0, kl_scale=7.0, free_nats=0.0).loss(
        batch, seed(5)
    )
    np.testing.assert_allclose(terms["kl_loss"], terms["kl"])
    expected = 0.5 * terms["observation_loss"] + 3 * terms["reward_loss"] + 7 * terms["kl"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_one_reward_costs_ten_times_its_share(model, batch):
    # The reward is no input: x -> x + 1 at one of the 8 elements adds (x - mean + 1/2) / 8 nats.
    image_seed, stoch_seed = tf.unstack(world_model.split_seed(seed(5), 2))
    image = tf.constant(target(batch, image_seed), tf.float32)
    noise = world_model.stateless_normal([B, L, S], stoch_seed)
    error = batch["reward"] - model.reward(filtered(model, batch, image, noise)[-1])
    loss, terms = model.loss(batch, seed(5))
    for t in (0, L - 1):  # the first step counts as the last one does
        other = changed(batch, "reward", (1, t), batch["reward"][1, t] + 1)
        other_loss, other_terms = model.loss(other, seed(5))
        expected = (error[1, t] + 0.5) / 8
        difference = other_terms["reward_loss"] - terms["reward_loss"]
        np.testing.assert_allclose(difference, expected, atol=1e-5)
        np.testing.assert_allclose(other_loss - loss, 10 * expected, atol=2e-3)


def test_step_0_counts_in_all_three_terms(model, batch):
    # Of a chunk of one step, step 0 is all there is.
    _, terms = model.loss({key: value[:, :1] for key, value in batch.items()}, seed(5))
    assert terms["observation_loss"] > 3 * SMALL**2 * HALF_LOG_2PI
    assert terms["reward_loss"] > HALF_LOG_2PI
    assert terms["kl_loss"] > 0


def test_chunk_amid_an_episode_uses_its_own_first_action(model, batch):
    loss, _ = model.loss(batch, seed(5))
    amid, _ = model.loss(changed(batch, "action", (1, 0), 0.0), seed(5))
    begun, _ = model.loss(changed(batch, "action", (0, 0), 0.7), seed(5))
    assert abs(amid - loss) > 1e-3
    assert begun == loss  # no action led to the first image of an episode


def test_noise_comes_from_the_seed(model, batch):
    loss, same, other = (model.loss(batch, seed(value))[0] for value in (5, 5, 6))
    assert loss == same
    assert loss != other


def test_seeds_of_a_split_are_independent():
    one, two, three = tf.unstack(world_model.split_seed(seed(5), 3))
    draws = [world_model.stateless_normal([4], s).numpy() for s in (seed(5), one, two, three)]
    assert len(np.unique(draws)) == 16
    normal = world_model.stateless_normal([20_000], one)
    assert abs(np.mean(normal)) < 5 / np.sqrt(20_000)
    assert abs(np.var(normal) - 1) < 5 * np.sqrt(2 / 20_000)


def test_gradient_of_an_update_reaches_every_variable(batch):
    model = make(free_nats=0.0)  # within the free nats the prior would rightly have none

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss, _ = model.loss(batch, seed(5))
        return tape.gradient(loss, model.trainable_variables)

    variables = model.trainable_variables
    assert len(variables) == 15 + 2 * (2 + 3 + 3)  # cell; encoder, decoder, reward head
    for variable, grad in zip(variables, gradient(), strict=True):
        assert np.isfinite(grad).all(), variable.name
        assert np.abs(grad).max() > 0, variable.name


def test_gradient_is_the_slope_of_the_loss(batch):
    # So that no part of the bound is cut off from a variable that it depends on. Without the image
    # term, whose thousand nats would leave a difference quotient no digits.
    model = make(observation_scale=0.0, free_nats=0.0)
    loss = tf.function(lambda: model.loss(batch, seed(5))[0])
    with tf.GradientTape() as tape:
        value = loss()
    gradient = tape.gradient(value, model.cell.trainable_variables)
    for variable, grad in zip(model.cell.trainable_variables, gradient, strict=True):
        slope = tf.norm(grad)
        step = 3e-3 * grad / slope
        variable.assign_add(step)
        above = loss()
        variable.assign_sub(2 * step)
        below = loss()
        variable.assign_add(step)
        np.testing.assert_allclose((above - below) / 6e-3, slope, rtol=0.02, err_msg=variable.name)


def test_same_loss_compiled(model, batch):
    eager, _ = model.loss(batch, seed(5))
    graph, _ = tf.function(model.loss, autograph=False)(batch, seed(5))
    np.testing.assert_allclose(graph, eager, rtol=1e-5)


def test_step_is_one_step_of_a_chunk_row_by_row(model, batch):
    image = model.preprocess(batch["image"][:, 0], tf.zeros([B, SMALL, SMALL, 3]))
    state = {
        "deter": tf.random.stateless_normal([B, D], [0, 0]),
        "stoch": tf.random.stateless_normal([B, S], [0, 1]),
    }
    noise = tf.random.stateless_normal([B, S], [0, 2])
    action = batch["action"][:, 0]
    on = model.step(image, action, tf.constant([False, False]), state, noise)
    one = model.step(image, action, tf.constant([False, True]), state, noise)
    both = model.step(image, action, tf.constant([True, True]), state, noise)
    fresh = model.step(
        image, tf.zeros([B, A]), tf.constant([False, False]), model.cell.initial_state(B), noise
    )
    for key in state:
        np.testing.assert_allclose(both[key], fresh[key], atol=1e-6)
        np.testing.assert_allclose(one[key][0], on[key][0], atol=1e-6)
        np.testing.assert_allclose(one[key][1], fresh[key][1], atol=1e-6)
        assert np.abs(on[key] - fresh[key]).max(1).min() > 1e-3


def test_imagined_return_is_the_sum_of_the_reward_means(model, batch):
    state = {
        "deter": tf.random.stateless_normal([B, D], [0, 0]),
        "stoch": tf.random.stateless_normal([B, S], [0, 1]),
    }
    noise = tf.random.stateless_normal([B, L, S], [0, 2])
    actual = model.imagined_return(state, batch["action"], noise)
    total = np.zeros(B)
    for t in range(L):  # the start is not counted; the state after the last action is
        deter = model.cell.transition(state, batch["action"][:, t])
        prior = model.cell.prior(deter)
        state = {"deter": deter, "stoch": prior.mean() + prior.stddev() * noise[:, t]}
        total += model.reward(model.cell.features(state)).numpy()
    assert actual.shape == (B,)
    np.testing.assert_allclose(actual, total, atol=1e-5)


def test_predict_filters_its_context_then_imagines(model, batch):
    context = 3
    out = model.predict(batch, context, seed(5))
    assert out["observation"].shape == out["target"].shape == (B, L, SMALL, SMALL, 3)
    assert out["reward"].shape == (B, L)

    image_seed, stoch_seed, open_seed = tf.unstack(world_model.split_seed(seed(5), 3))
    image = target(batch, image_seed)
    np.testing.assert_allclose(out["target"], image, atol=1e-6)
    noise = world_model.stateless_normal([B, L, S], stoch_seed)
    posterior, prior, feat = filtered(model, batch, tf.constant(image, tf.float32), noise)
    feat = feat[:, :context]
    np.testing.assert_allclose(out["observation"][:, :context], model.decoder(feat), atol=1e-5)
    np.testing.assert_allclose(out["reward"][:, :context], model.reward(feat), atol=1e-5)

    last = {"stoch": tf.constant(feat[:, -1, :S]), "deter": tf.constant(feat[:, -1, S:])}
    noise = world_model.stateless_normal([B, L - context, S], open_seed)
    open_prior, ahead = model.cell.imagine(batch["action"][:, context:], noise, last)
    open_prior = np.stack([open_prior.mean(), open_prior.stddev()])
    prior = np.concatenate([prior[:, :, :context], open_prior], 2)
    np.testing.assert_allclose(out["kl"], gaussian_kl(posterior, prior), rtol=1e-4, atol=1e-4)
    feat = model.cell.features(ahead)
    np.testing.assert_allclose(out["observation"][:, context:], model.decoder(feat), atol=1e-5)
    np.testing.assert_allclose(out["reward"][:, context:], model.reward(feat), atol=1e-5)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_predict_ignores_images_and_rewards_after_the_context(model, batch, context):
    out = model.predict(batch, context, seed(5))
    other = changed(batch, "image", (slice(None), slice(context, None)), 255)
    other = changed(other, "reward", (slice(None), slice(context, None)), 9.0)
    other = model.predict(other, context, seed(5))
    for key in ("observation", "reward"):
        np.testing.assert_array_equal(out[key], other[key])
    assert np.abs(out["target"] - other["target"])[:, context:].max() > 0.1
    # The last image of the context and the first action after it do matter.
    for key, step, value in (("image", context - 1, 255), ("action", context, 0.99)):
        other = model.predict(changed(batch, key, (slice(None), step), value), context, seed(5))
        assert np.abs(out["observation"] - other["observation"])[:, context:].max() > 1e-3


@pytest.mark.parametrize("context", [-1, 0, L, L + 1])
def test_predict_needs_something_to_see_and_something_to_predict(model, batch, context):
    with pytest.raises(ValueError, match=f"context must be 1 to 3 of 4 steps, got {context}"):
        model.predict(batch, context, seed(5))


def test_loss_refuses_float_images_and_chunks_that_disagree(model, batch):
    with pytest.raises(TypeError, match="uint8"):
        model.loss({**batch, "image": tf.cast(batch["image"], tf.float32)}, seed(5))
    for key in ("image", "action", "is_first"):
        with pytest.raises(ValueError, match="must agree"):
            model.loss({**batch, key: batch[key][:, 1:]}, seed(5))


@pytest.mark.parametrize("wrong", [[B, L - 1], [B, L, 1], [B, 1], [L]])
def test_loss_refuses_rewards_of_another_shape(model, batch, wrong):
    with pytest.raises(ValueError):
        model.loss({**batch, "reward": tf.zeros(wrong)}, seed(5))


def test_loss_refuses_rewards_that_would_broadcast(model, batch):
    square = {key: value[:, :B] for key, value in batch.items()}
    model.loss(square, seed(5))
    with pytest.raises(ValueError):
        model.loss({**square, "reward": square["reward"][..., None]}, seed(5))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_16_bits_agree_with_32_and_parameters_stay_32(batch, precision):
    def gradients(model):
        # Scaled, as training in float16 does it: small gradients are lost otherwise.
        with tf.GradientTape() as tape:
            loss, terms = model.loss(batch, seed(5))
            scaled = loss * 8.0
        variables = model.trainable_variables
        found = tape.gradient(scaled, variables)
        return terms, [tf.convert_to_tensor(gradient).numpy() / 8 for gradient in found]

    model = make(free_nats=0.0)
    half = make(free_nats=0.0, precision=precision)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    assert half.encoder(tf.zeros([1, SMALL, SMALL, 3])).dtype.name == precision[len("mixed_") :]
    assert {variable.dtype for variable in half.variables} == {tf.float32}
    (terms, expected), (half_terms, actual) = gradients(model), gradients(half)
    for key, value in terms.items():
        np.testing.assert_allclose(half_terms[key], value, rtol=0.03, atol=0.02, err_msg=key)
    for variable, a, e in zip(model.trainable_variables, actual, expected, strict=True):
        error = np.linalg.norm(a - e)
        assert error < 0.2 * np.linalg.norm(e) + 1e-4, variable.name
    state = half.cell.initial_state(B)
    action, noise = tf.ones([B, L, A]), tf.ones([B, L, S])
    actual = half.imagined_return(state, action, noise)
    assert actual.dtype == tf.float32
    expected = model.imagined_return(state, action, noise)
    np.testing.assert_allclose(actual, expected, rtol=0.03, atol=0.03)


def test_an_unknown_precision_names_the_known_ones():
    with pytest.raises(ValueError, match="precision must be one of float32, mixed_bfloat16"):
        make(precision="float16")


def test_networks_of_ones_own_take_the_usual_ones_place(model, batch):
    own = make(encoder=networks.Encoder, decoder=lambda: networks.Decoder((SMALL, SMALL, 3)))
    assert [v.shape for v in own.variables] == [v.shape for v in model.variables]
    np.testing.assert_array_equal(own.loss(batch, seed(5))[0], model.loss(batch, seed(5))[0])
    for key, expected in model.predict(batch, 2, seed(5)).items():
        np.testing.assert_array_equal(own.predict(batch, 2, seed(5))[key], expected)


class Plain(tf.Module):
    """A mean picture of one colour."""

    def __init__(self):
        super().__init__()
        self.colour = tf.Variable([0.0, 0.0, 0.0])

    def __call__(self, feat):
        return tf.ones([feat.shape[0] or tf.shape(feat)[0], SMALL, SMALL, 1]) * self.colour


@gin.configurable
def mean_colour(scale=1.0):
    """An encoder without variables."""
    return tf.keras.layers.Lambda(lambda image: scale * tf.reduce_mean(image, [1, 2]))


def test_networks_of_ones_own_are_trained_by_the_bound(batch):
    gin.parse_config("WorldModel.encoder = @mean_colour\nmean_colour.scale = 3.0")
    own = make(decoder=Plain)
    own.decoder.network.colour.assign([0.1, -0.2, 0.3])
    image_seed, stoch_seed = tf.unstack(world_model.split_seed(seed(5), 2))
    image = target(batch, image_seed)
    np.testing.assert_allclose(own.encoder(image), 3 * image.mean((2, 3)), atol=1e-5)
    with tf.GradientTape() as tape:
        loss, terms = own.loss(batch, seed(5))
    nats = gaussian_nats(image, [0.1, -0.2, 0.3]).sum((2, 3, 4))
    np.testing.assert_allclose(terms["observation_loss"], nats.mean(), rtol=1e-5)
    # d/dm of (x - m)^2 / 2, summed over pixels, averaged over steps.
    expected = ([0.1, -0.2, 0.3] - image).sum((2, 3)).mean((0, 1))
    gradient = tape.gradient(loss, own.decoder.network.colour)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)
    noise = world_model.stateless_normal([B, L, S], stoch_seed)
    feat = filtered(own, batch, tf.constant(image, tf.float32), noise)[-1]
    nats = gaussian_nats(batch["reward"], own.reward(feat).numpy())
    np.testing.assert_allclose(terms["reward_loss"], nats.mean(), rtol=1e-5)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_networks_of_ones_own_that_do_not_fit_are_named(part):
    with pytest.raises(ValueError, match=rf"WorldModel\.{part}: the network must map float32"):
        make(**{part: lambda: tf.keras.layers.Lambda(lambda x: x[..., :1, None])})
