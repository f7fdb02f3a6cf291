"""The cells of a sweep: their names, settings and commands, and what is refused."""

import pathlib
import shlex

import pytest

from planet_tf import config, errors
from planet_tf.sweeps import cells

ROOT = pathlib.Path("no_such_sweep")


def make(tasks=("dot_goal.gin",), files=("debug.gin",), bindings=(), grid=(), seeds=(0,)):
    return cells.make(tasks, files, bindings, grid, seeds)


def test_tasks_grid_and_seeds_are_combined():
    grid = [("CEM.horizon", ["3", "4"]), ("PlanetAgent.learning_rate", ["0.001"])]
    found = make(["gin/cheetah.gin", "gym:CartPole-v1"], grid=grid, seeds=[0, 7])
    rate = "learning_rate=0.001"
    assert [cell.name for cell in found] == [
        f"{task}-debug-horizon={horizon}-{rate}-seed{seed}"
        for task in ("cheetah", "gym_CartPole-v1")
        for horizon in (3, 4)
        for seed in (0, 7)
    ]
    assert found[1].files == ("gin/cheetah.gin", "debug.gin")
    settings = ("CEM.horizon = 3", "PlanetAgent.learning_rate = 0.001", "train.seed = 7")
    assert found[1].bindings == settings
    assert found[5].files == ("planet.gin", "debug.gin")
    assert found[5].bindings == ("train.task = 'gym:CartPole-v1'", *settings)


def test_the_command_is_one_line_for_a_shell(tmp_path):
    (cell,) = make(["cheetah_run"], bindings=["load_environment.observations = ('state',)"])
    assert shlex.split(cell.command(tmp_path)) == [
        "planet-tf",
        "train",
        "--gin_file=planet.gin",
        "--gin_file=debug.gin",
        "--gin_bindings=train.task = 'cheetah_run'",
        "--gin_bindings=load_environment.observations = ('state',)",
        "--gin_bindings=train.seed = 0",
        f"--root_dir={tmp_path}/cheetah_run-debug-seed0",
    ]


def test_files_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.gin").write_text("")
    (tmp_path / "gin").symlink_to(config.presets())
    (cell,) = make(["gin/cheetah.gin"], files=["my.gin", "debug.gin"])
    assert cell.files == ("gin/cheetah.gin", "my.gin", "debug.gin")
    moved = cell.with_absolute_files()
    assert moved.files == ("gin/cheetah.gin", str(tmp_path / "my.gin"), "debug.gin")
    assert moved.name == cell.name


def test_names_hold_no_character_that_a_path_may_not():
    (cell,) = make(grid=[("Encoder.filters", ["(8, 16)"])])
    assert cell.name == "dot_goal-debug-filters=_8_16_-seed0"


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("robots.arm:walk", "robots.arm_walk-debug-seed0"),
        ("gym:ALE/Pong-v5", "gym_ALE_Pong-v5-debug-seed0"),
        ("mine/robot.arm.gin", "robot.arm-debug-seed0"),
    ],
)
def test_the_name_of_a_task_is_whole(task, name):
    (cell,) = make([task])
    assert cell.name == name


@pytest.mark.parametrize("twice", [{"seeds": [1, 1]}, {"tasks": ["a/x.gin", "b/x.gin"]}])
def test_two_runs_in_one_directory_are_refused(twice):
    with pytest.raises(errors.ConfigError, match="would share a directory"):
        make(**twice)


@pytest.mark.parametrize(
    "given", [{"bindings": ["train.seed=3"]}, {"grid": [("train.seed", ["1", "2"])]}]
)
def test_seeds_are_set_in_one_place(given):
    with pytest.raises(errors.ConfigError, match=r"train\.seed") as error:
        make(**given)
    assert "--seeds" in error.value.hint


def test_a_grid_is_a_list_of_values():
    parsed = cells.parse_grid("Encoder.filters = [(8, 16), None, 'x', 1e-3]")
    assert parsed == ("Encoder.filters", ["(8, 16)", "None", "'x'", "0.001"])


@pytest.mark.parametrize("text", ["CEM.horizon", "CEM.horizon=3", "=[1]", "CEM.horizon=[]", "a=[b"])
def test_another_grid_is_refused(text):
    with pytest.raises(errors.ConfigError, match="--grid must be NAME=") as error:
        cells.parse_grid(text)
    assert error.value.setting == "--grid"


@pytest.mark.parametrize(
    ("text", "seeds"), [("0:3", [0, 1, 2]), ("5", [5]), ("0,3,7", [0, 3, 7]), ("7:8", [7])]
)
def test_seeds(text, seeds):
    assert cells.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "3:3", "a", "1,", "-1", "0:2:4"])
def test_other_seeds_are_refused(text):
    with pytest.raises(errors.ConfigError, match="--seeds"):
        cells.parse_seeds(text)


def test_settings_are_checked_before_anything_is_trained():
    good = make(seeds=[0, 1])
    assert cells.check(good, ROOT) == {"dot_goal-debug-seed0": 4, "dot_goal-debug-seed1": 4}
    for wrong, named in (
        (make(grid=[("CEM.horizen", ["3"])]), "horizon"),
        (make(["dot_gaol"]), "dot_goal"),
        (make(["cheeta.gin"]), "cheetah.gin"),
        (make(bindings=["train.episodes = 1"]), "train.seed_episodes"),
    ):
        with pytest.raises(errors.ConfigError) as error:
            cells.check([*good, *wrong], ROOT)
        assert wrong[0].name in error.value.message and named in str(error.value)


def test_collectors_are_refused_where_ray_trains():
    found = make(bindings=["train.collectors = 2"])
    with pytest.raises(errors.ConfigError, match=r"seed0: train.collectors \(2\)") as error:
        cells.check(found, ROOT)
    assert error.value.setting == "train.collectors"
    assert cells.check(found, ROOT, by_ray=False) == {"dot_goal-debug-seed0": 4}


def test_a_directory_of_other_runs_is_refused(tmp_path):
    (found,) = make(bindings=["PlanetAgent.learning_rate = 0.003"])
    directory = tmp_path / found.name
    directory.mkdir()
    text = "PlanetAgent.learning_rate = 0.003\ntrain.episodes = 3\nCEM.horizon = 4\n"
    (directory / "config.gin").write_text(text)
    assert cells.check([found], tmp_path) == {found.name: 4}  # it may end later than before
    (directory / "config.gin").write_text(text + "train.device = 'gpu'\nImaginedReturn.parts = 2\n")
    moved = [
        "PlanetAgent.learning_rate = 0.003",
        "train.device = 'cpu'",
        "ImaginedReturn.parts = 1",
    ]
    assert cells.check(make(bindings=moved), tmp_path) == {found.name: 4}  # on another machine
    (other,) = make(bindings=["PlanetAgent.learning_rate = 0.001"])
    assert other.name == found.name
    with pytest.raises(errors.ConfigError, match=r"learning_rate: 0\.003 -> 0\.001") as error:
        cells.check([other], tmp_path)
    assert error.value.setting == "--root_dir" and str(directory) in error.value.message
