"""The policy: what it remembers, what it is fed, where its randomness comes from."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import Smooth, sequences
from tf_agents.drivers import py_driver
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import environments, errors, seeds
from planet_tf.agents import GaussianNoise, PlanetPolicy, PlanetPyPolicy
from planet_tf.experience import rollout
from planet_tf.planning import CEM, Plan, Planner
from planet_tf.seeds import RowSeeds

ROWS = 3


def images(rows=ROWS, seed=0):
    random = np.random.RandomState(seed)
    return tf.constant(random.randint(0, 256, [rows, 64, 64, 3]).astype(np.uint8))


def time_step(image, first=False):
    """A time step of `first`, one for all rows or one each; the rows are MID otherwise."""
    rows = image.shape[0]
    first = np.broadcast_to(first, [rows])
    kinds = np.where(first, ts.StepType.FIRST, ts.StepType.MID).astype(np.int32)
    return ts.TimeStep(tf.constant(kinds), tf.zeros(rows), tf.ones(rows), {"image": image})


def some_state(policy, rows=ROWS, seed=0):
    """A state in the middle of an episode."""
    random = np.random.RandomState(seed)

    def draw(spec):
        shape = [rows, *spec.shape]
        if spec.dtype == tf.int32:
            return tf.constant(random.randint(1, 1000, shape), tf.int32)
        return tf.constant(random.uniform(-1, 1, shape), tf.float32)

    return tf.nest.map_structure(draw, policy.policy_state_spec)


def same(a, b, atol=1e-5):
    tf.nest.map_structure(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


def rows_differ(a, b, by=0.0):
    difference = np.abs(np.array(a, np.float64) - np.array(b, np.float64))
    return np.all(difference.reshape([len(difference), -1]).max(1) > by)


def row(structure, i):
    return tf.nest.map_structure(lambda x: x[i : i + 1], structure)


@pytest.fixture(scope="module")
def make(agent):
    """Makes policies with the agent's model: (**arguments)."""

    def build(**arguments):
        arguments = {"planner": CEM(4, 20, 4, 2), **arguments}  # as the agent's
        return PlanetPolicy(agent.time_step_spec, agent.action_spec, agent.world_model, **arguments)

    return build


@pytest.fixture(scope="module")
def smooth(make):
    return make(planner=Smooth(4, 20, 4, 2))


def test_the_state_is_explicit(agent):
    spec = {key: (s.shape, s.dtype) for key, s in agent.policy.policy_state_spec.items()}
    assert spec == {
        "deter": ([16], tf.float32),
        "stoch": ([4], tf.float32),
        "action": ([2], tf.float32),
        "seed": ([2], tf.int32),
    }
    state = agent.policy.get_initial_state(3)
    assert {key: x.shape for key, x in state.items()} == {k: [3, *s] for k, (s, _) in spec.items()}
    for key in ("deter", "stoch", "action"):
        assert not np.any(state[key])


def test_the_model_is_fed_the_action_that_was_executed(agent):
    policy, cell = agent.collect_policy, agent.world_model.cell
    state = some_state(policy)
    step = policy.action(time_step(images()), state)
    np.testing.assert_array_equal(step.state["action"], step.action)
    assert np.all(np.abs(step.action) <= 1)
    after = policy.action(time_step(images(seed=1)), step.state).state
    same(after["deter"], cell.transition(step.state, step.action))
    quiet = agent.policy.action(time_step(images()), state)
    assert rows_differ(quiet.action, step.action, 1e-3)
    other = policy.action(time_step(images(seed=1)), {**step.state, "action": quiet.action}).state
    assert rows_differ(after["deter"], other["deter"], 1e-5)


def test_exploration_adds_its_noise_and_evaluation_none(agent):
    state, step = some_state(agent.policy), time_step(images())
    quiet, noisy = (p.action(step, state) for p in (agent.policy, agent.collect_policy))
    noise_seeds = RowSeeds(state["seed"]).split(4)[3]
    expected = GaussianNoise(0.3)(quiet.action, noise_seeds, tf.constant(0))
    same(noisy.action, expected)
    assert rows_differ(noisy.action, quiet.action, 1e-3)
    for key in ("deter", "stoch", "seed"):
        same(noisy.state[key], quiet.state[key])
    assert agent.policy.exploration is None


def test_exploration_follows_the_updates(agent, make):
    updates = tf.Variable(0)
    policy = make(exploration=GaussianNoise(0.0, 0.3, 10), updates=updates)
    state, step = some_state(policy), time_step(images())
    quiet = policy.action(step, state).action
    same(quiet, agent.policy.action(step, state).action, atol=0)
    updates.assign(10)
    assert rows_differ(policy.action(step, state).action, quiet, 1e-3)


def test_a_row_acts_in_a_batch_as_it_would_alone(agent):
    policy = agent.collect_policy
    state, image, first = some_state(policy), images(), np.array([False, True, False])
    together = policy.action(time_step(image, first), state)
    for i in range(ROWS):
        alone = policy.action(time_step(image[i : i + 1], first[i]), row(state, i))
        same(row(together, i), alone)


def test_first_starts_from_zeros_and_the_seed_continues(agent):
    policy = agent.collect_policy
    state, step = some_state(policy), time_step(images(), True)
    zeros = {**policy.get_initial_state(ROWS), "seed": state["seed"]}
    reset, expected = policy.action(step, state), policy.action(step, zeros)
    same(reset, expected, atol=0)
    assert rows_differ(reset.state["seed"], state["seed"])
    continuing = policy.action(time_step(images()), state)
    assert rows_differ(continuing.state["deter"], reset.state["deter"], 1e-3)
    np.testing.assert_array_equal(continuing.state["seed"], reset.state["seed"])
    # What broke in one episode does not outlive it.
    broken = {key: value * np.nan for key, value in state.items() if key != "seed"}
    same(policy.action(step, {**broken, "seed": state["seed"]}), expected, atol=0)


def test_time_step_and_state_decide_the_action(agent):
    policy = agent.policy
    state, step = some_state(policy), time_step(images())
    one, two = policy.action(step, state), policy.action(step, state)
    same(one, two, atol=0)
    other = policy.action(step, {**state, "seed": one.state["seed"]})
    assert rows_differ(one.action, other.action)
    assert rows_differ(one.state["seed"], state["seed"])
    assert len({tuple(words) for words in one.state["seed"].numpy()}) == ROWS


def test_initial_states_differ_from_call_to_call(agent):
    drawn = []
    for _ in range(2):
        tf.random.set_seed(0)
        drawn.extend(map(tuple, agent.policy.get_initial_state(2)["seed"].numpy()))
    assert len(set(drawn)) == 4


def test_seeds_are_the_initial_random_state(agent):
    words = tf.constant([[4, 0], [-7, 2]])
    state = agent.policy.initial_state(words)
    np.testing.assert_array_equal(state["seed"], words)
    assert not np.any(state["deter"]) and state["deter"].shape == (2, 16)


def uniform(shape, seed):
    """Uniforms made of integers: these alone are the same under XLA and without."""
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
    bits = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), tf.constant(8, tf.uint32))
    return tf.cast(tf.bitcast(bits, tf.int32), tf.float32) * 2.0**-24


def test_xla_changes_nothing_but_the_noise(make, monkeypatch):
    monkeypatch.setattr(seeds, "uniform", uniform)
    monkeypatch.setattr(
        seeds, "normal", lambda shape, seed: tf.math.ndtri(uniform(shape, seed) + 2.0**-25)
    )
    plain, compiled = (make(exploration=GaussianNoise(), jit_compile=jit) for jit in (False, True))
    state, step = some_state(compiled), time_step(images(), [False, True, False])
    expected = plain.action(step, state)
    same(compiled.action(step, state), expected, atol=1e-4)
    assert np.all(np.any(np.abs(expected.action) > 1e-2, axis=-1))


def test_it_gives_no_distribution_and_takes_no_seed(agent):
    policy = agent.policy
    with pytest.raises(ValueError, match="seed"):
        policy.action(time_step(images()), policy.get_initial_state(ROWS), seed=1)
    with pytest.raises(NotImplementedError):
        policy.distribution(time_step(images()), policy.get_initial_state(ROWS))


@pytest.mark.parametrize(
    "spec",
    [
        tensor_spec.BoundedTensorSpec([2], tf.float32, -1, [1, 2]),
        tensor_spec.BoundedTensorSpec([2], tf.float32, 0, 2),
        tensor_spec.BoundedTensorSpec([], tf.float32, -1, 1),
        tensor_spec.BoundedTensorSpec([2, 2], tf.float32, -1, 1),
        tensor_spec.BoundedTensorSpec([2], tf.int32, -1, 1),
        tf.TensorSpec([2], tf.float32),
        {"a": tensor_spec.BoundedTensorSpec([2], tf.float32, -1, 1)},
    ],
    ids=["one to 2", "to 2", "scalar", "matrix", "int32", "unbounded", "dict"],
)
def test_only_a_vector_in_minus_one_to_one_is_an_action(agent, spec):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        PlanetPolicy(agent.time_step_spec, spec, agent.world_model)


class Far(Planner):
    """Plans actions out of bounds, or none."""

    def __init__(self, value):
        self.value = value

    def plan(self, score, seeds, action_size, state):
        actions = tf.fill([seeds.seeds.shape[0], 1, action_size], self.value)
        return Plan(actions, tf.zeros_like(actions), {})


def test_a_plan_is_clipped_when_it_is_executed(agent, make):
    step = make(planner=Far(3.0)).action(time_step(images()), some_state(agent.policy))
    np.testing.assert_array_equal(step.action, np.ones([ROWS, 2]))
    np.testing.assert_array_equal(step.state["action"], step.action)


def test_no_plan_is_an_error_when_it_drives(make):
    policy = PlanetPyPolicy(make(planner=Far(np.nan)))
    env = environments.load("dot_goal", seed=0)
    with pytest.raises(errors.NotFiniteError):
        policy.action(env.reset(), policy.get_initial_state(1))


def test_it_drives_an_environment_and_is_traced_once(agent):
    env = environments.load("dot_goal", seed=1)
    policy = PlanetPyPolicy(agent.collect_policy)
    transitions = []
    driver = py_driver.PyDriver(
        env, policy, [], [transitions.append], max_episodes=2, end_episode_on_boundary=False
    )
    driver.run(env.reset(), policy.get_initial_state(1))
    actions = np.array([step.action for _, step, _ in transitions])
    assert actions.shape == (101, 2) and actions.dtype == np.float32  # one from LAST to FIRST
    assert np.all(np.abs(actions) <= 1)
    # Those that noise takes to a corner may be equal.
    free = actions[np.any(np.abs(actions) < 1, 1)]
    assert len(np.unique(free, axis=0)) == len(free) > 50
    assert policy._policy_action_fn.experimental_get_tracing_count() == 1


def test_filter_and_plan_are_the_policys_two_steps(agent):
    """As the notebook uses them, to look at a plan."""
    policy = agent.policy
    state, step = some_state(policy), time_step(images())
    _, filter_seeds, plan_seeds, _ = RowSeeds(state["seed"]).split(4)
    posterior, latent = policy.filter(
        step.observation["image"], step.is_first(), state, filter_seeds
    )
    plan = policy.plan(latent, posterior, plan_seeds)
    decided = policy.action(step, state)
    same(decided.action, plan.actions[:, 0])
    same({key: decided.state[key] for key in latent}, latent)
    assert plan.actions.shape == (ROWS, 4, 2)


# A planner with memory.


def test_memory_is_part_of_the_state(smooth):
    assert smooth.policy_state_spec["planner"] == {
        "last": tf.TensorSpec([4, 2], tf.float32, "last"),
        "decisions": tf.TensorSpec([], tf.int32, "decisions"),
    }
    memory = smooth.get_initial_state(3)["planner"]
    np.testing.assert_array_equal(memory["last"], np.zeros([3, 4, 2]))
    np.testing.assert_array_equal(memory["decisions"], np.zeros(3, np.int32))
    assert memory["decisions"].dtype == tf.int32


def test_memory_is_carried_and_reset_per_row(agent, smooth):
    state = some_state(smooth)
    step = time_step(images(), [False, True, False])
    decided = smooth.action(step, state)
    forgetful = {key: value for key, value in state.items() if key != "planner"}
    planned = agent.policy.action(step, forgetful).action
    last = state["planner"]["last"][:, 0] * np.array([[1], [0], [1]])
    same(decided.action, (planned + last) / 2)
    same(decided.state["planner"]["last"][:, 0], decided.action)
    before = state["planner"]["decisions"].numpy()
    expected = [before[0] + 1, 1, before[2] + 1]
    np.testing.assert_array_equal(decided.state["planner"]["decisions"], expected)
    # The next decision has what this one remembers.
    again = smooth.action(time_step(images(seed=1)), decided.state)
    forgetful = {key: value for key, value in decided.state.items() if key != "planner"}
    planned = agent.policy.action(time_step(images(seed=1)), forgetful).action
    same(again.action, (planned + decided.action) / 2)


def test_a_policy_with_memory_drives_rows_of_an_environment(smooth, in_rows):
    envs = [environments.load("dot_goal", seed=i) for i in range(ROWS)]
    policy = PlanetPyPolicy(smooth, batch_time_steps=False)
    taken = []
    episodes = rollout.run_episodes(in_rows(envs), policy, sequences(ROWS), [taken.append])
    actions = np.stack([episode["action"] for episode in episodes])
    assert actions.shape == (ROWS, 51, 2) and len(np.unique(actions[:, 1:], axis=1)[0]) == 50
    decisions = [step.state["planner"]["decisions"] for _, step, _ in taken]  # before each one
    np.testing.assert_array_equal(decisions, np.tile(np.arange(50)[:, None], ROWS))
