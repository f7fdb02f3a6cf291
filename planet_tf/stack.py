"""The two stacks that planet_tf runs on, and what to set before TensorFlow is imported.

Python 3.12 and 3.13 have TensorFlow 2.21, whose Keras 2 is the separate package tf_keras; Python
3.10 and 3.11 have TensorFlow 2.15, which contains Keras 2. Nothing else in planet_tf knows which
one is installed. Imports the standard library alone.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import platform
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator

from planet_tf import errors

WITHOUT_DEPENDENCIES = (
    'tf-agents==0.19.0; python_version >= "3.12"',
    'dm_control==1.0.50; python_version >= "3.13"',
)
"""Packages whose own requirements cannot be met there; requirements-nodeps.txt has the same."""

_GLOBAL_SYMBOLS = "tensorflow.python.pywrap_dlopen_global_flags"
_NOISE = re.compile(rb"^(WARNING: All log messages before absl|[IWE]0000 ).*\n?", re.MULTILINE)


def is_modern() -> bool:
    """Whether TensorFlow and Keras 2 are separate packages."""
    return importlib.util.find_spec("tf_keras") is not None


def prepare() -> None:
    """Sets what TensorFlow reads when it is imported; `import planet_tf` calls it.

    Keras 2 instead of 3; its own symbols hidden from other libraries; oneDNN's kernels on every
    x86 CPU. Without VNNI, BF16 or AMX instructions TensorFlow leaves oneDNN off by default, though
    a small update then takes 1.5 times as long.

    TensorFlow 2.21 contains LLVM and would export its symbols to all libraries that are loaded
    later. Mesa's software renderer, which contains another LLVM, would then call them and crash.

    Raises:
      ConfigError: if Keras 3 is in use already.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not is_modern():
        return
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # read at the first use of tf.keras
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        sys.modules.setdefault(_GLOBAL_SYMBOLS, None)  # type: ignore[arg-type]
    elif not tensorflow.keras.Model.__module__.startswith("tf_keras"):
        raise errors.ConfigError(
            "tf.keras is Keras 3 already, and planet_tf needs Keras 2 (tf_keras)",
            "import planet_tf before TensorFlow, or set TF_USE_LEGACY_KERAS=1",
        )


def crashes_software_renderers() -> bool:
    """Whether TensorFlow was imported without `prepare`: Mesa's software renderer would crash."""
    return is_modern() and sys.modules.get(_GLOBAL_SYMBOLS) is not None


def check_packages() -> None:
    """Checks that the packages that pip cannot install together with the others are there.

    Raises:
      ConfigError: if one is missing; the hint has the command that installs it.
    """
    for module, package in zip(("tf_agents", "dm_control"), WITHOUT_DEPENDENCIES, strict=True):
        if importlib.util.find_spec(module) is None:
            name = package.partition(";")[0]
            raise errors.ConfigError(
                f"{name.partition('=')[0]} is not installed",
                "`make setup` installs everything; by hand: pip install --no-deps "
                f"{name} (pip cannot install it together with its own requirements)",
            )


def import_quietly() -> None:
    """Hides what TensorFlow and TF-Agents print while they are imported, unless it is fatal.

    TensorFlow 2.21 prints notes about GPUs whatever TF_CPP_MIN_LOG_LEVEL is; TF-Agents 0.19
    compares with literals, which Python warns of.
    """
    warnings.filterwarnings("ignore", r'"is( not)?" with', SyntaxWarning)
    if "tensorflow" not in sys.modules and is_modern():
        sys.meta_path.insert(0, _QuietTensorFlow())


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as usual, once, and hides its notes while it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module):
                with _without_notes():
                    execute(module)

            spec.loader.exec_module = execute_quietly
        return spec


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Removes absl's notes, warnings and errors from what is written to stderr; fatal ones stay."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            os.write(2, _NOISE.sub(b"", file.read()))
