"""Frames side by side, with captions, and videos of them."""

import io
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from planet_tf import errors, storage

SIZE = 256
"""Pixels that frames are enlarged to, in integer multiples."""

_CAPTION = 18  # pixels
_GAP = 4


def side_by_side(panels: Mapping[str, np.ndarray], size: int = SIZE) -> np.ndarray:
    """Shows videos next to each other under their captions.

    Args:
      panels: by caption, uint8 [T, H, W, 3]; smaller ones are enlarged to the largest's size, which
        must be a multiple of theirs. All are enlarged further, to `size`.
      size: pixels per side, rounded down to an integer multiple.

    Returns:
      uint8 [T, height, width, 3]; height and width are even, as video formats require.
    """
    largest = max(frames.shape[1] for frames in panels.values())
    size = largest * max(1, size // largest)
    length = min(len(frames) for frames in panels.values())
    width = len(panels) * (size + _GAP) - _GAP
    out = np.full([length, _CAPTION + size, width + width % 2, 3], 255, np.uint8)
    for column, (caption, frames) in enumerate(panels.items()):
        left, times = column * (size + _GAP), size // frames.shape[1]
        large = frames[:length].repeat(times, 1).repeat(times, 2)
        out[:, _CAPTION:, left : left + size] = large
        out[:, :_CAPTION, left : left + size] = _caption(caption, size)
    return out


def _caption(text: str, width: int) -> np.ndarray:
    image = Image.new("RGB", (width, _CAPTION), "white")
    ImageDraw.Draw(image).text((2, 3), text, fill="black")
    return np.asarray(image)


def gif(frames: np.ndarray, fps: float) -> bytes:
    """Returns uint8 [T, H, W, 3] as an animated GIF that loops.

    All frames share one palette, taken from some of them, so that still parts do not flicker.
    """
    some = np.concatenate(list(frames[:: max(1, len(frames) // 8)]))
    palette = Image.fromarray(some).quantize(256)
    first, *others = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    )
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return out.getvalue()


def check_path(path: str | os.PathLike) -> None:
    """Checks that a video can be written before it is made.

    Raises:
      ConfigError: for a kind that is not .mp4 or .gif, a missing directory, or a missing library.
    """
    target = storage.expand(path)
    if target.suffix not in (".mp4", ".gif"):
        raise errors.ConfigError(f"{path}: a video's name must end in .mp4 or .gif")
    storage.check_parent(target)
    if target.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise errors.ConfigError(
                f"{path}: imageio-ffmpeg, which writes .mp4, is not installed",
                f"{errors.INSTALL_VIEW}; .gif needs nothing",
            ) from error


def write(path: str | os.PathLike, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 [T, H, W, 3] as .mp4 or .gif.

    Raises:
      ConfigError: see `check_path`.
      StorageError: if it cannot be written.
    """
    check_path(path)
    target = storage.expand(path)
    with storage.writing(target):
        if target.suffix == ".gif":
            target.write_bytes(gif(frames, fps))
            return
        import imageio.v3

        imageio.v3.imwrite(target, frames, plugin="FFMPEG", fps=fps, macro_block_size=1)
