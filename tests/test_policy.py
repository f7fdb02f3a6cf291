"""The policy: what it remembers, what it is fed, where its randomness comes from."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.drivers import py_driver
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import environments, policy as policies, world_model as wm

pytestmark = pytest.mark.usefixtures("tiny")


def images(rows, seed=0):
    random = np.random.RandomState(seed)
    return tf.constant(random.randint(0, 256, [rows, 64, 64, 3]).astype(np.uint8))


def time_step(image, first=False):
    """A time step of `first`, one for all rows or one each; the rows are MID otherwise."""
    rows = image.shape[0]
    first = np.broadcast_to(first, [rows])
    kinds = np.where(first, ts.StepType.FIRST, ts.StepType.MID).astype(np.int32)
    return ts.TimeStep(tf.constant(kinds), tf.zeros(rows), tf.ones(rows), {"image": image})


def some_state(policy, rows, seed=0):
    """A state in the middle of an episode."""
    random = np.random.RandomState(seed)
    spec = policy.policy_state_spec
    state = {
        key: tf.constant(random.uniform(-1, 1, [rows, *spec[key].shape]).astype(np.float32))
        for key in ("deter", "stoch", "action")
    }
    return {**state, "seed": policy.initial_state(rows, tf.constant([seed, 1]))["seed"]}


def same(a, b, atol=1e-5):
    tf.nest.map_structure(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


def row(structure, i):
    return tf.nest.map_structure(lambda x: x[i : i + 1], structure)


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
    state = some_state(policy, 3)
    step = policy.action(time_step(images(3)), state)
    np.testing.assert_array_equal(step.state["action"], step.action)
    assert np.all(np.abs(step.action) <= 1)
    after = policy.action(time_step(images(3, 1)), step.state).state
    same(after["deter"], cell.transition(step.state, step.action))
    quiet = agent.policy.action(time_step(images(3)), state)
    assert np.all(np.any(np.abs(quiet.action - step.action) > 1e-3, axis=-1))
    other = policy.action(time_step(images(3, 1)), {**step.state, "action": quiet.action}).state
    assert np.all(np.any(np.abs(after["deter"] - other["deter"]) > 1e-5, axis=-1))


def test_exploration_adds_a_gaussian_and_evaluation_none(agent):
    rows = 300
    little = policies.PlanetPolicy(
        agent.time_step_spec, agent.action_spec, agent.world_model, exploration_noise=1e-3
    )
    state, step = some_state(little, rows), time_step(images(rows))
    quiet, nudged, noisy = (
        p.action(step, state) for p in (agent.policy, little, agent.collect_policy)
    )
    inside = np.all(np.abs(nudged.action) < 1, axis=-1)
    assert inside.sum() > 200
    noise = ((nudged.action - quiet.action) / 1e-3).numpy()[inside]
    # 2 * 200 standard normals: mean within 3 / sqrt(400), std within 3 / sqrt(800).
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(noise.std(), 1, atol=0.11)
    expected = np.clip(quiet.action.numpy()[inside] + 0.3 * noise, -1, 1)
    np.testing.assert_allclose(noisy.action.numpy()[inside], expected, atol=1e-3)
    for key in ("deter", "stoch", "seed"):
        same(noisy.state[key], quiet.state[key])
    assert (agent.policy.exploration_noise, agent.collect_policy.exploration_noise) == (0, 0.3)


def test_a_row_acts_in_a_batch_as_it_would_alone(agent):
    policy = agent.collect_policy
    state, image, first = some_state(policy, 3), images(3), np.array([False, True, False])
    together = policy.action(time_step(image, first), state)
    for i in range(3):
        alone = policy.action(time_step(image[i : i + 1], first[i]), row(state, i))
        same(row(together, i), alone)


def test_first_starts_afresh_and_the_seed_goes_on(agent):
    policy = agent.collect_policy
    state, step = some_state(policy, 2), time_step(images(2), True)
    fresh = {**policy.get_initial_state(2), "seed": state["seed"]}
    reset, expected = policy.action(step, state), policy.action(step, fresh)
    same(reset, expected, atol=0)
    assert np.all(np.any(reset.state["seed"] != state["seed"], axis=-1))
    going_on = policy.action(time_step(images(2)), state)
    assert np.any(np.abs(going_on.state["deter"] - reset.state["deter"]) > 1e-3)
    np.testing.assert_array_equal(going_on.state["seed"], reset.state["seed"])


def test_time_step_and_state_decide_the_action(agent):
    policy = agent.policy
    state, step = some_state(policy, 2), time_step(images(2))
    one, two = policy.action(step, state), policy.action(step, state)
    same(one, two, atol=0)
    other = policy.action(step, {**state, "seed": one.state["seed"]})
    assert np.all(np.any(one.action != other.action, axis=-1))
    assert np.all(np.any(one.state["seed"] != state["seed"], axis=-1))
    assert len({tuple(seed) for seed in one.state["seed"].numpy()}) == 2


def test_initial_states_differ_from_call_to_call_and_from_process_to_process(agent, python, root):
    script = """
import tensorflow as tf
from planet_tf import agent, config, environments, training
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
config.parse(["gin/dot_goal.gin", "gin/debug.gin"], [])
env = environments.load("dot_goal")
tf.random.set_seed(0)
agent = agent.PlanetAgent(
    ts.time_step_spec(tensor_spec.from_spec(env.observation_spec())),
    tensor_spec.from_spec(env.action_spec()),
)
tf.random.set_seed(0)
print("seeds", *agent.policy.get_initial_state(2)["seed"].numpy().ravel())
"""
    seeds = []
    for _ in range(2):
        tf.random.set_seed(0)
        seeds.extend(map(tuple, agent.policy.get_initial_state(2)["seed"].numpy()))
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    words = [int(word) for word in done.stdout.split("seeds")[1].split()]
    seeds.extend([tuple(words[:2]), tuple(words[2:])])
    assert len(set(seeds)) == 6


def test_a_seed_decides_the_initial_state(agent):
    first, again, other = (agent.policy.initial_state(2, tf.constant([s, 0])) for s in (4, 4, 5))
    same(first, again, atol=0)
    assert np.all(np.any(first["seed"] != other["seed"], axis=-1))
    assert np.any(first["seed"][0] != first["seed"][1])
    assert first["seed"].dtype == tf.int32


def uniform(shape, seed):
    """Uniforms made of integers: these alone are the same under XLA and without."""
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
    bits = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), tf.constant(8, tf.uint32))
    return tf.cast(tf.bitcast(bits, tf.int32), tf.float32) * 2.0**-24


def test_xla_changes_nothing_but_the_noise(agent, monkeypatch):
    monkeypatch.setattr(wm, "stateless_uniform", uniform)
    monkeypatch.setattr(
        wm, "stateless_normal", lambda shape, seed: tf.math.ndtri(uniform(shape, seed) + 2.0**-25)
    )
    plain, compiled = (
        policies.PlanetPolicy(
            agent.time_step_spec,
            agent.action_spec,
            agent.world_model,
            exploration_noise=0.3,
            jit_compile=jit_compile,
        )
        for jit_compile in (False, True)
    )
    state, step = some_state(compiled, 2), time_step(images(2), [False, True])
    expected = plain.action(step, state)
    same(compiled.action(step, state), expected, atol=1e-4)
    assert np.all(np.any(np.abs(expected.action) > 1e-2, axis=-1))


def test_what_does_not_fit_is_refused(agent):
    policy = agent.policy
    with pytest.raises(ValueError, match="policy_state\\['seed'\\]"):
        policy.action(time_step(images(1)), policy.get_initial_state(1), seed=1)
    with pytest.raises(NotImplementedError, match="action"):
        policy.distribution(time_step(images(1)), policy.get_initial_state(1))


@pytest.mark.parametrize(
    "spec",
    [
        tensor_spec.BoundedTensorSpec([2], tf.float32, 0, 1),
        tensor_spec.BoundedTensorSpec([2], tf.float32, -1, [1, 2]),
        tensor_spec.BoundedTensorSpec([], tf.float32, -1, 1),
        tensor_spec.BoundedTensorSpec([2, 2], tf.float32, -1, 1),
        tensor_spec.BoundedTensorSpec([2], tf.int32, -1, 1),
        tf.TensorSpec([2], tf.float32),
        {"a": tensor_spec.BoundedTensorSpec([2], tf.float32, -1, 1)},
    ],
    ids=["from 0", "to 2", "scalar", "matrix", "int32", "unbounded", "dict"],
)
def test_only_a_vector_in_minus_one_to_one_is_an_action(agent, spec):
    with pytest.raises(ValueError, match="one bounded vector in \\[-1, 1\\]"):
        policies.PlanetPolicy(agent.time_step_spec, spec, agent.world_model)


def test_it_drives_an_environment_and_is_traced_once(agent):
    env = environments.load("dot_goal", seed=1)
    policy = policies.PlanetPyPolicy(agent.collect_policy)
    transitions = []
    driver = py_driver.PyDriver(
        env, policy, [], [transitions.append], max_episodes=2, end_episode_on_boundary=False
    )
    driver.run(env.reset(), policy.get_initial_state(1))
    actions = np.array([step.action for _, step, _ in transitions])
    assert actions.shape == (101, 2) and actions.dtype == np.float32  # one from LAST to FIRST
    assert np.all(np.abs(actions) <= 1) and len(np.unique(actions, axis=0)) == 101
    assert policy._policy_action_fn.experimental_get_tracing_count() == 1
    assert policy.pop_decision_ms() > 0
    assert policy.pop_decision_ms() == 0  # none since


@pytest.mark.parametrize("own", [False, True])
def test_candidates_start_from_one_posterior_sample_or_each_from_its_own(agent, monkeypatch, own):
    starts, latents = [], []
    model = agent.world_model
    filtering = model.step

    def step(*arguments):
        latents.append(filtering(*arguments))
        return latents[-1]

    def imagined_return(state, action, noise):
        starts.append({key: value.numpy().reshape([2, 20, -1]) for key, value in state.items()})
        return tf.reduce_sum(action, [1, 2])

    monkeypatch.setattr(model, "step", step)
    monkeypatch.setattr(model, "imagined_return", imagined_return)
    spec = agent.time_step_spec, agent.action_spec
    policy = policies.PlanetPolicy(*spec, model, sample_per_candidate=own)
    tf.config.run_functions_eagerly(True)
    try:
        state = policy.action(time_step(images(2)), policy.get_initial_state(2)).state
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(starts) == 2  # iterations
    for start in starts:
        np.testing.assert_array_equal(start["deter"], np.stack([state["deter"]] * 20, 1))
    stoch = np.stack([start["stoch"] for start in starts], 2)  # [row, candidate, iteration, S]
    if not own:
        np.testing.assert_array_equal(stoch - state["stoch"].numpy()[:, None, None], 0 * stoch)
        return
    (latent,) = latents
    noise = (stoch - latent["mean"].numpy()[:, None, None]) / latent["std"].numpy()[:, None, None]
    assert len(np.unique(noise.round(4))) > 0.95 * noise.size  # all drawn apart
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / noise.size)


def test_a_noise_that_is_a_function_is_asked_at_every_action(agent):
    std = tf.Variable(0.0)
    spec = agent.time_step_spec, agent.action_spec
    policy = policies.PlanetPolicy(*spec, agent.world_model, exploration_noise=std.read_value)
    state, step = some_state(policy, 2), time_step(images(2))
    quiet = policy.action(step, state).action
    np.testing.assert_array_equal(quiet, agent.policy.action(step, state).action)
    std.assign(0.3)
    assert np.abs(policy.action(step, state).action - quiet).min() > 0
