"""The toy task: its reward by hand, its image, its oracle."""

import numpy as np
import pytest
from tf_agents.environments import utils

from planet_tf import environments
from planet_tf.environments import dot_goal


def returns(env, act, episodes):
    totals = []
    for _ in range(episodes):
        step, total = env.reset(), 0.0
        while not step.is_last():
            step = env.step(act())
            total += float(step.reward)
        totals.append(total)
    return np.array(totals)


def test_it_is_a_valid_environment_of_50_decisions():
    env = environments.load("dot_goal", seed=0)
    utils.validate_py_environment(env, episodes=3)
    assert (env.name, env.action_repeat, env.max_steps) == ("dot_goal", 1, 50)
    env.reset()
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(50)]
    assert [bool(s.is_last()) for s in steps] == [False] * 49 + [True]
    assert all(s.discount == 1.0 for s in steps)


def test_the_state_holds_both_positions(monkeypatch):
    env = environments.load("dot_goal", seed=0, observations=("state",))
    utils.validate_py_environment(env, episodes=1)
    env.reset()
    draw, drawn = env._draw, []
    monkeypatch.setattr(env, "_draw", lambda: drawn.append(draw()) or drawn[-1])
    env.dot = np.array([0.25, -0.5])
    state = env.step(np.array([0, 1], np.float32)).observation["state"]
    np.testing.assert_allclose(state, [0.25, -0.3, 0.5, 0.5], rtol=1e-6)
    assert state.dtype == np.float32 and drawn == []
    np.testing.assert_array_equal(env.render(), draw())
    env.render()
    assert len(drawn) == 1
    env.step(np.ones(2, np.float32))
    np.testing.assert_array_equal(env.render(), draw())


def test_reward_by_hand():
    env = dot_goal.DotGoal(seed=0)
    env.reset()
    env.dot, env.goal = np.array([0.5, 0.0]), np.array([0.5, 0.8])
    # To (0.5, 0.2): 0.6 away, exp(-(0.6 / 0.5)^2 / 2) = exp(-0.72).
    assert env.step(np.array([0, 1], np.float32)).reward == pytest.approx(np.exp(-0.72))
    np.testing.assert_allclose(env.dot, [0.5, 0.2])
    env.dot = np.array([0.9, 0.8])  # the wall stops it at (1, 0.8): 0.5 away
    assert env.step(np.array([1, 0], np.float32)).reward == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("repeat", [1, 2])
def test_the_oracle_is_good_and_random_actions_are_not(repeat):
    env = dot_goal.DotGoal(seed=0, action_repeat=repeat, observations=("state",))
    oracle = returns(env, env.oracle_action, 100)
    random = np.random.RandomState(1)
    uniform = returns(env, lambda: random.uniform(-1, 1, 2).astype(np.float32), 100)
    most = env.max_steps * repeat
    print(f"oracle {oracle.mean() / most:.3f}, random {uniform.mean() / most:.3f} of the most")
    assert 0.9 < oracle.mean() / most < 1.0
    assert uniform.mean() < oracle.mean() / 3


def test_a_seed_decides_where_the_dot_starts():
    def starts(seed):
        env = dot_goal.DotGoal(seed=seed)
        found = []
        for _ in range(20):
            env.reset()
            found.append(env.dot)
            np.testing.assert_array_equal(env.goal, dot_goal.GOAL)
        return np.array(found)

    places = starts(1)
    np.testing.assert_array_equal(places, starts(1))
    assert not np.array_equal(places, starts(2))
    assert np.abs(places).max() <= 1
    assert np.linalg.norm(places - dot_goal.GOAL, axis=-1).min() >= 0.5
    assert not np.array_equal(starts(None), starts(None))


def test_the_image_shows_dot_and_goal_where_they_are():
    env = dot_goal.DotGoal(seed=0)
    env.reset()
    env.dot, env.goal = np.array([-1.0, 1.0]), np.array([0.4, -0.5])
    image = env.step(np.zeros(2, np.float32)).observation["image"]
    assert image.dtype == np.uint8 and image.flags.owndata

    def middle(colour):
        return np.argwhere(np.all(image == colour, axis=-1)).mean(axis=0)

    np.testing.assert_allclose(middle(dot_goal.DOT_COLOUR), dot_goal.pixel(env.dot), atol=0.5)
    np.testing.assert_allclose(middle(dot_goal.GOAL_COLOUR), dot_goal.pixel(env.goal), atol=0.5)
    assert middle(dot_goal.DOT_COLOUR)[0] < 32 and middle(dot_goal.DOT_COLOUR)[1] < 32  # top left
    assert np.all(image[0] == dot_goal.BACKGROUND) and np.all(image[:, -1] == dot_goal.BACKGROUND)
    assert np.sum(np.all(image == dot_goal.DOT_COLOUR, axis=-1)) > 30  # visible, even in a corner


def test_the_goal_stays_visible_under_the_dot():
    env = dot_goal.DotGoal(seed=0)
    env.reset()
    env.dot = env.goal = np.array([0.1, 0.2])
    image = env.step(np.zeros(2, np.float32)).observation["image"]
    assert np.sum(np.all(image == dot_goal.GOAL_COLOUR, axis=-1)) > 50
