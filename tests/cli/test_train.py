"""`planet-tf train`: settings, what it refuses, and what to do next."""

import runpy
import shlex
import sys

import gin
import pytest

from planet_tf import training


@pytest.fixture
def trained(monkeypatch):
    """Runs `train` up to the training; the directories that it is called with."""
    calls = []
    monkeypatch.setattr(training, "train", calls.append)
    return calls


def test_files_and_bindings_are_settings(command, trained):
    files = ["--gin_file=cheetah.gin", "--gin_file=gin/debug.gin"]
    status, out, err = command("train", *files, "--gin_bindings=train.seed=7", "--root_dir=x")
    assert (status, out, err) == (0, "", "") and trained == ["x"]
    names = ("train.task", "train.episodes", "train.seed")
    assert [gin.query_parameter(name) for name in names] == ["cheetah_run", 4, 7]


def test_the_address_is_that_of_the_collectors(command, trained):
    flags = ["--gin_file=cheetah.gin", "--address=auto"]
    assert command("train", *flags, "--gin_bindings=train.collectors=2")[0] == 0
    assert gin.query_parameter("RemoteCollectors.address") == "auto" and len(trained) == 1
    status, _, err = command("train", *flags, "--gin_bindings=train.collectors=0")
    assert status == 2 and "--address" in err and "train.collectors=N" in err
    assert len(trained) == 1


def test_directory_is_named_after_the_files(command, trained):
    command("train", "--gin_file=cup.gin", "--gin_file=ablations/ssm.gin")
    assert trained == ["runs/cup-ssm"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--gin_file=gin/cheeta.gin"], ["gin/cheeta.gin", "'cheetah.gin'"]),
        (["--gin_bindings=tran.seed=1"], ["tran", "'train'"]),
        (["--gin_bindings=train.sead=1"], ["sead", "'seed'"]),
        (["--gin_bindings=train.seed"], ["train.seed"]),
        (["--gin_bindings=train.seed=-1"], ["train.seed", "-1"]),
        (["--gin_bindings=train.task='dot_gaol'"], ["dot_gaol", "'dot_goal'"]),
        (["--gin_file=dot_goal.gin", "--gin_bindings=CEM.elites=2000"], ["CEM.elites", "2000"]),
        ([], ["task"]),
        (["dot_goal"], ["dot_goal"]),
    ],
)
def test_wrong_input_is_named_and_nothing_written(command, tmp_path, arguments, parts):
    status, out, err = command("train", *arguments, f"--root_dir={tmp_path / 'run'}")
    assert status == 2 and out == "", err
    assert all(part in err for part in parts), err
    assert not list(tmp_path.iterdir())


SCRIPT = """
import gin, tensorflow as tf
from planet_tf import config, training

@gin.configurable
def flat(size=8):
    return tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(size)])

if __name__ == "__main__":
    settings = ["WorldModel.encoder = @flat", "flat.size = 9"]
    config.parse(["dot_goal.gin", "debug.gin"], settings)
    training.train("~/my run")
    training.load_agent("~/my run")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script in `my code` that trains in ~/my run; gin forgets afterwards what it has defined."""
    file = tmp_path / "my code" / "my_script.py"
    file.parent.mkdir()
    file.write_text(SCRIPT)
    monkeypatch.setenv("HOME", str(tmp_path))

    def learn(run, settings):  # nothing: this is about the settings
        run.collect_random()
        run.save()

    monkeypatch.setattr(training.loop, "learn", learn)
    yield file
    forget()


def forget():
    for name in ("__main__.flat", "my_script.flat"):
        if name in gin.config._REGISTRY:
            gin.config._REGISTRY.pop(name)
    sys.modules.pop("my_script", None)


def test_printed_commands_find_what_a_script_defines(command, script, monkeypatch, capsys):
    run = script.parents[1] / "my run"
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    runpy.run_path(str(script), run_name="__main__")
    out = capsys.readouterr().out
    assert "SavedModel" not in out  # there is none
    printed = [shlex.split(line) for line in out.partition("next: ")[2].splitlines()]
    path = f"PYTHONPATH={script.parent}"
    assert [line[:4] for line in printed] == [
        [path, "planet-tf", "evaluate", str(run)],
        [path, "planet-tf", "imagine", str(run)],
        ["tensorboard", "--logdir", str(run)],
    ]
    forget()  # as another process, without and with that PYTHONPATH
    status, _, err = command("evaluate", run)
    assert status == 2 and "my_script" in err and "PYTHONPATH" in err
    monkeypatch.syspath_prepend(str(script.parent))
    assert training.load_agent(run).updates == 0
