"""Killed at any moment, out of room, or run for long: a run loses next to nothing.

`make test-faults` runs those marked `faults`; training/test_faults.py has short forms.
"""

import os
import random
import re
import shutil
import signal
import subprocess

import helpers
import numpy as np
import pytest
import tensorflow as tf

from planet_tf.experience import ReplayBuffer

FILES = ["--gin_file=dot_goal.gin", "--gin_file=debug.gin"]


@pytest.fixture
def killed(python, root):
    """Trains the toy until it is killed at a moment: (run, moment, number, bindings)."""

    def run(root_dir, moment, number, bindings=()):
        return python(
            root / "tests" / "killed_train.py",
            f"{moment}:{number}",
            *FILES,
            *[f"--gin_bindings={binding}" for binding in bindings],
            f"--root_dir={root_dir}",
            path=root,
        )

    return run


@pytest.fixture
def train(python):
    """Trains the toy in a process of its own: (root_dir, bindings)."""

    def run(root_dir, bindings=()):
        settings = [f"--gin_bindings={binding}" for binding in bindings]
        return python("-m", "planet_tf", "train", *FILES, *settings, f"--root_dir={root_dir}")

    return run


def on_disk(run):
    """Returns the number of episodes, and the newest checkpoint's number and updates."""
    numbers = sorted(int(p.name[:6]) for p in (run / "episodes" / "train").glob("*.npz"))
    assert numbers == list(range(len(numbers)))
    newest = 0
    for path in (run / "checkpoints").glob("ckpt-*.index"):
        newest = max(newest, int(path.stem.split("-")[1]))
    if not newest:
        return len(numbers), 0, 0
    key = "agent/_train_step_counter/.ATTRIBUTES/VARIABLE_VALUE"
    updates = tf.train.load_variable(str(run / "checkpoints" / f"ckpt-{newest}"), key)
    return len(numbers), newest, int(updates)


def assert_whole(run, episodes):
    """Asserts that a complete run has left everything, whatever happened on its way."""
    assert helpers.names(run) == [
        *["checkpoints", "config.gin", "episodes", "policy", "processes.jsonl", "run.json"],
        *["scalars.jsonl", "tensorboard"],
    ]
    assert set(helpers.names(run / "checkpoints")) == {
        "checkpoint",
        *(
            f"ckpt-{number}.{part}"
            for number in (episodes - 1, episodes)
            for part in ("index", "data-00000-of-00001")
        ),
    }
    assert on_disk(run)[:2] == (episodes, episodes)
    lines = helpers.scalars(run)
    assert lines[-1]["agent_steps"] == lines[-1]["env_steps"] == 50 * episodes
    collected = [line["episodes"] for line in lines if "collect/return" in line]
    assert set(collected) >= set(range(1, episodes + 1))
    assert max(line["episodes"] for line in lines if "evaluation/return" in line) == episodes
    policy = tf.saved_model.load(str(run / "policy"))
    assert int(policy.get_train_step()) == lines[-1]["updates"]


def assert_resumed(said, before, lost):
    episodes, _, updates = before
    assert f"episode {episodes} of" in said and f"update {updates} (" in said, said
    assert ("lost: the updates after" in said) == lost, said


# Kills.


@pytest.mark.faults
def test_a_run_killed_in_its_export_continues(killed, train, tmp_path):
    run = tmp_path / "run"
    settings = ["train.episodes=4", "train.export_every=1"]
    done = killed(run, "exchange", 1, settings)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = on_disk(run)
    assert before == (3, 3, 3) and not (run / "policy").exists()
    done = killed(run, "checkpoint", 1, settings)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert_resumed(done.stderr, before, lost=True)
    before = on_disk(run)
    assert before == (4, 3, 3)
    done = train(run, settings)
    assert done.returncode == 0, done.stderr
    assert_resumed(done.stderr, before, lost=True)
    # Its last updates are lost, its last evaluation is made now.
    assert "evaluation after 4 episodes" in done.stderr
    assert_whole(run, 4)


@pytest.mark.faults
def test_a_run_survives_twenty_kills(killed, train, tmp_path):
    run, settings = tmp_path / "run", ["train.episodes=60", "train.export_every=1"]
    randomness = random.Random(0)
    moments = [
        *[("episode", randomness.randint(1, 3)) for _ in range(4)],
        *[("checkpoint", randomness.randint(1, 3)) for _ in range(4)],
        *[("export", randomness.randint(1, 3)) for _ in range(3)],
        ("exchange", 1),
        *[("random", round(randomness.uniform(0, 12), 2)) for _ in range(8)],
    ]
    assert len(moments) == 20
    randomness.shuffle(moments)
    before, locked = (0, 0, 0), False
    for moment, number in moments:
        done = killed(run, moment, number, settings)
        assert done.returncode == -signal.SIGKILL, (moment, number, done.stderr)
        after = on_disk(run) if run.exists() else (0, 0, 0)
        print(moment, number, "episodes, checkpoint, updates", before, "->", after)
        assert after >= before
        # A kill loses the updates of at most one more episode.
        assert after[1] == 0 or after[0] - after[1] <= before[0] - before[1] + 1
        if "resumed" in done.stderr:
            assert_resumed(done.stderr, before, locked or before[0] > before[1])
        # One that was killed before it took the lock has nothing to lose, and hides nothing.
        before, locked = after, (run / "lock").exists()
    done = train(run, [f"train.episodes={before[0] + 2}"])
    assert done.returncode == 0, done.stderr
    assert_resumed(done.stderr, before, locked or before[0] > before[1])
    assert_whole(run, before[0] + 2)


# No room.


@pytest.mark.faults
def test_a_full_disk_is_an_error_that_names_the_path(train, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]).returncode:
        pytest.skip("only root can mount a disk")
    try:
        done = train(disk / "run", ["train.episodes=500"])
        assert done.returncode == 1
        assert str(disk / "run") in done.stderr and "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        print(done.stderr.splitlines()[-1])
        # The newest checkpoint may be what the disk had no room for.
        episodes = len(list((disk / "run" / "episodes" / "train").glob("*.npz"))) + 1
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        done = train(disk / "run", [f"train.episodes={episodes}"])
        assert done.returncode == 0, done.stderr
        assert on_disk(disk / "run")[:2] == (episodes, episodes)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Long runs.

LONG = """
import os, sys, threading
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from planet_tf import config, training
from planet_tf.training import progress

def sample():
    with open("/proc/self/statm") as file:
        megabytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return megabytes, len(os.listdir("/proc/self/fd")), threading.active_count()

episode = progress.Progress.episode

def spy(self, done, *arguments):
    episode(self, done, *arguments)
    if done % 20 == 0:
        print("sample", done, *sample(), flush=True)

progress.Progress.episode = spy
config.parse(["dot_goal.gin", "debug.gin"], [
    "train.episodes = 200", "train.evaluate_every = 10", "train.export_every = 10",
    "ReplayBuffer.capacity = 20",
])
if __name__ == "__main__":
    training.train(sys.argv[1])
    print("threads", *[t.name for t in threading.enumerate()], flush=True)
"""


@pytest.mark.faults
def test_two_hundred_episodes_take_no_more_than_twenty(python, root, tmp_path):
    (tmp_path / "long.py").write_text(LONG)
    done = python(tmp_path / "long.py", tmp_path / "run", path=root)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("sample")]
    samples = np.array(lines, float)
    assert samples[:, 0].tolist() == list(range(20, 201, 20))
    _, megabytes, handles, threads = samples.T
    # From episode 60 on, when everything has been made once and the replay is full.
    slope = np.polyfit(samples[2:, 0], megabytes[2:], 1)[0]
    assert slope < 0.2, f"{slope:.2f} MB an episode"
    assert len(set(handles[1:])) == 1 and len(set(threads[1:])) == 1
    assert "threads MainThread\n" in done.stdout


# Hostile files.


def test_no_file_is_run_as_code(root):
    """Where a file's bytes could become code: nowhere, except in pipes between our processes."""
    suspects = re.compile(r"pickle|marshal|shelve|joblib|allow_pickle|\beval\(|\bexec\(|dill")
    found = [
        (path.name, line.strip())
        for folder in ("planet_tf", "scripts")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if suspects.search(line) and '"""' not in line and "On disk an episode" not in line
    ]
    assert found == [("episode.py", "file = np.load(path, allow_pickle=False)")]


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["PLANET_TF_HOSTILE"],)


def test_a_hostile_episode_does_nothing(toy_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PLANET_TF_HOSTILE", str(tmp_path / "harm"))
    directory = shutil.copytree(toy_run / "episodes" / "train", tmp_path / "train")
    path = directory / "000001-51.npz"
    with np.load(path) as file:
        episode = dict(file)
    spec = {key: tf.TensorSpec(x.shape[1:], x.dtype) for key, x in episode.items()}
    np.savez(path, **{**episode, "reward": np.array([Hostile()] * 51)})
    ReplayBuffer(spec, directory)
    assert not (tmp_path / "harm").exists()
    assert path.with_suffix(".bad").exists() and str(path) in capsys.readouterr().err
    with np.load(path.with_suffix(".bad"), allow_pickle=True) as file:
        assert file["reward"].size  # it would have done harm
    assert (tmp_path / "harm").exists()
