"""Images of what a model predicts, next to what happened."""

from collections.abc import Mapping

import numpy as np

from planet_tf.analysis import videos

FRAME_SIZE = 128
"""Pixels that frames in a strip are enlarged to, in integer multiples."""


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Maps the model's images, floats in [-0.5, 0.5], to uint8; clips values outside."""
    return np.clip((image + 0.5) * 256.0, 0.0, 255.0).astype(np.uint8)


def difference_video(prediction: Mapping[str, np.ndarray], size: int = videos.SIZE) -> np.ndarray:
    """Shows a prediction of images: real, predicted, difference; uint8 [T, height, width, 3]."""
    return videos.side_by_side(_panels(prediction), size)


def narrow_video(prediction: Mapping[str, np.ndarray]) -> np.ndarray:
    """Shows real and predicted images in TensorBoard's narrow cards; see `difference_video`."""
    panels = _panels(prediction)
    shown = videos.side_by_side({key: panels[key] for key in ("real", "predicted")}, FRAME_SIZE)
    # TensorBoard crops the top of a picture.
    return np.pad(shown, [(0, 0), (12, 0), (0, 0), (0, 0)], constant_values=255)


def strip(
    prediction: Mapping[str, np.ndarray], steps: int = 10, difference: bool = True
) -> np.ndarray:
    """Draws a prediction of images: columns real, predicted and difference, one row per step.

    Args:
      prediction: one chunk of `open_loop.predict`, without its B.
      steps: rows shown, evenly spaced from the first to the last step.
      difference: whether there is a third column.

    Returns:
      uint8 [rows * size, 3 * size, 3], or 2 * size wide.
    """
    length, height = prediction["target"].shape[:2]
    shown = np.linspace(0, length - 1, min(steps, length)).round().astype(int)
    panels = list(_panels(prediction).values())[: 3 if difference else 2]
    columns = [np.concatenate(frames[shown], 0) for frames in panels]
    times = max(1, FRAME_SIZE // height)
    return np.concatenate(columns, 1).repeat(times, 0).repeat(times, 1)


def _panels(prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the frames of a prediction, uint8 [T, H, W, 3]: real, predicted, difference."""
    real, model = prediction["target"], prediction["observation"]
    panels = {
        "real": real,
        "predicted": np.clip(model, -0.5, 0.5),
        "difference": (model - real) / 2,  # grey where they agree
    }
    return {caption: to_uint8(frames) for caption, frames in panels.items()}
