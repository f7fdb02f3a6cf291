"""Episodes: a seed decides all of one, a score is the mean of several."""

import numpy as np
import pytest
from dm_control.rl import control
from scipy import stats

from planet_tf import environments, evaluation, policy as policies
from planet_tf.environments import dot_goal, task_environment


def seeds(*entropy):
    return np.random.SeedSequence(entropy)


class Varying(task_environment.TaskEnvironment):
    """Its seed decides how long an episode is, and what it shows and gives."""

    def __init__(self):
        super().__init__("varying", 2, 1, 100)

    def seed(self, seed):
        self._random = np.random.RandomState(seed)

    def _start(self):
        self._left = self._random.randint(1, 9)

    def _advance(self, action):
        self._left -= 1
        return self._random.uniform() + action.sum(), None if self._left else 0.0

    def _state(self):
        raise NotImplementedError

    def _draw(self):
        return self._random.randint(0, 256, [64, 64, 3]).astype(np.uint8)


def same(one, two, atol=0.0):
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=atol, rtol=0)


@pytest.mark.usefixtures("tiny")
def test_a_seed_decides_an_episode(agent):
    env = environments.load("dot_goal")
    policy = policies.PlanetPyPolicy(agent.collect_policy)
    one, again, other = evaluation.run_episodes(env, policy, [seeds(1, n) for n in (2, 2, 3)])
    assert one["image"].shape == (51, 64, 64, 3)
    same(one, again)
    assert not np.array_equal(other["action"], one["action"])
    assert not np.array_equal(other["image"][0], one["image"][0])


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_end_when_they_end(in_rows, rows):
    env, batch = Varying(), in_rows([Varying() for _ in range(rows)])
    expected, got = (
        evaluation.run_episodes(e, evaluation.UniformPolicy(e), seeds(4).spawn(5))
        for e in (env, batch)
    )
    assert len({len(run["reward"]) for run in expected}) > 2
    assert len(expected) == len(got) == 5
    for one, two in zip(expected, got, strict=True):
        same(one, two)
        assert two["discount"][-1] == 0 and np.all(two["discount"][:-1] == 1)


@pytest.mark.usefixtures("tiny")
def test_an_episode_does_not_depend_on_the_number_of_rows(agent, in_rows):
    env = environments.load("dot_goal")
    batch = in_rows([environments.load("dot_goal") for _ in range(3)])
    alone, together = (
        evaluation.evaluate(
            e, policies.PlanetPyPolicy(agent.collect_policy, not e.batched), 4, seeds(7)
        )
        for e in (env, batch)
    )
    np.testing.assert_allclose(together.returns, alone.returns, atol=1e-3)
    for one, two in zip(alone.episodes, together.episodes, strict=True):
        np.testing.assert_allclose(one["action"], two["action"], atol=1e-3)
    assert len(set(alone.returns)) == 4


def test_uniform_actions_are_uniform_and_a_rows_own(in_rows):
    env = in_rows([environments.load("dot_goal") for _ in range(2)])
    runs = evaluation.run_episodes(env, evaluation.UniformPolicy(env), seeds(2).spawn(6))
    actions = np.stack([run["action"][1:] for run in runs])
    assert actions.shape == (6, 50, 2) and actions.dtype == np.float32
    assert len(np.unique(actions)) == actions.size
    assert stats.kstest(actions.ravel(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    before, after = actions[:, :-1].ravel(), actions[:, 1:].ravel()
    assert stats.pearsonr(before, after).pvalue > 0.01


def test_a_score_is_of_episodes_that_differ():
    env = environments.load("dot_goal")
    policy = evaluation.UniformPolicy(env)
    score = evaluation.evaluate(env, policy, 4, seeds(7))
    assert len(score.episodes) == len(set(score.returns)) == 4
    np.testing.assert_allclose(
        score.returns, [episode["reward"].sum() for episode in score.episodes], rtol=1e-6
    )
    np.testing.assert_allclose(score.mean, np.mean(score.returns))
    assert evaluation.evaluate(env, policy, 4, seeds(7)).returns == score.returns
    assert evaluation.evaluate(env, policy, 4, seeds(8)).returns != score.returns


def test_mean_and_population_std_of_returns():
    rewards = ([0.0, 1.0], [0.0, 1.5, 0.5], [6.0])
    score = evaluation.Score([{"reward": np.array(each)} for each in rewards])
    assert score.returns == [1, 2, 6]
    assert score.mean == 3
    np.testing.assert_allclose(score.std, np.sqrt((4 + 1 + 9) / 3))


class Failing(Varying):
    """Does in agent step 3 what it is told to."""

    def __init__(self, fail):
        super().__init__()
        self._fail = fail

    def _start(self):
        self._left = 9
        if self._fail == "at reset":
            raise OSError("no display")

    def _advance(self, action):
        reward, end = super()._advance(action)
        if self._left == 6:
            if self._fail == "physics":
                raise control.PhysicsError("warning BADQACC")
            reward *= self._fail if isinstance(self._fail, float) else 1
        return reward, end


@pytest.mark.parametrize(
    ("fail", "said"),
    [("physics", "PhysicsError: warning BADQACC"), ("at reset", "OSError: no display")],
)
def test_what_an_environment_raises_is_told_from_the_rest(fail, said):
    env = Failing(fail)
    with pytest.raises(evaluation.EnvironmentFailure, match=f"varying: {said}"):
        evaluation.run_episodes(env, evaluation.UniformPolicy(env), [seeds(1)])


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reward_that_is_not_finite_is_named_with_its_step(in_rows, rows, value):
    env = Failing(float(value))
    if rows == 2:
        env = in_rows([Failing(1.0), env])
        env.name = "varying"
    with pytest.raises(FloatingPointError, match="varying, agent step 2: reward is"):
        evaluation.run_episodes(env, evaluation.UniformPolicy(env), seeds(1).spawn(rows))


@pytest.mark.usefixtures("tiny")
def test_a_state_that_is_not_finite_is_named_with_its_step():
    class Lost(dot_goal.DotGoal):
        def _state(self):
            return super()._state() * (np.nan if self._steps == 3 else 1)

    env = Lost(seed=0, observations=("state",))
    with pytest.raises(FloatingPointError, match="dot_goal, agent step 2: observation/state is"):
        evaluation.run_episodes(env, evaluation.UniformPolicy(env), [seeds(1)])


@pytest.mark.usefixtures("tiny")
def test_a_plan_that_is_not_finite_is_named_with_its_step(make_agent):
    env, agent = environments.load("dot_goal"), make_agent()
    for variable in agent.world_model.reward.variables:
        variable.assign(np.nan * variable)
    policy = policies.PlanetPyPolicy(agent.policy)
    with pytest.raises(FloatingPointError, match="agent step 0: .*every candidate's score"):
        evaluation.run_episodes(env, policy, [seeds(1)])
