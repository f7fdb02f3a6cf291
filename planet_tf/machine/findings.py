"""The lines of the doctor's report. Imports the standard library alone."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report; bad: the run would fail."""

    level: str  # 'ok', 'note', 'bad'
    what: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        """Lays it out in columns."""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.level:4}  {self.what + ':':12} {self.text}{hint}"


def summary(error: Exception) -> str:
    """Returns an error's kind and its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[-1:]])
