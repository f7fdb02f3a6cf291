"""Summaries: TensorBoard and JSON lines say the same; pictures and lines look as they should."""

import io
import json

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from planet_tf import summaries


def events(root):
    accumulator = event_accumulator.EventAccumulator(
        str(root / "tensorboard"), {event_accumulator.TENSORS: 0}
    )
    accumulator.Reload()
    return {
        tag: [
            (event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
    }


def lines(root):
    return [json.loads(line) for line in (root / "scalars.jsonl").read_text().splitlines()]


def test_scalars_are_in_tensorboard_and_in_json(tmp_path):
    writer = summaries.Summaries(tmp_path)
    writer.scalars(10, {"train/loss": 2.5, "train/kl": 0.25}, updates=10, env_steps=400)
    writer.scalars(20, {"train/loss": float("nan"), "train/kl": float("inf")}, updates=20)
    writer.flush()
    found = lines(tmp_path)
    assert all(line.pop("time") > 1e9 for line in found)
    assert found == [
        {"updates": 10, "env_steps": 400, "train/loss": 2.5, "train/kl": 0.25},
        {"updates": 20, "train/loss": None, "train/kl": None},
    ]
    scalars = events(tmp_path)
    assert set(scalars) == {"train/loss", "train/kl"}
    assert [step for step, _ in scalars["train/loss"]] == [10, 20]
    np.testing.assert_array_equal([v for _, v in scalars["train/loss"]], [2.5, np.nan])
    np.testing.assert_array_equal([v for _, v in scalars["train/kl"]], [0.25, np.inf])
    writer.close()
    more = summaries.Summaries(tmp_path)  # a resumed run goes on in the same file
    more.scalars(30, {"train/loss": 1.0}, updates=30)
    more.close()
    assert [line["updates"] for line in lines(tmp_path)] == [10, 20, 30]


def test_text_and_pictures(tmp_path):
    writer = summaries.Summaries(tmp_path)
    writer.text("config", "a = 1\nb = '_2_'", 5)
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    writer.image("strip", tf.constant(picture), 6)
    writer.close()
    found = events(tmp_path)
    ((step, text),) = found["config"]
    assert step == 5 and text.item().decode() == "    a = 1\n    b = '_2_'\n"  # Markdown: verbatim
    ((step, image),) = found["strip"]
    assert step == 6 and list(image[:2]) == [b"5", b"4"]  # width, height
    np.testing.assert_array_equal(tf.io.decode_png(image[2]), picture)


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    progress = summaries.Progress(episodes=10, done=4, seconds_between_lines=1e9)
    progress.within("update", 1, 100)  # too early for a line
    progress.episode(4, "return 0.5", trained=False)  # random: says nothing of the time left
    progress.episode(5, "return 1.0")
    progress.say("hello")
    progress.close()
    out, err = capsys.readouterr()
    random, first, second = err.splitlines()
    assert random == "episode 4/10 | return 0.5"
    assert first.startswith("episode 5/10 | return 1.0 | ") and first.endswith(" left")
    assert second == "hello"
    assert out == "" and "\r" not in err and "\x1b" not in err


def test_progress_shows_within_a_long_episode(capsys):
    progress = summaries.Progress(episodes=10, done=0, seconds_between_lines=-1.0)
    progress.within("update", 7, 100)
    assert capsys.readouterr().err == "  update 7/100\n"


def test_a_line_that_a_kill_tore_is_dropped(tmp_path):
    whole = '{"time": 1, "episodes": 1}\n'
    for torn in ("", '{"time": 2, "epi', "\x00" * 40):
        (tmp_path / "scalars.jsonl").write_text(whole + torn)
        writer = summaries.Summaries(tmp_path)
        writer.scalars(1, {"x": 1.0})
        found = (tmp_path / "scalars.jsonl").read_text()  # line by line: nothing waits in a buffer
        writer.close()
        assert found.startswith(whole) and [line.get("x") for line in lines(tmp_path)] == [None, 1]


def test_a_moving_picture_stands_among_the_images(tmp_path):
    writer = summaries.Summaries(tmp_path)
    frames = np.arange(3 * 6 * 8 * 3).reshape(3, 6, 8, 3).astype(np.uint8)
    writer.video("film", frames, 7, fps=5)
    writer.close()
    ((step, (width, height, data)),) = events(tmp_path)["film"]
    assert (step, width, height) == (7, b"8", b"6")
    with Image.open(io.BytesIO(data)) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (8, 6), 200)


def test_settings_are_a_row_of_tensorboards_table(tmp_path):
    writer = summaries.Summaries(tmp_path)
    settings = {"train.seed": "3", "cem.clip": "True", "a.sizes": "(1, 2)", "a.name": "'x'"}
    writer.hparams(settings, "run")
    writer.close()
    accumulator = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert {key: value.WhichOneof("kind") for key, value in start.hparams.items()} == {
        "train.seed": "number_value",
        "cem.clip": "bool_value",
        "a.sizes": "string_value",
    }
    assert start.hparams["train.seed"].number_value == 3
