"""Settings: later ones win; what is wrong is said in one message, before anything is written."""

from concurrent import futures

import gin
import pytest

from planet_tf import agent, config, planners


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return str(path)


WRONG = {
    "file": (["--gin_file=gin/cheeta.gin"], ["gin/cheeta.gin", "gin/cheetah.gin"]),
    "configurable": (["--gin_bindings=tran.seed=1"], ["tran", "did you mean 'train'"]),
    "parameter": (["--gin_bindings=train.sead=1"], ["sead", "did you mean 'seed'"]),
    "syntax": (["--gin_bindings=train.seed"], ["train.seed", "="]),
    "task": (["--gin_bindings=train.task='dot_gaol'"], ["dot_gaol", "did you mean 'dot_goal'"]),
    "no task": ([], ["task"]),
}


def test_what_is_wrong_is_said_and_nothing_is_written(python, root, tmp_path):
    def run(case):
        root_dir = f"--root_dir={tmp_path / 'run'}"
        return python(root / "scripts" / "train.py", *WRONG[case][0], root_dir)

    with futures.ThreadPoolExecutor(2) as pool:
        results = dict(zip(WRONG, pool.map(run, WRONG), strict=True))
    for case, done in results.items():
        assert done.returncode == 2, f"{case}: {done.stderr}"
        assert "Traceback" not in done.stderr and done.stdout == "", case
        errors = done.stderr[done.stderr.index("error: ") :]
        for part in WRONG[case][1]:
            assert part in errors, f"{case}: {errors}"
    assert not list(tmp_path.iterdir())


def test_help_names_every_flag(python, root, tmp_path):
    done = python(root / "scripts" / "train.py", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for flag in ("--gin_file", "--gin_bindings", "--root_dir", "--help"):
        assert flag in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        ("PlanetAgent.learning_rat = 1", "did you mean 'learning_rate'"),
        ("cem.candidate = 1", "did you mean 'candidates'"),
        ("RSSMcell.stoch_size = 1", "did you mean 'RSSMCell'"),
        ("qqqqqq.stoch_size = 1", "qqqqqq"),
        ("train.qqqqqq = 1", "seed_episodes"),  # nothing is near: all are listed
        ("train.seed = foo(", "foo"),
        ("train.seed = ", "train.seed"),
        ("train.seed = (1", "train.seed"),
        ("= 1", "= 1"),
        ("include 'nowhere.gin'", "nowhere.gin"),
    ],
)
def test_a_wrong_binding_is_named(tmp_path, binding, expected):
    with pytest.raises(config.ConfigError) as caught:
        config.parse([], [binding])
    assert expected in str(caught.value)
    with pytest.raises(config.ConfigError, match="my.gin"):  # in a file: the file is named
        config.parse([write(tmp_path / "my.gin", f"cem.horizon = 3\n{binding}\n")], [])


def test_a_missing_file_is_answered_with_those_that_are_near(tmp_path):
    write(tmp_path / "walker.gin", "")
    with pytest.raises(config.ConfigError, match="wolker.gin: no such file.*walker.gin"):
        config.parse([str(tmp_path / "wolker.gin")], [])
    with pytest.raises(config.ConfigError, match="elsewhere.*no such file$"):
        config.parse([str(tmp_path / "elsewhere" / "walker.gin")], [])
    with pytest.raises(config.ConfigError, match="no such file"):
        config.parse([str(tmp_path)], [])  # a directory


def test_later_settings_win(tmp_path):
    one = write(tmp_path / "one.gin", "cem.horizon = 1\ncem.elites = 1\ncem.candidates = 1")
    two = write(tmp_path / "two.gin", "cem.elites = 2\ncem.candidates = 2")
    config.parse([one, two], ["cem.candidates = 3", "cem.iterations = 3", "cem.iterations = 4"])
    names = ("horizon", "elites", "candidates", "iterations")
    assert [gin.query_parameter(f"cem.{name}") for name in names] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("task", "horizon", "updates"),
    [("cartpole_swingup", 20, 22500), ("walker", 12, 22500), ("dot_goal", 12, 3750)],
)
def test_a_task_says_what_the_cpu_preset_takes_from_it(root, task, horizon, updates):
    config.parse([str(root / "gin" / f"{name}.gin") for name in (task, "cpu")], [])
    assert config.value_of(planners.cem, "horizon") == horizon
    assert config.value_of(agent.PlanetAgent, "learning_rate_updates") == updates


def test_a_macro_without_a_value_is_named(root):
    with pytest.raises(config.ConfigError, match=r"%CPU_\w+ has no value: a task's file"):
        config.parse([str(root / "gin" / "cpu.gin")], ["train.task = 'dot_goal'"])


def test_an_include_stands_beside_its_file(tmp_path, monkeypatch):
    write(tmp_path / "a" / "base.gin", "cem.horizon = 7")
    top = write(tmp_path / "a" / "top.gin", "include 'base.gin'\ncem.elites = 8")
    write(tmp_path / "b" / "base.gin", "cem.horizon = 9")
    other = write(tmp_path / "b" / "top.gin", "include 'base.gin'")
    monkeypatch.chdir(tmp_path)
    config.parse([top], [])
    assert (gin.query_parameter("cem.horizon"), gin.query_parameter("cem.elites")) == (7, 8)
    config.parse(["b/top.gin"], [])
    assert gin.query_parameter("cem.horizon") == 9
    config.parse([top, other], [])
    assert gin.query_parameter("cem.horizon") == 9


def test_a_run_is_named_after_its_files():
    assert config.default_root_dir(["gin/cheetah.gin", "/x/debug.gin"]) == "runs/cheetah-debug"
    assert config.default_root_dir([]) == "runs/default"


def test_only_errors_of_settings_are_turned_into_config_errors():
    with pytest.raises(config.ConfigError, match="bad size"), config.config_errors():
        raise ValueError("bad size")
    with pytest.raises(FloatingPointError), config.config_errors():
        raise FloatingPointError("NaN")


def test_settings_that_differ_are_listed_old_and_new():
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


def test_a_setting_has_an_owner():
    names = ("A.size", "planet_tf.A.size", "scope/planet_tf.A.size", "size")
    assert [config.owner(name) for name in names] == ["A", "A", "A", ""]
