"""Open-loop predictions of whole episodes."""

import numpy as np
import tensorflow as tf

from planet_tf.analysis import pictures, videos
from planet_tf.experience.episode import Episode
from planet_tf.models import WorldModel, open_loop

LABELS = {
    "observation": "observation error (RMS)",
    "reward": "reward error (absolute)",
    "kl": "KL (nats)",
}
"""What `open_loop.measure` measures, with units, for figures."""


def predict_episode(
    model: WorldModel, episode: Episode, context: int = open_loop.CONTEXT
) -> dict[str, np.ndarray]:
    """Predicts a whole episode as one chunk; see `open_loop.predict`, without its B."""
    batch = {key: tf.constant(value)[None] for key, value in episode.items()}
    predict = tf.function(lambda batch: open_loop.predict(model, batch, context, open_loop.SEED))
    return {key: value[0].numpy() for key, value in predict(batch).items()}


def windows(episode: Episode, length: int, count: int = 32) -> dict[str, tf.Tensor]:
    """Cuts evenly spaced chunks out of an episode: [N, length, ...], N at most `count`.

    The episode has at least `length` frames.
    """
    frames = len(episode["reward"])
    starts = np.unique(np.linspace(0, frames - length, count).round().astype(int))
    steps = starts[:, None] + np.arange(length)
    return {key: tf.constant(value[steps]) for key, value in episode.items()}


def evaluation_video(
    model: WorldModel | None,
    episode: Episode,
    frames: np.ndarray,
    context: int = open_loop.CONTEXT,
    size: int = videos.SIZE,
) -> np.ndarray:
    """Shows an episode next to the model's reconstruction and open-loop prediction.

    Args:
      model: None, or a model that does not read images: the episode alone is shown.
      episode: the episode.
      frames: uint8 [T, H, W, 3], its images.
      context: observations that the open-loop prediction sees.
      size: pixels per side of each image; see `videos.side_by_side`.

    Returns:
      uint8 [T, height, width, 3].
    """
    panels = {"real": frames}
    if model is not None and model.reads == "image":
        length = len(episode["reward"])
        context = min(context, length - 1)
        captions = {"reconstruction": length - 1, f"open loop from step {context}": context}
        for caption, seen in captions.items():
            prediction = predict_episode(model, episode, seen)
            panels[caption] = pictures.to_uint8(prediction["observation"])
    return videos.side_by_side(panels, size)
