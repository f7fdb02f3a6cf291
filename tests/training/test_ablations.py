"""Every file of gin/ablations: its agent learns and acts; at length, a whole run of it."""

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from planet_tf import config, environments, training
from planet_tf.agents import building
from planet_tf.training import Settings, tasks

OF_COLLECTION = {"all_tasks", "random_collection"}  # their agents are the usual one
FILES = sorted(path.stem for path in (config.presets() / "ablations").glob("*.gin"))


def parse(name, *bindings):
    config.parse(
        ["dot_goal.gin", "debug.gin", f"ablations/{name}.gin"], ["CEM.horizon = 2", *bindings]
    )


@pytest.fixture
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def chunks(agent, rows=2, length=7):
    random = np.random.RandomState(0)
    batch = {
        key: tf.constant(random.uniform(-1, 1, [rows, length, *spec.shape]), tf.float32)
        for key, spec in agent.training_data_spec.items()
    }
    if "image" in batch:
        batch["image"] = tf.cast(127 * (batch["image"] + 1), tf.uint8)
    first = tf.constant(np.arange(rows * length).reshape(rows, length) == 0)
    return {**batch, "discount": tf.ones([rows, length]), "is_first": first}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("file", [file for file in FILES if file not in OF_COLLECTION])
def test_an_ablation_learns_and_acts(file):
    parse(file)
    tasks.checked(Settings().task)
    env = environments.load("dot_goal")
    shapes = {key: list(spec.shape) for key, spec in env.observation_spec().items()}
    agent = building.make_agent({"seed": 0, "observations": shapes, "action_size": 2}, False)
    before = [variable.numpy() for variable in agent.world_model.trainable_variables]
    info = agent.train(chunks(agent))
    assert np.isfinite(info.loss) and np.isfinite(info.extra["gradient_norm"])
    after = agent.world_model.trainable_variables
    # Divergences below the free nats leave the prior's weights as they are.
    changed = [not np.array_equal(one, two) for one, two in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.8
    seen = tf.nest.map_structure(lambda x: tf.constant(x)[None], env.reset().observation)
    for policy in (agent.policy, agent.collect_policy):
        action = policy.action(ts.restart(seen, 1), policy.get_initial_state(1)).action
        assert action.shape == (1, 2) and np.all(np.abs(action) <= 1) and np.any(action != 0)


@pytest.mark.parametrize("file", sorted(OF_COLLECTION))
def test_an_ablation_of_collection_has_settings_that_fit(file):
    parse(file)
    tasks.checked(Settings().task)


@pytest.mark.faults
@pytest.mark.parametrize("file", FILES)
def test_an_ablation_is_trained_resumed_and_exported(file, tmp_path):
    seeds = 6 if file == "all_tasks" else 2
    counts = [f"train.seed_episodes = {seeds}", "train.heldout_episodes = 1"]
    if file == "all_tasks":
        counts.append("load_environment.action_repeat = 100")  # short episodes
    for further in (1, 2):
        gin.clear_config()
        parse(file, *counts, f"train.episodes = {seeds + further}")
        training.train(tmp_path)
    rows = helpers.scalars(tmp_path)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert (rows[-1]["episodes"], rows[-1]["updates"]) == (seeds + 2, 6)
    assert any(np.isfinite(row.get("evaluation/return", np.nan)) for row in rows)
    policy = tf.saved_model.load(str(tmp_path / "policy"))
    spec = policy.signatures["action"].structured_input_signature[1]
    observed = [name for name in spec if "observation" in name]
    reads = "state" if file == "state" else "image"
    assert [name.split("_")[-1] for name in observed] == [reads]
    inputs = {name: tf.zeros([2, *s.shape[1:]], s.dtype) for name, s in spec.items()}
    actions = [policy.signatures["action"](**inputs)["action"] for _ in range(2)]
    np.testing.assert_array_equal(*actions)
    assert np.all(np.abs(actions[0]) <= 1) and np.any(actions[0] != 0)
