"""Videos: every frame where it belongs, readable by others."""

import io

import imageio.v3
import numpy as np
import pytest
from PIL import Image

from planet_tf import config, videos


def frames(count, size, value):
    return np.full([count, size, size, 3], value, np.uint8)


def test_frames_stand_side_by_side_under_their_captions():
    large, small = frames(3, 64, 10), frames(4, 32, 200)
    large[1, 5, 7] = 99
    out = videos.side_by_side({"one": large, "two": small})
    height, width = 18 + 256, 256 + 4 + 256
    assert out.shape == (3, height, width, 3) and out.dtype == np.uint8
    expected = large.repeat(4, 1).repeat(4, 2)
    np.testing.assert_array_equal(out[:, 18:, :256], expected)
    assert (out[:, 18:, 260:] == 200).all() and (out[:, 18:, 256:260] == 255).all()
    assert out[:, :18, :256].min() < 99 and out[:, :18, 260:].min() < 99  # letters


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_a_video_holds_its_frames(tmp_path, name):
    film = np.concatenate([frames(1, 64, value) for value in (0, 80, 160, 240)])
    videos.write(str(tmp_path / name), film, fps=10)
    read = imageio.v3.imread(tmp_path / name)
    assert read.shape == film.shape
    np.testing.assert_allclose(read.mean((1, 2, 3)), [0, 80, 160, 240], atol=6)


def test_a_gif_goes_on_for_ever_at_its_speed():
    with Image.open(
        io.BytesIO(videos.gif(np.concatenate([frames(1, 8, 0), frames(1, 8, 9)]), 20))
    ) as image:
        assert image.is_animated and image.info["loop"] == 0 and image.info["duration"] == 50


def test_what_stands_still_in_a_gif_does_not_flicker():
    random = np.random.RandomState(0)
    film = frames(6, 32, 0)
    film[:, :16] = random.randint(0, 256, [1, 16, 32, 3])  # more colours than a GIF has
    film[:, 16:] = random.randint(0, 256, [6, 16, 32, 3])
    read = imageio.v3.imread(videos.gif(film, 10))[..., :3]
    assert (read[:, :16] == read[:1, :16]).all()
    assert np.abs(read[:, :16].astype(int) - film[:, :16]).mean() < 16


@pytest.mark.parametrize(
    ("name", "said"),
    [("film.avi", r"must end in \.mp4 or \.gif"), ("no/film.gif", "make it first")],
)
def test_what_cannot_be_written_is_said_at_once(tmp_path, name, said):
    with pytest.raises(config.ConfigError, match=said):
        videos.check_path(str(tmp_path / name))


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(config.ConfigError, match=r"planet_tf\[view\]"):
        videos.check_path(str(tmp_path / "film.mp4"))
    videos.check_path(str(tmp_path / "film.gif"))
