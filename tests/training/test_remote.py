"""A run with remote collectors: what is collected, and evaluations beside the training."""

import json
import os
import signal

import helpers
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import environments, errors
from planet_tf.agents import building
from planet_tf.cluster.actor import Collected
from planet_tf.experience import UniformPolicy, run_episodes
from planet_tf.training import Settings, remote

IDENTITY = {
    "seed": 0,
    "task": "dot_goal",
    "observations": {"image": [64, 64, 3]},
    "action_size": 2,
}


class SlowPool:
    """A pool whose collectors are one episode behind, and evaluate for as long as three take."""

    def __init__(self, count, identity, report, check):
        self.count, self._env = count, environments.load("dot_goal", 0)
        self.open, self._updates, self._takes = True, 0, 3

    def _episode(self, sequence):
        return run_episodes(self._env, UniformPolicy(self._env), [sequence])[0]

    def take(self, weights, first, count, left):
        self._takes += 1
        for number in range(first, first + count):
            yield Collected(self._episode(np.random.SeedSequence(number)), self._updates, 4.0)
        self._updates = weights.updates

    def evaluate(self, weights, sequences):
        self._takes, self._asked = 0, [weights.updates, sequences]

    def pop_evaluation(self, wait):
        if self._takes < 3 and not wait:
            return []
        updates, sequences = self._asked
        return [Collected(self._episode(sequence), updates, 5.0) for sequence in sequences]

    def close(self):
        self.open = False


def evaluated(root):
    lines = helpers.scalars(root)
    return [line["episodes"] for line in lines if "evaluation/return" in line]


@pytest.fixture
def pool(monkeypatch):
    made = []
    monkeypatch.setattr(remote, "Pool", lambda *given: made.append(SlowPool(*given)) or made[-1])
    return made


def test_a_run_evaluates_beside_its_training(light, pool, tmp_path):
    settings = {"train__evaluation_episodes": 2, "train__updates_per_episode": 10}
    light(tmp_path, **settings, train__collectors=3, train__episodes=11, train__evaluate_every=5)
    lines = helpers.scalars(tmp_path)
    ages = [line["collect/weights_age"] for line in lines if "collect/weights_age" in line]
    assert ages == [10] * 9  # the first 2 episodes are random
    # The evaluation after 5 episodes is known after 8; the last ones are waited for.
    order = [
        (line["episodes"], line["updates"], "evaluation/return" in line)
        for line in lines
        if {"evaluation/return", "collect/return"} & line.keys()
    ]
    assert order[7:9] == [(8, 60, False), (5, 30, True)]
    assert order[-3:] == [(11, 90, False), (10, 80, True), (11, 90, True)]
    scores = {
        line["episodes"]: line["evaluation/return"] for line in lines if "evaluation/return" in line
    }
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert best["mean_return"] == pytest.approx(max(scores.values()))
    # Its weights are those of then, though the score came later.
    saved = tf.train.load_checkpoint(
        str(tmp_path / "checkpoints" / f"evaluated-{best['episodes']}")
    )
    (key,) = [name for name in saved.get_variable_to_shape_map() if "train_step" in name]
    assert saved.get_tensor(key) == {5: 30, 10: 80, 11: 90}[best["episodes"]]
    assert len(list((tmp_path / "episodes" / "heldout").iterdir())) == 1 + 3 * 2
    assert pool[0].count == 3 and not pool[0].open


def test_an_evaluation_that_was_lost_is_repeated(light, pool, tmp_path):
    settings = {"train__collectors": 1, "train__episodes": 9, "train__evaluate_every": 4}
    asked = []

    def end(self, wait):
        asked.append(wait)
        if len(asked) == 2:  # after 5 episodes: the model of 4 is evaluated, and in a checkpoint
            raise errors.Interrupted("stopped", 130)
        return []

    with pytest.MonkeyPatch.context() as patch, pytest.raises(errors.Interrupted):
        patch.setattr(SlowPool, "pop_evaluation", end)
        light(tmp_path, **settings)
    assert evaluated(tmp_path) == [] and (tmp_path / "checkpoints" / "ckpt-4.index").exists()
    light(tmp_path, **settings)
    assert evaluated(tmp_path) == [5, 8, 9]


def test_a_run_waits_for_an_evaluation_when_the_next_is_due(light, pool, tmp_path):
    light(tmp_path, train__collectors=1, train__episodes=5, train__evaluate_every=1)
    assert evaluated(tmp_path) == [3, 4, 5]


def test_weights_come_from_several_devices_too(tiny):
    strategy = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
    with strategy.scope():
        made = building.make_agent(IDENTITY, jit_compile=False)
        made.train_step_counter.assign(7)
    sent = remote.weights(made)
    assert sent.updates == 7
    assert [value.shape for value in sent.values] == [v.shape for v in made.world_model.variables]


def test_a_signal_while_collectors_start_ends_the_run(monkeypatch):
    pools = []

    def start(*given):
        pools.append(SlowPool(*given))
        os.kill(os.getpid(), signal.SIGTERM)  # after its last check
        return pools[0]

    monkeypatch.setattr(remote, "Pool", start)
    settings = Settings(task="dot_goal", collectors=1)
    with pytest.raises(errors.Interrupted) as error, remote.started(settings, IDENTITY, print):
        pytest.fail("it went on")
    assert error.value.exit_status == 143 and not pools[0].open
