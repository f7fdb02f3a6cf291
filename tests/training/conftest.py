"""Runs in which nothing is learned: for tests about episodes, counters and files."""

import types

import pytest
from tf_agents.specs import tensor_spec

from planet_tf.experience import UniformPolicy
from planet_tf.training import learner, run as runs


class _Uniform(UniformPolicy):
    """Takes what PlanetPyPolicy takes, and acts at random."""

    def __init__(self, policy, batch_time_steps=True):
        time_step, action = tensor_spec.to_array_spec((policy.time_step_spec, policy.action_spec))
        super().__init__(
            types.SimpleNamespace(time_step_spec=lambda: time_step, action_spec=lambda: action)
        )


def _fit(self, replay, updates, progress):
    self.agent.train_step_counter.assign_add(updates)
    return {"train/loss": 1.0, "train/gradient_clipped": 0.0, "time/updates_per_second": 2.0}


@pytest.fixture
def light(quick, agents_once, monkeypatch):
    """Trains like `quick`, but updates do nothing and actions are random: (root_dir, **settings).

    Making an agent and tracing its functions takes most of a small run's time.
    """
    monkeypatch.setattr(learner.Learner, "fit", _fit)
    monkeypatch.setattr(learner.Learner, "test", lambda *_: {"test/loss": 1.0})
    monkeypatch.setattr(learner.Learner, "predict", lambda *_: None)
    monkeypatch.setattr(runs, "PlanetPyPolicy", _Uniform)
    return quick
