"""A run's log: TensorBoard event files, and the same scalars as JSON lines."""

import ast
import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from planet_tf import run_files, storage
from planet_tf.analysis import videos


class Log:
    """Writes scalars to TensorBoard and, the same ones, as JSON lines to `scalars.jsonl`.

    Args:
      root_dir: the run's directory; event files go to its `tensorboard` folder.

    Every method raises StorageError where it cannot write.
    """

    def __init__(self, root_dir: str | os.PathLike):
        root = pathlib.Path(root_dir)
        self._path = root / run_files.SCALARS
        with storage.writing(root):
            storage.drop_truncated_line(self._path)
            self._writer = tf.summary.create_file_writer(os.fspath(root / run_files.TENSORBOARD))
            self._lines = self._path.open("a", buffering=1, encoding="utf-8")  # line by line

    def scalars(self, step: int, values: dict[str, float], **counters: int) -> None:
        """Writes values by tag.

        Args:
          step: the tags' x axis in TensorBoard.
          values: one number per tag.
          **counters: further columns of the JSON line, such as env_steps.
        """
        with self._writing(step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
        # JSON has no NaN.
        numbers = {tag: v if math.isfinite(v) else None for tag, v in values.items()}
        line = {"time": round(time.time(), 3), **counters, **numbers}
        with storage.writing(self._path):
            self._lines.write(json.dumps(line) + "\n")

    def text(self, tag: str, text: str, step: int) -> None:
        """Writes text, shown verbatim."""
        with self._writing(step):
            tf.summary.text(tag, "".join(f"    {line}\n" for line in text.splitlines()))

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Writes one image, uint8 [H, W, 3]."""
        with self._writing(step):
            tf.summary.image(tag, image[None])

    def video(self, tag: str, frames: np.ndarray, step: int, fps: float = 10.0) -> None:
        """Writes frames, uint8 [T, H, W, 3], that TensorBoard plays among the images."""
        _, height, width, _ = frames.shape
        picture = [str(width).encode(), str(height).encode(), videos.gif(frames, fps)]
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images")
        )
        with self._writing(step):
            tf.summary.write(tag, tf.constant(picture), metadata=metadata)

    def hparams(self, settings: dict[str, str], name: str) -> None:
        """Writes settings, as gin writes them, for TensorBoard's HParams table."""
        names = [key for key in settings if not key.endswith(".name")]
        with self._writing(0):
            hparams.hparams_config(
                hparams=[hparams.HParam(key) for key in names],
                metrics=[hparams.Metric(tag) for tag in ("evaluation/return", "collect/return")],
            )
            hparams.hparams({key: _plain(settings[key]) for key in names}, name)

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""
        with storage.writing(self._path.parent / run_files.TENSORBOARD):
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        with storage.writing(self._path.parent):
            self._writer.close()
            self._lines.close()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        with (
            storage.writing(self._path.parent / run_files.TENSORBOARD),
            self._writer.as_default(step=step),
        ):
            yield


def _plain(value: str) -> float | bool | str:
    """Returns a number or a truth value as itself, everything else as gin writes it."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return literal if isinstance(literal, (bool, int, float)) else value
