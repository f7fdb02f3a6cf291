"""What all figures share: colours, letters, axes and files. Needs matplotlib (the `view` extra)."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from planet_tf import errors, storage

# Okabe and Ito's colours, made for any colour vision; the markers differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^Dvp*"
_DASHES = ("-", "--", ":", "-.")  # for every seven variants
WIDTH, _DPI = 8.0, 150  # inches: 800 px show the letters at their size in points x 1.4
LETTERS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "legend.fontsize": 9.5,
    "svg.hashsalt": "planet_tf",  # the same curves give the same file
}


@contextlib.contextmanager
def one_panel(path: str | os.PathLike) -> Iterator[Any]:
    """Yields the axes of a figure, and writes it as PNG and SVG.

    Raises:
      ConfigError: if matplotlib or the directory is missing.
      StorageError: if the figure cannot be written.
    """
    path = check_path(path)
    import matplotlib as mpl
    from matplotlib import figure as mpl_figure

    with mpl.rc_context(LETTERS):
        figure = mpl_figure.Figure((WIDTH, 4.3), layout="constrained")
        panel = figure.subplots()
        yield panel
        tidy(panel)
        save(figure, path)


def check_path(path: str | os.PathLike) -> pathlib.Path:
    """Checks that a figure can be drawn before its contents are computed; returns its path.

    Raises:
      ConfigError: if the name does not end in .png, or matplotlib is missing.
    """
    path = storage.expand(path)
    if path.suffix.lower() != ".png":
        raise errors.ConfigError(f"{path}: must end in .png; an SVG is written next to it")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise errors.ConfigError("matplotlib is not installed", errors.INSTALL_VIEW) from error
    return path


def save(figure, path: pathlib.Path) -> list[pathlib.Path]:
    """Writes a figure as PNG and SVG.

    Raises:
      ConfigError: if the directory is missing.
      StorageError: if it cannot be written.
    """
    storage.check_parent(path)
    written = [path, path.with_suffix(".svg")]
    with storage.writing(path):
        figure.savefig(written[0], dpi=_DPI, metadata={"Software": None})
        figure.savefig(written[1], metadata={"Date": None})
    return written


def tidy(panel) -> None:
    """Gives axes a light grid behind what is drawn, and no frame above and on the right."""
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def style(index: int) -> dict:
    """Returns colour, marker and line of one of several variants."""
    count = len(COLOURS)
    return {
        "color": COLOURS[index % count],
        "marker": _MARKERS[index % count],
        "linestyle": _DASHES[index // count % len(_DASHES)],
        "markersize": 4,
    }
