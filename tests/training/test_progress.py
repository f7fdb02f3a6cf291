"""Progress: plain lines where there is no terminal, a bar where there is one."""

import io
import sys

from planet_tf.training.progress import Progress


def test_progress_is_plain_lines_without_a_terminal(capsys):
    progress = Progress(episodes=10, done=4, seconds_between_lines=1e9)
    progress.within("update", 1, 100)  # too early for a line
    progress.episode(4, "return 0.5", trained=False)  # random: says nothing of the time left
    progress.episode(5, "return 1.0")
    progress.report("hello")
    progress.close()
    out, err = capsys.readouterr()
    random, first, second = err.splitlines()
    assert random == "episode 4/10 | return 0.5"
    assert first.startswith("episode 5/10 | return 1.0 | ") and first.endswith(" left")
    assert second == "hello"
    assert out == "" and "\r" not in err and "\x1b" not in err


def test_a_long_episode_shows_its_progress(capsys):
    progress = Progress(episodes=10, done=0, seconds_between_lines=-1.0)
    progress.within("update", 7, 100)
    assert capsys.readouterr().err == "  update 7/100\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress(episodes=10, done=4)
    progress.within("update", 1, 100)
    progress.episode(5, "return 1.0")
    progress.report("hello")
    progress.close()
    shown = terminal.getvalue()
    assert "\r" in shown and "hello\n" in shown
    for part in ("5/10", "return 1.0", "update 1/100"):
        assert part in shown
