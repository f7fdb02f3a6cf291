"""`planet-tf evaluate`: scores, videos, failures, and what it refuses."""

import json

import imageio.v3
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import environments, errors, training
from planet_tf.experience import Collector, UniformPolicy
from planet_tf.training.loading import Trained

pytestmark = pytest.mark.usefixtures("agents_once")


def read(path):
    return json.loads(path.read_text())


def test_the_environment_is_closed(command, toy_run, monkeypatch):
    closed = []
    monkeypatch.setattr(Collector, "close", lambda self: closed.append(self.env.name))
    assert command("evaluate", toy_run, "--episodes=1", "--checkpoint=best")[0] == 0
    assert closed == ["dot_goal"]


def test_an_environment_that_fails_is_closed_too(command, toy_run, monkeypatch):
    closed = []
    monkeypatch.setattr(Collector, "close", lambda self: closed.append(self.env.name))

    def fail(*_):
        raise errors.EnvironmentFailure("the robot fell")

    monkeypatch.setattr(Collector, "collect", fail)
    status, _, err = command("evaluate", toy_run, "--episodes=1")
    assert status and "the robot fell" in err and closed == ["dot_goal"]


def test_run_and_its_export_are_scored_alike(command, toy_run, tmp_path):
    one, two, video = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "video.gif"
    status, out, err = command(
        "evaluate", toy_run, "--episodes=2", f"--json={one}", f"--video={video}"
    )
    assert status == 0, err
    assert "dot_goal, 2 episodes, seed 0" in out and str(video) in out
    assert command("evaluate", toy_run / "policy", "--episodes=2", f"--json={two}")[0] == 0
    found, other = read(one), read(two)
    assert found["updates"] == other["updates"] == 6
    np.testing.assert_allclose(found["returns"], other["returns"], atol=1e-3)
    assert len(set(found["returns"])) == 2
    assert (found["agent_steps"], found["env_steps"], found["task"]) == (100, 100, "dot_goal")
    # The toy's run: 4 episodes of 50 steps, 3 updates before each of the last two.
    run = found["run"]
    assert (run["variant"], run["seed"], run["minutes"] > 0) == ("run", 0, True)
    assert (run["episodes"], run["env_steps"], run["updates"]) == (4, 200, 6)
    assert [process["tensorflow"] for process in run["processes"]] == [tf.__version__]
    assert other["run"] is None
    assert imageio.v3.imread(video).shape == (51, 274, 3 * 256 + 2 * 4, 3)


@pytest.fixture
def untrained(monkeypatch):
    """Has `evaluate` score a uniform policy that observes states; what it is called with."""
    calls = []

    def load(path, task, number, bindings, wrap, report):
        calls.append((path, task, number, bindings))
        collector = Collector(
            lambda: wrap(environments.load(task, seed=0, observations=("state",))), report
        )
        return Trained(UniformPolicy(collector.env), collector, 7, None)

    monkeypatch.setattr(training, "load", load)
    return calls


def test_seed_decides_the_episodes(command, untrained, tmp_path):
    returns = []
    for seed in (0, 0, 1):
        flags = ["--task=dot_goal", "--episodes=3", f"--seed={seed}", f"--json={tmp_path / 'x'}"]
        assert command("evaluate", "run", *flags)[0] == 0
        returns.append(read(tmp_path / "x")["returns"])
    assert returns[0] == returns[1] and not set(returns[0]) & set(returns[2])


def test_figures_are_those_of_the_returns(command, untrained, tmp_path):
    bindings = ["--gin_bindings=CEM.horizon=3", "--gin_bindings=CEM.elites=2"]
    flags = ["--task=dot_goal", "--episodes=3", "--checkpoint=2", f"--json={tmp_path / 'x'}"]
    status, _, err = command("evaluate", "a run", *flags, *bindings)
    assert status == 0, err
    assert untrained == [("a run", "dot_goal", 2, ["CEM.horizon=3", "CEM.elites=2"])]
    found = read(tmp_path / "x")
    returns = found["returns"]
    assert len(returns) == found["episodes"] == 3
    expected = [np.mean(returns), np.std(returns), min(returns), max(returns)]
    np.testing.assert_allclose([found[key] for key in ("mean", "std", "min", "max")], expected)
    assert 0 < found["decision_ms_median"] <= found["decision_ms_95"]
    assert (found["path"], found["updates"], found["environment_failures"]) == ("a run", 7, 0)


def test_diverging_episode_is_repeated_and_counted(command, untrained, tmp_path):
    flags = ["--task=odd_tasks:diverges", "--episodes=12", f"--json={tmp_path / 'x'}"]
    status, _, err = command("evaluate", "run", *flags)
    assert status == 0, err
    found = read(tmp_path / "x")
    assert found["environment_failures"] == err.count("discarded") > 0
    assert len(found["returns"]) == found["episodes"] == 12


@pytest.mark.parametrize(
    ("failure", "exit_status", "said"),
    [
        (errors.EnvironmentFailure("the arm is unplugged"), 1, "the arm is unplugged"),
        (errors.NotFiniteError("the arm is at NaN"), 1, "the arm is at NaN"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_episodes_before_a_failure_are_reported(
    command, untrained, monkeypatch, tmp_path, failure, exit_status, said
):
    collect, left = Collector.collect, [1, 1]

    def fails(self, *arguments):
        if not left:
            raise failure
        left.pop()
        return collect(self, *arguments)

    monkeypatch.setattr(Collector, "collect", fails)
    flags = ["--task=dot_goal", "--episodes=5", f"--json={tmp_path / 'x'}"]
    status, out, err = command("evaluate", "run", *flags)
    assert status == exit_status and said in err
    assert "2 episodes" in out and len(read(tmp_path / "x")["returns"]) == 2
    status, out, err = command("evaluate", "run", *flags)
    assert status == exit_status and said in err and not out


def test_policy_of_states_is_filmed_by_the_camera(command, untrained, tmp_path):
    video = tmp_path / "video.gif"
    flags = ["--task=odd_tasks:rail", "--episodes=2", f"--video={video}", "--size=64"]
    status, _, err = command("evaluate", "run", *flags)
    assert status == 0, err
    assert imageio.v3.imread(video).shape == (51, 18 + 64, 64, 3)  # of the first episode


def test_short_episode_is_filmed_at_its_length(command, untrained, tmp_path):
    video = tmp_path / "video.gif"
    flags = ["--task=odd_tasks:EndsSoon", "--episodes=1", f"--video={video}", "--fps=5"]
    status, _, err = command("evaluate", "run", *flags)
    assert status == 0, err
    assert len(imageio.v3.imread(video)) == 4


def test_task_without_a_camera_is_not_filmed(command, untrained, tmp_path):
    flags = ["--task=odd_tasks:no_camera", "--episodes=1", f"--video={tmp_path / 'x.gif'}"]
    status, out, err = command("evaluate", "run", *flags)
    assert status == 2 and "odd_tasks:no_camera" in err and not out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere"], ["nowhere"]),
        (["RUN", "--episodes=0"], ["--episodes", "'0'"]),
        (["RUN", "--seed=-1"], ["--seed", "'-1'"]),
        (["RUN", "--size=0"], ["--size", "'0'"]),
        (["RUN", "--fps=1000"], ["--fps", "'1000'"]),
        (["RUN", "--task=cartpole_swingup"], ["cartpole_swingup", "--task"]),
        (["RUN", "--task=dot_gaol"], ["dot_gaol", "'dot_goal'"]),
        (["RUN", "--checkpoint=9"], ["checkpoint 9", "4", "3"]),
        (["RUN", "--video=video.avi"], ["video.avi"]),
        (["RUN", "--video=no/video.gif"], ["no/video.gif"]),
        (["RUN", "--json=no/where.json"], ["--json", "no/where.json"]),
        (["RUN", "--gin_bindings=CEM.horizn=9"], ["CEM.horizn", "'horizon'"]),
        (["RUN", "--gin_bindings=CEM.horizon=0"], ["CEM.horizon", "0"]),
        (["RUN", "--gin_bindings=RSSMCell.deter_size=9"], ["RUN"]),
        (["RUN/policy", "--gin_bindings=RSSMCell.deter_size=9"], ["RUN/policy"]),
        (["RUN/policy", "--checkpoint=3"], ["RUN/policy", "3"]),
    ],
)
def test_wrong_input_is_named(command, toy_run, arguments, parts):
    arguments, parts = (
        [text.replace("RUN", str(toy_run)) for text in texts] for texts in (arguments, parts)
    )
    status, out, err = command("evaluate", *arguments)
    assert status == 2 and not out and all(part in err for part in parts), err
