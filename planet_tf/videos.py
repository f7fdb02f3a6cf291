"""Frames side by side, with captions, and videos of them."""

import argparse
import io
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from planet_tf import config, files, paths

SIZE = 256
"""Pixels that frames are enlarged to, as far as whole times go."""

_CAPTION = 18  # pixels
_GAP = 4


def side_by_side(panels: Mapping[str, np.ndarray], size: int = SIZE) -> np.ndarray:
    """Puts videos next to each other under their captions.

    Args:
      panels: by caption, uint8 [T, H, W, 3]; smaller ones are enlarged to the largest's size, which
        must be a multiple of theirs. All are enlarged further, to `size`.
      size: pixels a side, as far as whole times go.

    Returns:
      uint8 [T, height, width, 3]; both even, as video formats want it.
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
    """Returns uint8 [T, H, W, 3] as an animated GIF that goes on for ever.

    All frames have one palette, that of some of them: what stands still does not flicker.
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


def fps(text: str) -> float:
    """Reads frames per second: 0.1 to 100, what GIFs can hold.

    Raises:
      ArgumentTypeError: for another number, or none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 100, got {text}")
    return value


def check_path(path: str | os.PathLike) -> None:
    """Checks that a video can be written, before the work of making one.

    Raises:
      ConfigError: for a kind that is not .mp4 or .gif, a missing directory, or a missing library.
    """
    target = paths.expanded(path)
    if target.suffix not in (".mp4", ".gif"):
        raise config.ConfigError(f"{path}: a video's name must end in .mp4 or .gif")
    if not target.resolve().parent.is_dir():
        raise config.ConfigError(f"{path}: no such directory; make it first")
    if target.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise config.ConfigError(
                f'{path}: .mp4 needs pip install "planet_tf[view]"; .gif needs nothing'
            ) from error


def write(path: str | os.PathLike, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 [T, H, W, 3] as .mp4 or .gif.

    Raises:
      ConfigError: see `check_path`.
      StorageError: if it cannot be written.
    """
    check_path(path)
    target = paths.expanded(path)
    with files.writing(target):
        if target.suffix == ".gif":
            target.write_bytes(gif(frames, fps))
            return
        import imageio.v3

        imageio.v3.imwrite(target, frames, plugin="FFMPEG", fps=fps, macro_block_size=1)
