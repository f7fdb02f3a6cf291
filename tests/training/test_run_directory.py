"""A run's directory: locked by one process, and the same run forever."""

import json
import multiprocessing
import os

import gin
import helpers
import pytest

from planet_tf import errors
from planet_tf.planning import Planner
from planet_tf.training.run_directory import RunDirectory


@gin.configurable
class OwnPlanner(Planner):
    """A planner of the user."""


RUN = {"task": ["a", "b"], "seed": 1}


@pytest.fixture
def settings(monkeypatch):
    """Sets the text of the operative settings."""

    def use(text):
        monkeypatch.setattr(gin, "operative_config_str", lambda: text)

    use("WorldModel.latent = 'rssm'\ntrain.episodes = 3\ntrain.old = 1\n")
    return use


@pytest.fixture
def run(settings, tmp_path):
    """A directory that a run has used."""
    directory = RunDirectory(tmp_path, RUN)
    assert (directory.killed, directory.changes) == (None, [])
    directory.write()
    assert directory.settings == (tmp_path / "config.gin").read_text()
    directory.release()
    return tmp_path


def changes(run, identity=RUN):
    directory = RunDirectory(run, identity)
    directory.write()
    directory.release()
    return directory.changes


def test_the_same_run_may_change_how_it_is_trained(run, settings):
    assert json.loads((run / "run.json").read_text()) == RUN
    settings("train.episodes = 5\ntrain.new = 2\nWorldModel.latent = 'rssm'\n")
    assert changes(run, {"seed": 1, "task": ("a", "b")}) == ["train.episodes: 3 -> 5"]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("train.batch_size", True),
        ("PlanetAgent.learning_rate", True),
        ("CEM.candidates", True),
        ("RandomShooting.candidates", True),
        ("GaussianNoise.std", True),
        ("ImaginedReturn.sample_per_candidate", True),
        ("PlanetPolicy.planner", True),
        ("ReplayBuffer.capacity", True),
        ("load_environment.camera", True),  # run.json has the one in use
        ("RSSMCell.hidden_size", False),
        ("WorldModel.free_nats", False),
        ("my_module.flat.size", False),
        ("test_run_directory.OwnPlanner.tries", True),
    ],
)
def test_what_the_model_is_may_not_change(settings, tmp_path, name, allowed):
    settings(f"{name} = 1\n")
    assert changes(tmp_path) == []
    settings(f"{name} = 2\n")
    if allowed:
        assert changes(tmp_path) == [f"{name}: 1 -> 2"]
        return
    with pytest.raises(errors.ConfigError, match=f"{name}: 1 -> 2"):
        RunDirectory(tmp_path, RUN)


def test_a_macro_is_what_it_stands_for(run, settings):
    settings("COUNT = 9\ntrain.episodes = %COUNT\nWorldModel.latent = 'rssm'\n")
    assert changes(run) == ["train.episodes: 3 -> 9"]
    settings("COUNT = 10\ntrain.episodes = %COUNT\nWorldModel.latent = 'rssm'\n")
    assert changes(run) == ["train.episodes: 9 -> 10"]


def test_another_run_is_refused_with_all_that_differs(run, settings):
    settings("train.episodes = 5\nWorldModel.latent = 'ssm'\n")
    before = helpers.contents(run)
    with pytest.raises(errors.ConfigError) as error:
        RunDirectory(run, {"task": "a", "seed": 1})
    first, *differences = error.value.message.splitlines()
    assert str(run) in first and str(run / "config.gin") in error.value.hint
    assert differences == ["  task: ['a', 'b'] -> a", "  WorldModel.latent: 'rssm' -> 'ssm'"]
    assert helpers.contents(run) == before


@pytest.mark.parametrize("text", ["", "{", "7", "[1]"])
def test_an_identity_that_cannot_be_read_is_named(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(errors.ConfigError, match="run.json"):
        RunDirectory(run, RUN)
    assert (run / "run.json").read_text() == text


def hold(root_dir, pipe):
    held = RunDirectory(root_dir, {})
    pipe.send(held.root)
    pipe.recv()


def test_the_second_is_told_who_holds_it_until_a_kill(tmp_path):
    fork, run = multiprocessing.get_context("fork"), tmp_path / "run"
    pipe, theirs = fork.Pipe()
    holder = fork.Process(target=hold, args=(run, theirs))
    holder.start()
    assert pipe.recv() == run
    with pytest.raises(errors.ConfigError, match=f"process {holder.pid} on "):
        RunDirectory(run, {})
    holder.kill()
    holder.join()
    directory = RunDirectory(run, {})
    assert f"process {holder.pid} on " in directory.killed
    with pytest.raises(errors.ConfigError, match=f"process {os.getpid()} "):
        RunDirectory(run, {})
    directory.release()
    directory = RunDirectory(run, {})
    assert directory.killed is None  # it is said once
    directory.release()


def test_a_directory_without_a_run_is_removed(tmp_path):
    RunDirectory(tmp_path / "new" / "run", {}).release()
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "old").mkdir()
    RunDirectory(tmp_path / "old", {}).release()
    assert (tmp_path / "old").exists() and not list((tmp_path / "old").iterdir())


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageError, match=str(tmp_path / "file" / "run")):
        RunDirectory(tmp_path / "file" / "run", {})
