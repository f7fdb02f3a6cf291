"""`planet-tf imagine`: errors, strip and video of an open-loop prediction."""

import pathlib

import imageio.v3
import numpy as np
import pytest
from helpers import names

from planet_tf import training
from planet_tf.analysis import figures
from planet_tf.cli import imagine
from planet_tf.experience import episode as episodes

pytestmark = pytest.mark.usefixtures("agents_once")


def test_errors_strip_and_video_are_drawn(command, toy_run, tmp_path):
    flags = ["--steps=20", f"--out={tmp_path / 'toy'}", "--size=128", "--fps=10"]
    status, out, err = command("imagine", toy_run, *flags)
    assert status == 0, err
    written = ["toy-errors.png", "toy-errors.svg", "toy-strip.png", "toy.gif"]
    assert names(tmp_path) == written
    assert out.splitlines() == [str(tmp_path / name) for name in written]
    # 10 rows; real, predicted, difference.
    assert imageio.v3.imread(tmp_path / "toy-strip.png").shape == (10 * 128, 3 * 128, 3)
    assert imageio.v3.imread(tmp_path / "toy.gif").shape == (51, 18 + 128, 3 * 128 + 2 * 4, 3)
    assert imageio.v3.imread(tmp_path / "toy-errors.png").shape[1] == 1200


def test_short_episode_is_predicted_at_its_length(command, toy_run, tmp_path):
    newest = max((toy_run / "episodes" / "heldout").glob("*.npz"))
    with np.load(newest) as file:
        short = {key: file[key][:4] for key in file.files}
    episodes.write(short, tmp_path / "short.npz")
    flags = [f"--episode={tmp_path / 'short.npz'}", f"--out={tmp_path / 'b'}", "--checkpoint=3"]
    status, _, err = command("imagine", toy_run, *flags)
    assert status == 0, err
    assert "short.npz" in err and "4 frames: 3 are seen, 1 predicted" in err
    assert len(imageio.v3.imread(tmp_path / "b.gif")) == 4
    assert imageio.v3.imread(tmp_path / "b-strip.png").shape == (4 * 128, 3 * 128, 3)


def test_title_names_the_run_if_there_are_several_tasks(toy_run, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(figures, "draw_errors", lambda *arguments: titles.append(arguments[-1]))
    loaded = training.load_agent(toy_run)
    loaded.identity["task"] = ["dot_goal", "cheetah_run"]
    path = max((toy_run / "episodes" / "heldout").glob("*.npz"))
    episode = episodes.read(path, loaded.agent.training_data_spec)
    elsewhere = pathlib.Path("000003-51.npz")
    imagine._draw_errors(loaded, episode, 5, 10, tmp_path / "a", elsewhere, toy_run)
    assert titles == ["run, 000003-51, update 6: open loop after 5 steps"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere"], ["nowhere"]),
        (["RUN", "--episode=no.npz"], ["no.npz"]),
        (["RUN", "--checkpoint=9"], ["checkpoint 9"]),
        (["RUN", "--context=0"], ["--context", "'0'"]),
        (["RUN", "--steps=0"], ["--steps", "'0'"]),
        (["RUN", "--size=0"], ["--size", "'0'"]),
        (["RUN", "--fps=0.001"], ["--fps", "'0.001'"]),
        (["RUN", "--out=no/where"], ["--out", "no/where"]),
    ],
)
def test_wrong_input_is_named(command, toy_run, arguments, parts):
    arguments = [str(toy_run) if text == "RUN" else text for text in arguments]
    status, out, err = command("imagine", *arguments)
    assert status == 2 and not out and all(part in err for part in parts), err
    assert not (toy_run / "imagination.gif").exists()
