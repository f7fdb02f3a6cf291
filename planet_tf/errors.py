"""The errors that a user can act on: a command prints message and hint, and exits with the status.

Anything else that is raised is a fault of this library, and shows its traceback.
"""

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator

INSTALL_VIEW = "pip install -e '.[view]' in the checkout installs it"
"""The hint for a missing package of the `view` extra."""


class PlanetError(Exception):
    """Base of the errors below.

    Attributes:
      message: what is wrong, in one line or a few.
      hint: what to do about it; may be empty.
      setting: the gin setting or flag at fault, such as 'CEM.elites'; may be empty.
      exit_status: of the command that it ends.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "", setting: str = ""):
        super().__init__(f"{message} (hint: {hint})" if hint else message)
        self.message, self.hint, self.setting = message, hint, setting

    def __reduce__(self):
        """Lets it be sent between processes as it is."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[PlanetError], arguments: tuple, attributes: dict) -> PlanetError:
    error = kind.__new__(kind)
    error.args = arguments
    vars(error).update(attributes)
    return error


class ConfigError(PlanetError, ValueError):
    """A setting, flag or path cannot be used."""

    exit_status = 2


class RenderingError(PlanetError, RuntimeError):
    """No off-screen rendering backend works."""

    exit_status = 2


class EnvironmentFailure(PlanetError, RuntimeError):
    """An environment cannot continue: its simulator, renderer or process failed."""


class NotFiniteError(PlanetError, FloatingPointError):
    """A loss, gradient, observation, reward or plan is NaN or infinite."""


class MachineLost(PlanetError):
    """Another machine that takes part in the updates has ended."""


class StorageError(PlanetError):
    """Something cannot be written; what was written before is intact."""


class Interrupted(PlanetError):
    """Ctrl-C or SIGTERM asked the process to stop."""

    def __init__(self, message: str, exit_status: int):
        super().__init__(message, "the same command resumes the run")
        self.exit_status = exit_status


_GENERATED = "__autograph_generated_file"  # TensorFlow's copies of functions
_NOT_USERS = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(__file__),
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    )
)


def place(error: BaseException) -> str:
    """Returns ' (FILE, line N, in FUNCTION)', where custom code raised an error; else ''."""
    calls = traceback.extract_tb(error.__traceback__)[1:]  # the first one catches it
    ours = [number for number, call in enumerate(calls) if call.filename.startswith(_NOT_USERS)]
    for call in reversed(calls[min(ours, default=len(calls)) :]):
        is_file = os.path.isfile(call.filename) and _GENERATED not in call.filename
        if is_file and not call.filename.startswith(_NOT_USERS):
            return f" ({call.filename}, line {call.lineno}, in {call.name})"
    return ""


@contextlib.contextmanager
def as_config_errors() -> Iterator[None]:
    """Turns what custom code and libraries raise while things are built into a ConfigError."""
    try:
        yield
    except PlanetError:
        raise
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        # gin appends its call chain to the text.
        lines = [line for line in str(error).splitlines() if "In call to configurable" not in line]
        text = "\n".join(lines) or type(error).__name__
        raise ConfigError(f"{text}{place(error)}") from error
