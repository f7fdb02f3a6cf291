"""What results/ ships: policies that act, as well as it says."""

import json

import numpy as np
import pytest

from planet_tf import evaluation, trained
from tests.conftest import ROOT

POLICIES = sorted(path.parent for path in (ROOT / "results" / "policies").glob("*/score.json"))


def test_policies_are_shipped():
    folder = ROOT / "results" / "policies"
    assert sorted(path for path in folder.iterdir() if path.is_dir()) == POLICIES
    assert POLICIES


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_a_shipped_policy_acts(path):
    files = [file for file in (path / "policy").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 5e6
    score = json.loads((path / "score.json").read_text())
    assert score["episodes"] == len(score["returns"]) == 10
    np.testing.assert_allclose(score["mean"], np.mean(score["returns"]))
    policy, source, _ = trained.load(path / "policy")
    env = source.env
    assert env.name == score["task"]
    if env.name == "dot_goal":  # quick, and so forgiving that another machine's rounding is nothing
        (episode,) = evaluation.run_episodes(env, policy, np.random.SeedSequence(0).spawn(1))
        assert episode["reward"].sum() > 0.8 * score["mean"]
        return
    env.seed(0)
    step, state = env.reset(), policy.get_initial_state(1)
    for _ in range(2):
        decision = policy.action(step, state)
        step, state = env.step(decision.action), decision.state
        assert decision.action.shape == env.action_spec().shape
        assert 0 < np.abs(decision.action).max() <= 1
