"""planet-tf sweep: what is checked first, printed, scheduled and summarized."""

import gin
import helpers
import pytest

from planet_tf.sweeps import scheduler

FLAGS = ("sweep", "--task=dot_goal.gin", "--gin_file=debug.gin")


@pytest.fixture
def scheduled(monkeypatch):
    """What `scheduler.run` is called with, instead of training; every second run fails."""
    calls = []

    def run(cells, root, *arguments):
        calls.append((cells, root, *arguments))
        for cell in cells[::2]:
            helpers.scored_run(root / cell.name, 0, "dot_goal")
        return {cell.name: "lost" if n % 2 else "done" for n, cell in enumerate(cells)}

    monkeypatch.setattr(scheduler, "run", run)
    return calls


def test_a_dry_run_prints_a_command_per_run(command, scheduled):
    status, out, err = command(*FLAGS, "--seeds=0:2", "--dry_run")
    assert (status, err) == (0, "") and not scheduled
    assert out.splitlines() == [
        f"planet-tf train --gin_file=dot_goal.gin --gin_file=debug.gin "
        f"'--gin_bindings=train.seed = {seed}' "
        f"--root_dir=runs/sweep/dot_goal-debug-seed{seed}"
        for seed in (0, 1)
    ]


def test_a_dry_run_may_have_collectors(command, scheduled):
    status, out, err = command(*FLAGS, "--gin_bindings=train.collectors=2", "--dry_run")
    assert (status, err) == (0, "") and "train.collectors=2" in out and not scheduled


def test_flags_reach_the_scheduler_and_results_are_summarized(command, scheduled, tmp_path):
    flags = ["--seeds=3,5", "--cpus=2", "--gpus=0.5", "--retries=1", "--address=auto"]
    status, out, _ = command(*FLAGS, *flags, f"--root_dir={tmp_path}")
    assert status == 1  # one of the runs failed
    (cells, root, resources, retries, address, *_), *others = scheduled
    assert not others and root == tmp_path
    assert [cell.name for cell in cells] == ["dot_goal-debug-seed3", "dot_goal-debug-seed5"]
    assert (resources, retries, address) == (scheduler.Resources(2, 0.5), 1, "auto")
    assert "| dot_goal |" in out
    assert (tmp_path / "csv" / "dot_goal-debug-seed3.csv").exists()
    assert (tmp_path / "learning_curves.png").exists()
    assert gin.config_str() == ""


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--grid=CEM.horizon"], "--grid"),
        (["--grid=CEM.horizn=[1]"], "horizon"),
        (["--seeds=x"], "--seeds"),
        (["--root_dir=runs/what?"], "what?"),
        (["--gin_bindings=train.episodes=1"], "train.seed_episodes"),
        (["--gin_bindings=train.collectors=2"], "train.collectors"),
    ],
)
def test_wrong_flags_start_nothing(command, scheduled, flags, named):
    status, _, err = command(*FLAGS, *flags)
    assert status == 2 and named in err and not scheduled


@pytest.mark.parametrize("gpus", ["-1", "nan", "inf", "one"])
def test_gpus_are_an_amount(command, scheduled, gpus):
    status, _, err = command(*FLAGS, f"--gpus={gpus}")
    assert status == 2 and "--gpus: must be a number of at least 0" in err and not scheduled


def test_a_task_is_needed(command, scheduled):
    status, _, err = command("sweep", "--seeds=0:2")
    assert status == 2 and "no task" in err and "--task=cheetah.gin" in err and not scheduled
