"""`planet-tf bench --cluster`: what is measured of collectors, and what is calculated from it."""

import importlib.util
import json
import time

import numpy as np
import pytest

from planet_tf import environments, errors
from planet_tf.cluster.collectors import Collected
from planet_tf.machine import benchmark, collection

TINY = ["dot_goal.gin", "debug.gin"]
# A learner needs 100 x 0.1 + 0.5 = 10.5 s per episode.
COSTS = collection.Costs(
    agent_steps=20,
    episode_bytes=2_500_000,
    file_bytes=1_000_000,
    weights_bytes=4_000_000,
    update=0.1,
    acting=30.0,
    acting_remotely=40.0,
    adding=0.5,
    updates_per_episode=100,
    episodes=360,
)
SCALING = [
    collection.Scaling(1, 20.0, 5e8, 0.4, 4.0),
    collection.Scaling(4, 30.0, 4.5e8, 1.4, 5.0),
]


@pytest.mark.parametrize(("collectors", "seconds"), [(0, 40.5), (1, 40), (2, 20), (4, 10.5)])
def test_the_slower_of_learner_and_collectors_decides(collectors, seconds):
    assert COSTS.episode_seconds(collectors) == pytest.approx(seconds)
    assert COSTS.enough == 4


def test_tables():
    lines = collection.forecast(COSTS).splitlines()
    assert (
        "takes a collector on this machine 40.0 s; 2.50 MB are sent and 1.00 MB written" in lines[0]
    )
    assert "10.5 s per episode for 100 updates; without them it could add 2 episodes" in lines[2]
    rows = [line.split() for line in lines[4:-1]]
    assert rows == [
        ["0", "40.5", "4.0", "hours"],
        ["1", "40.0", "4.0", "hours"],
        ["2", "20.0", "2.0", "hours"],
        ["4", "10.5", "63", "minutes"],
    ]
    assert lines[-1] == "more than 4 would wait for the learner"
    one, four = (line.split() for line in collection.scaling_table(SCALING).splitlines()[1:])
    assert one == ["1", "0.40", "1.00", "4.0", "ms", "20", "s", "500", "MB"]
    assert four[:3] == ["4", "1.40", "3.50"]


def test_a_step_of_the_simulated_task_takes_its_time():
    name = "planet_tf.machine.collection:slow_dot_goal"
    env = environments.load(name, 0, observations=("state",), kwargs={"step_seconds": 0.05})
    env.reset()
    start = time.perf_counter()
    env.step(np.zeros(2, np.float32))
    assert time.perf_counter() - start >= 0.05


def test_each_number_of_collectors_is_measured(monkeypatch):
    pools = []

    class FakePool:
        def __init__(self, count, identity, report, check):
            self.count, self.taken, self.closed = count, [], False
            assert identity["observations"] == {"state": [4]}
            pools.append(self)

        def take(self, weights, first, count, left):
            self.taken.append((first, count, left))
            return iter([Collected({}, 0, 2.0)] * count)

        def close(self):
            self.closed = True

    monkeypatch.setattr(collection, "Pool", FakePool)
    found = list(collection.scaling([1, 3], 0.01))
    assert [each.collectors for each in found] == [1, 3]
    # The first episode of each is not timed: it traces the policy.
    assert [pool.taken for pool in pools] == [
        [(0, 1, 1), (1, 4, 10**6)],
        [(0, 3, 3), (3, 12, 10**6)],
    ]
    assert all(pool.closed for pool in pools) and found[1].decision_ms == 2.0


def test_an_episode_of_a_configuration_is_measured(monkeypatch):
    monkeypatch.setattr(collection, "_remote_seconds", lambda run: 3.0)
    seconds = benchmark.ActSeconds(update=0.5, decision=0.1, collecting=0.2, step=0.01)
    monkeypatch.setattr(benchmark, "act_seconds", lambda run, repeats: seconds)
    found = collection.costs(TINY, ["train.updates_per_episode=7"], repeats=1)
    assert found.agent_steps == 50 and found.updates_per_episode == 7
    assert found.episode_bytes == 51 * (64 * 64 * 3 + 2 * 4 + 4 + 4 + 1)
    assert found.update == 0.5 and found.acting == pytest.approx(50 * 0.21)
    assert min(found.adding, found.file_bytes) > 0


def test_several_tasks_are_refused():
    with pytest.raises(errors.ConfigError) as error:
        collection.costs([*TINY, "ablations/all_tasks.gin"])
    assert error.value.setting == "train.task"


def test_the_command_prints_and_writes_both(command, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(collection, "scaling", lambda *given: asked.append(given) or SCALING)
    monkeypatch.setattr(collection, "costs", lambda *given: asked.append(given) or COSTS)
    flags = ["--cluster", 1, 4, "--step_seconds=0.1", f"--json={tmp_path / 'x.json'}"]
    status, out, err = command("bench", *flags)
    assert status == 0, err
    assert asked == [(["cheetah.gin", "cpu.gin"], [], None, 5), ([1, 4], 0.1, [])]
    assert "3.50" in out and "63 minutes" in out
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["scaling"][1]["collectors"] == 4 and found["costs"]["agent_steps"] == 20


def test_wrong_settings_are_named_before_anything_is_measured(command, monkeypatch):
    monkeypatch.setattr(collection, "scaling", lambda *_: pytest.fail("measured"))
    status, out, err = command("bench", "--cluster", 1, "--gin_file=nothing.gin")
    assert status == 2 and not out and "nothing.gin" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cluster", 0], "'0'"),
        (["--cluster", 1, "--cycle=3"], "--cycle"),
        (["--step_seconds=1"], "needs --cluster"),
    ],
)
def test_wrong_flags_are_named(command, flags, message):
    status, out, err = command("bench", *flags)
    assert status == 2 and not out and message in err


@pytest.mark.slow  # starts Ray
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs the extra cluster")
def test_a_real_collector_is_timed():
    assert 0 < collection.costs(TINY, repeats=1).acting_remotely < 60
