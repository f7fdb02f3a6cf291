"""The settings of `train`, and wrong ones: they are named, and nothing is written."""

import gin
import pytest

from planet_tf import errors
from planet_tf.training import Settings, tasks

WRONG = {
    "seed": [-1, 1.0],
    "episodes": [2.5, 5],  # 5: not more than seed_episodes
    "seed_episodes": [0],
    "heldout_episodes": [0],
    "updates_per_episode": [True],
    "batch_size": [0, "many"],
    "chunk_length": [1],
    "evaluate_every": [0],
    "environments": [0, 1.5],
    "random_collection": ["no", 1],
    "device": ["tpu", None],
    "jit_compile": ["yes"],
}


@pytest.mark.parametrize(("name", "wrong"), [(n, w) for n, ws in WRONG.items() for w in ws])
def test_a_value_out_of_range_is_named(name, wrong):
    with pytest.raises(errors.ConfigError) as error:
        Settings(task="dot_goal", **{name: wrong})
    assert error.value.setting == f"train.{name}" and repr(wrong) in error.value.message


def test_every_task_needs_a_seed_episode():
    with pytest.raises(errors.ConfigError) as error:
        Settings(task=("a", "b", "c"), seed_episodes=2)
    assert error.value.setting == "train.seed_episodes"
    assert Settings(task=("a", "b"), seed_episodes=2).seed_episodes == 2


@pytest.mark.parametrize("setting", ["environments", "collectors"])
def test_several_tasks_take_one_environment_each(setting):
    with pytest.raises(errors.ConfigError, match=r"\(2\)") as error:
        Settings(task=("a", "b"), **{setting: 2})
    assert error.value.setting == f"train.{setting}"


def test_gin_sets_them():
    gin.bind_parameter("train.batch_size", 7)
    assert Settings(task="dot_goal").batch_size == 7
    assert Settings(task="dot_goal", batch_size=8).batch_size == 8


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("", "task"),
        ((), "task"),
        ("dot_gaol", "'dot_goal'"),
        (7, "7"),
        (("dot_goal", "dot_gaol"), "'dot_goal'"),
        (("dot_goal", "dot_goal"), "once"),
        ("own_tasks:mkae", "'make'"),
    ],
)
def test_a_wrong_task_is_named(task, named):
    with pytest.raises(errors.ConfigError) as error:
        tasks.checked(task)
    assert error.value.setting == "train.task" and named in str(error.value)


# Those that are found while a run is built.


@pytest.mark.parametrize(
    ("setting", "wrong", "at_fault"),
    [
        ("train.task", "dot_gaol", "train.task"),
        ("train.episodes", 2, "train.episodes"),
        ("train.device", "gpu", "train.device"),
        ("load_environment.observations", ("images",), "load_environment.observations"),
        ("load_environment.action_repeat", 51, "load_environment.action_repeat"),
        ("WorldModel.overshooting_distance", 8, "WorldModel.overshooting_distance"),
        ("WorldModel.image_size", 48, "Decoder.kernel_sizes"),
        ("WorldModel.latent", "lstm", "WorldModel.latent"),
        ("WorldModel.precision", "float8", "WorldModel.precision"),
        ("RSSMCell.stoch_size", -1, "RSSMCell.stoch_size"),
        ("RewardHead.units", 0, "RewardHead.units"),
        ("Decoder.filters", (8,), "Decoder.kernel_sizes"),
        ("CEM.elites", 21, "CEM.elites"),
        ("GaussianNoise.std", -1, "GaussianNoise.std"),
        ("GaussianNoise.std", "much", "GaussianNoise.std"),
        ("PlanetAgent.learning_rate", "fast", "PlanetAgent.learning_rate"),
        ("PlanetAgent.final_learning_rate", -1e-3, "PlanetAgent.final_learning_rate"),
        ("ReplayBuffer.capacity", 0, "ReplayBuffer.capacity"),
    ],
)
def test_a_wrong_setting_leaves_no_directory(light, tmp_path, setting, wrong, at_fault):
    with pytest.raises(errors.ConfigError) as error:
        light(tmp_path / "run", **{setting.replace(".", "__"): wrong})
    assert error.value.setting == at_fault
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "others", [{"environments": 2}, {"random_collection": True}, {"task": ("a", "b")}]
)
def test_collectors_have_one_environment_of_one_task_each(others):
    Settings(task="dot_goal", collectors=2)
    with pytest.raises(errors.ConfigError) as error:
        Settings(**{"task": "dot_goal", "collectors": 2, **others})
    assert error.value.setting == "train.collectors"
