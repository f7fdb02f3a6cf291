"""Open-loop predictions: how far off they are, and pictures of them."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import config, environments, evaluation, imagination

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def episode():
    env = environments.load("dot_goal")
    policy = evaluation.UniformPolicy(env)
    return evaluation.run_episodes(env, policy, [np.random.SeedSequence(0)])[0]


def test_errors_by_hand():
    target = np.zeros([1, 2, 2, 2, 3], np.float32)
    guess = target.copy()
    guess[0, 1, 0, 0] = 0.5  # one pixel of four: a mean square of 0.0625
    prediction = {
        "observation": tf.constant(guess),
        "target": tf.constant(target),
        "reward": tf.constant([[1.0, 2.0]]),
        "kl": tf.constant([[3.0, 4.0]]),
    }
    found = imagination.errors(prediction, tf.constant([[0.5, 4.0]]))
    np.testing.assert_allclose(found["observation"], [[0, 0.25]])
    np.testing.assert_allclose(found["reward"], [[0.5, 2]])
    np.testing.assert_allclose(found["kl"], [[3, 4]])
    assert found.keys() == imagination.ERRORS.keys()


def test_windows_are_evenly_spaced_pieces_of_the_episode(episode):
    chunks = imagination.windows(episode, 11, count=5)  # of 51 frames
    for key, value in chunks.items():
        expected = np.stack([episode[key][start : start + 11] for start in (0, 10, 20, 30, 40)])
        np.testing.assert_array_equal(value, expected)
    assert len(imagination.windows(episode, 51)["reward"]) == 1
    with pytest.raises(config.ConfigError, match="51 frames, fewer than the 52"):
        imagination.windows(episode, 52)


def test_a_whole_episode_is_predicted_as_a_chunk_is(agent, episode):
    model = agent.world_model
    out = imagination.predict_episode(model, episode, 5)
    chunk = {key: tf.constant(value)[None] for key, value in episode.items()}
    expected = model.predict(chunk, 5, imagination.SEED)
    for key, value in expected.items():
        np.testing.assert_allclose(out[key], value[0], atol=1e-4)
    assert out["kl"].shape == (51,) and (out["kl"] >= 0).all()


def test_a_film_shows_what_is_real_reconstructed_and_imagined(agent, episode):
    alone = imagination.film(None, episode, episode["image"])
    assert alone.shape == (51, 18 + 256, 256, 3)
    np.testing.assert_array_equal(alone[:, 18:][:, ::4, ::4], episode["image"])
    film = imagination.film(agent.world_model, episode, episode["image"])
    real, reconstruction, open_loop = (film[:, 18:, left : left + 256] for left in (0, 260, 520))
    np.testing.assert_array_equal(real, alone[:, 18:])
    # Of the steps that both have seen they say the same, but for what is drawn.
    assert np.any(reconstruction[10:] != open_loop[10:])
    strip = imagination.strip(imagination.predict_episode(agent.world_model, episode, 5))
    assert strip.shape == (3 * 64, 15 * 64, 3)


def test_a_strip_has_a_row_each_for_real_model_and_difference():
    # 10 frames of 2x1 pixels, drawn 48 times as large; frame t is t / 20 - 0.5. The model says
    # 0.25, then 2.
    frames = np.arange(10, dtype=np.float32)[:, None, None, None] / 20 - 0.5
    target = np.tile(frames, [1, 2, 1, 3])
    image = np.full_like(target, 0.25)
    image[9] = 2
    large = imagination.strip({"observation": image, "target": target}, columns=4)
    strip = large[::48, ::48]
    assert strip.dtype == np.uint8 and strip.shape == (3 * 2, 4 * 1, 3)
    np.testing.assert_array_equal(large, strip.repeat(48, 0).repeat(48, 1))
    assert np.all(strip == strip[:, :, :1])
    steps = np.array([0, 3, 6, 9])
    real = steps / 20 * 256
    model = np.array([192, 192, 192, 255])  # (0.25 + 0.5) * 256; white is the most
    # Grey where they are alike: (0.25 - (t / 20 - 0.5)) / 2 + 0.5.
    difference = np.minimum(
        ((np.array([0.25, 0.25, 0.25, 2]) - steps / 20 + 0.5) / 2 + 0.5) * 256, 255
    )
    for row, expected in enumerate((real, model, difference)):
        for line in strip[2 * row : 2 * row + 2, :, 0]:
            np.testing.assert_allclose(line, expected, atol=1)
    short = {"observation": image[:3], "target": target[:3]}
    assert imagination.strip(short).shape == (6 * 48, 3 * 48, 3)
