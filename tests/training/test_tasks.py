"""Tasks of a run: one, or several that one agent learns in turn."""

import json

import gin
import helpers
import numpy as np
import pytest

from planet_tf import errors
from planet_tf.experience import UniformPolicy
from planet_tf.training.tasks import Tasks

SEVERAL = ("dot_goal", "cartpole_swingup")  # 2 actions and 50 steps, 1 and 125 of 8 env steps
STATE = ("state",)


@pytest.fixture
def several():
    tasks = Tasks(SEVERAL, seed=1, rows=1)
    yield tasks
    tasks.close()


def test_several_tasks_take_turns(several):
    assert several.several and several.names == list(SEVERAL)
    assert [several.name(number) for number in range(3)] == [*SEVERAL, "dot_goal"]
    policy = UniformPolicy(several.env)
    for number, frames in enumerate([51, 126]):
        (episode,) = several.collect(number, policy, helpers.sequences(1))
        assert episode["image"].shape == (frames, 64, 64, 3)
        assert episode["action"].shape == (frames, 2)  # padded to the largest task's


def test_the_identity_is_of_every_task(several):
    assert several.identity(seed=1) == {
        "seed": 1,
        "task": list(SEVERAL),
        "action_repeat": [1, 8],
        "camera": [None, 0],
        "observations": {"image": [64, 64, 3]},
        "action_size": 2,
    }
    assert several.env_steps({"dot_goal": 10, "cartpole_swingup": 3}) == 10 + 3 * 8


@pytest.mark.parametrize(("shows", "camera"), [(STATE, None), (("state", "image"), 0)])
def test_the_identity_of_one_task_has_no_lists(shows, camera):
    gin.bind_parameter("load_environment.observations", shows)
    tasks = Tasks("cartpole_swingup", seed=1, rows=1)
    sizes = {"image": [64, 64, 3], "state": [5]}
    assert tasks.identity(seed=1) == {
        "seed": 1,
        "task": "cartpole_swingup",
        "action_repeat": 8,
        "camera": camera,  # without images it makes no difference
        "observations": {key: sizes[key] for key in sorted(shows)},
        "action_size": 1,
    }
    tasks.close()


def test_states_of_several_tasks_must_agree():
    gin.bind_parameter("load_environment.observations", STATE)
    with pytest.raises(errors.ConfigError, match="'dot_goal': 4, 'cartpole_swingup': 5") as error:
        Tasks(SEVERAL, seed=1, rows=1)
    assert error.value.setting == "load_environment.observations"


# A run.


def test_a_run_learns_several_tasks_in_turn(light, tmp_path, capsys, tensorboard_tags, checkpoint):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    names = ("own_tasks:make", "dot_goal")  # 10 steps of 5 env steps, 50 of 1
    settings = {"train__task": names, "train__chunk_length": 4}
    light(whole, **settings, train__episodes=5)
    assert "200 env steps" in capsys.readouterr().err
    assert json.loads((whole / "run.json").read_text())["task"] == list(names)
    files = [f"00000{number}-{length}.npz" for number, length in enumerate([11, 51, 11, 51, 11])]
    assert helpers.names(whole / "episodes" / "train") == files
    found = helpers.scalars(whole)
    collected = [line for line in found if "collect/return" in line]
    for number, line in enumerate(collected):
        assert line[f"collect/return/{names[number % 2]}"] == line["collect/return"]
        assert f"collect/return/{names[1 - number % 2]}" not in line
        with np.load(whole / "episodes" / "train" / files[number]) as file:
            np.testing.assert_allclose(line["collect/return"], file["reward"].sum(), rtol=1e-5)
    assert [line["agent_steps"] for line in collected] == [10, 60, 70, 120, 130]
    assert [line["env_steps"] for line in collected] == [50, 100, 150, 200, 250]
    scores = [line for line in found if "evaluation/return" in line]
    assert [line["episodes"] for line in scores] == [4, 5]
    for line in scores:
        by_task = [line[f"evaluation/return/{name}"] for name in names]
        np.testing.assert_allclose(line["evaluation/return"], np.mean(by_task), rtol=1e-6)
    heldout = helpers.names(whole / "episodes" / "heldout")  # one, then two evaluations of both
    assert heldout == [f"00000{i}-{11 if i in (0, 1, 3) else 51}.npz" for i in range(5)]
    extra = {f"{kind}/return/{name}" for kind in ("collect", "evaluation") for name in names}
    assert extra < tensorboard_tags(whole)

    for episodes in (4, 5):
        light(parts, train__episodes=episodes)
    helpers.assert_identical(checkpoint(whole, 5), checkpoint(parts, 5))
    assert helpers.names(parts / "episodes" / "train") == files
    for other in ("dot_goal", names[::-1]):
        with pytest.raises(errors.ConfigError, match="task: "):
            light(whole, train__task=other)
