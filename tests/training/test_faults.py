"""Killed, out of room, without its directory: the error names the path, and the run continues."""

import resource
import shutil
import signal

import helpers
import pytest

from planet_tf import errors
from planet_tf.experience import rollout

FILES = ["--gin_file=dot_goal.gin", "--gin_file=debug.gin"]


def test_a_run_killed_in_its_second_episode_continues(python, root, light, tmp_path, capsys):
    run, script = tmp_path / "run", root / "tests" / "killed_train.py"
    done = python(script, "episode:2", *FILES, f"--root_dir={run}", path=root)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert helpers.names(run / "episodes" / "train") == ["000000-51.npz", "000001-51.npz.tmp"]
    assert (run / "lock").exists()
    light(run, train__episodes=3)
    said = capsys.readouterr().err
    assert "episode 1 of 3, update 0" in said and "lost: " in said and "was killed" in said
    files = [f"00000{number}-51.npz" for number in range(3)]
    assert helpers.names(run / "episodes" / "train") == files and not (run / "lock").exists()


@pytest.fixture
def room():
    """Limits the size of every file that is written: (bytes, or None for no limit)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size or soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def after_acting(monkeypatch, act):
    """Calls `act` with the number of calls so far whenever `run_episodes` returns."""
    run_episodes, calls = rollout.run_episodes, []

    def run(*arguments):
        found = run_episodes(*arguments)
        calls.append(1)
        act(len(calls))
        return found

    monkeypatch.setattr(rollout, "run_episodes", run)


@pytest.mark.parametrize(
    ("size", "where"), [(1_000, "episodes/train/000004-51.npz"), (20_000, "checkpoints")]
)
def test_no_room_is_an_error_that_names_the_path(light, room, toy_run, tmp_path, size, where):
    run = shutil.copytree(toy_run, tmp_path / "run")
    before = helpers.contents(run)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(errors.StorageError) as error:
        after_acting(patch, lambda _: room(size))
        light(run, train__episodes=5)
    room(None)
    assert str(run / where) in error.value.message and "File too large" in error.value.message
    after = helpers.contents(run)
    for path, content in before.items():
        if path.name != "config.gin":  # of the new settings
            assert after[path].startswith(content), path
    light(run, train__episodes=5)
    assert len(helpers.names(run / "episodes" / "train")) == 5
    assert "ckpt-5.index" in helpers.names(run / "checkpoints")


def test_a_directory_that_vanishes_is_named(light, tmp_path, monkeypatch):
    after_acting(monkeypatch, lambda count: count == 2 and shutil.rmtree(tmp_path / "run"))
    with pytest.raises(errors.StorageError, match="run/episodes/train/000001"):
        light(tmp_path / "run")
