"""Shows how far the runs of a sweep are: a live table in a terminal, else a line per change."""

import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from planet_tf import errors, run_files


class State(NamedTuple):
    """How far one run is; None: not known yet.

    Attributes:
      state: 'waiting', 'running', 'done', or why it failed.
      episodes: collected, and those to collect.
      last, best: mean returns of evaluations.
      seconds_left: until all episodes are collected.
    """

    state: str
    episodes: tuple[int, int]
    last: float | None
    best: float | None
    seconds_left: float | None


class RunProgress:
    """Follows one run by what it appends to its scalars.jsonl."""

    def __init__(self, root: pathlib.Path, episodes: int):
        """Follows from now on.

        Args:
          root: the run's directory, which need not exist yet.
          episodes: to collect.
        """
        self._file, self._lock = root / run_files.SCALARS, root / run_files.LOCK
        self._total, self._episodes, self._offset = episodes, 0, 0
        self._returns: list[float] = []
        self._first: tuple[float, int] | None = None  # when the first new episode came, which one
        self._read()

    def state(self, outcome: str | None, now: float) -> State:
        """Reads what is new; outcome: None, or what the sweep says of the run."""
        before = self._episodes
        self._read()
        if self._first is None and self._episodes > before:
            self._first = now, self._episodes
        running = "running" if self._lock.exists() else "waiting"
        return State(
            outcome or running,
            (self._episodes, self._total),
            self._returns[-1] if self._returns else None,
            max(self._returns, default=None),
            None if outcome else self._seconds_left(now),
        )

    def _seconds_left(self, now: float) -> float | None:
        if self._first is None or self._episodes == self._first[1]:
            return None
        since, before = self._first
        return (self._total - self._episodes) * (now - since) / (self._episodes - before)

    def _read(self) -> None:
        for line in self._new_lines():
            if "evaluation/return" in line:
                self._returns.append(float(line["evaluation/return"]))
            self._episodes = max(self._episodes, int(line.get("episodes", 0)))

    def _new_lines(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(whole)
        lines = []
        for line in whole.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:  # of a process that was killed
                continue
        return lines


class Display:
    """A table that is drawn again every second; a context manager."""

    def __init__(self, root: pathlib.Path, episodes: Mapping[str, int]):
        """Prepares the table.

        Args:
          root: the sweep's directory.
          episodes: to collect in each run, by its name.

        Raises:
          ConfigError: if rich is not installed.
        """
        try:
            from rich import console, live
        except ImportError as error:
            raise errors.ConfigError(
                "rich is not installed", "pip install -e '.[cluster]' in the checkout installs it"
            ) from error
        self._runs = {name: RunProgress(root / name, total) for name, total in episodes.items()}
        self._console = console.Console(stderr=True)
        self._live = live.Live(console=self._console, auto_refresh=False)
        self._before: dict[str, str] = {}

    def __enter__(self):
        if self._console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *error):
        if self._console.is_terminal:
            self._live.__exit__(*error)

    def line(self, text: str) -> None:
        """Prints a line above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, outcomes: Mapping[str, str]) -> None:
        """Draws the table; without a terminal, prints the runs whose state has changed."""
        now = time.monotonic()
        states = {name: f.state(outcomes.get(name), now) for name, f in self._runs.items()}
        if self._console.is_terminal:
            self._live.update(table(states), refresh=True)
            return
        for name, state in states.items():
            if self._before.get(name) != state.state:
                self.line("  ".join([name, *row(state)]))
            self._before[name] = state.state


def row(state: State) -> Sequence[str]:
    """Returns a row of the table: state, episodes, last and best return, time left."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    left = ""
    if state.seconds_left is not None:
        minutes = round(state.seconds_left / 60)
        left = f"{minutes // 60}:{minutes % 60:02d} h left"
    done, total = state.episodes
    return [state.state, f"{done}/{total} episodes", number(state.last), number(state.best), left]


def table(states: Mapping[str, State]) -> Any:
    """Returns a rich table of all runs."""
    from rich import table as rich_table

    found = rich_table.Table("run", "state", "episodes", "last return", "best", "left")
    for name, state in states.items():
        found.add_row(name, *row(state))
    done = sum(state.state == "done" for state in states.values())
    found.caption = f"{done} of {len(states)} runs done"
    return found
