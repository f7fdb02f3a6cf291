"""Progress on the terminal: a bar, or plain lines if stderr is not a terminal."""

import datetime
import sys
import time

import tqdm


class Progress:
    """Progress in episodes: a bar on a terminal, elsewhere plain lines, at least one per minute."""

    def __init__(self, episodes: int, done: int, seconds_between_lines: float = 60.0):
        self._episodes = episodes
        self._last_episode = self._last_line = time.monotonic()
        self._durations: list[float] = []
        self._seconds_between_lines = seconds_between_lines
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=episodes, initial=done, unit="episode", dynamic_ncols=True)

    def within(self, what: str, done: int, total: int) -> None:
        """Shows progress within the current episode."""
        if self._bar is not None:
            self._bar.set_description(f"{what} {done}/{total}")
        elif time.monotonic() - self._last_line > self._seconds_between_lines:
            self._print(f"  {what} {done}/{total}")

    def episode(self, done: int, text: str, trained: bool = True) -> None:
        """Shows that `done` episodes are complete, with a line of results.

        The time left is estimated from episodes with updates before them (`trained`).
        """
        now = time.monotonic()
        if trained:
            self._durations.append(now - self._last_episode)
        self._last_episode = now
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
            self._bar.refresh()
            return
        if self._durations:
            left = sum(self._durations) / len(self._durations) * (self._episodes - done)
            text += f" | {datetime.timedelta(seconds=round(left))} left"
        self._print(f"episode {done}/{self._episodes} | {text}")

    def report(self, text: str) -> None:
        """Prints one line."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            self._print(text)

    def close(self) -> None:
        """Leaves the terminal in a clean state."""
        if self._bar is not None:
            self._bar.close()

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(text, file=sys.stderr, flush=True)
