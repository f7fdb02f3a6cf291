"""What a run learns: one task or several, from pictures or states; and what it counts of them."""

import json
import os
import signal

import numpy as np
import pytest
from dm_control.rl import control

from planet_tf import config, evaluation
from planet_tf.environments import dot_goal

SEVERAL = ("dot_goal", "cartpole_swingup")  # 2 actions and 50 steps, 1 and 125 of 8 env steps


def lines(run):
    return [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_one_agent_learns_several_tasks_in_turn(
    quick, tmp_path, capsys, checkpoint, tensorboard_tags
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quick(whole, train__task=SEVERAL, train__episodes=5)
    said = capsys.readouterr().err
    assert "episode 3/5 | dot_goal, 1100 env steps" in said
    assert "episode 4/5 | cartpole_swingup, 2100 env steps" in said
    assert "1 episodes of each task; dot_goal " in said
    found = lines(whole)
    assert json.loads((whole / "run.json").read_text()) == {
        "seed": 0,
        "task": list(SEVERAL),
        "action_repeat": [1, 8],
        "camera": [None, 0],
        "observations": ["image"],
    }
    frames = [int(name.split("-")[1].split(".")[0]) for name in names(whole / "episodes" / "train")]
    assert frames == [51, 126, 51, 126, 51]
    for line, number in zip((x for x in found if "collect/return" in x), range(5), strict=True):
        assert line[f"collect/return/{SEVERAL[number % 2]}"] == line["collect/return"]
        assert f"collect/return/{SEVERAL[1 - number % 2]}" not in line
        assert line["agent_steps"] == [50, 175, 225, 350, 400][number]
        assert line["env_steps"] == [50, 1050, 1100, 2100, 2150][number]
        with np.load(whole / "episodes" / "train" / f"00000{number}-{frames[number]}.npz") as run:
            assert run["action"].shape == (frames[number], 2)
            np.testing.assert_allclose(line["collect/return"], run["reward"].sum(), rtol=1e-5)
    scores = [line for line in found if "evaluation/return" in line]
    assert [line["episodes"] for line in scores] == [4, 5]
    for line in scores:
        by_task = [line[f"evaluation/return/{task}"] for task in SEVERAL]
        np.testing.assert_allclose(line["evaluation/return"], np.mean(by_task), rtol=1e-6)
    heldout = names(whole / "episodes" / "heldout")  # a random one, then two evaluations of both
    assert heldout == [f"00000{i}-{51 if i in (0, 1, 3) else 126}.npz" for i in range(5)]
    extra = {f"{kind}/return/{task}" for kind in ("collect", "evaluation") for task in SEVERAL}
    assert extra < tensorboard_tags(whole)

    quick(parts, train__episodes=4)
    quick(parts, train__episodes=5)
    expected, got = checkpoint(whole, 5), checkpoint(parts, 5)
    assert expected.keys() == got.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(got[key], values, err_msg=key)
    assert names(parts / "episodes" / "heldout") == heldout

    # Stopped between an episode and its checkpoint.
    for path in (parts / "checkpoints").glob("ckpt-5.*"):
        path.unlink()
    state = parts / "checkpoints" / "checkpoint"
    state.write_text('model_checkpoint_path: "ckpt-4"\nall_model_checkpoint_paths: "ckpt-4"\n')
    quick(parts, train__episodes=6)
    last = lines(parts)[-1]
    assert (last["episodes"], last["agent_steps"], last["env_steps"]) == (6, 525, 3150)
    for other in ("dot_goal", SEVERAL[::-1]):
        with pytest.raises(config.ConfigError, match="holds another run"):
            quick(parts, train__task=other)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train__environments": 2}, r"train\.environments \(2\) must be 1"),
        ({"train__chunk_length": 52}, r"\(52\) exceeds the 51 frames of an episode of dot_goal"),
        (
            {"load_environment__observations": ("state",)},
            r"states differ in size.*'dot_goal': 4, 'cartpole_swingup': 5.*\('image',\)",
        ),
    ],
)
def test_what_several_tasks_cannot_use_is_named(quick, tmp_path, settings, expected):
    with pytest.raises(config.ConfigError, match=expected):
        quick(tmp_path / "run", train__task=SEVERAL, **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("observations", [("state",), ("image", "state")])
def test_a_run_observes_what_it_is_told_to(quick, tmp_path, observations, tensorboard_tags):
    quick(tmp_path, load_environment__observations=observations, train__episodes=3)
    assert json.loads((tmp_path / "run.json").read_text())["observations"] == sorted(observations)
    with np.load(tmp_path / "episodes" / "train" / "000002-51.npz") as episode:
        assert set(episode.files) - set(observations) == {
            "action",
            "reward",
            "discount",
            "is_first",
        }
        assert episode["state"].shape == (51, 4)
    assert ("heldout/real_model_difference" in tensorboard_tags(tmp_path)) == (
        "image" in observations
    )
    with pytest.raises(config.ConfigError, match=r"\n  observations: \[.*\] -> \['image'\]"):
        quick(tmp_path, load_environment__observations=("image",))


class Sick(dot_goal.DotGoal):
    """Fails in its first episodes, of all that are made."""

    episodes_left = 0
    made = 0

    def __init__(self, **settings):
        super().__init__(**settings)
        Sick.made += 1

    def _advance(self, action):
        if self._steps == 5 and Sick.episodes_left:
            Sick.episodes_left -= 1
            raise control.PhysicsError("warning BADQACC")
        return super()._advance(action)


@pytest.fixture
def sick(monkeypatch):
    """Has the toy's environment fail in its next episodes: (how many)."""

    def fail(episodes):
        Sick.episodes_left, Sick.made = episodes, 0

    fail(0)
    monkeypatch.setattr(dot_goal, "DotGoal", Sick)
    return fail


def test_a_failed_episode_is_thrown_away_and_the_environment_made_anew(
    quick, sick, tmp_path, capsys, checkpoint
):
    sick(2)
    quick(tmp_path, train__episodes=3)
    said = capsys.readouterr().err
    for count in (1, 2):
        assert f"PhysicsError: warning BADQACC (failure {count} in a row), {count} in all" in said
    assert Sick.made == 3
    assert names(tmp_path / "episodes" / "train") == [f"00000{i}-51.npz" for i in range(3)]
    collected = [line for line in lines(tmp_path) if "collect/return" in line]
    assert [line["collect/environment_failures"] for line in collected] == [2, 2, 2]
    assert collected[-1]["env_steps"] == 150
    starts = []
    for path in (tmp_path / "episodes" / "train").iterdir():
        with np.load(path) as episode:
            starts.append(episode["image"][0])
    assert not np.array_equal(starts[0], starts[1])
    (failures,) = (x for key, x in checkpoint(tmp_path, 3).items() if "failures" in key)
    assert failures == 2


def test_three_failures_in_a_row_stop_the_run_which_then_goes_on(quick, sick, tmp_path, capsys):
    quick(tmp_path, train__episodes=3)
    sick(3)
    with pytest.raises(evaluation.EnvironmentFailure, match="3 episodes in a row.*BADQACC"):
        quick(tmp_path, train__episodes=5)
    assert "update 6: writing a checkpoint" in capsys.readouterr().err
    quick(tmp_path, train__episodes=5)
    said = capsys.readouterr().err
    assert "episode 3 of 5, update 6 (checkpoint 3)" in said and "lost" not in said
    assert len(names(tmp_path / "episodes" / "train")) == 5


def test_an_environment_that_cannot_be_made_anew_stops_the_run(quick, sick, tmp_path, monkeypatch):
    sick(1)
    make = Sick.__init__

    def once(self, **settings):
        if Sick.made:
            raise OSError("no display")
        make(self, **settings)

    monkeypatch.setattr(Sick, "__init__", once)
    with pytest.raises(evaluation.EnvironmentFailure, match="made again: OSError: no display"):
        quick(tmp_path)


def test_processes_that_die_are_started_again_and_counted(quick, tmp_path, capsys, monkeypatch):
    run_episodes, killed = evaluation.run_episodes, []

    def run(env, policy, seeds):
        if not killed:
            killed.append(env._workers[1].process.pid)
            os.kill(killed[0], signal.SIGKILL)
        return run_episodes(env, policy, seeds)

    monkeypatch.setattr(evaluation, "run_episodes", run)
    quick(tmp_path, train__episodes=3, train__environments=2)
    assert "its process died with exit code -9 (failure 1 in a row), 1 in all" in (
        capsys.readouterr().err
    )
    assert len(names(tmp_path / "episodes" / "train")) == 3
