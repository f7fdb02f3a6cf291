"""The agent: an update by hand, and the same updates from the same seed."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents import tf_agent

from planet_tf import agent as agents


def values(agent):
    variables = [*agent.world_model.variables, *agent.optimizer.variables]
    return [variable.numpy() for variable in variables]


def updated(agent, updates, batch):
    """Takes updates on batches that differ; returns all variables and the losses."""
    update = tf.function(agent.train)
    losses = []
    for i in range(updates):
        rolled = {key: tf.roll(value, i, 1) for key, value in batch.items()}
        losses.append(float(update(rolled).loss))
    return values(agent), losses


def test_it_is_a_tf_agent_that_counts_its_updates(make_agent, batch):
    agent = make_agent()
    assert isinstance(agent, tf_agent.TFAgent)
    image = tf.TensorSpec([64, 64, 3], tf.uint8)
    assert agent.training_data_spec == agents.chunk_spec({"image": image}, [2])
    assert agent.training_data_spec["image"] == tf.TensorSpec([64, 64, 3], tf.uint8, "image")
    counter = tf.Variable(7, dtype=tf.int64)
    counting = make_agent(train_step_counter=counter)
    info = counting.train(batch)
    assert int(counter) == 8 and int(agent.train_step_counter) == 0
    assert info.loss == info.extra["loss"]


def test_one_seed_gives_the_same_50_updates_bit_for_bit(make_agent, batch):
    one, losses = updated(make_agent(1), 50, batch)
    two, again = updated(make_agent(1), 50, batch)
    assert losses == again and len(set(losses)) > 40
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)


def test_another_seed_gives_other_updates(make_agent, batch):
    # The same weights, another stream of noise.
    one, same, other = (float(make_agent(1, seed=seed).loss(batch).loss) for seed in (0, 0, 1))
    assert one == same != other
    one, same, other = (make_agent(w).world_model.trainable_variables[0] for w in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_an_update_by_hand(make_agent, batch):
    gin.bind_parameter("PlanetAgent.learning_rate", 10.0)
    gin.bind_parameter("PlanetAgent.adam_epsilon", 0.5)
    gin.bind_parameter("PlanetAgent.clip_norm", 2.0)
    agent = make_agent()
    variables = agent.world_model.trainable_variables
    with tf.GradientTape() as tape:
        loss, _ = agent.world_model.loss(batch, tf.constant([0, 0]))  # seed 0, update 0
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients))
    assert norm > 4  # so that it is clipped
    before = [variable.numpy() for variable in variables]
    info = agent.train(batch)
    np.testing.assert_allclose(info.loss, loss, rtol=1e-6)
    np.testing.assert_allclose(info.extra["gradient_norm"], norm, rtol=1e-4)  # before clipping
    for variable, old, gradient in zip(variables, before, gradients, strict=True):
        g = gradient.numpy() * 2.0 / norm
        # Adam's first step; epsilon is outside the bias correction, sqrt(1 - 0.999).
        step = -10.0 * g / (np.abs(g) + 0.5 / np.sqrt(1e-3))
        np.testing.assert_allclose(variable.numpy() - old, step, rtol=1e-3, atol=1e-6)


def test_an_update_that_overflows_float16_is_passed_over(make_agent, batch):
    gin.bind_parameter("WorldModel.precision", "mixed_float16")
    agent = make_agent()
    variables = agent.world_model.trainable_variables
    before = [variable.numpy() for variable in variables]
    kernel = agent.world_model.encoder.variables[0].numpy()
    scale = float(agent.optimizer.loss_scale)
    broken = {**batch, "reward": batch["reward"] * 1e9}
    assert float(agent.train(broken).extra["gradient_norm"]) == 0.0
    assert float(agent.optimizer.loss_scale) == scale / 2
    for variable, old in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    update = tf.function(agent.train)
    norms = [float(update(batch).extra["gradient_norm"]) for _ in range(20)]
    assert norms[-1] > 0.0  # it has found its scale
    assert np.any(agent.world_model.encoder.variables[0] != kernel)


def test_loss_changes_nothing(make_agent, batch):
    agent = make_agent()
    before = values(agent)
    one, two = agent.loss(batch), agent.loss(batch)
    assert one.loss == two.loss == one.extra["loss"]
    assert int(agent.train_step_counter) == 0
    for x, y in zip(before, values(agent), strict=True):
        np.testing.assert_array_equal(x, y)
    assert agent.train(batch).loss != one.loss  # held-out noise is not the update's


def test_there_are_no_loss_weights(make_agent, batch):
    agent = make_agent()
    for function in (agent.train, agent.loss):
        with pytest.raises(ValueError, match="no loss weights"):
            function(batch, weights=tf.ones([4]))
    assert int(agent.train_step_counter) == 0


def test_tensorflow_optimises_the_graphs_of_update_and_decision(python):
    """One pattern that its optimizer breaks off at costs every fusion in the graph."""
    program = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
import tests.conftest as c
from planet_tf import config
import tensorflow as tf
config.parse(c.TINY, [])
agent = c._make_agent()
spec = agent.training_data_spec
batch = tf.nest.map_structure(lambda s: tf.zeros([2, 3, *s.shape], s.dtype), spec)
tf.function(agent.train)(batch)
step = tf.nest.map_structure(lambda s: tf.zeros([1, *s.shape], s.dtype), agent.time_step_spec)
agent.policy.action(step, agent.policy.get_initial_state(1))
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert "optimization failure" not in done.stderr


def test_the_learning_rate_follows_its_schedule(make_agent, batch):
    gin.bind_parameter("PlanetAgent.learning_rate", 1e-2)
    gin.bind_parameter("PlanetAgent.final_learning_rate", 1e-3)
    gin.bind_parameter("PlanetAgent.learning_rate_updates", 90)
    counter = tf.Variable(0, dtype=tf.int64)
    agent = make_agent(train_step_counter=counter)
    update = tf.function(agent.train)
    for updates, expected in ((0, 1e-2), (30, 7e-3), (90, 1e-3), (500, 1e-3)):
        counter.assign(updates)
        update(batch)
        np.testing.assert_allclose(agent.optimizer.learning_rate, expected, rtol=1e-5)


def test_exploration_noise_follows_its_schedule(make_agent):
    gin.bind_parameter("PlanetAgent.final_exploration_noise", 0.1)
    gin.bind_parameter("PlanetAgent.exploration_updates", 100)
    counter = tf.Variable(0, dtype=tf.int64)
    agent = make_agent(train_step_counter=counter)
    for updates, expected in ((0, 0.3), (50, 0.2), (100, 0.1), (1000, 0.1)):
        counter.assign(updates)
        np.testing.assert_allclose(agent.collect_policy.exploration_noise(), expected, rtol=1e-6)
    assert agent.policy.exploration_noise == 0.0
