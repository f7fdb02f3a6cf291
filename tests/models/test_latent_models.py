"""What the three latent models have in common, and what sets them apart (blog figure 2)."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from helpers import normal

from planet_tf import seeds
from planet_tf.models import WorldModel, open_loop, recurrence, world_model

B, L, A, N, E = 2, 5, 2, 3, 4
FIRST = tf.constant([[True] + 4 * [False], [False, False, True, False, False]])
SEED = tf.constant([5, 0])
SMALL = """
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


def randomise(module, scale=0.5):
    random = np.random.default_rng(0)
    for variable in module.variables:
        variable.assign(random.normal(size=variable.shape) * scale)


@pytest.fixture(scope="module", params=world_model.CELLS)
def latent(request):
    return request.param


@pytest.fixture(scope="module")
def cell(latent):
    sizes = {"rssm": dict(stoch_size=3, deter_size=5), "ssm": dict(stoch_size=3)}
    cell = world_model.CELLS[latent](**sizes.get(latent, dict(deter_size=5)), hidden_size=6)
    embed, action = normal(0, 1, 1, E), normal(1, 1, 1, A)
    cell.observe(embed, action, tf.zeros([1, 1], bool), normal(2, 1, 1, cell.stoch_size))
    randomise(cell, 0.7)
    return cell


@pytest.fixture(scope="module")
def make():
    """Makes a model that reads a state of N numbers, all of its weights random."""

    def build(latent="rssm", **settings):
        gin.parse_config(SMALL)
        model = WorldModel(A, None, N, latent=latent, **settings)
        gin.clear_config()
        randomise(model)
        return model

    return build


@pytest.fixture(scope="module")
def model(make, latent):
    return make(latent, free_nats=0.0, continuation_scale=1.0)


@pytest.fixture
def batch():
    random = np.random.default_rng(1)
    return {
        "state": tf.constant(random.normal(size=[B, L, N]), tf.float32),
        "action": tf.constant(random.uniform(-1, 1, [B, L, A]), tf.float32),
        "reward": tf.constant(random.normal(size=[B, L]), tf.float32),
        "discount": tf.constant([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]], tf.float32),
        "is_first": FIRST,
    }


def parts(distribution):
    return () if distribution is None else recurrence.mean_std(distribution)


def assert_close(actual, expected, atol=1e-5):
    tf.nest.map_structure(
        lambda a, e: np.testing.assert_allclose(a, e, atol=atol), actual, expected
    )


def test_a_chunk_is_filtered_as_its_steps_are(cell, latent):
    chunk = {"action": normal(1, B, L, A), "noise": normal(2, B, L, cell.stoch_size)}
    embed = normal(3, B, L, E)
    posterior, prior, states = cell.observe(embed, is_first=FIRST, **chunk)
    state, feats = cell.initial_state(B), []
    for t in range(L):
        step = {key: value[:, t] for key, value in chunk.items()}
        first = tf.cast(FIRST[:, t], tf.float32)[:, None]
        before, action = recurrence.reset_rows(state, step["action"], first)
        predicted, _ = cell.prior_step(before, action, step["noise"])
        alone, stepped = cell.posterior_step(before, action, embed[:, t], step["noise"])
        projected = cell.posterior_embed(embed[:, t])
        out, (state,) = cell({**step, "projected": projected, "is_first": first}, (state,))
        feats.append(cell.features(out))
        assert_close(stepped, state)
        assert_close({key: states[key][:, t] for key in cell.state_sizes}, state)
        if latent == "rnn":
            assert (posterior, prior, predicted, alone) == (None, None, None, None)
        else:
            assert_close(parts(posterior[:, t]), parts(alone))
            assert_close(parts(prior[:, t]), parts(predicted))
    assert_close(cell.features(states), tf.stack(feats, 1))


@pytest.mark.parametrize("static", [False, True])
def test_a_chunk_is_imagined_as_its_steps_are(cell, latent, static):
    action, noise = normal(1, B, L, A), normal(2, B, L, cell.stoch_size)
    state = {key: tf.tanh(normal(4, B, size)) for key, size in cell.state_sizes.items()}
    prior, states = cell.imagine(action, noise, state, static)
    assert states.keys() == cell.state_sizes.keys()
    for t in range(L):
        alone, state = cell.prior_step(state, action[:, t], noise[:, t])
        assert_close({key: states[key][:, t] for key in states}, state)
        assert (prior is None) == (latent == "rnn")
        if prior is not None:
            assert (prior.batch_shape, prior.event_shape) == ((B, L), (3,))
            assert_close(parts(prior[:, t]), parts(alone))


def test_it_runs_in_a_keras_rnn(cell):
    inputs = {"action": normal(1, B, L, A), "noise": normal(2, B, L, cell.stoch_size)}
    embed = normal(3, B, L, E)
    states = cell.observe(embed, is_first=FIRST, **inputs).states
    inputs |= {"projected": cell.posterior_embed(embed), "is_first": recurrence.as_column(FIRST)}
    out, last = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)(inputs)
    for key in cell.state_sizes:
        np.testing.assert_allclose(out[key], states[key], atol=1e-6)
        np.testing.assert_allclose(last[key], states[key][:, -1], atol=1e-6)


def test_one_update_reaches_all_parameters(model, batch, latent):
    def gradient(batch):
        with tf.GradientTape() as tape:
            loss, terms = model.loss(batch, SEED)
        return terms, tape.gradient(loss, model.trainable_variables)

    terms, gradients = tf.function(gradient, autograph=False)(batch)
    for variable, found in zip(model.trainable_variables, gradients, strict=True):
        found = tf.convert_to_tensor(found)
        assert np.isfinite(found).all() and np.abs(found).max() > 0, variable.name
    assert (terms["kl"] == 0) == (latent == "rnn")
    assert ("prior_entropy" in terms) == ("posterior_entropy" in terms) == (latent != "rnn")


def test_open_loop_ignores_observations_after_the_context(model, batch, latent):
    predict = tf.function(
        lambda batch, seed: open_loop.predict(model, batch, 2, seed), autograph=False
    )
    out = predict(batch, SEED)
    later = tf.concat([batch["state"][:, :2], 9 + batch["state"][:, 2:]], 1)
    other = predict({**batch, "state": later}, SEED)
    np.testing.assert_array_equal(out["observation"], other["observation"])
    earlier = tf.concat([9 + batch["state"][:, :2], batch["state"][:, 2:]], 1)
    other = predict({**batch, "state": earlier}, SEED)
    assert np.abs(out["observation"] - other["observation"])[:, 2:].max() > 1e-3
    # Only the RNN predicts the same twice.
    said = [predict(batch, tf.constant([i, 0]))["reward"].numpy() for i in range(3)]
    assert len(np.unique(said, axis=0)) == (1 if latent == "rnn" else 3)
    assert np.all(out["kl"] == 0) == (latent == "rnn")


def test_a_return_is_the_rewards_of_single_steps(model):
    state = {key: normal(1, 6, size) for key, size in model.cell.state_sizes.items()}
    action, noise = normal(2, 6, 3, A), normal(3, 6, 3, model.cell.stoch_size)
    returns = model.imagined_return(state, action, noise)
    total, continues = 0.0, 1.0
    for t in range(3):  # the start is not counted; the state after the last action is
        _, state = model.cell.prior_step(state, action[:, t], noise[:, t])
        feat = model.cell.features(state)
        total += continues * model.reward(feat)
        continues *= tf.sigmoid(model.continuation(feat))
    np.testing.assert_allclose(returns, total, atol=1e-4)


def test_overshooting_adds_its_term_from_distance_2(make, batch):
    plain, _ = make().loss(batch, SEED)
    one, terms = make(overshooting_distance=1).loss(batch, SEED)
    assert plain == one and "overshooting_loss" not in terms
    more, terms = make(overshooting_distance=3, overshooting_scale=0.5).loss(batch, SEED)
    assert terms["overshooting_loss"] > 0
    np.testing.assert_allclose(more - plain, 0.5 * terms["overshooting_loss"], rtol=1e-3)


def test_overshooting_of_a_model_pair_by_pair(make, batch):
    """The whole loss, against single steps from every posterior with the same noise."""
    model = make(overshooting_distance=3, free_nats=0.5)
    _, terms = model.loss(batch, SEED)
    noise = seeds.normal([B, L, 3], seeds.split(SEED, 2)[1])
    embed = model.encoder(batch["state"])
    posterior, _, states = model.cell.observe(embed, batch["action"], FIRST, noise)
    mean, std = map(np.array, parts(posterior))
    noise = tf.reshape(seeds.normal([B * L, 3, 3], seeds.fold_in(SEED, 3)), [B, L, 3, 3])
    pairs = []
    for row in range(B):
        for t in range(L):
            state = {key: value[row : row + 1, t] for key, value in states.items()}
            for d in range(1, 4):
                if t + d >= L or FIRST[row, t + d]:
                    break
                action = batch["action"][row : row + 1, t + d]
                prior, state = model.cell.prior_step(state, action, noise[row, t, d - 1][None])
                m1, s1 = mean[row, t + d], std[row, t + d]
                m2, s2 = np.array(parts(prior))[:, 0]
                kl = np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
                if d > 1:
                    pairs.append(max(0.0, kl.sum() - 0.5))
    assert len(pairs) == (3 + 2) + 1  # row 0: 3 of two steps, 2 of three; row 1: one of two
    np.testing.assert_allclose(terms["overshooting_loss"], np.mean(pairs), rtol=1e-4)


def test_the_global_prior_adds_its_share(make, batch):
    plain, _ = make().loss(batch, SEED)
    more, terms = make(global_prior_scale=0.1).loss(batch, SEED)
    np.testing.assert_allclose(more - plain, 0.1 * terms["global_prior_loss"], rtol=1e-3)
    assert terms["global_prior_loss"] > 0
