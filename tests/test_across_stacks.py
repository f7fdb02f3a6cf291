"""What one TensorFlow has trained acts alike in the other: checkpoint, episode, SavedModel.

tests/data has a run of the toy at debug size from each, and what it did there. To record it after
`planet-tf train --gin_file=dot_goal.gin --gin_file=debug.gin ...`:
`PYTHONPATH=tests python tests/test_across_stacks.py RUN`.
"""

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import training  # before TensorFlow
from planet_tf.agents import building
from planet_tf.experience import episode as episodes
from planet_tf.models import open_loop

DATA = pathlib.Path(__file__).parent / "data"
RUNS = sorted(DATA.glob("tensorflow-*"))
FIRST = 8  # images of the episode


def read(run, spec):
    (file,) = (run / "episodes" / "train").glob("*.npz")
    return episodes.read(file, spec)


def actions(policy, episode):
    """Returns what a policy with a fixed seed does at the first images of an episode."""
    from tf_agents.trajectories import time_step as ts

    state = {**policy.get_initial_state(1), "seed": np.array([[1, 2]], np.int32)}
    taken = []
    for t in range(FIRST):
        step = ts.restart({"image": episode["image"][t]})
        if t:
            step = ts.transition({"image": episode["image"][t]}, np.float32(0))
        decision = policy.action(step, state)
        taken.append(np.ravel(decision.action))
        state = decision.state
    return np.array(taken)


def predicted(agent, episode):
    """Returns the open-loop prediction of an episode."""
    chunk = {key: tf.constant(value[None]) for key, value in episode.items()}
    return open_loop.predict(agent.world_model, chunk, 5, open_loop.SEED)


def behaviour(run):
    """Returns what a run's model predicts and what its policies do, as arrays by name."""
    agent = training.load_agent(run).agent
    episode = read(run, agent.training_data_spec)
    prediction = predicted(agent, episode)
    return {
        "reward": np.array(prediction["reward"]),
        "image": np.array(prediction["observation"][0, ::10]),
        "run": actions(training.loading.PlanetPyPolicy(agent.policy), episode),
        "policy": actions(training.load_policy(run / "policy"), episode),
    }


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_predicts_and_acts_as_where_it_was_trained(run):
    found = behaviour(run)
    with np.load(run / "expected.npz") as expected:
        assert set(expected.files) == set(found)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], atol=2e-3, err_msg=name)
    np.testing.assert_allclose(found["run"], found["policy"], atol=2e-3)


def test_weights_that_were_not_restored_would_be_noticed():
    run = RUNS[0]
    untrained = building.make_agent(training.loading.parse(run, ()), jit_compile=False)
    fresh = predicted(untrained, read(run, untrained.training_data_spec))
    with np.load(run / "expected.npz") as expected:
        assert np.abs(expected["reward"] - fresh["reward"]).max() > 0.1
        assert np.abs(expected["image"] - fresh["observation"][0, ::10]).max() > 0.1


def test_the_same_seed_trains_the_same_agent():
    one, two = (dict(np.load(run / "expected.npz")) for run in RUNS)
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], atol=2e-3, err_msg=name)


if __name__ == "__main__":
    np.savez_compressed(
        pathlib.Path(sys.argv[1]) / "expected.npz", **behaviour(pathlib.Path(sys.argv[1]))
    )
