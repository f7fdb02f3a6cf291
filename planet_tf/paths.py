"""Paths that users name: `~` is the home directory, and TensorFlow must not see a wildcard."""

import os
import pathlib
import re


def expanded(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path with a leading `~` replaced by the home directory.

    A shell expands `~` only at the start of a word, so `--root_dir=~/x` reaches us as it is.
    """
    return pathlib.Path(os.path.expanduser(path))


def for_tensorflow(path: str | os.PathLike) -> pathlib.Path:
    """Returns the expanded path of a directory that TensorFlow reads or writes.

    TensorFlow treats checkpoint paths as glob patterns: in a run named `x[12]` it would delete the
    checkpoints of `x1`, and it cannot find those of `a[lr=1]`.

    Raises:
      ConfigError: if the path holds one of `* ? [` or a backslash.
    """
    path = expanded(path)
    from planet_tf import config  # which needs this module

    if wildcard := re.search(r"[*?\[\\]", os.fspath(path)):
        raise config.ConfigError(
            f"{path}: TensorFlow treats {wildcard[0]!r} in a path as a wildcard; use a directory "
            "without * ? [ \\ in its name"
        )
    return path
