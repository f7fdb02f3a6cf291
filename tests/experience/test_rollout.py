"""Acting: a seed decides all of an episode, whatever the other rows do."""

import helpers
import numpy as np
import pytest
from own_tasks import Counting, Varying
from scipy import stats
from tf_agents.drivers import py_driver
from tf_agents.policies import random_py_policy

from planet_tf import environments, errors
from planet_tf.agents import PlanetPyPolicy
from planet_tf.environments import dot_goal
from planet_tf.experience import UniformPolicy, align, rollout, run_episodes

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # TF-Agents'


def test_a_seed_decides_an_episode_in_any_row(agent, in_rows):
    env = environments.load("dot_goal", action_repeat=5)
    batch = in_rows([environments.load("dot_goal", action_repeat=5) for _ in range(3)])
    one, two = helpers.sequences(2)
    alone, together = (
        run_episodes(e, PlanetPyPolicy(agent.collect_policy, not e.batched), [one, two, one])
        for e in (env, batch)
    )
    for found in (alone, together):
        assert found[0]["image"].shape == (11, 64, 64, 3)
        helpers.assert_same(found[0], found[2])
        assert not np.array_equal(found[0]["action"], found[1]["action"])
        assert not np.array_equal(found[0]["image"][0], found[1]["image"][0])
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a["action"], b["action"], atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_end_independently_of_each_other(in_rows, rows):
    env, batch = Varying(), in_rows([Varying() for _ in range(rows)])
    expected, got = (
        run_episodes(e, UniformPolicy(e), helpers.sequences(5, 4)) for e in (env, batch)
    )
    assert len({len(episode["reward"]) for episode in expected}) > 2
    assert len(expected) == len(got) == 5
    for one, two in zip(expected, got, strict=True):
        helpers.assert_same(one, two)
        assert two["discount"][-1] == 0 and np.all(two["discount"][:-1] == 1)


def test_a_policy_needs_no_state():
    env = Counting([5, 1, 9])
    policy = random_py_policy.RandomPyPolicy(env.time_step_spec(), env.action_spec(), seed=3)
    five, one = run_episodes(env, policy, helpers.sequences(2))
    assert (len(five["reward"]), len(one["reward"])) == (6, 2)
    np.testing.assert_array_equal(five["action"][1:], env.actions[0])
    np.testing.assert_array_equal(one["image"][:, 0, 0], [[0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize("rows", [1, 2])
def test_observers_see_every_transition(in_rows, rows):
    env = in_rows([Varying() for _ in range(rows)]) if rows > 1 else Varying()
    seen = []
    found = run_episodes(env, UniformPolicy(env), helpers.sequences(rows), [seen.append])
    assert len(seen) >= max(len(episode["reward"]) - 1 for episode in found)
    if rows == 1:
        helpers.assert_same(align(seen), found[0])
    else:
        assert all(before.step_type.shape == (2,) for before, _, _ in seen)


def test_an_observer_may_stop_an_episode():
    env = Varying()

    def stop(transition):
        raise errors.Interrupted("stopped", 143)

    with pytest.raises(errors.Interrupted):
        run_episodes(env, UniformPolicy(env), helpers.sequences(1), [stop])


@pytest.mark.parametrize("lengths", [[4], [4, 1, 2]], ids=["not batched", "batched"])
def test_a_recorder_takes_the_first_episode_of_each_row(in_rows, lengths):
    singles = [Counting([length] * 9) for length in lengths]
    env = in_rows(singles) if len(singles) > 1 else singles[0]
    policy = random_py_policy.RandomPyPolicy(env.time_step_spec(), env.action_spec(), seed=3)
    recorder = rollout.EpisodeRecorder()
    driver = py_driver.PyDriver(env, policy, [], [recorder], max_steps=1)
    step = env.reset()
    for _ in range(4):
        assert not recorder.complete and recorder.episodes == []
        step, _ = driver.run(step)
    for _ in range(3):
        assert recorder.complete
        for episode, single in zip(recorder.episodes, singles, strict=True):
            np.testing.assert_array_equal(episode["action"][1:], single.actions[0])
            assert np.all(episode["image"][..., 1] == 0)  # of episode 0
        step, _ = driver.run(step)  # is ignored


def test_uniform_actions_are_uniform_and_each_rows_own(in_rows):
    env = in_rows([environments.load("dot_goal", observations=("state",)) for _ in range(2)])
    found = run_episodes(env, UniformPolicy(env), helpers.sequences(6, 2))
    actions = np.stack([episode["action"][1:] for episode in found])
    assert actions.shape == (6, 50, 2) and actions.dtype == np.float32
    assert len(np.unique(actions)) == actions.size
    assert stats.kstest(actions.ravel(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    before, after = actions[:, :-1].ravel(), actions[:, 1:].ravel()
    assert stats.pearsonr(before, after).pvalue > 0.01


def test_every_frame_of_the_first_episode_is_filmed():
    env = rollout.FilmedEnvironment(dot_goal.DotGoal(seed=0, observations=("state",)))
    env.reset(), env.step(np.zeros(2, np.float32))  # no whole episode
    episode, _ = run_episodes(env, UniformPolicy(env), helpers.sequences(2))
    assert len(env.frames) == len(episode["reward"]) == 51
    shown = dot_goal.DotGoal()
    shown.reset()
    for frame, state in zip(env.frames, episode["state"], strict=True):
        shown.dot = state[:2].astype(float)
        difference = frame.astype(int) - shown._draw()
        assert np.abs(difference).max() <= 1  # the state is float32
    assert (env.name, env.action_repeat) == ("dot_goal", 1)
