"""Updates that several devices share: two logical CPU devices, and two processes on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import config, errors, planning, seeds
from planet_tf.agents import building
from planet_tf.experience import ReplayBuffer
from planet_tf.training import Settings, follower, replicas
from planet_tf.training.learner import make_learner

IDENTITY = {"seed": 0, "observations": {"state": [4]}, "action_size": 2}


TWO = Settings(task="dot_goal", batch_size=4, chunk_length=6, replicas=2)
CLIPPED = ["PlanetAgent.clip_norm = 0.5", "WorldModel.free_nats = 0.0"]


def chunks():
    """Returns four random chunks of six steps."""
    random = np.random.RandomState(0)
    return {
        "state": tf.constant(random.normal(size=[4, 6, 4]).astype(np.float32)),
        "action": tf.constant(random.uniform(-1, 1, [4, 6, 2]).astype(np.float32)),
        "reward": tf.constant(random.uniform(0, 1, [4, 6]).astype(np.float32)),
        "discount": tf.ones([4, 6]),
        "is_first": tf.constant(np.arange(24).reshape(4, 6) == 0),
    }


@pytest.fixture
def batch():
    return chunks()


@pytest.fixture(scope="module")
def made():
    """A learner of two replicas, each of which takes two chunks of six steps; its first values.

    Its updates draw no noise. Tracing one takes seconds.
    """
    config.parse(["dot_goal.gin", "debug.gin"], CLIPPED)
    learner = make_learner(IDENTITY, TWO, replicas.strategy(TWO))
    gin.clear_config()
    agent = learner.agent
    variables = [agent.train_step_counter, *agent.world_model.variables, *agent.optimizer.variables]
    initial = [(variable, variable.numpy()) for variable in variables]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("normal", "uniform"):
            patch.setattr(seeds, name, lambda shape, seed: tf.zeros(shape))
        learner.update(halves(learner, chunks()))
    return learner, initial


@pytest.fixture
def learner(made):
    learner, initial = made
    with learner._strategy.scope():
        for variable, value in initial:
            variable.assign(value)
    return learner


def halves(learner, batch):
    """Gives each replica two rows of the batch."""

    def part(context):
        first = 2 * context.replica_id_in_sync_group
        return {key: value[first : first + 2] for key, value in batch.items()}

    return tf.distribute.MirroredStrategy.experimental_distribute_values_from_function(
        learner._strategy, part
    )


def values(agent):
    return {v.name: v.numpy() for v in agent.world_model.variables}


def test_two_replicas_update_as_one_does(learner, batch, monkeypatch):
    for name in ("normal", "uniform"):  # the same noise for all: none
        monkeypatch.setattr(seeds, name, lambda shape, seed: tf.zeros(shape))
    config.parse(["dot_goal.gin", "debug.gin"], CLIPPED)
    alone = building.make_agent(IDENTITY, False)
    helpers.assert_same(values(alone), values(learner.agent))
    before = values(alone)
    for _ in range(2):
        expected = alone.train(batch)
        found = learner.update(halves(learner, batch))
    for key, value in expected.extra.items():
        assert float(found.extra[key]) == pytest.approx(float(value), rel=1e-4), key
    assert float(found.extra["gradient_norm"]) > 0.5  # it is clipped
    moved = {key: value - before[key] for key, value in values(alone).items()}
    assert max(np.abs(value).max() for value in moved.values()) > 1e-4
    helpers.assert_same(values(alone), values(learner.agent), atol=2e-6)


def test_replicas_draw_other_noise_and_stay_equal(learner, batch):
    twice = {key: tf.concat([value[:2]] * 2, 0) for key, value in batch.items()}

    def losses(part):
        return learner.agent.loss(part).loss

    run = tf.function(lambda part: learner._strategy.run(losses, (part,)), autograph=False)
    one, two = learner._strategy.experimental_local_results(run(halves(learner, twice)))
    assert float(one) != float(two)
    learner.update(halves(learner, batch))
    for variable in learner.agent.world_model.variables:
        one, two = variable.values
        np.testing.assert_array_equal(one, two)
    assert learner.updates == 1


def test_a_fit_deals_each_update_its_chunks(learner, tmp_path, monkeypatch):
    replay = ReplayBuffer(learner.agent.training_data_spec, tmp_path, 10)
    random = np.random.RandomState(0)
    replay.add_episode(
        {
            "state": np.zeros([40, 4], np.float32),
            "action": np.zeros([40, 2], np.float32),
            "reward": random.uniform(size=40).astype(np.float32),
            "discount": np.ones(40, np.float32),
            "is_first": np.arange(40) == 0,
        }
    )
    parts = replay.chunks(5, 0, 4, 2, 6, machine=(0, 1))
    expected = [part["reward"].numpy() for part in parts]
    for machine in range(2):  # each of two machines has every other one
        parts = replay.chunks(5, 0, 4, 2, 6, machine=(machine, 2))
        got = [part["reward"].numpy() for part in parts]
        np.testing.assert_array_equal(got, expected[machine::2])
    seen = []
    update = learner.update

    def observed(part):
        seen.append(learner._strategy.experimental_local_results(part["reward"]))
        return update(part)

    monkeypatch.setattr(learner, "update", observed)
    terms = learner.fit(replay, 2, lambda _: None)
    assert learner.updates == 2 and np.isfinite(terms["train/loss"])
    seed = seeds.RunSeeds(0).integer(seeds.Stream.REPLAY)
    parts = [part["reward"].numpy() for part in replay.chunks(seed, 0, 4, 2, 6, machine=(0, 1))]
    np.testing.assert_array_equal([part for update in seen for part in update], parts)
    assert update.experimental_get_tracing_count() == 1


@pytest.mark.slow  # traces two runs
def test_a_run_may_change_its_replicas(quick, tmp_path, checkpoint):
    run = {
        "train__batch_size": 4,
        "train__heldout_episodes": 1,
        "load_environment__observations": ("state",),
    }
    quick(tmp_path, train__replicas=2, train__episodes=3, **run)
    quick(tmp_path, train__replicas=1, train__episodes=4, **run)
    before, after = checkpoint(tmp_path, 3), checkpoint(tmp_path, 4)
    assert before.keys() == after.keys()
    (key,) = (key for key in after if "_iterations" in key)
    assert (before[key], after[key]) == (3, 6)  # the optimizer went on where it was


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"replicas": 3, "batch_size": 6}, "train.replicas is 3, but TensorFlow finds 2 devices"),
        ({"batch_size": 5}, "5) must be a multiple of the 2 replicas"),
        ({"jit_compile": True}, "compiles updates for one device, but 2 replicas"),
    ],
)
def test_settings_that_do_not_fit(changed, message):
    settings = Settings(**{"task": "dot_goal", "batch_size": 4, "replicas": 2, **changed})
    with pytest.raises(errors.ConfigError, match=message.replace(")", r"\)")):
        replicas.strategy(settings)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_named(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(errors.ConfigError, match="TF_CONFIG cannot be used"):
        replicas.machines()


def test_one_machine_in_tf_config_is_one(monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
    )
    assert replicas.machines() == 1 and replicas.leads()
    assert replicas.strategy(Settings(task="dot_goal")) is tf.distribute.get_strategy()


class Given:
    """Orders that a test gives."""

    def __init__(self, *orders):
        self._orders = list(orders)

    def receive(self):
        return self._orders.pop(0)


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Follows a leader whose orders are given: (episodes, updates, more), ...; returns the fits."""
    fits = []

    class Learner:
        updates = 0
        agent = types.SimpleNamespace(training_data_spec=helpers.SPEC)

        def fit(self, replay, more, progress):
            fits.append((replay.num_episodes, more))
            Learner.updates += more

    monkeypatch.setattr(follower, "make_learner", lambda *_: Learner())
    no_checkpoint = types.SimpleNamespace(restore=lambda partly: None)
    monkeypatch.setattr(follower, "Checkpoints", lambda *_, **__: no_checkpoint)
    monkeypatch.setattr(follower, "PATIENCE", 0)
    monkeypatch.setattr(
        follower,
        "Tasks",
        lambda *_: types.SimpleNamespace(close=lambda: None, identity=lambda seed: {}),
    )
    leader = ReplayBuffer(helpers.SPEC, tmp_path / "episodes" / "train", 10)

    def run(*orders):
        monkeypatch.setattr(replicas, "Orders", lambda strategy: Given(*orders))
        follower.follow(tmp_path, TWO, tf.distribute.get_strategy())
        return fits

    run.leader = leader
    return run


def episode(frames=5):
    return {
        "image": np.zeros([frames, 2, 2, 3], np.uint8),
        "action": np.zeros([frames, 2], np.float32),
        "reward": np.zeros(frames, np.float32),
        "discount": np.ones(frames, np.float32),
        "is_first": np.arange(frames) == 0,
    }


def test_a_follower_takes_the_leaders_updates(follow, tmp_path):
    for _ in range(3):
        follow.leader.add_episode(episode())
    assert follow((2, 0, 7), (3, 7, 5), (3, 12, 0)) == [(3, 7), (3, 5)]


def test_a_follower_of_another_checkpoint_ends(follow):
    with pytest.raises(errors.ConfigError, match="update 0, but the first machine has one of"):
        follow((0, 4, 7))


def test_a_follower_waits_for_the_leaders_episodes_only_so_long(follow):
    follow.leader.add_episode(episode())
    with pytest.raises(errors.ConfigError, match="shows 1 episodes, .* has collected 2"):
        follow((2, 0, 7))


def test_a_follower_with_other_settings_ends(follow, tmp_path):
    follow.leader.add_episode(episode())
    settings = config.in_use()
    (tmp_path / "config.gin").write_text(settings + "\nCEM.horizon = 5\n")
    gin.bind_parameter("CEM.horizon", 6)
    with pytest.raises(errors.ConfigError, match="CEM.horizon: 5 -> 6") as error:
        planning.CEM()
        follow((1, 0, 7))
    assert error.value.hint == "all machines need the same command"


def test_a_replay_that_is_read_only_changes_nothing(tmp_path):
    leader = ReplayBuffer(helpers.SPEC, tmp_path, 10)
    leader.add_episode(episode())
    reader = ReplayBuffer(helpers.SPEC, tmp_path, 10, read_only=True)
    (tmp_path / "000001-5.npz").write_bytes(b"half")  # as storage may show a new file at first
    before = helpers.contents(tmp_path)
    assert reader.refresh() == 1 and helpers.contents(tmp_path) == before
    leader.add_episode(episode(5))
    leader.add_episode(episode(6))
    assert reader.refresh() == 3 and reader.longest == 6


@pytest.mark.parametrize("machines", [1, 2])
def test_a_lost_machine_is_named(machines, monkeypatch):
    workers = [f"a:{number}" for number in range(machines)]
    cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    expected = errors.MachineLost if machines > 1 else tf.errors.UnavailableError
    with pytest.raises(expected, match="gone"), replicas.lost_machines_named():
        raise tf.errors.UnavailableError(None, None, "gone\nand more")


# Two machines: processes with a TF_CONFIG each.


def start(root, episodes, logs):
    """Starts two processes that train one run; returns them, the leader first."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("localhost", 0))
        two.bind(("localhost", 0))
        workers = [f"localhost:{each.getsockname()[1]}" for each in (one, two)]
    arguments = ["train", "--gin_file=dot_goal.gin", "--gin_file=debug.gin", f"--root_dir={root}"]
    arguments += [f"--gin_bindings=train.episodes={episodes}"]
    processes = []
    for index in range(2):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        with (logs / f"log{index}").open("w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "planet_tf", *arguments],
                    env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
                    stdout=log,
                    stderr=log,
                )
            )
    return processes


def wait_for_episodes(root, count):
    deadline = time.monotonic() + 240
    while len(list(root.glob("episodes/train/*.npz"))) < count and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.mark.faults
@pytest.mark.parametrize("victim", [0, 1])
def test_two_machines_train_one_run_and_resume_it(tmp_path, victim):
    root, survivor = tmp_path / "run", 1 - victim
    processes = start(root, 60, tmp_path)
    wait_for_episodes(root, 5)
    processes[victim].send_signal(signal.SIGKILL)
    log = tmp_path / f"log{survivor}"
    assert processes[survivor].wait(120) == 1, log.read_text()
    assert "error: another machine of TF_CONFIG has ended" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert ("writing a checkpoint" in log.read_text()) == (survivor == 0)
    collected = len(list(root.glob("episodes/train/*.npz")))
    for process in start(root, collected + 2, tmp_path):
        assert process.wait(240) == 0, log.read_text()
    lines = [line for line in helpers.scalars(root) if "collect/return" in line]
    assert [line["episodes"] for line in lines][-2:] == [collected + 1, collected + 2]
    assert (root / "policy" / "saved_model.pb").exists()


@pytest.mark.faults
def test_two_machines_that_are_asked_to_stop_leave_a_checkpoint(tmp_path):
    processes = start(tmp_path / "run", 60, tmp_path)
    wait_for_episodes(tmp_path / "run", 5)
    for process in processes:
        process.terminate()
    assert [process.wait(120) for process in processes] == [143, 143]
    assert "writing a checkpoint" in (tmp_path / "log0").read_text()
