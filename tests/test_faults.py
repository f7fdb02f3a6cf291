"""Killed at any moment, short of room, or run for long: a run loses next to nothing.

`make test-faults` runs the long forms, here marked `faults`.
"""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import evaluation, files, replay

FILES = ["dot_goal.gin", "debug.gin"]


@pytest.fixture
def killed(python, root):
    """Trains the toy until it is killed at a moment: (run, moment, number, bindings)."""

    def run(root_dir, moment, number, bindings=()):
        return python(
            root / "tests" / "killed_train.py",
            f"{moment}:{number}",
            *[f"--gin_file={root / 'gin' / file}" for file in FILES],
            *[f"--gin_bindings={binding}" for binding in bindings],
            f"--root_dir={root_dir}",
        )

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


def check_is_whole(run, episodes):
    """Checks all that a complete run has left, whatever happened on its way."""
    names = {path.name for path in run.iterdir()}
    assert names == {
        "checkpoints",
        "config.gin",
        "episodes",
        "policy",
        "run.json",
        "scalars.jsonl",
        "tensorboard",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "checkpoint",
        *(
            f"ckpt-{number}.{part}"
            for number in (episodes - 1, episodes)
            for part in ("index", "data-00000-of-00001")
        ),
    }
    assert on_disk(run)[:2] == (episodes, episodes)
    lines = [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]
    assert lines[-1]["agent_steps"] == lines[-1]["env_steps"] == 50 * episodes
    collected = [line["episodes"] for line in lines if "collect/return" in line]
    assert set(collected) >= set(range(1, episodes + 1))
    assert max(line["episodes"] for line in lines if "evaluation/return" in line) == episodes
    policy = tf.saved_model.load(str(run / "policy"))
    assert int(policy.get_train_step()) == lines[-1]["updates"]


def check_resumed(said, before, lost):
    episodes, newest, updates = before
    assert episodes - newest <= 1 or newest == 0
    assert f"episode {episodes} of" in said and f"update {updates} (" in said, said
    assert ("lost: the updates after" in said) == lost, said


def test_a_run_that_is_killed_goes_on(killed, train, tmp_path):
    run = tmp_path / "run"
    settings = ["train.episodes=4", "train.export_every=1"]
    done = killed(run, "exchange", 1, settings)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = on_disk(run)
    assert before == (3, 3, 3) and not (run / "policy").exists()
    done = killed(run, "checkpoint", 1, settings)
    assert done.returncode == -signal.SIGKILL, done.stderr
    check_resumed(done.stderr, before, lost=True)
    before = on_disk(run)
    assert before == (4, 3, 3)
    done = train(run, FILES, settings)
    assert done.returncode == 0, done.stderr
    check_resumed(done.stderr, before, lost=True)
    # Its last updates are lost, its last evaluation is made now.
    assert "evaluation after 4 episodes" in done.stderr
    check_is_whole(run, 4)


@pytest.mark.faults
def test_twenty_kills(killed, train, tmp_path):
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
        if "resumed" in done.stderr:
            check_resumed(done.stderr, before, locked or before[0] > before[1])
        # One that was killed before it took the lock has nothing to lose, and hides nothing.
        before, locked = after, (run / "lock").exists()
    done = train(run, FILES, [f"train.episodes={before[0] + 2}"])
    assert done.returncode == 0, done.stderr
    check_resumed(done.stderr, before, locked or before[0] > before[1])
    check_is_whole(run, before[0] + 2)


@pytest.fixture
def room():
    """Limits the size of every file that is written: (bytes, or None for no limit)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size or soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("size", "where"),
    [
        pytest.param(1_000, "episodes/train/000003-51.npz", marks=pytest.mark.faults),
        (20_000, "checkpoints"),
    ],
)
def test_no_room_is_an_error_that_names_the_path(quick, room, tmp_path, monkeypatch, size, where):
    quick(tmp_path, train__episodes=3)
    before, run_episodes = contents(tmp_path), evaluation.run_episodes

    def run(*arguments):
        episodes = run_episodes(*arguments)
        room(size)
        return episodes

    monkeypatch.setattr(evaluation, "run_episodes", run)
    with pytest.raises(files.StorageError) as caught:
        quick(tmp_path, train__episodes=4)
    room(None)
    monkeypatch.setattr(evaluation, "run_episodes", run_episodes)
    assert f"cannot write {tmp_path / where}: " in str(caught.value)
    assert "File too large" in str(caught.value) and "the same command resumes" in str(caught.value)
    after = contents(tmp_path)
    for path, content in before.items():
        if path.name != "config.gin":  # of the new settings
            assert after[path].startswith(content), path
    quick(tmp_path, train__episodes=4)
    assert on_disk(tmp_path)[:2] == (4, 4)


def test_a_directory_that_vanishes_is_named(quick, tmp_path, monkeypatch):
    run_episodes, calls = evaluation.run_episodes, []

    def run(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            shutil.rmtree(tmp_path / "run")
        return run_episodes(*arguments)

    monkeypatch.setattr(evaluation, "run_episodes", run)
    with pytest.raises(files.StorageError, match="run/episodes/train/000001.*No such file"):
        quick(tmp_path / "run")


def test_a_directory_that_cannot_be_made_is_named(train, tmp_path):
    (tmp_path / "file").write_text("")
    done = train(tmp_path / "file" / "run", FILES)
    assert done.returncode == 2
    assert f"error: cannot write {tmp_path / 'file' / 'run'}: Not a directory" in done.stderr


@pytest.mark.faults
def test_a_full_disk(train, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]).returncode:
        pytest.skip("a disk of its own can be mounted by root alone")
    try:
        done = train(disk / "run", FILES, ["train.episodes=500"])
        assert done.returncode == 1
        assert f"error: cannot write {disk / 'run'}" in done.stderr
        assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
        print(done.stderr.splitlines()[-1])
        before = on_disk(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        episodes = before[0] + 1
        done = train(disk / "run", FILES, [f"train.episodes={episodes}"])
        assert done.returncode == 0, done.stderr
        assert on_disk(disk / "run")[:2] == (episodes, episodes)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


BROKEN = {
    "misspelt parameter": (["train.episods=3"], "did you mean 'episodes'"),
    "misspelt name": (["RSSMCel.stoch_size=3"], "did you mean 'RSSMCell'"),
    "wrong type": (["train.batch_size='many'"], "train.batch_size must be a whole number"),
    "fraction": (["train.episodes=2.5"], "train.episodes must be a whole number"),
    "negative size": (["RSSMCell.stoch_size=-1"], "RSSMCell.stoch_size"),
    "zero units": (["RewardHead.units=0"], "RewardHead.units"),
    "chunk beyond an episode": (["train.chunk_length=52"], "51 frames of an episode"),
    "more elites than candidates": (["cem.elites=21"], "must not exceed cem.candidates (20)"),
    "unknown task": (["train.task='cheeta_run'"], "did you mean 'cheetah_run'"),
    "unknown choice": (["WorldModel.latent='lstm'"], "one of rssm, ssm, rnn"),
    "bad syntax": (["train.episodes"], "--gin_bindings=train.episodes"),
    "unclosed bracket": (["Encoder.filters=(4, 8"], "--gin_bindings=Encoder.filters=(4, 8"),
    "absent GPU": (["train.device='gpu'"], "finds no GPU"),
    "nothing to learn": (["train.episodes=2"], "must exceed train.seed_episodes"),
    "overshooting beyond a chunk": (["WorldModel.overshooting_distance=8"], "train.chunk_length"),
    "negative noise": (["PlanetAgent.exploration_noise=-1"], "exploration_noise"),
    "noise in words": (["PlanetAgent.exploration_noise='much'"], "exploration_noise"),
    "wrong shape of the decoder": (["Decoder.filters=(8,)"], "Decoder"),
    "no capacity": (["ReplayBuffer.capacity=0"], "ReplayBuffer.capacity"),
    "no precision": (["WorldModel.precision='float8'"], "WorldModel.precision"),
}


def check_refused(done, run, said):
    assert done.returncode == 2, done.stderr
    (line,) = re.findall("^error: .*$", done.stderr, re.MULTILINE)
    assert said in done.stderr.split("error: ")[1], line
    assert "Traceback" not in done.stderr and not run.exists()


@pytest.mark.parametrize("case", ["absent GPU"])
def test_a_broken_configuration_ends_with_its_name(train, tmp_path, case):
    settings, said = BROKEN[case]
    check_refused(train(tmp_path / "run", FILES, settings), tmp_path / "run", said)


@pytest.mark.faults
@pytest.mark.parametrize("case", [case for case in BROKEN if case != "absent GPU"])
def test_broken_configurations_end_with_their_names(train, tmp_path, case):
    start = time.monotonic()
    test_a_broken_configuration_ends_with_its_name(train, tmp_path, case)
    print(f"{case}: {time.monotonic() - start:.1f} s")


@pytest.mark.faults
def test_a_missing_gin_file_ends_with_its_name(train, tmp_path):
    done = train(tmp_path / "run", ["cheeta.gin"])
    check_refused(done, tmp_path / "run", "cheetah.gin")


LONG = """
import os, sys, threading
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from planet_tf import config, summaries, training

def sample():
    with open("/proc/self/statm") as file:
        megabytes = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return megabytes, len(os.listdir("/proc/self/fd")), threading.active_count()

episode = summaries.Progress.episode

def spy(self, done, *arguments):
    episode(self, done, *arguments)
    if done % 20 == 0:
        print("sample", done, *sample(), flush=True)

summaries.Progress.episode = spy
config.parse(sys.argv[2].split(","), [
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
    gin_files = ",".join(str(root / "gin" / file) for file in FILES)
    done = python(tmp_path / "long.py", tmp_path / "run", gin_files)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("sample")]
    samples = np.array(lines, float)
    assert samples[:, 0].tolist() == list(range(20, 201, 20))
    _, megabytes, handles, threads = samples.T
    # From episode 60 on, when all has been made once and the replay is full.
    slope = np.polyfit(samples[2:, 0], megabytes[2:], 1)[0]
    assert slope < 0.2, f"{slope:.2f} MB an episode"
    assert len(set(handles[1:])) == 1 and len(set(threads[1:])) == 1
    assert "threads MainThread\n" in done.stdout


def test_no_file_is_run_as_code():
    """Where a file's bytes could become code: nowhere, but the pipes between our own processes."""
    suspects = re.compile(r"pickle|marshal|shelve|joblib|allow_pickle|\beval\(|\bexec\(|dill")
    found = [
        (path.name, line.strip())
        for folder in ("planet_tf", "scripts")
        for path in (pathlib.Path(__file__).parents[1] / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if suspects.search(line)
    ]
    assert found == [("replay.py", "file = np.load(path, allow_pickle=False)")]


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
    replay.ReplayBuffer(spec, directory)
    assert not (tmp_path / "harm").exists()
    assert path.with_suffix(".bad").exists() and str(path) in capsys.readouterr().err
    with np.load(path.with_suffix(".bad"), allow_pickle=True) as file:
        assert file["reward"].size  # it would have done harm
    assert (tmp_path / "harm").exists()
