"""Pictures of predictions, pixel by pixel."""

import numpy as np
import pytest

from planet_tf.analysis import pictures


@pytest.mark.parametrize(
    ("value", "expected"), [(-0.5, 0), (-0.6, 0), (0, 128), (0.25, 192), (0.5, 255), (2, 255)]
)
def test_images_become_bytes(value, expected):
    assert pictures.to_uint8(np.array([value], np.float32)) == [expected]


@pytest.fixture
def prediction():
    """10 frames of 2x1 pixels: frame t is t / 20 - 0.5; the model says 0.25, and 2 at the end."""
    frames = np.arange(10, dtype=np.float32)[:, None, None, None] / 20 - 0.5
    target = np.tile(frames, [1, 2, 1, 3])
    image = np.full_like(target, 0.25)
    image[9] = 2
    return {"observation": image, "target": target}


def test_strip_has_columns_real_predicted_difference(prediction):
    large = pictures.strip(prediction, steps=4)
    strip = large[::64, ::64]  # frames 2 pixels high are enlarged 64 times, to 128
    assert strip.dtype == np.uint8 and strip.shape == (4 * 2, 3 * 1, 3)
    np.testing.assert_array_equal(large, strip.repeat(64, 0).repeat(64, 1))
    assert np.all(strip == strip[:, :, :1])
    steps = np.array([0, 3, 6, 9])
    real = steps / 20 * 256
    model = np.array([192, 192, 192, 255])  # (0.25 + 0.5) * 256; white is the most
    # 128 where they agree; (0.25 - (t / 20 - 0.5)) / 2 + 0.5 of 256; (2 + 0.05) / 2 is clipped.
    difference = [224, 204.8, 185.6, 255]
    for column, expected in enumerate((real, model, difference)):
        for row in (0, 1):  # of each frame
            np.testing.assert_allclose(strip[row::2, column, 0], expected, atol=1)


def test_strip_of_a_short_prediction_shows_each_step_once(prediction):
    short = {key: value[:3] for key, value in prediction.items()}
    assert pictures.strip(short).shape == (3 * 128, 3 * 64, 3)


def test_strip_keeps_frames_larger_than_its_own():
    frames = np.zeros([2, 200, 200, 3], np.float32)
    assert pictures.strip({"observation": frames, "target": frames}).shape == (400, 600, 3)


def test_narrow_pictures_have_two_columns_and_the_video_a_margin():
    real = np.full([2, 32, 32, 3], -0.25, np.float32)
    prediction = {"target": real, "observation": real + 0.5}
    video = pictures.narrow_video(prediction)
    assert video.shape == (2, 12 + 18 + 128, 2 * 128 + 4, 3) and np.all(video[:, :12] == 255)
    assert [video[1, -1, x, 0] for x in (0, -1)] == [64, 192]
    assert pictures.strip(prediction, difference=False).shape == (2 * 128, 2 * 128, 3)


def test_difference_video_has_three_panels():
    real = np.full([2, 64, 64, 3], -0.5, np.float32)
    video = pictures.difference_video({"target": real, "observation": real + 0.5}, size=64)
    assert video.shape == (2, 18 + 64, 3 * 64 + 2 * 4, 3)
    panels = [video[:, 18:, left : left + 64] for left in (0, 68, 136)]
    assert [np.unique(panel).tolist() for panel in panels] == [[0], [128], [192]]
