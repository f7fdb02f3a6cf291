"""Training as the user runs it: from nothing to all that a run leaves, and on from there."""

import json

import gin
import helpers
import numpy as np
import pytest

from planet_tf import config, environments, training
from planet_tf.agents import PlanetAgent
from planet_tf.analysis import pictures
from planet_tf.training import Settings, learner

SIZES = {"planet", "cpu", "cpu_64", "cpu_state", "debug", "comparison"}
SIZES |= {"dmcontrol100k", "dmcontrol500k"}
TASKS = {
    "cartpole_balance": ("cartpole_balance", 8),
    "cartpole_swingup": ("cartpole_swingup", 8),
    "cheetah": ("cheetah_run", 4),
    "cup": ("ball_in_cup_catch", 4),
    "finger": ("finger_spin", 2),
    "reacher": ("reacher_easy", 4),
    "walker": ("walker_walk", 2),
    "dot_goal": ("dot_goal", 1),
    "gym_acrobot": ("gym:Acrobot-v1", 4),
    "gym_cartpole": ("gym:CartPole-v1", 2),
    "gym_cartpole_pixels": ("gym:CartPole-v1", 2),
    "gym_mountain_car_continuous": ("gym:MountainCarContinuous-v0", 10),
    "gym_pendulum": ("gym:Pendulum-v1", 2),
}
TERMS = {
    "loss",
    "observation_loss",
    "reward_loss",
    "kl",
    "kl_loss",
    "prior_entropy",
    "posterior_entropy",
}
TAGS = {
    *(f"train/{term}" for term in TERMS | {"gradient_norm", "gradient_clipped"}),
    *(f"test/{term}" for term in TERMS),
    "collect/return",
    "collect/length",
    "evaluation/return",
    "evaluation/return_std",
    "time/updates_per_second",
    "time/decision_ms",
    "time/evaluation_decision_ms",
    "open_loop/observation",
    "open_loop/reward",
    "open_loop/kl",
}
IMAGES = {
    "config",
    "heldout/real_and_predicted",
    "heldout/open_loop",
    "_hparams_/experiment",
    "_hparams_/session_start_info",
}
COUNTERS = {"time", "updates", "episodes", "agent_steps", "env_steps"}
FILES = [
    "checkpoints",
    "config.gin",
    "episodes",
    "policy",
    "processes.jsonl",
    "run.json",
    "scalars.jsonl",
]


def test_a_run_leaves_everything(toy_run, checkpoint, tensorboard_tags):
    assert helpers.names(toy_run) == [*FILES, "tensorboard"]
    files = [f"00000{number}-51.npz" for number in range(4)]
    assert helpers.names(toy_run / "episodes" / "train") == files
    assert helpers.names(toy_run / "episodes" / "heldout") == files[:2]  # random, evaluation
    assert {"saved_model.pb", "policy_specs.pbtxt"} < set(helpers.names(toy_run / "policy"))
    assert "train.task = 'dot_goal'" in (toy_run / "config.gin").read_text()
    assert json.loads((toy_run / "run.json").read_text()) == {
        "seed": 0,
        "task": "dot_goal",
        "action_repeat": 1,
        "camera": None,
        "observations": {"image": [64, 64, 3]},
        "action_size": 2,
    }
    found = helpers.scalars(toy_run)
    assert {key for line in found for key in line} == TAGS | COUNTERS
    assert all(np.isfinite(value) for line in found for value in line.values())
    assert tensorboard_tags(toy_run) == TAGS | IMAGES
    for line in found:
        assert line["env_steps"] == line["agent_steps"] == 50 * line["episodes"]
        fitted = 3 * ("train/loss" in line)  # its updates precede an episode's end
        assert line["updates"] == 3 * max(line["episodes"] - 2, 0) + fitted
    returns = [line["collect/return"] for line in found if "collect/return" in line]
    for file, total in zip(files, returns, strict=True):
        with np.load(toy_run / "episodes" / "train" / file) as episode:
            np.testing.assert_allclose(total, episode["reward"].sum(), rtol=1e-5)
    for number, updates in ((3, 3), (4, 6)):
        values = checkpoint(toy_run, number)
        for part in ("agent/_train_step_counter", "optimizer/_iterations"):
            (value,) = (int(x) for key, x in values.items() if part in key)
            assert value == updates


def test_one_command_trains_and_the_same_again_resumes(light, command, tmp_path):
    run = tmp_path / "run"
    arguments = [
        *["train", "--gin_file=cartpole_swingup.gin", "--gin_file=debug.gin"],
        "--gin_bindings=load_environment.action_repeat=100",
        "--gin_bindings=load_environment.observations=('state',)",
        f"--root_dir={run}",
    ]
    status, out, err = command(*arguments)
    assert status == 0 and str(run) in out, err
    for number in range(1, 5):
        assert f"episode {number}/4 | {number * 1000} env steps" in err
    (line,) = [line for line in err.splitlines() if "evaluation after 4 episodes, 4000 env" in line]
    assert line.endswith(", the best so far")
    assert helpers.names(run / "episodes" / "train") == [f"00000{i}-11.npz" for i in range(4)]
    lines = helpers.scalars(run)
    assert (lines[-1]["agent_steps"], lines[-1]["env_steps"]) == (40, 4000)

    status, _, err = command(*arguments)
    assert status == 0 and "episode 4 of 4, update 6" in err and "train.episodes=8" in err
    assert helpers.scalars(run) == lines

    status, _, err = command(*arguments, "--gin_bindings=train.episodes=5")
    assert status == 0 and "episode 4 of 5, update 6" in err
    assert "episode 4/5" not in err and "episode 5/5 | 5000 env steps" in err


@pytest.mark.parametrize("observations", [("state",), ("image", "state")], ids=["state", "both"])
def test_a_run_observes_what_it_is_told_to(
    light, tmp_path, observations, tensorboard_tags, monkeypatch
):
    frames = np.zeros([3, 64, 64, 3], np.uint8)
    chunk = {"real": frames}
    monkeypatch.setattr(learner.Learner, "predict", lambda *_: ({"reward": 1.0}, chunk))
    monkeypatch.setattr(pictures, "strip", lambda prediction, difference: prediction["real"][0])
    monkeypatch.setattr(pictures, "narrow_video", lambda prediction: prediction["real"])
    light(tmp_path, load_environment__observations=observations, train__episodes=3)
    identity = json.loads((tmp_path / "run.json").read_text())
    assert set(identity["observations"]) == set(observations)
    with np.load(tmp_path / "episodes" / "train" / "000002-51.npz") as episode:
        rest = {"action", "reward", "discount", "is_first"}
        assert set(episode.files) == {*observations, *rest}
        assert episode["state"].shape == (51, 4)
    shown = "heldout/real_and_predicted" in tensorboard_tags(tmp_path)
    assert shown == ("image" in observations)


def test_settings_may_be_given_without_gin(light, tmp_path):
    gin.bind_parameter("train.episodes", 99)
    settings = Settings(task="dot_goal", episodes=3, seed_episodes=2, chunk_length=8)
    training.train(tmp_path / "run", settings)
    assert len(helpers.names(tmp_path / "run" / "episodes" / "train")) == 3


# The gin files.


def test_every_gin_file_is_a_task_or_a_size():
    assert {path.stem for path in config.presets().glob("*.gin")} == SIZES | set(TASKS)


@pytest.mark.parametrize("file", TASKS)
def test_a_task_file_has_the_papers_settings(file):
    config.parse([f"{file}.gin"])
    task, repeat = TASKS[file]
    assert gin.query_parameter("train.task") == task
    with environments.load(task, observations=("state",)) as env:
        assert env.action_repeat == repeat
    settings = {
        "train.batch_size": 50,
        "train.chunk_length": 50,
        "train.updates_per_episode": 100,
        "PlanetAgent.learning_rate": 1e-3,
        "PlanetAgent.adam_epsilon": 1e-4,
        "PlanetAgent.clip_norm": 1000.0,
        "GaussianNoise.std": 0.3,
        "WorldModel.reward_scale": 10.0,
        "WorldModel.free_nats": 3.0,
        "RSSMCell.stoch_size": 30,
        "RSSMCell.deter_size": 200,
        "CEM.horizon": 12,
        "CEM.candidates": 1000,
        "CEM.elites": 100,
        "CEM.iterations": 10,
    }
    if not file.startswith("gym_"):
        settings["train.seed_episodes"] = 5
    assert {name: gin.query_parameter(name) for name in settings} == settings
    for size in ("cpu", "cpu_state", "debug"):  # every name in them is right
        config.parse([f"{size}.gin"])


DM_CONTROL = [file for file in TASKS if file != "dot_goal" and not file.startswith("gym_")]


@pytest.mark.parametrize("file", DM_CONTROL)
def test_the_learning_rate_falls_over_the_same_episodes_in_every_task(file):
    config.parse([f"{file}.gin", "cpu.gin"])
    each = 400 if file == "finger" else 150
    assert Settings().updates == 150 * each
    for benchmark, episodes in (("dmcontrol100k", 100), ("dmcontrol500k", 500)):
        config.parse([f"{benchmark}.gin"])
        assert Settings().updates == (episodes - 5) * each
        assert config.value_of(PlanetAgent, "learning_rate_updates") is None  # until the end
