"""What a run says while it goes: TensorBoard, JSON lines, and a line or a bar on the terminal."""

import ast
import contextlib
import datetime
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tqdm
from tensorboard.plugins.hparams import api as hparams

from planet_tf import files, videos


class Summaries:
    """Writes scalars to TensorBoard and, the same ones, as JSON lines to `scalars.jsonl`.

    Args:
      root_dir: the run's directory; event files go to its `tensorboard` folder.

    Every method raises StorageError where it cannot write.
    """

    def __init__(self, root_dir: str | os.PathLike):
        root = pathlib.Path(root_dir)
        self._path = root / "scalars.jsonl"
        with files.writing(root):
            _end_torn_line(self._path)
            self._writer = tf.summary.create_file_writer(os.fspath(root / "tensorboard"))
            self._lines = self._path.open("a", buffering=1, encoding="utf-8")  # line by line

    def scalars(self, step: int, values: dict[str, float], **counters: int) -> None:
        """Writes values by tag.

        Args:
          step: the tags' x axis in TensorBoard.
          values: one number a tag.
          **counters: further columns of the JSON line, such as env_steps.
        """
        with self._writing(step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
        # JSON knows no NaN.
        numbers = {tag: v if math.isfinite(v) else None for tag, v in values.items()}
        line = {"time": round(time.time(), 3), **counters, **numbers}
        with files.writing(self._path):
            self._lines.write(json.dumps(line) + "\n")

    def text(self, tag: str, text: str, step: int) -> None:
        """Writes text, shown as it is."""
        with self._writing(step):
            tf.summary.text(tag, "".join(f"    {line}\n" for line in text.splitlines()))

    def image(self, tag: str, image: np.ndarray, step: int) -> None:
        """Writes one picture, uint8 [H, W, 3]."""
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
        """Writes settings, as gin writes them, for TensorBoard's table of runs."""
        names = [key for key in settings if not key.endswith(".name")]
        with self._writing(0):
            hparams.hparams_config(
                hparams=[hparams.HParam(key) for key in names],
                metrics=[hparams.Metric(tag) for tag in ("evaluation/return", "collect/return")],
            )
            hparams.hparams({key: _plain(settings[key]) for key in names}, name)

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""
        with files.writing(self._path.parent / "tensorboard"):
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        with files.writing(self._path.parent):
            self._writer.close()
            self._lines.close()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        with (
            files.writing(self._path.parent / "tensorboard"),
            self._writer.as_default(step=step),
        ):
            yield


def _plain(value: str) -> float | bool | str:
    """Returns a number or a truth value as itself, all else as gin writes it."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return literal if isinstance(literal, (bool, int, float)) else value


def _end_torn_line(path: pathlib.Path) -> None:
    """Drops what a kill or a full disk left of a last line, which the next would run into."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


class Progress:
    """Progress in episodes: a bar on a terminal, plain lines elsewhere (at least one a minute)."""

    def __init__(self, episodes: int, done: int, seconds_between_lines: float = 60.0):
        self._episodes = episodes
        self._last_episode = self._last_line = time.monotonic()
        self._durations: list[float] = []
        self._seconds_between_lines = seconds_between_lines
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=episodes, initial=done, unit="episode", dynamic_ncols=True)

    def within(self, what: str, done: int, total: int) -> None:
        """Shows how far the present episode's work is."""
        if self._bar is not None:
            self._bar.set_description(f"{what} {done}/{total}")
        elif time.monotonic() - self._last_line > self._seconds_between_lines:
            self._print(f"  {what} {done}/{total}")

    def episode(self, done: int, text: str, trained: bool = True) -> None:
        """Shows that `done` episodes are complete, with a line of results.

        The time left is estimated from episodes that were `trained` for; random ones take none.
        """
        now = time.monotonic()
        if trained:
            self._durations.append(now - self._last_episode)
        self._last_episode = now
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
            self._bar.refresh()
            return
        if self._durations:
            left = sum(self._durations) / len(self._durations) * (self._episodes - done)
            text += f" | {datetime.timedelta(seconds=round(left))} left"
        self._print(f"episode {done}/{self._episodes} | {text}")

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            self._print(text)

    def close(self) -> None:
        """Leaves the terminal in order."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(text, file=sys.stderr, flush=True)
