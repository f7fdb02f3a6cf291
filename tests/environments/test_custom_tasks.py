"""Tasks of the user, named 'module:function'."""

import gin
import helpers
import numpy as np
import pytest

from planet_tf import environments, errors
from planet_tf.environments import dot_goal
from planet_tf.experience import UniformPolicy, run_episodes


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


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("own_task:make", {}, ["'own_task'", "PYTHONPATH"]),
        ("broken_tasks:make", {}, ["'broken_tasks'", "nowhere_to_be_found"]),
        (":make", {}, ["':make'"]),
        ("own_tasks:mak", {}, ["'mak'", "'make'"]),
        ("own_tasks:NUMBER", {}, ["'NUMBER'"]),
        ("own_tasks:", {}, ["'own_tasks:'"]),
        ("own_tasks:make_nothing", {}, ["None", "TaskEnvironment", "DmControlEnvironment"]),
        ("own_tasks:make_nothing", {"kwargs": {"size": 2}}, ["size=2", "make_nothing(seed="]),
        ("own_tasks:always_images", {"action_repeat": 2}, ["repeat': 2", "repeat': 1"]),
        ("own_tasks:always_twice", {"action_repeat": 3}, ["repeat': 3", "repeat': 2"]),
        ("own_tasks:always_images", {"observations": ("state",)}, ["('state',)", "('image',)"]),
        ("own_tasks:make", {"kwargs": [("size", 2)]}, ["kwargs must be a dict", "('size', 2)"]),
        ("own_tasks:make", {"kwargs": {"seed": 1}}, ["kwargs holds seed", "train.seed"]),
        ("own_tasks:make", {"kwargs": {"camera": 1}}, ["kwargs holds camera"]),
        ("own_tasks:make", {"action_repeat": 51}, ["own_tasks:make", "51"]),
        ("odd_tasks:rail", {"camera": 1}, ["'camera': 1", "'camera': 0"]),
    ],
)
def test_a_function_that_does_not_fit_is_named(name, settings, expected, tmp_path, monkeypatch):
    (tmp_path / "broken_tasks.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.ConfigError) as error:
        environments.load(name, **settings)
    for part in expected:
        assert part in str(error.value)


def test_a_function_need_not_take_what_its_task_has_anyway():
    env = environments.load("own_tasks:always_images", action_repeat=1)
    assert (env.action_repeat, env.camera) == (1, None)
    env = environments.load("odd_tasks:rail", action_repeat=2, camera=0)
    assert (env.action_repeat, env.camera) == (2, 0)


def test_names_are_checked_before_anything_is_made():
    environments.check_name("own_tasks:make_nothing")
    for wrong, right in (("own_tasks:Make_", "'make'"), ("own_tasks.make", "'module:function'")):
        with pytest.raises(errors.ConfigError) as error:
            environments.check_name(wrong)
        assert right in str(error.value) and error.value.setting == "train.task"


@pytest.mark.parametrize(("name", "shows"), [("Grey", "image"), ("Double", "state")])
def test_observations_of_another_type_are_refused(name, shows):
    env = environments.load(f"own_tasks:{name}", observations=(shows,))
    with pytest.raises(errors.ConfigError, match=f"own_tasks:{name}.*{shows}"):
        env.reset()


def test_a_seed_decides_what_is_drawn_while_making_it(monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    gin.bind_parameter("load_environment.observations", ("state",))
    name = "odd_tasks:random_model"

    def returns(env):
        with env:
            found = run_episodes(env, UniformPolicy(env), helpers.sequences(2))
        return [episode["reward"].sum() for episode in found]

    alone = returns(environments.load(name, seed=1))
    assert returns(environments.load(name, seed=1)) == alone
    assert returns(environments.load(name, seed=2)) != alone
    rows = returns(environments.load(name, seed=1, processes=2))  # all have the same model
    np.testing.assert_allclose(rows, alone, rtol=1e-6)
