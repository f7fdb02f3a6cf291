"""A log: TensorBoard and JSON lines say the same; images and settings look as they should."""

import io

import helpers
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from planet_tf import errors
from planet_tf.training.log import Log


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


def test_scalars_are_in_tensorboard_and_in_json(tmp_path):
    log = Log(tmp_path)
    log.scalars(10, {"train/loss": 2.5, "train/kl": 0.25}, updates=10, env_steps=400)
    log.scalars(20, {"train/loss": float("nan"), "train/kl": float("inf")}, updates=20)
    log.flush()
    found = helpers.scalars(tmp_path)
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
    log.close()
    more = Log(tmp_path)  # a resumed run continues in the same file
    more.scalars(30, {"train/loss": 1.0}, updates=30)
    more.close()
    assert [line["updates"] for line in helpers.scalars(tmp_path)] == [10, 20, 30]


def test_text_and_images(tmp_path):
    log = Log(tmp_path)
    log.text("config", "a = 1\nb = '_2_'", 5)
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    log.image("strip", pixels, 6)
    log.close()
    found = events(tmp_path)
    ((step, text),) = found["config"]
    assert step == 5 and text.item().decode() == "    a = 1\n    b = '_2_'\n"  # Markdown: verbatim
    ((step, image),) = found["strip"]
    assert step == 6 and list(image[:2]) == [b"5", b"4"]  # width, height
    np.testing.assert_array_equal(tf.io.decode_png(image[2]), pixels)


def test_a_video_is_among_the_images(tmp_path):
    log = Log(tmp_path)
    frames = np.arange(3 * 6 * 8 * 3).reshape(3, 6, 8, 3).astype(np.uint8)
    log.video("film", frames, 7, fps=5)
    log.close()
    ((step, (width, height, data)),) = events(tmp_path)["film"]
    assert (step, width, height) == (7, b"8", b"6")
    with Image.open(io.BytesIO(data)) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (8, 6), 200)


def test_settings_are_a_row_of_tensorboards_table(tmp_path):
    log = Log(tmp_path)
    log.hparams({"train.seed": "3", "CEM.clip": "True", "a.sizes": "(1, 2)", "a.name": "'x'"}, "r")
    log.close()
    accumulator = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert {key: value.WhichOneof("kind") for key, value in start.hparams.items()} == {
        "train.seed": "number_value",
        "CEM.clip": "bool_value",
        "a.sizes": "string_value",
    }
    assert start.hparams["train.seed"].number_value == 3


@pytest.mark.parametrize("rest", ["", '{"time": 2, "epi', "\x00" * 40])
def test_a_truncated_line_is_dropped(tmp_path, rest):
    whole = '{"time": 1, "episodes": 1}\n'
    (tmp_path / "scalars.jsonl").write_text(whole + rest)
    log = Log(tmp_path)
    log.scalars(1, {"x": 1.0})
    found = (tmp_path / "scalars.jsonl").read_text()  # line by line: nothing waits in a buffer
    log.close()
    assert found.startswith(whole)
    assert [line.get("x") for line in helpers.scalars(tmp_path)] == [None, 1]


def test_a_log_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageError, match=str(tmp_path / "file")):
        Log(tmp_path / "file")
