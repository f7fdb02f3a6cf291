"""A run with remote collectors survives SIGKILL of a collector, of Ray and of itself.

Each moment is drawn; a run ends complete, or with one line, and the same command completes it.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import uuid

import helpers
import numpy as np
import pytest

EPISODES = 10
MOMENTS = 10  # per victim


def command(root):
    settings = ["train.collectors=2", f"train.episodes={EPISODES}", "train.evaluate_every=5"]
    files = ["--gin_file=dot_goal.gin", "--gin_file=debug.gin"]
    bindings = [f"--gin_bindings={setting}" for setting in settings]
    return [sys.executable, "-m", "planet_tf", "train", *files, *bindings, f"--root_dir={root}"]


def processes(mark, title):
    """Returns the processes with a mark in their environment and a title."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_text() and title in (path / "cmdline").read_text():
                found.append(int(path.name))
        except OSError:  # another user's, or it has just ended
            continue
    return found


def kill(victim, process, mark):
    if victim == "learner":
        process.kill()
        return
    title = {"collector": "ray::CollectorProcess", "raylet": "raylet/raylet"}[victim]
    for number in sorted(processes(mark, title))[:1]:
        os.kill(number, signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("victim", ["collector", "raylet", "learner"])
def test_nothing_is_lost(tmp_path, victim, moment):
    root, mark = tmp_path / "run", uuid.uuid4().hex
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PLANET_TF_TEST": mark}
    drawn = random.Random(f"{victim}{moment}")
    after, pause = drawn.randrange(EPISODES - 1), drawn.uniform(0, 3)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command(root), env=environment, stderr=log, stdout=log, cwd=tmp_path
        )
        while not (root / "scalars.jsonl").exists() or len(helpers.scalars(root)) < after:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        time.sleep(pause)
        kill(victim, process, mark)
        status = process.wait(timeout=600)
    text = (tmp_path / "log").read_text()
    assert status == 0 or victim != "collector", text
    assert "Traceback" not in text
    if status:
        again = subprocess.run(
            command(root), env=environment, capture_output=True, text=True, check=False
        )
        assert again.returncode == 0, again.stderr
    files = sorted((root / "episodes" / "train").glob("*.npz"))
    assert len(files) == EPISODES
    for file in files:
        with np.load(file) as episode:
            assert len(episode["reward"]) == 51 and np.isfinite(episode["reward"]).all()
    evaluated = [line["episodes"] for line in helpers.scalars(root) if "evaluation/return" in line]
    assert evaluated == sorted(evaluated) and evaluated[-1] == EPISODES
    assert (root / "policy").is_dir() and not (root / "lock").exists()
