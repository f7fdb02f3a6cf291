"""Runs in which nothing is learned: for tests about episodes, counters and files."""

import json
import types

import gin
import pytest
from tf_agents.specs import tensor_spec

from planet_tf import config
from planet_tf.agents import building
from planet_tf.experience import UniformPolicy
from planet_tf.training import learner, run as runs

_make = building.make_agent
_made: dict = {}


def _make_agent(identity, jit_compile):
    """Makes an agent, or resets one that an earlier run with the same settings has used."""
    settings = config.settings(gin.config_str()).items()
    settings = {n: v for n, v in settings if config.owner(n) not in ("train", "load_environment")}
    key = json.dumps([identity["observations"], identity["action_size"], settings])
    if key not in _made:
        agent = _make(identity, jit_compile)
        variables = [agent.train_step_counter, *agent.world_model.variables]
        variables += agent.optimizer.variables
        _made[key] = agent, [(variable, variable.numpy()) for variable in variables]
    agent, initial = _made[key]
    for variable, value in initial:
        variable.assign(value)
    return agent


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
def light(quick, monkeypatch):
    """Trains like `quick`, but updates do nothing and actions are random: (root_dir, **settings).

    Making an agent and tracing its functions takes most of a small run's time.
    """
    monkeypatch.setattr(building, "make_agent", _make_agent)
    monkeypatch.setattr(learner.Learner, "fit", _fit)
    monkeypatch.setattr(learner.Learner, "test", lambda *_: {"test/loss": 1.0})
    monkeypatch.setattr(learner.Learner, "predict", lambda *_: None)
    monkeypatch.setattr(runs, "PlanetPyPolicy", _Uniform)
    return quick
