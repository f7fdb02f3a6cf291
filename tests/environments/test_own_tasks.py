"""Tasks of one's own, named 'module:function'."""

import json
import sys

import numpy as np
import pytest

from planet_tf import config, environments, evaluation
from planet_tf.environments import dot_goal, processes

MODULE = """
from planet_tf.environments.dot_goal import DotGoal

NUMBER = 3


def make(seed=None, observations=("image",), action_repeat=5):
    return DotGoal(seed, action_repeat, observations=observations)


def make_nothing(seed, observations):
    pass


def always_twice(seed, observations, action_repeat=2):
    return DotGoal(seed, 2, observations=observations)


def always_pictures(seed, observations):
    return DotGoal(seed)


class Grey(DotGoal):
    def _draw(self):
        return super()._draw()[..., :1]


class Double(DotGoal):
    def _state(self):
        return super()._state().astype(float)
"""


@pytest.fixture(autouse=True)
def _own_tasks(tmp_path, monkeypatch):
    (tmp_path / "own_tasks.py").write_text(MODULE)
    (tmp_path / "broken_tasks.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_tasks", None)


def test_the_function_is_called_with_what_is_asked_for():
    env = environments.load("own_tasks:make", seed=3)
    assert (env.name, env.action_repeat, env.max_steps) == ("own_tasks:make", 5, 10)
    expected = dot_goal.DotGoal(seed=3, action_repeat=5)
    np.testing.assert_array_equal(
        env.reset().observation["image"], expected.reset().observation["image"]
    )
    env = environments.load("own_tasks:make", action_repeat=2, observations=["state"])
    assert (env.action_repeat, set(env.observation_spec())) == (2, {"state"})
    env = environments.load("planet_tf.environments.dot_goal:DotGoal", seed=3)  # a class
    assert (env.action_repeat, env.name) == (1, "planet_tf.environments.dot_goal:DotGoal")


def test_processes_make_it_too():
    seeds = np.random.SeedSequence(5).spawn(2)
    settings = {"action_repeat": 25, "observations": ("state",)}
    one = environments.load("own_tasks:make", **settings)
    with environments.load("own_tasks:make", count=2, **settings) as several:
        assert (several.name, several.max_steps) == (one.name, one.max_steps)
        expected, got = (
            evaluation.run_episodes(env, evaluation.UniformPolicy(env), seeds)
            for env in (one, several)
        )
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a["state"], b["state"])
    with pytest.raises(processes.WorkerError, match="environment 0 of own_tasks.*asked for"):
        environments.load("own_tasks:always_pictures", count=2, observations=("state",))


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("own_task:make", {}, "'own_task:make': cannot import 'own_task' .*PYTHONPATH"),
        ("broken_tasks:make", {}, "cannot import 'broken_tasks'.*nowhere_to_be_found"),
        (":make", {}, "':make': cannot import ''"),
        ("own_tasks:mak", {}, "did you mean 'make'.* 'own_tasks' has no function 'mak'"),
        ("own_tasks:NUMBER", {}, "has no function 'NUMBER'"),
        ("own_tasks:", {}, "has no function ''"),
        ("own_tasks:make_nothing", {}, "must return a TaskEnvironment, got None; DmControlEnv"),
        (
            "own_tasks:make_nothing",
            {"action_repeat": 2},
            r"unexpected keyword argument 'action_repeat'; it is called as make_nothing\(seed=None",
        ),
        ("own_tasks:always_twice", {"action_repeat": 3}, "'action_repeat': 3.*'action_repeat': 2"),
        ("own_tasks:always_pictures", {"observations": ("state",)}, r"shows \('image',\): pass on"),
    ],
)
def test_what_does_not_fit_is_named(name, settings, expected):
    with pytest.raises(ValueError, match=expected):
        environments.load(name, **settings)


def test_names_are_checked_before_anything_is_made():
    environments.check_name("own_tasks:make_nothing")
    with pytest.raises(ValueError, match="did you mean 'make'"):
        environments.check_name("own_tasks:Make_")
    with pytest.raises(ValueError, match="'module:function' for one of your own"):
        environments.check_name("own_tasks.make")


@pytest.mark.parametrize(
    ("name", "observations", "expected"),
    [
        ("Grey", "image", r"image must be uint8 \[64, 64, 3\], got uint8 \[64, 64, 1\]"),
        ("Double", "state", r"state must be float32 \[4\], got float64 \[4\]"),
    ],
)
def test_what_is_observed_is_checked(name, observations, expected):
    env = environments.load(f"own_tasks:{name}", observations=(observations,))
    with pytest.raises(ValueError, match=f"own_tasks:{name}: the {expected}"):
        env.reset()


def test_a_run_learns_it_beside_another_task(quick, tmp_path, tensorboard_tags):
    run, tasks = tmp_path / "run", ("own_tasks:make", "dot_goal")
    for episodes in (3, 4):
        quick(run, train__task=tasks, train__episodes=episodes, cem__horizon=1)
    assert json.loads((run / "run.json").read_text())["task"] == list(tasks)
    lines = [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]
    assert (lines[-1]["agent_steps"], lines[-1]["env_steps"]) == (2 * 10 + 2 * 50, 4 * 50)
    assert {f"evaluation/return/{task}" for task in tasks} < tensorboard_tags(run)
    with pytest.raises(config.ConfigError, match="did you mean 'make'"):
        quick(tmp_path / "other", train__task="own_tasks:mkae")
    assert not (tmp_path / "other").exists()
