"""Settings from gin files and bindings: later ones win; a wrong one is named in one message."""

import dataclasses
import pathlib

import gin
import pytest

from planet_tf import agents, config, errors, models, planning, training
from planet_tf.experience import ReplayBuffer
from planet_tf.models import networks

PRESETS = sorted(
    path.relative_to(config.presets()).as_posix() for path in config.presets().rglob("*.gin")
)


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return str(path)


# Files.


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_found_by_name_and_parses(root, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for given in (name, f"gin/{name}", str(root / "gin" / name)):
        assert config.find(given).samefile(root / "gin" / name)
    config.parse(["cartpole_swingup.gin", name])  # cpu.gin needs a task's macros


def test_all_presets_are_tried(root):
    assert len(PRESETS) == len(list((root / "gin").rglob("*.gin"))) > 20


def test_own_file_wins_over_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = write(tmp_path / "cheetah.gin", "CEM.horizon = 1")
    assert config.find("cheetah.gin").samefile(own)


@pytest.mark.parametrize(
    ("file", "near"),
    [
        ("wolker.gin", "walker.gin"),
        ("gin/cheeta.gin", "cheetah.gin"),
        ("ablations/smm.gin", "ablations/ssm.gin"),
        ("mine/tsak.gin", "mine/task.gin"),
        ("mine", ""),  # a directory
        ("elsewhere/qqqqqqqq.gin", ""),
    ],
)
def test_missing_file_is_named_with_the_nearest(tmp_path, monkeypatch, file, near):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine" / "task.gin", "")
    with pytest.raises(errors.ConfigError, match=file) as error:
        config.parse([file])
    assert near in error.value.hint and bool(near) == bool(error.value.hint)


def test_a_file_anywhere_may_include_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(gin.config._LOCATION_PREFIXES)
    config.parse(
        [write(tmp_path / "a" / "task.gin", "include 'planet.gin'\nCPU_HORIZON = 15"), "cpu.gin"]
    )
    assert planning.CEM().horizon == 15 and planning.CEM().candidates == 100
    assert before == gin.config._LOCATION_PREFIXES


def test_include_is_searched_for_next_to_its_file(tmp_path, monkeypatch):
    write(tmp_path / "a" / "base.gin", "CEM.horizon = 7")
    top = write(tmp_path / "a" / "top.gin", "include 'base.gin'\nCEM.elites = 8")
    write(tmp_path / "b" / "base.gin", "CEM.horizon = 9")
    other = write(tmp_path / "b" / "top.gin", "include 'base.gin'")
    monkeypatch.chdir(tmp_path)
    config.parse([top])
    assert (gin.query_parameter("CEM.horizon"), gin.query_parameter("CEM.elites")) == (7, 8)
    config.parse(["b/top.gin"])
    assert gin.query_parameter("CEM.horizon") == 9
    config.parse([top, other])
    assert gin.query_parameter("CEM.horizon") == 9


def test_tilde_in_a_file_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "one.gin", "train.seed = 7\n")
    config.parse(["~/one.gin"])
    assert gin.query_parameter("train.seed") == 7


# Settings.


def test_later_settings_win(tmp_path):
    one = write(tmp_path / "one.gin", "CEM.horizon = 1\nCEM.elites = 1\nCEM.candidates = 1")
    two = write(tmp_path / "two.gin", "CEM.elites = 2\nCEM.candidates = 2")
    config.parse([one, two], ["CEM.candidates = 3", "CEM.iterations = 3", "CEM.iterations = 4"])
    names = ("horizon", "elites", "candidates", "iterations")
    assert [gin.query_parameter(f"CEM.{name}") for name in names] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        ("PlanetAgent.learning_rat = 1", "'learning_rate'"),
        ("CEM.candidate = 1", "'candidates'"),
        ("RSSMcell.stoch_size = 1", "'RSSMCell'"),
        ("tran.seed = 1", "'train'"),
        ("train.sead = 1", "'seed'"),
        ("qqqqqq.stoch_size = 1", "qqqqqq"),
        ("train.qqqqqq = 1", "seed_episodes"),  # nothing is near: all are listed
        ("train.seed = foo(", "foo"),
        ("train.seed = ", "train.seed"),
        ("train.seed", "train.seed"),
        ("train.seed = (1", "train.seed"),
        ("= 1", "= 1"),
        ("include 'nowhere.gin'", "nowhere.gin"),
        ("WorldModel.encoder = @no_such_encoder", "import MODULE"),
        ("import no_such_module", "PYTHONPATH"),
        ("train.task = cheetah_run", "texts need quotes: 'cheetah_run'"),
    ],
)
def test_wrong_binding_is_named(tmp_path, binding, expected):
    with pytest.raises(errors.ConfigError, match="--gin_bindings") as error:
        config.parse([], [binding])
    assert expected in str(error.value)
    mine = write(tmp_path / "my.gin", f"CEM.horizon = 3\n{binding}\n")
    with pytest.raises(errors.ConfigError, match=r"--gin_file=.*my\.gin"):
        config.parse([mine])


@pytest.mark.parametrize("size", ["cpu.gin", "debug.gin"])
def test_a_size_before_its_task_is_refused(size):
    with pytest.raises(errors.ConfigError, match=f"undoes --gin_file={size}") as error:
        config.parse([size, "gin/cheetah.gin"])
    assert error.value.hint == f"name gin/cheetah.gin before {size}"
    config.configure(["planet.gin", "cheetah.gin", size])


def test_a_macro_that_no_file_uses_is_refused():
    with pytest.raises(errors.ConfigError, match="CPU_HORIZN is used nowhere") as error:
        config.parse(["cheetah.gin", "cpu.gin"], ["CPU_HORIZN = 20"])
    assert "'CPU_HORIZON'" in error.value.hint
    config.configure(["cheetah.gin"], ["CPU_HORIZON = 20"])  # used by cpu.gin, and a task's to set


def test_configure_forgets_earlier_settings():
    config.configure(["cheetah.gin", "ablations/icem.gin"])
    config.configure(["cheetah.gin"])
    assert config.value_of(agents.PlanetPolicy, "planner") is None


@pytest.mark.parametrize("value", ["@CEM", "'CEM'"])
def test_a_part_is_an_object(value):
    config.parse(["cheetah.gin", "debug.gin"], [f"PlanetPolicy.planner = {value}"])
    with pytest.raises(errors.ConfigError, match=r"@NAME\(\)") as error:
        agents.PlanetPolicy(None, None, None)
    assert error.value.setting == "PlanetPolicy.planner"


@pytest.mark.parametrize(
    ("task", "horizon", "episodes"),
    [("cartpole_swingup", 20, 155), ("walker", 12, 155), ("dot_goal", 12, 30)],
)
def test_task_sets_what_the_cpu_preset_leaves_open(task, horizon, episodes):
    config.parse([f"{task}.gin", "cpu.gin"])
    assert config.value_of(planning.CEM, "horizon") == horizon
    assert config.value_of(training.Settings, "episodes") == episodes


def test_a_task_chooses_the_cpu_presets_planner():
    config.parse(["finger.gin"])
    assert config.value_of(agents.PlanetPolicy, "planner") is None  # the paper's
    config.parse(["cpu.gin"])
    small = {"horizon": 12, "candidates": 100, "elites": 10, "iterations": 4}
    memory = {"decay": 1.0, "colour": 0.0, "keep": 0.3, "momentum": 0.0, "std": 1.0}
    planner = config.value_of(agents.PlanetPolicy, "planner")
    assert dataclasses.asdict(planner) == {**small, **memory}
    config.parse(["walker.gin", "cpu.gin"])
    assert config.value_of(agents.PlanetPolicy, "planner") is None


def test_a_task_chooses_the_shift_of_the_cpu_presets():
    config.parse(["reacher.gin"])
    assert config.value_of(models.WorldModel, "random_shift") == 0  # the paper's
    config.parse(["cpu.gin"])
    assert config.value_of(models.WorldModel, "random_shift") == 4
    config.parse(["cup.gin", "cpu.gin"])
    assert config.value_of(models.WorldModel, "random_shift") == 0


@pytest.mark.parametrize(
    ("files", "size", "filters", "scale", "clip_norm"),
    [
        (["cup.gin"], 64, (32, 64, 128, 256), 1.0, 1000.0),  # the paper's
        (["cup.gin", "cpu.gin"], 64, (8, 16, 32, 64), 50.0, 100000.0),
        (["reacher.gin", "cpu.gin"], 64, (8, 16, 32, 64), 50.0, 100000.0),
        (["cheetah.gin", "cpu.gin"], 32, (16, 32, 64), 100.0, 1000.0),
        (["cheetah.gin", "cpu.gin", "cpu_64.gin"], 64, (8, 16, 32, 64), 50.0, 100000.0),
    ],
)
def test_a_task_chooses_the_size_of_its_pictures(files, size, filters, scale, clip_norm):
    config.parse(files)
    assert config.value_of(models.WorldModel, "image_size") == size
    assert config.value_of(networks.Encoder, "filters") == filters
    assert len(config.value_of(networks.Decoder, "filters")) == len(filters) - 1
    assert config.value_of(models.WorldModel, "observation_scale") == scale
    assert config.value_of(agents.PlanetAgent, "clip_norm") == clip_norm


def test_macro_without_a_value_is_named():
    with pytest.raises(errors.ConfigError, match=r"%CPU_\w+"):
        config.parse(["cpu.gin"], ["train.task = 'dot_goal'"])


def test_value_is_gins_or_the_default():
    assert config.value_of(ReplayBuffer, "capacity") == 2000
    config.parse([], ["ReplayBuffer.capacity = 7"])
    assert config.value_of(ReplayBuffer, "capacity") == 7


# Settings as text.


def test_changed_settings_are_listed_old_and_new():
    before = """# Parameters for A:
A.size = 3
A.sizes = \\
    (1,
     2)
B.name = 'x'
"""
    now = before.replace("A.size = 3", "A.size = 4").replace("B.name = 'x'", "C.new = True")
    assert config.differences(before, before) == {}
    assert config.differences(before, now) == {"A.size": "3 -> 4"}  # the others are in one alone
    assert config.differences(before, before.replace("2)", "5)")) == {"A.sizes": "(1, 2) -> (1, 5)"}


def test_macros_are_resolved_and_not_listed():
    assert config.settings("SIZE = 3\nA.size = %SIZE\nA.other = %NONE\n") == {
        "A.size": "3",
        "A.other": "%NONE",
    }


def test_settings_in_use_parse_to_the_same():
    config.parse(["dot_goal.gin", "debug.gin"], ["train.task = ('a', 'b')"])
    gin.get_configurable("train")()
    text = config.in_use()
    gin.clear_config()
    gin.parse_config(text)
    gin.get_configurable("train")()
    assert config.settings(config.in_use()) == config.settings(text)
    assert config.settings(text)["train.task"] == "('a', 'b')"


def test_settings_of_what_is_not_in_use_are_added_if_asked_for():
    # A macro of a macro: neither is in use, nor in the text.
    sizes = ["SIZE = 7", "CANDIDATES = %SIZE", "MPPI.candidates = %CANDIDATES"]
    config.parse(["dot_goal.gin", "debug.gin"], sizes)
    gin.get_configurable("CEM")()
    text = config.in_use(also=lambda owner: owner in ("CEM", "MPPI"))
    owners = [config.owner(name) for name in config.settings(config.in_use())]
    assert set(owners) == {"CEM"}
    found = config.settings(text)
    assert {config.owner(name) for name in found} == {"CEM", "MPPI"}
    assert found["MPPI.candidates"] == "7" and text.count("CEM.candidates = ") == 1
    gin.clear_config()
    gin.parse_config(text)
    assert gin.get_configurable("MPPI")().candidates == 7


def test_settings_in_use_have_the_scope_that_they_are_bound_in():
    config.parse(["finger.gin", "cpu.gin"], ["ICEM.std = 0.7", "ICEM.candidates = 30"])
    config.value_of(agents.PlanetPolicy, "planner")  # makes @memory/ICEM()
    text = config.in_use()
    found = config.settings(text)
    assert found["memory/ICEM.std"] == "1.0" and found["ICEM.std"] == "0.7"
    assert found["ICEM.candidates"] == "30" and found["ICEM.keep"] == "0.3"  # the latter: a default
    assert "memory/ICEM.candidates" not in found
    gin.clear_config()
    config.parse([], [text, "PlanetPolicy.planner = @memory/ICEM()", "ICEM.candidates = 50"])
    planner = config.value_of(agents.PlanetPolicy, "planner")
    assert (planner.candidates, planner.std, planner.horizon) == (50, 1.0, 12)
    assert config.settings(config.in_use()) == found | {"ICEM.candidates": "50"}


def test_setting_has_an_owner():
    names = ("A.size", "planet_tf.A.size", "scope/planet_tf.A.size", "size")
    assert [config.owner(name) for name in names] == ["A", "A", "A", ""]


def test_files_may_be_paths():
    config.parse([pathlib.Path("cheetah.gin")])
    assert config.value_of(training.Settings, "task") == "cheetah_run"


def test_run_is_named_after_its_files():
    assert config.default_root_dir(["gin/cheetah.gin", "/x/debug.gin"]) == "runs/cheetah-debug"
    assert config.default_root_dir([]) == "runs/default"
