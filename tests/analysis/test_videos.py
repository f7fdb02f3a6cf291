"""Videos: every frame in its place, readable by others."""

import sys

import imageio.v3
import numpy as np
import pytest
from PIL import Image

from planet_tf import errors
from planet_tf.analysis import videos


def frames(count, size, value):
    return np.full([count, size, size, 3], value, np.uint8)


def test_frames_stand_side_by_side_under_captions():
    large, small = frames(3, 64, 10), frames(4, 32, 200)
    large[1, 5, 7] = 99
    out = videos.side_by_side({"one": large, "two": small})
    height, width = 18 + 256, 256 + 4 + 256
    assert out.shape == (3, height, width, 3) and out.dtype == np.uint8
    expected = large.repeat(4, 1).repeat(4, 2)
    np.testing.assert_array_equal(out[:, 18:, :256], expected)
    assert (out[:, 18:, 260:] == 200).all() and (out[:, 18:, 256:260] == 255).all()
    assert out[:, :18, :256].min() < 99 and out[:, :18, 260:].min() < 99  # letters


@pytest.mark.parametrize(("size", "side"), [(1, 9), (17, 9), (18, 18), (26, 18)])
def test_size_is_rounded_to_a_multiple(size, side):
    out = videos.side_by_side({"odd": frames(1, 9, 0)}, size)
    assert out.shape == (1, 18 + side, side + side % 2, 3)  # video formats want even sides


@pytest.mark.parametrize("name", ["video.gif", "video.mp4"])
def test_video_holds_its_frames(tmp_path, name):
    video = np.concatenate([frames(1, 64, value) for value in (0, 80, 160, 240)])
    videos.write(str(tmp_path / name), video, fps=10)
    read = imageio.v3.imread(tmp_path / name)
    assert read.shape == video.shape
    np.testing.assert_allclose(read.mean((1, 2, 3)), [0, 80, 160, 240], atol=6)


def test_gif_loops_at_its_speed(tmp_path):
    videos.write(tmp_path / "video.gif", np.concatenate([frames(1, 8, 0), frames(1, 8, 9)]), 20)
    with Image.open(tmp_path / "video.gif") as image:
        assert image.is_animated and image.info["loop"] == 0 and image.info["duration"] == 50


def test_still_parts_of_a_gif_do_not_flicker():
    random = np.random.RandomState(0)
    video = frames(6, 32, 0)
    video[:, :16] = random.randint(0, 256, [1, 16, 32, 3])  # more colours than a GIF has
    video[:, 16:] = random.randint(0, 256, [6, 16, 32, 3])
    read = imageio.v3.imread(videos.gif(video, 10))[..., :3]
    assert (read[:, :16] == read[:1, :16]).all()
    assert np.abs(read[:, :16].astype(int) - video[:, :16]).mean() < 16


@pytest.mark.parametrize("name", ["video.avi", "video", "no/video.gif"])
def test_path_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(errors.ConfigError, match=name):
        videos.check_path(str(tmp_path / name))


def test_missing_library_is_refused_for_mp4_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(errors.ConfigError, match="imageio-ffmpeg") as error:
        videos.check_path(tmp_path / "video.mp4")
    assert errors.INSTALL_VIEW in error.value.hint
    videos.check_path(tmp_path / "video.gif")
