"""A task with discrete actions from training to the exported policy, and what does not fit."""

import json

import gin
import helpers
import numpy as np
import pytest

from planet_tf import config, errors, training
from planet_tf.agents import EpsilonGreedy
from planet_tf.comparisons import planners
from planet_tf.planning import CategoricalCEM
from planet_tf.training import loading
from planet_tf.training.tasks import Tasks

SETTINGS = [
    "train.task = 'gym:CartPole-v1'",
    "load_environment.observations = ('state',)",
    "load_environment.kwargs = {'max_episode_steps': 20}",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("discrete") / "run"
    config.parse(["planet.gin", "debug.gin"], SETTINGS)
    training.train(root)
    gin.clear_config()
    return root


def test_episodes_hold_one_hot_actions(run):
    identity = json.loads((run / "run.json").read_text())
    assert identity["discrete"] and identity["action_size"] == 2
    assert identity["kwargs"] == {"max_episode_steps": 20}
    for path in (run / "episodes" / "train").glob("*.npz"):
        with np.load(path) as episode:
            assert episode["action"].shape[1] == 2 and len(episode["action"]) <= 21
            np.testing.assert_array_equal(episode["action"][1:].max(1), 1)
            np.testing.assert_array_equal(episode["action"][1:].sum(1), 1)


def test_where_episodes_end_is_learned(run):
    assert json.loads((run / "run.json").read_text())["terminates"]
    tags = {tag for line in helpers.scalars(run) for tag in line}
    assert {"train/continuation_loss", "test/continuation_loss"} <= tags


def test_planner_and_exploration_are_for_choices(run):
    agent = training.load_agent(run).agent
    assert isinstance(agent.policy.planner, CategoricalCEM)
    assert isinstance(agent.collect_policy.exploration, EpsilonGreedy)


def test_the_exported_policy_returns_an_index(run, command, tmp_path):
    policy = training.load_policy(run / "policy")
    assert policy.action_spec.shape == () and policy.action_spec.dtype == np.int32
    status, out, err = command(
        "evaluate", run / "policy", "--episodes=2", f"--json={tmp_path / 'one'}"
    )
    assert status == 0, err
    # The same model with the same planner acts in the run.
    assert command("evaluate", run, "--episodes=2", f"--json={tmp_path / 'two'}")[0] == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one", "two"))
    assert one["returns"] == two["returns"]
    # With bindings its model gets another planner.
    flags = ["--gin_bindings=CategoricalCEM.candidates = 10", "--episodes=1"]
    assert command("evaluate", run / "policy", *flags)[0] == 0


def test_planners_of_choices_are_measured(run):
    subject = planners.subject(run)
    assert subject.discrete
    for point in planners.default_points(subject.horizon, subject.discrete):
        loading.check_bindings(run, point.bindings)
        assert point.bindings[0] == "PlanetPolicy.planner = @CategoricalCEM()"


def test_wrong_settings_of_its_planner_are_found_early(run):
    with pytest.raises(errors.ConfigError, match=r"CategoricalCEM\.candidates"):
        loading.check_bindings(run, ["CategoricalCEM.candidates = -3"])


def test_a_planner_of_the_other_kind_is_refused(run):
    with pytest.raises(errors.ConfigError, match=r"is CEM, but .* discrete .*CategoricalCEM"):
        training.load_agent(run, bindings=["PlanetPolicy.planner = @CEM()"])


def test_tasks_with_other_choices_are_not_learned_together():
    gin.bind_parameter("load_environment.observations", ("image",))
    with pytest.raises(errors.ConfigError, match=r"actions differ.*one of 2.*one of 3"):
        Tasks(("gym:CartPole-v1", "gym:Acrobot-v1"), seed=0, rows=1)
    with pytest.raises(errors.ConfigError, match=r"actions differ"):
        Tasks(("gym:CartPole-v1", "dot_goal"), seed=0, rows=1)


@pytest.mark.parametrize(
    ("robots", "said"),
    [
        ({1, 2}, "Object of type set"),
        ((1, 2), "JSON has no tuples"),
        ({1: 2}, "only texts as keys"),
    ],
)
def test_arguments_that_a_file_cannot_hold_are_refused(light, tmp_path, robots, said):
    with pytest.raises(errors.ConfigError, match=f"kwargs: .*{said}") as error:
        task = {"train__task": "own_tasks:make_of_robots"}
        light(tmp_path / "run", **task, load_environment__kwargs={"robots": robots})
    assert error.value.setting == "load_environment.kwargs"
    assert not (tmp_path / "run").exists()
