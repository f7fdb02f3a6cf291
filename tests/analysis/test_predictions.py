"""Predictions of whole episodes, and videos of them."""

import types

import numpy as np
import pytest
import tensorflow as tf
from helpers import sequences

from planet_tf import environments
from planet_tf.analysis import predictions
from planet_tf.experience import UniformPolicy, run_episodes
from planet_tf.models import open_loop


@pytest.fixture(scope="module")
def episode():
    env = environments.load("dot_goal", seed=0)
    (episode,) = run_episodes(env, UniformPolicy(env), sequences(1, 0))
    return episode


@pytest.fixture(scope="module")
def start(episode):
    """The first 12 frames of the episode."""
    return {key: value[:12] for key, value in episode.items()}


def test_windows_are_evenly_spaced(episode):
    chunks = predictions.windows(episode, 11, count=5)  # of 51 frames
    for key, value in chunks.items():
        expected = np.stack([episode[key][start : start + 11] for start in (0, 10, 20, 30, 40)])
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(("length", "count"), [(51, 1), (50, 2), (20, 32), (19, 32)])
def test_windows_do_not_repeat(episode, length, count):
    chunks = predictions.windows(episode, length)
    assert chunks["reward"].shape == [count, length]
    assert len(np.unique(chunks["reward"], axis=0)) == count


def test_every_measured_error_has_a_label():
    numbers = tf.zeros([1, 2])
    prediction = dict.fromkeys(("observation", "target"), numbers[..., None])
    prediction |= dict.fromkeys(("reward", "kl"), numbers)
    assert open_loop.measure(prediction, numbers).keys() == predictions.LABELS.keys()


def test_episode_is_predicted_as_one_chunk(agent, start):
    out = predictions.predict_episode(agent.world_model, start, 5)
    chunk = {key: tf.constant(value)[None] for key, value in start.items()}
    expected = open_loop.predict(agent.world_model, chunk, 5, open_loop.SEED)
    assert out.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(out[key], value[0], atol=1e-4, err_msg=key)


@pytest.fixture
def video(monkeypatch, start):
    """Makes a video of the first frames of the episode: (frames, reads, size) -> panels.

    The prediction after n steps is an even picture of the grey n / 100.
    """

    def predict(model, episode, context):
        return {"observation": np.full(episode["image"].shape, context / 100 - 0.5, np.float32)}

    monkeypatch.setattr(predictions, "predict_episode", predict)

    def make(count, reads="image", size=64):
        episode = {key: value[:count] for key, value in start.items()}
        model = types.SimpleNamespace(reads=reads)
        video = predictions.evaluation_video(model, episode, episode["image"], size=size)
        return [video[:, 18:, left : left + size] for left in range(0, video.shape[2], size + 4)]

    return make


def test_video_shows_real_reconstructed_and_predicted(video, start):
    real, reconstruction, predicted = video(12)
    np.testing.assert_array_equal(real, start["image"])
    assert reconstruction.shape == predicted.shape == real.shape
    assert np.all(reconstruction == int(0.11 * 256)) and np.all(predicted == int(0.05 * 256))


def test_video_of_a_short_episode_sees_one_step_less(video):
    _, reconstruction, predicted = video(3)
    assert np.all(reconstruction == int(0.02 * 256)) and np.all(predicted == int(0.02 * 256))


def test_video_of_a_model_of_states_shows_the_episode_alone(video, start):
    (real,) = video(12, reads="state", size=128)
    np.testing.assert_array_equal(real[:, ::2, ::2], start["image"])


def test_video_without_a_model_shows_the_episode_alone(start):
    video = predictions.evaluation_video(None, start, start["image"])
    assert video.shape == (12, 18 + 256, 256, 3)
    np.testing.assert_array_equal(video[:, 18:][:, ::4, ::4], start["image"])
