"""What the model imagines: open-loop predictions beside what really happened."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from planet_tf import images, replay, videos, world_model as wm

CONTEXT = 5
"""Observations that open-loop predictions may see (paper figure 3)."""

SEED = (0, 0)
"""Of the latent states that are drawn for pictures."""

ERRORS = {
    "observation": "observation error (RMS)",
    "reward": "reward error (absolute)",
    "kl": "KL (nats)",
}
"""What `errors` tells, and in which unit."""


def predict_episode(
    model: wm.WorldModel, episode: replay.Episode, context: int = CONTEXT
) -> dict[str, np.ndarray]:
    """Predicts a whole episode as one chunk; see `WorldModel.predict`, without its B."""
    batch = {key: tf.constant(value)[None] for key, value in episode.items()}
    predict = tf.function(model.predict, autograph=False)
    return {key: value[0].numpy() for key, value in predict(batch, context, SEED).items()}


def windows(episode: replay.Episode, length: int, count: int = 32) -> dict[str, tf.Tensor]:
    """Cuts chunks out of an episode, evenly spaced: [N, length, ...], N at most `count`.

    The episode has at least `length` frames.
    """
    frames = len(episode["reward"])
    starts = np.unique(np.linspace(0, frames - length, count).round().astype(int))
    steps = starts[:, None] + np.arange(length)
    return {key: tf.constant(value[steps]) for key, value in episode.items()}


def errors(prediction: Mapping[str, tf.Tensor], reward: tf.Tensor) -> dict[str, tf.Tensor]:
    """Measures predictions step by step; see `ERRORS`.

    Args:
      prediction: of `WorldModel.predict`.
      reward: float32 [B, L], what there really was.

    Returns:
      float32 [B, L] by name. The observation error is the root of the mean square over pixels
      (in units of their whole range, black to white) or over components of a state.
    """
    off = tf.square(prediction["observation"] - prediction["target"])
    return {
        "observation": tf.sqrt(tf.reduce_mean(off, range(2, off.shape.rank))),
        "reward": tf.abs(prediction["reward"] - reward),
        "kl": prediction["kl"],
    }


def film(
    model: wm.WorldModel | None,
    episode: replay.Episode,
    frames: np.ndarray,
    context: int = CONTEXT,
    size: int = videos.SIZE,
) -> np.ndarray:
    """Shows an episode beside what the model makes of it.

    Args:
      model: None, or one that does not read images: the episode alone is shown.
      episode: the episode.
      frames: uint8 [T, H, W, 3], its pictures.
      context: observations that the open-loop prediction may see.
      size: pixels a side of each picture; see `videos.side_by_side`.

    Returns:
      uint8 [T, height, width, 3]: real, reconstruction (each from all images up to it), open loop.
    """
    panels = {"real": frames}
    if model is not None and model.reads == "image":
        length = len(episode["reward"])
        context = min(context, length - 1)
        panels["reconstruction"] = _pictures(predict_episode(model, episode, length - 1))
        panels[f"open loop from step {context}"] = _pictures(
            predict_episode(model, episode, context)
        )
    return videos.side_by_side(panels, size)


def _pictures(prediction: Mapping[str, np.ndarray]) -> np.ndarray:
    return images.to_uint8(prediction["observation"]).numpy()


def _rows(prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the pictures of a prediction, uint8 [T, H, W, 3]: real, predicted, difference."""
    real, model = prediction["target"], prediction["observation"]
    rows = {
        "real": real,
        "predicted": np.clip(model, -0.5, 0.5),
        "difference": (model - real) / 2,  # grey where they are alike
    }
    return {caption: images.to_uint8(frames).numpy() for caption, frames in rows.items()}


def difference_film(prediction: Mapping[str, np.ndarray], size: int = videos.SIZE) -> np.ndarray:
    """Shows a prediction of images: real, predicted, difference; uint8 [T, height, width, 3]."""
    return videos.side_by_side(_rows(prediction), size)


def strip(prediction: Mapping[str, np.ndarray], columns: int = 15) -> np.ndarray:
    """Draws a prediction of images: rows real, predicted and difference, a column a step.

    Args:
      prediction: of `predict_episode`, or one chunk of `WorldModel.predict`.
      columns: steps shown, evenly spaced.

    Returns:
      uint8 [3 H, columns * W, 3], enlarged by whole times to columns of up to 96 pixels.
    """
    length, height = prediction["target"].shape[:2]
    steps = np.linspace(0, length - 1, min(columns, length)).round().astype(int)
    rows = [np.concatenate(list(frames[steps]), 1) for frames in _rows(prediction).values()]
    times = max(1, 96 // height)
    return np.concatenate(rows, 0).repeat(times, 0).repeat(times, 1)
