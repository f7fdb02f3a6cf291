"""The progress of a sweep's runs: what is read from them, and how it is shown."""

import io
import json

import pytest
from rich import console

from planet_tf.sweeps import progress
from planet_tf.sweeps.progress import Display, RunProgress, State


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def log(run, text="", **values):
    with (run / "scalars.jsonl").open("a") as file:
        file.write(text or json.dumps(values) + "\n")


def test_a_run_is_followed_from_its_first_episode(run):
    follower = RunProgress(run, 10)
    assert follower.state(None, 0.0) == State("waiting", (0, 10), None, None, None)
    (run / "lock").touch()
    log(run, episodes=2)
    assert follower.state(None, 60.0) == State("running", (2, 10), None, None, None)
    log(run, **{"episodes": 4, "evaluation/return": 7.0})
    log(run, **{"episodes": 6, "evaluation/return": 5.0})
    # 4 episodes in 30 s: the other 4 take as long.
    assert follower.state(None, 90.0) == State("running", (6, 10), 5.0, 7.0, 30.0)
    assert follower.state("done", 99.0) == State("done", (6, 10), 5.0, 7.0, None)


def test_a_half_written_line_is_read_when_it_is_whole(run):
    follower = RunProgress(run, 10)
    log(run, episodes=1)
    log(run, text='{"episodes": 3, "evalu')
    assert follower.state(None, 0.0).episodes == (1, 10)
    log(run, text='ation/return": 2.0}\n')
    assert follower.state(None, 0.0)[1:3] == ((3, 10), 2.0)
    log(run, text='{"cut off\n')  # by a process that was killed
    log(run, episodes=4)
    assert follower.state(None, 0.0).episodes == (4, 10)


def test_old_episodes_of_a_resumed_run_do_not_count_for_its_speed(run):
    log(run, episodes=8)
    follower = RunProgress(run, 10)
    assert follower.state(None, 0.0).seconds_left is None
    log(run, episodes=9)
    follower.state(None, 100.0)
    log(run, episodes=10)
    assert follower.state(None, 140.0).seconds_left == 0.0


def test_the_table_has_a_row_for_each_run():
    out = console.Console(file=io.StringIO(), width=100)
    states = {
        "one": State("running", (6, 10), 5.0, 7.0, 5400.0),
        "two": State("done", (10, 10), None, None, None),
    }
    out.print(progress.table(states))
    text = out.file.getvalue()
    for part in ("one", "running", "6/10", "5.0", "7.0", "1:30 h left", "1 of 2 runs done"):
        assert part in text


def test_without_a_terminal_changes_are_printed_once(run, capsys):
    with Display(run.parent, {"run": 10}) as display:
        for outcomes in ({}, {}, {"run": "done"}, {"run": "done"}):
            display.show(outcomes)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["run", "waiting"], ["run", "done"]]
