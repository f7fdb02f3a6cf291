"""The shipped policies load, act as their scores say, and have what they need next to them."""

import json

import numpy as np
import pytest
from conftest import ROOT
from helpers import sequences

from planet_tf import training
from planet_tf.analysis import planners as planner_tables, rows, tables
from planet_tf.training import exported

POLICIES = sorted((ROOT / "results" / "policies").iterdir())


@pytest.fixture(scope="module", params=POLICIES, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def trained(path):
    found = training.load(path / "policy")
    yield found
    found.collector.close()


def test_a_shipped_policy_acts(path, trained):
    files = [file for file in (path / "policy").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 5e6
    score = json.loads((path / "score.json").read_text())
    assert score["episodes"] == len(score["returns"]) == 10
    np.testing.assert_allclose(score["mean"], np.mean(score["returns"]))
    policy, env = trained.policy, trained.collector.env
    assert env.name == score["task"]
    if env.name == "dot_goal":  # quick, and robust to another machine's rounding
        (episode,) = trained.collector.collect(policy, sequences(1))
        assert episode["reward"].sum() > 0.8 * score["mean"]
        return
    env.seed(0)
    step, state = env.reset(), policy.get_initial_state(1)
    for _ in range(2):
        decision = policy.action(step, state)
        step, state = env.step(decision.action), decision.state
        assert decision.action.shape == env.action_spec().shape
        assert 0 < np.abs(decision.action).max() <= 1


def test_every_csv_can_be_read():
    csvs = set((ROOT / "results").rglob("*.csv"))
    planners = {csv for csv in csvs if csv.parent.name == "planners"}
    assert planners and csvs > planners
    for curve in (curve for csv in csvs - planners for curve in tables.read(csv)):
        assert len(curve.points("episodes"))
        assert np.all(np.diff(curve.columns["minutes"]) >= 0)
    for csv in planners:
        points = planner_tables.summarize(rows.read(csv, planner_tables.Row, "planners"))
        assert len(points) > 10 and len({point.episodes for point in points}) == 1


def test_the_model_of_a_shipped_policy_can_be_given_another_planner(path, trained, monkeypatch):
    monkeypatch.setattr(exported, "_load_saved_model", lambda _: trained.policy)  # takes seconds
    other = ["PlanetPolicy.planner = @CEM()", "CEM.iterations = 1"]
    agent, _ = training.load_agent(path / "policy", bindings=other)
    assert agent.policy.planner.iterations == 1
    assert np.abs(agent.world_model.variables[0]).max() > 0
