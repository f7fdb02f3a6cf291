"""A directory belongs to one run, whose last process may have been killed."""

import json

import gin
import pytest

from planet_tf import config, run_directory

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
    directory = run_directory.RunDirectory(tmp_path, RUN)
    assert (directory.killed, directory.changes) == (None, [])
    assert directory.take() == (tmp_path / "config.gin").read_text()
    directory.release()
    return tmp_path


def test_the_same_run_may_change_how_it_is_trained(run, settings):
    assert json.loads((run / "run.json").read_text()) == RUN
    settings("train.episodes = 5\ntrain.new = 2\nWorldModel.latent = 'rssm'\n")
    directory = run_directory.RunDirectory(run, {"seed": 1, "task": ("a", "b")})
    assert directory.changes == ["train.episodes: 3 -> 5"]
    directory.release()


def test_a_macro_is_what_it_stands_for(run, settings):
    settings("COUNT = 9\ntrain.episodes = %COUNT\nWorldModel.latent = 'rssm'\n")
    directory = run_directory.RunDirectory(run, RUN)
    assert directory.changes == ["train.episodes: 3 -> 9"]
    directory.take()
    directory.release()
    settings("COUNT = 10\ntrain.episodes = %COUNT\nWorldModel.latent = 'rssm'\n")
    directory = run_directory.RunDirectory(run, RUN)
    assert directory.changes == ["train.episodes: 9 -> 10"]
    directory.release()


def test_another_run_is_refused_with_all_that_differs(run, settings):
    settings("train.episodes = 5\nWorldModel.latent = 'ssm'\n")
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(config.ConfigError) as caught:
        run_directory.RunDirectory(run, {"task": "a", "seed": 1})
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{run} holds another run, then -> now:"
    assert lines[1:3] == ["  task: ['a', 'b'] -> a", "  WorldModel.latent: 'rssm' -> 'ssm'"]
    assert "--root_dir" in lines[3] and len(lines) == 4
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("text", ["", "{", "7", "[1]"])
def test_an_identity_that_cannot_be_read_is_named(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(config.ConfigError, match=r"run\.json cannot be read .*--root_dir"):
        run_directory.RunDirectory(run, RUN)
    assert (run / "run.json").read_text() == text


def test_who_was_killed_is_said_once(run, settings):
    (run / "lock").write_text("process 7 on a computer since yesterday\n")
    directory = run_directory.RunDirectory(run, RUN)
    assert directory.killed == "process 7 on a computer since yesterday"
    directory.release()
    directory = run_directory.RunDirectory(run, RUN)
    assert directory.killed is None
    directory.release()
