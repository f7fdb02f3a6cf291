"""The agent: an update by hand, and the same updates from the same seed."""

import collections

import gin
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context
from tf_agents.agents import tf_agent
from tf_agents.trajectories import time_step as ts

from planet_tf import agents, config, errors, planning
from planet_tf.agents import planet_agent


def values(agent):
    variables = [*agent.world_model.variables, *agent.optimizer.variables]
    return [variable.numpy() for variable in variables]


def operations(run):
    """Runs a function and counts the operations in its graphs once TensorFlow optimized them."""
    context.enable_run_metadata()
    try:
        run()
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    counts = collections.Counter()
    for graph in graphs:
        optimized = graph.post_optimization_graph
        for nodes in (optimized.node, *(f.node_def for f in optimized.library.function)):
            counts.update(node.op for node in nodes)
    return counts


def assert_optimized(counts):
    """TensorFlow drops all its optimizations of a graph if one fails."""
    assert counts["_FusedMatMul"] >= 10 and counts["_FusedConv2D"] + counts["Conv2D"] > 0, counts


@pytest.fixture
def another(agent):
    """Makes another agent of the same specs and weights: (seed of its noise, **arguments)."""

    def make(noise=0, **arguments):
        tf.keras.utils.set_random_seed(0)
        return agents.PlanetAgent(agent.time_step_spec, agent.action_spec, seed=noise, **arguments)

    return make


def test_it_is_a_tf_agent_that_counts_its_updates(tiny, agent, another, batch):
    assert isinstance(agent, tf_agent.TFAgent)
    image = tf.TensorSpec([64, 64, 3], tf.uint8)
    assert agent.training_data_spec == planet_agent.chunk_spec({"image": image}, [2])
    assert agent.training_data_spec["image"] == tf.TensorSpec([64, 64, 3], tf.uint8, "image")
    counter = tf.Variable(7, dtype=tf.int64)
    counting = another(train_step_counter=counter)
    info = counting.train(batch)
    assert int(counter) == 8 and int(agent.train_step_counter) == 0
    assert info.loss == info.extra["loss"]


def test_updates_repeat_bit_for_bit(make_agent, batch):
    agent = make_agent(1)
    start = values(agent)
    variables = [*agent.world_model.variables, *agent.optimizer.variables]
    update = tf.function(agent.train, autograph=False)

    def updated():
        """Takes updates on batches that differ; returns all variables and the losses."""
        losses = []
        for i in range(10):
            rolled = {key: tf.roll(value, i, 1) for key, value in batch.items()}
            losses.append(float(update(rolled).loss))
        return values(agent), losses

    # Its first call traces it.
    assert_optimized(operations(lambda: update(batch)))
    results = []
    for _ in range(2):
        agent.train_step_counter.assign(0)
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        results.append(updated())
    (one, losses), (two, again) = results
    assert losses == again and len(set(losses)) > 7
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(np.any(x != before) for x, before in zip(one, start, strict=True))


def test_its_seed_draws_the_noise_of_updates(tiny, another, batch):
    one, other = another(noise=0), another(noise=1)
    for x, y in zip(one.world_model.variables, other.world_model.variables, strict=True):
        np.testing.assert_array_equal(x, y)
    assert float(one.loss(batch).loss) != float(other.loss(batch).loss)


def test_a_runs_seed_draws_the_weights(agent, make_agent):
    one, same, other = (made.world_model.variables for made in (agent, make_agent(), make_agent(1)))
    for x, y in zip(one, same, strict=True):
        np.testing.assert_array_equal(x, y)
    assert not np.array_equal(one[0], other[0])


def test_the_diagnosis_head_changes_no_other_update(tiny, agent, batch):
    observed = {
        "image": tf.TensorSpec([64, 64, 3], tf.uint8),
        "state": tf.TensorSpec([3], tf.float32, "state"),
    }
    found = []
    for size in (1.0, 1e5):  # the larger state's gradients alone are far beyond the norm
        tf.keras.utils.set_random_seed(0)
        made = agents.PlanetAgent(
            ts.time_step_spec(observed), agent.action_spec, clip_norm=2.0, learning_rate=0.1
        )
        state = tf.fill([4, 6, 3], size)
        norm = made.train({**batch, "state": state}).extra["gradient_norm"]
        head = {variable.ref() for variable in made.world_model.diagnosis.trainable_variables}
        model = made.world_model.trainable_variables
        rest = [variable.numpy() for variable in model if variable.ref() not in head]
        found.append([norm, *rest])
    assert found[0][0] > 4  # so that it is clipped
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_update_by_hand(tiny, another, batch):
    agent = another(learning_rate=10.0, adam_epsilon=0.5, clip_norm=2.0)
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
    assert info.extra["gradient_clipped"] == 1
    for variable, old, gradient in zip(variables, before, gradients, strict=True):
        g = gradient.numpy() * 2.0 / norm
        # Adam's first step; epsilon is outside the bias correction, sqrt(1 - 0.999).
        step = -10.0 * g / (np.abs(g) + 0.5 / np.sqrt(1e-3))
        np.testing.assert_allclose(variable.numpy() - old, step, rtol=1e-3, atol=1e-6)


def test_an_update_that_overflows_float16_is_skipped(tiny, another, batch):
    gin.bind_parameter("WorldModel.precision", "mixed_float16")
    agent = another()
    variables = agent.world_model.trainable_variables
    before = [variable.numpy() for variable in variables]
    kernel = agent.world_model.encoder.variables[0].numpy()
    scale = float(agent.optimizer.loss_scale)
    batch = {key: value[:, :2] for key, value in batch.items()}
    broken = {**batch, "reward": batch["reward"] * 1e9}
    assert float(agent.train(broken).extra["gradient_norm"]) == 0.0
    assert float(agent.optimizer.loss_scale) == scale / 2
    for variable, old in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert int(agent.train_step_counter) == 1
    for _ in range(20):  # until it has found its scale
        if float(agent.train(batch).extra["gradient_norm"]) > 0:
            break
    assert np.any(agent.world_model.encoder.variables[0] != kernel)


def test_loss_changes_nothing(tiny, another, batch):
    agent = another()
    before = values(agent)
    one, two = agent.loss(batch), agent.loss(batch)
    assert one.loss == two.loss == one.extra["loss"]
    assert int(agent.train_step_counter) == 0
    for x, y in zip(before, values(agent), strict=True):
        np.testing.assert_array_equal(x, y)
    assert agent.train(batch).loss != one.loss  # held-out noise is not the update's


def test_there_are_no_loss_weights(agent, batch):
    for function in (agent.train, agent.loss):
        with pytest.raises(ValueError):
            function(batch, weights=tf.ones([4]))
    assert int(agent.train_step_counter) == 0


def test_tensorflow_optimizes_the_graph_of_a_decision(agent, batch):
    image = batch["image"][:2, 0]
    kinds = tf.fill([2], ts.StepType.MID)
    step = ts.TimeStep(kinds, tf.zeros(2), tf.ones(2), {"image": image})
    state = agent.policy.get_initial_state(2)
    assert_optimized(operations(lambda: agent.policy.action(step, state)))


def rate(agent, updates):
    """Returns the learning rate of an update after a number of updates."""
    agent.optimizer.iterations.assign(updates)
    variable = agent.world_model.trainable_variables[0]
    agent.optimizer.apply_gradients([(tf.zeros_like(variable), variable)])
    return agent.optimizer.learning_rate


def test_learning_rate_follows_its_schedule(tiny, another):
    scheduled = another(learning_rate=1e-2, final_learning_rate=1e-3, learning_rate_updates=90)
    for updates, expected in ((0, 1e-2), (30, 7e-3), (90, 1e-3), (500, 1e-3)):
        np.testing.assert_allclose(rate(scheduled, updates), expected, rtol=1e-5)
    np.testing.assert_allclose(rate(another(learning_rate=1e-2), 500), 1e-2, rtol=1e-5)
    whole = another(learning_rate=1e-2, final_learning_rate=1e-3, run_updates=90)
    np.testing.assert_allclose(rate(whole, 30), 7e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.0),
        ("adam_epsilon", -1.0),
        ("clip_norm", 0),
        ("learning_rate_updates", 0),
    ],
)
def test_a_wrong_setting_is_named(agent, setting, value):
    with pytest.raises(errors.ConfigError) as error:
        agents.PlanetAgent(agent.time_step_spec, agent.action_spec, **{setting: value})
    assert error.value.setting == f"PlanetAgent.{setting}"


def test_gin_chooses_planner_objective_and_exploration(tiny, another):
    config.parse(
        [],
        [
            "PlanetPolicy.planner = @RandomShooting()",
            "PlanetPolicy.objective = @ImaginedReturn()",
            "ImaginedReturn.sample_per_candidate = True",
            "PlanetAgent.exploration = @GaussianNoise()",
            "GaussianNoise.std = 0.7",
        ],
    )
    agent = another()
    for policy in (agent.policy, agent.collect_policy):
        assert type(policy.planner).__name__ == "RandomShooting" and policy.planner.candidates == 20
        assert policy.objective.sample_per_candidate
    assert agent.policy.exploration is None and agent.collect_policy.exploration.std == 0.7


def test_the_collecting_planner_may_differ(tiny, another):
    same = another()
    assert same.collect_policy.planner == same.policy.planner == planning.CEM()
    gin.parse_config(
        """
        PlanetAgent.collect_planner = @collect/CEM()
        collect/CEM.candidates = 8
        collect/CEM.warm_start = True
        """
    )
    smaller = another()
    assert smaller.policy.planner == planning.CEM()
    assert smaller.collect_policy.planner == planning.CEM(candidates=8, warm_start=True)
    assert smaller.collect_policy.planner.iterations == 2  # debug.gin's, as in the other
    assert "planner" in smaller.collect_policy.policy_state_spec
    assert "planner" not in smaller.policy.policy_state_spec
