"""The world model: its loss by numpy, one filtering step, imagined returns, settings."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from helpers import normal

from planet_tf import errors, seeds
from planet_tf.models import WorldModel, images, networks, recurrence

B, L, A, N = 2, 4, 2, 3
S, D = 3, 5
SIDE, SMALL = 20, 10  # pixels of the environment's image and of the model's
HALF_LOG_2PI = 0.9189385332046727

TINY = f"""
Encoder.filters = (4, 8)
RSSMCell.stoch_size = {S}
RSSMCell.deter_size = {D}
RSSMCell.hidden_size = 6
Decoder.units = 8
Decoder.filters = (4,)
Decoder.kernel_sizes = (4, 4)
RewardHead.units = 6
RewardHead.layers = 2
StateEncoder.units = 7
StateDecoder.units = 7
ContinuationHead.units = 7
"""
SEED = tf.constant([5, 0])


def randomised(model):
    """Makes all weights random, biases too, so that none can be missing."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return model


def make(image_shape=(SIDE, SIDE, 3), state_size=0, **settings):
    gin.parse_config(TINY)
    model = WorldModel(A, image_shape, state_size, image_size=SMALL, **settings)
    gin.clear_config()
    return randomised(model)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def loss(model):
    """The model's loss, traced once: (batch, seed)."""
    return tf.function(model.loss, autograph=False)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    return {
        "image": tf.constant(rng.integers(0, 256, [B, L, SIDE, SIDE, 3]), tf.uint8),
        "state": tf.constant(rng.normal(size=[B, L, N]), tf.float32),
        "action": tf.constant(rng.uniform(-1, 1, [B, L, A]), tf.float32),
        "reward": tf.constant(rng.normal(size=[B, L]), tf.float32),
        "discount": tf.constant([[1, 1, 1, 0], [1, 0, 1, 1]], tf.float32),
        # Row 0 begins with its episode; row 1 begins inside one (and has another inside).
        "is_first": tf.constant([[True, False, False, False], [False, False, True, False]]),
    }


@pytest.fixture
def state():
    return {"deter": normal(0, B, D), "stoch": normal(1, B, S)}


def changed(batch, key, where, value):
    array = batch[key].numpy().copy()
    array[where] = value
    return {**batch, key: tf.constant(array)}


def target(batch):
    """The preprocessed image, by numpy: 2x2 blocks averaged, quantised, dequantised, centred."""
    image = batch["image"].numpy().reshape([B, L, SMALL, 2, SMALL, 2, 3]).mean((3, 5)).round()
    noise = seeds.uniform(image.shape, seeds.split(SEED, 2)[0]).numpy()
    return (np.floor(image / 8) + noise) / 32 - 0.5


def filtered(model, batch):
    """Posterior, prior and features of a chunk, step by step from zeros: arrays [B, L, ...]."""
    image = tf.constant(target(batch), tf.float32)
    noise = seeds.normal([B, L, S], seeds.split(SEED, 2)[1])
    state = model.cell.initial_state(B)
    posterior, prior, feat = [], [], []
    for t in range(L):
        args = (image[:, t], batch["action"][:, t], batch["is_first"][:, t])
        q, state = model.filter(*args, state, noise[:, t])
        np.testing.assert_allclose(q.mean() + q.stddev() * noise[:, t], state["stoch"], atol=1e-5)
        posterior.append(recurrence.mean_std(q))
        prior.append(recurrence.mean_std(model.cell.prior(state["deter"])))
        feat.append(np.concatenate([state["stoch"], state["deter"]], -1))
    return *np.moveaxis(np.array([posterior, prior]), 1, 3), np.stack(feat, 1)


def gaussian_nats(x, mean):
    return 0.5 * (np.float64(x) - mean) ** 2 + HALF_LOG_2PI


def test_parameters_at_paper_size():
    model = WorldModel(6)
    assert sum(v.shape.num_elements() for v in model.trainable_variables) == 5_293_220
    assert len(model.variables) == len(model.trainable_variables)
    parts = (model.encoder, model.cell, model.decoder, model.reward)
    cell = 7_400 + 240_600 + 52_260 + 257_060
    assert [part.count_params() for part in parts] == [690_144, cell, 3_795_555, 250_201]


def test_loss_is_the_bound_computed_by_numpy(model, batch):
    loss, terms = model.loss(batch, SEED)
    terms = {key: float(value) for key, value in terms.items()}
    (m1, s1), (m2, s2), feat = filtered(model, batch)
    nats = gaussian_nats(target(batch), model.decoder(feat).numpy()).sum((2, 3, 4))
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
    assert len(terms) == 6  # no optional term


def test_loss_is_the_same_compiled(model, batch, loss):
    eager, _ = model.loss(batch, SEED)
    graph, _ = loss(batch, SEED)
    np.testing.assert_allclose(graph, eager, rtol=1e-5)


def test_scales_and_free_nats_reach_the_loss(batch):
    model = make(observation_scale=0.5, reward_scale=3.0, kl_scale=7.0, free_nats=0.0)
    loss, terms = model.loss(batch, SEED)
    np.testing.assert_allclose(terms["kl_loss"], terms["kl"])
    expected = 0.5 * terms["observation_loss"] + 3 * terms["reward_loss"] + 7 * terms["kl"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_balance_trains_the_prior_and_leaves_the_loss(batch):
    model = make(free_nats=0.0, kl_balance=4.0)
    of_prior, of_decoder = model.cell.prior_out.kernel, model.decoder.dense.kernel

    def gradients():
        with tf.GradientTape() as tape:
            loss, _ = model.loss(batch, SEED)
        return loss, *tape.gradient(loss, [of_prior, of_decoder])

    same_loss, prior_4, same_decoder = gradients()
    model.kl_balance = 1.0  # the same weights
    loss, prior, decoder = gradients()
    np.testing.assert_array_equal(same_loss, loss)
    np.testing.assert_allclose(same_decoder, decoder, rtol=1e-5)
    np.testing.assert_allclose(prior_4, 4 * prior, rtol=1e-4, atol=1e-6)


def test_one_reward_costs_ten_times_its_share(model, batch, loss):
    # The reward is no input: x -> x + 1 at one of the 8 elements adds (x - mean + 1/2) / 8 nats.
    error = batch["reward"] - model.reward(filtered(model, batch)[-1])
    value, terms = loss(batch, SEED)
    for t in (0, L - 1):  # the first step counts as the last one does
        other_loss, other = loss(changed(batch, "reward", (1, t), batch["reward"][1, t] + 1), SEED)
        expected = (error[1, t] + 0.5) / 8
        difference = other["reward_loss"] - terms["reward_loss"]
        np.testing.assert_allclose(difference, expected, atol=1e-5)
        np.testing.assert_allclose(other_loss - value, 10 * expected, atol=2e-3)


def test_step_0_counts_in_all_three_terms(model, batch):
    # Of a chunk of one step, step 0 is all there is.
    _, terms = model.loss({key: value[:, :1] for key, value in batch.items()}, SEED)
    assert terms["observation_loss"] > 3 * SMALL**2 * HALF_LOG_2PI
    assert terms["reward_loss"] > HALF_LOG_2PI
    assert terms["kl_loss"] > 0


def test_a_chunk_inside_an_episode_uses_its_own_first_action(batch, loss):
    value, _ = loss(batch, SEED)
    inside, _ = loss(changed(batch, "action", (1, 0), 0.0), SEED)
    begun, _ = loss(changed(batch, "action", (0, 0), 0.7), SEED)
    assert abs(inside - value) > 1e-3
    assert begun == value  # no action led to the first image of an episode


def test_noise_comes_from_the_seed(batch, loss):
    one, same, other = (loss(batch, tf.constant([i, 0]))[0] for i in (5, 5, 6))
    assert one == same != other


def test_images_are_shifted_in_the_loss_alone(model, batch):
    shifting = make(random_shift=2)
    moved = images.shift(batch["image"], 2, seeds.fold_in(SEED, 2))
    assert np.any(moved != batch["image"])
    expected, terms = model.loss({**batch, "image": moved}, SEED)
    actual, shifted_terms = shifting.loss(batch, SEED)
    np.testing.assert_array_equal(actual, expected)  # the shifted image is also the target
    for key, term in terms.items():
        np.testing.assert_array_equal(shifted_terms[key], term, err_msg=key)
    image = shifting.preprocess_chunk(batch["image"], SEED)
    np.testing.assert_array_equal(image, model.preprocess_chunk(batch["image"], SEED))
    # A state has no pixels.
    seen = make(image_shape=None, state_size=N, random_shift=2)
    still = make(image_shape=None, state_size=N)
    np.testing.assert_array_equal(seen.loss(batch, SEED)[0], still.loss(batch, SEED)[0])


def test_gradient_is_the_slope_of_the_loss(batch):
    # So that no part of the bound is cut off from a variable that it depends on.
    model = make(None, N, free_nats=0.0)
    variables = model.trainable_variables

    @tf.function(autograph=False)
    def value_and_gradient():
        with tf.GradientTape() as tape:
            loss, _ = model.loss(batch, SEED)
        return loss, tape.gradient(loss, variables)

    @tf.function(autograph=False)
    def loss():
        return model.loss(batch, SEED)[0]

    _, gradient = value_and_gradient()
    for variable, grad in zip(variables, gradient, strict=True):
        grad = tf.convert_to_tensor(grad)
        slope = tf.norm(grad)
        step = 3e-3 * grad / slope
        variable.assign_add(step)
        above = loss()
        variable.assign_sub(2 * step)
        below = loss()
        variable.assign_add(step)
        np.testing.assert_allclose((above - below) / 6e-3, slope, rtol=0.02, err_msg=variable.name)


def test_filter_is_one_step_of_a_chunk_row_by_row(model, batch, state, variant):
    image = model.preprocess(batch["image"][:, 0], tf.zeros([B, SMALL, SMALL, 3]))
    noise, action = normal(2, B, S), batch["action"][:, 0]

    def run(first, action, state):
        posterior, state = model.filter(image, action, first, state, noise)
        return {**state, "mean": posterior.mean()}

    function = variant(run)
    none, one, both = (function(tf.constant(f), action, state) for f in ([0, 0], [0, 1], [1, 1]))
    new = function(tf.constant([0, 0]), tf.zeros([B, A]), model.cell.initial_state(B))
    for key in new:
        np.testing.assert_allclose(both[key], new[key], atol=1e-6)
        np.testing.assert_allclose(one[key][0], none[key][0], atol=1e-6)
        np.testing.assert_allclose(one[key][1], new[key][1], atol=1e-6)
        assert np.abs(none[key] - new[key]).max(1).min() > 1e-3


def test_a_return_is_the_sum_of_the_reward_means(model, batch, state, variant):
    noise = normal(2, B, L, S)
    actual = variant(model.imagined_return)(state, batch["action"], noise)
    total = np.zeros(B)
    for t in range(L):  # the start is not counted; the state after the last action is
        _, state = model.cell.prior_step(state, batch["action"][:, t], noise[:, t])
        total += model.reward(model.cell.features(state)).numpy()
    assert actual.shape == (B,)
    np.testing.assert_allclose(actual, total, atol=1e-5)


def test_rewards_beyond_a_likely_end_count_little():
    model = make(None, N, continuation_scale=1.0)
    model.reward = lambda feat: tf.constant([[1.0, 10.0, 100.0]])
    model.continuation = lambda feat: tf.constant([[0.0, -100.0, 0.0]])  # 1/2, 0, 1/2
    # The reward of the step that ends it still counts: 1 + 10 / 2 + 100 * 0.
    state = model.cell.initial_state(1)
    value = model.imagined_return(state, tf.zeros([1, 3, A]), tf.zeros([1, 3, S]))
    np.testing.assert_allclose(value, [6.0], atol=1e-5)


def test_where_episodes_end_is_learned_by_default_if_they_do():
    assert make().continuation is None
    assert make(terminates=True).continuation is not None
    assert make(terminates=True, continuation_scale=0.0).continuation is None
    assert make(continuation_scale=0.5).continuation is not None


def test_the_continuation_term_by_numpy(batch):
    model = make(continuation_scale=2.0)
    loss, terms = model.loss(batch, SEED)
    logits = model.continuation(filtered(model, batch)[-1]).numpy()
    sign = np.where(batch["discount"].numpy() > 0, 1, -1)
    expected = np.log1p(np.exp(-sign * logits)).mean()
    np.testing.assert_allclose(terms["continuation_loss"], expected, rtol=1e-5)
    others = terms["observation_loss"] + 10 * terms["reward_loss"] + terms["kl_loss"]
    np.testing.assert_allclose(loss, others + 2 * expected, rtol=1e-6)


@pytest.mark.slow
def test_the_continuation_head_learns_a_chain_with_a_known_end():
    """Five steps along a line, one number of state; the episode ends on the step that reaches 5."""
    gin.parse_config(TINY + "WorldModel.continuation_scale = 1.0")
    tf.keras.utils.set_random_seed(0)
    model = WorldModel(1, None, 1, free_nats=0.0)
    place = np.tile(np.arange(6.0), (8, 1))[..., None].astype(np.float32)
    batch = {
        "state": tf.constant(place),
        "action": tf.ones([8, 6, 1]),
        "reward": tf.ones([8, 6]),
        "discount": tf.constant(place[..., 0] < 5, tf.float32),
        "is_first": tf.constant(place[..., 0] == 0),
    }
    optimizer = tf.keras.optimizers.Adam(1e-2, jit_compile=False)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def update(i):
        with tf.GradientTape() as tape:
            loss, terms = model.loss(batch, tf.stack([0, i]))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return terms

    for i in tf.range(300):
        terms = update(i)
    assert terms["continuation_loss"] < 0.1
    observed = model.observe(batch["state"], batch, SEED)
    continues = tf.sigmoid(model.continuation(model.cell.features(observed.states)))[0]
    assert np.all(continues[:5] > 0.8) and continues[5] < 0.4


def test_a_state_next_to_the_image_leaves_the_model_alone(batch):
    model = make(state_size=N)
    assert (model.reads, model.input_shape) == ("image", (SMALL, SMALL, 3))
    with tf.GradientTape(persistent=True) as tape:
        of_state = model.loss(batch, SEED)[1]["state_loss"]
    nats = gaussian_nats(batch["state"], model.diagnosis(filtered(model, batch)[-1]).numpy())
    np.testing.assert_allclose(of_state, nats.sum(-1).mean(), rtol=1e-5)
    head = model.diagnosis.trainable_variables
    assert all(gradient is not None for gradient in tape.gradient(of_state, head))
    others = model.encoder.trainable_variables + model.cell.trainable_variables
    assert all(gradient is None for gradient in tape.gradient(of_state, others))


def test_a_state_is_read_as_it_is():
    model = make(None, N)
    assert (model.reads, model.input_shape) == ("state", (N,))
    state = normal(0, B, L, N)
    np.testing.assert_array_equal(model.preprocess_chunk(state, SEED), state)


def test_wrong_batches_are_refused(model, batch):
    with pytest.raises(TypeError, match="uint8"):
        model.loss({**batch, "image": tf.cast(batch["image"], tf.float32)}, SEED)
    for key in ("image", "action", "is_first"):
        with pytest.raises(ValueError):
            model.loss({**batch, key: batch[key][:, 1:]}, SEED)


@pytest.mark.parametrize("wrong", [[B, L - 1], [B, L, 1], [B, 1], [L]])
def test_rewards_of_another_shape_are_refused(model, batch, wrong):
    with pytest.raises(ValueError):
        model.loss({**batch, "reward": tf.zeros(wrong)}, SEED)


def test_rewards_that_would_broadcast_are_refused(model, batch):
    square = {key: value[:, :B] for key, value in batch.items()}
    model.loss(square, SEED)
    with pytest.raises(ValueError):
        model.loss({**square, "reward": square["reward"][..., None]}, SEED)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_16_bits_agree_with_32_and_parameters_stay_32(batch, precision):
    def gradients(model):
        # Scaled, as training in float16 does it: small gradients are lost otherwise.
        with tf.GradientTape() as tape:
            loss, terms = model.loss(batch, SEED)
            scaled = loss * 8.0
        found = tape.gradient(scaled, model.trainable_variables)
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


def test_custom_networks_take_the_place_of_the_usual_ones(model, batch):
    custom = make(encoder=networks.Encoder, decoder=lambda: networks.Decoder((SMALL, SMALL, 3)))
    assert [v.shape for v in custom.variables] == [v.shape for v in model.variables]
    np.testing.assert_array_equal(custom.loss(batch, SEED)[0], model.loss(batch, SEED)[0])


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


def test_custom_networks_are_trained_by_the_bound(batch):
    gin.parse_config("WorldModel.encoder = @mean_colour\nmean_colour.scale = 3.0")
    custom = make(decoder=Plain)
    custom.decoder.network.colour.assign([0.1, -0.2, 0.3])
    image = target(batch)
    np.testing.assert_allclose(custom.encoder(image), 3 * image.mean((2, 3)), atol=1e-5)
    with tf.GradientTape() as tape:
        loss, terms = custom.loss(batch, SEED)
    nats = gaussian_nats(image, [0.1, -0.2, 0.3]).sum((2, 3, 4))
    np.testing.assert_allclose(terms["observation_loss"], nats.mean(), rtol=1e-5)
    # d/dm of (x - m)^2 / 2, summed over pixels, averaged over steps.
    expected = ([0.1, -0.2, 0.3] - image).sum((2, 3)).mean((0, 1))
    gradient = tape.gradient(loss, custom.decoder.network.colour)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)
    feat = filtered(custom, batch)[-1]
    nats = gaussian_nats(batch["reward"], custom.reward(feat).numpy())
    np.testing.assert_allclose(terms["reward_loss"], nats.mean(), rtol=1e-5)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_custom_network_that_does_not_fit_is_named(part):
    with pytest.raises(errors.ConfigError) as error:
        make(**{part: lambda: tf.keras.layers.Lambda(lambda x: x[..., :1, None])})
    assert error.value.setting == f"WorldModel.{part}"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("latent", "lstm"),
        ("precision", "float16"),
        ("image_size", 0),
        ("overshooting_distance", 0),
        *((f"{name}_scale", -1.0) for name in ("observation", "reward", "kl", "overshooting")),
        ("global_prior_scale", -1.0),
        ("continuation_scale", -1.0),
        ("free_nats", float("nan")),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(errors.ConfigError) as error:
        WorldModel(A, None, N, **{setting: value})
    assert error.value.setting == f"WorldModel.{setting}"
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [dict(overshooting_distance=2), dict(global_prior_scale=0.1), dict(kl_balance=4.0)],
)
def test_a_model_that_draws_nothing_has_no_divergence_terms(setting):
    with pytest.raises(errors.ConfigError) as error:
        WorldModel(A, None, N, latent="rnn", **setting)
    assert error.value.setting == "WorldModel.latent"


def test_there_must_be_something_to_read():
    with pytest.raises(errors.ConfigError):
        WorldModel(A, None, 0)
