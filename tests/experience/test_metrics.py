"""TF-Agents' metrics say what the episodes hold."""

import helpers
import numpy as np
from own_tasks import Varying
from tf_agents.drivers import py_driver

from planet_tf.experience import UniformPolicy, metrics, rollout, run_episodes


def episodes(count, *entropy):
    env = Varying()
    return run_episodes(env, UniformPolicy(env), helpers.sequences(count, *entropy))


def test_metrics_agree_with_the_episodes():
    found = metrics.CollectMetrics(["one", "two"])
    assert found.agent_steps() == {"one": 0, "two": 0}
    steps = {"one": 0, "two": 0}
    for number, episode in enumerate(episodes(6)):
        task, length = ("one", "two")[number % 2], len(episode["reward"]) - 1
        found.observe(task, episode)
        steps[task] += length
        assert found.last()["length"] == length
        np.testing.assert_allclose(found.last()["return"], episode["reward"].sum(), rtol=1e-6)
        assert found.agent_steps() == steps
    assert int(found.objects["episodes"].result()) == 6


def test_metrics_agree_with_those_of_a_driver():
    env = Varying(seed=5)
    recorder, driven = rollout.EpisodeRecorder(), metrics.CollectMetrics(["varying"])
    ours = metrics.CollectMetrics(["varying"])
    py_driver.PyDriver(
        env,
        UniformPolicy(env),
        list(driven.objects.values()),
        [recorder],
        max_episodes=1,
        end_episode_on_boundary=False,
    ).run(env.reset(), UniformPolicy(env).get_initial_state(1))
    ours.observe("varying", recorder.episodes[0])
    assert ours.last() == driven.last() and ours.agent_steps() == driven.agent_steps()
