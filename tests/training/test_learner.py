"""The learner: which chunks an update sees, what it reports, and when it stops."""

import contextlib
import os
import signal
import types

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import environments, errors
from planet_tf.agents import building
from planet_tf.experience import ReplayBuffer, UniformPolicy, run_episodes
from planet_tf.seeds import RunSeeds
from planet_tf.training import Settings, interrupts, learner as learners
from planet_tf.training.learner import Learner


@pytest.fixture(scope="module")
def replay(agent, tmp_path_factory):
    """Two episodes of 11 frames."""
    replay = ReplayBuffer(agent.training_data_spec, tmp_path_factory.mktemp("replay"), 10)
    env = environments.load("dot_goal", action_repeat=5)
    for episode in run_episodes(env, UniformPolicy(env), helpers.sequences(2)):
        replay.add_episode(episode)
    return replay


@pytest.fixture
def empty(agent, tmp_path):
    return ReplayBuffer(agent.training_data_spec, tmp_path / "empty", 10)


@pytest.fixture
def learner(agent):
    """A learner whose updates only count, and give the loss terms of `losses`."""
    agent.train_step_counter.assign(0)
    learner = Learner(agent, RunSeeds(0), batch_size=3, chunk_length=6, jit_compile=False)
    learner.seen, learner.losses = [], iter(range(1, 99))

    def update(batch):
        learner.seen.append(batch)
        agent.train_step_counter.assign_add(1)
        return types.SimpleNamespace(extra={"loss": tf.constant(float(next(learner.losses)))})

    learner.update = update
    return learner


def test_a_fit_reports_means_and_progress(learner, replay):
    done = []
    terms = learner.fit(replay, 3, done.append)
    assert done == [1, 2, 3] and learner.updates == 3
    assert terms["train/loss"] == 2 and terms["time/updates_per_second"] > 0
    assert set(terms) == {"train/loss", "time/updates_per_second"}
    for batch in learner.seen:
        assert batch["image"].shape == (3, 6, 64, 64, 3)


def test_the_number_of_an_update_decides_its_batch(learner, replay, agent):
    learner.fit(replay, 4, lambda _: None)
    once, learner.seen = learner.seen, []
    agent.train_step_counter.assign(2)
    learner.fit(replay, 2, lambda _: None)  # as after a resumption
    for one, two in zip(once[2:], learner.seen, strict=True):
        helpers.assert_same(one, two)
    assert not np.array_equal(once[0]["reward"], once[1]["reward"])


@pytest.mark.parametrize("broken", [1, 3, 4])
def test_a_loss_that_is_not_finite_names_its_update(learner, replay, broken):
    learner.losses = iter([np.nan if number == broken else 1.0 for number in range(1, 5)])
    with pytest.raises(errors.NotFiniteError, match=f"loss.* update {broken};"):
        learner.fit(replay, 4, lambda _: None)
    assert learner.updates <= broken + 1  # found one update late


def test_a_signal_stops_after_the_current_update(learner, replay):
    def progress(done):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(errors.Interrupted), interrupts.deferred():
        learner.fit(replay, 5, progress)
    assert learner.updates == 2


def test_episodes_may_be_shorter_than_a_chunk(learner, replay, empty):
    learner.chunk_length = 12
    learner._loss = lambda batch: types.SimpleNamespace(extra={"loss": tf.constant(1.0)})
    learner.fit(replay, 1, lambda _: None)
    (batch,) = learner.seen
    assert np.all(np.sum(batch["is_first"], 1) == 2)  # 11 frames, then another episode's first
    assert learner.test(replay) == {"test/loss": 1.0} and learner.test(empty) == {}
    # A prediction beyond the end of an episode means nothing.
    assert learner.predict(replay) is None and learner.predict(empty) is None


def test_overshooting_must_fit_into_a_chunk(make_agent):
    gin.bind_parameter("WorldModel.overshooting_distance", 6)
    agent = make_agent()
    Learner(agent, RunSeeds(0), batch_size=3, chunk_length=7, jit_compile=False)
    with pytest.raises(errors.ConfigError) as error:
        Learner(agent, RunSeeds(0), batch_size=3, chunk_length=6, jit_compile=False)
    assert error.value.setting == "WorldModel.overshooting_distance"


@pytest.mark.parametrize(
    ("setting", "replicas", "policies", "updates"),
    [
        (None, 1, True, True),
        (True, 1, True, True),
        (False, 1, False, False),
        (None, 2, True, False),
    ],
)
def test_on_a_gpu_xla_compiles_what_one_device_computes(
    monkeypatch, setting, replicas, policies, updates
):
    compiled = []

    def make(agent, seeds, batch_size, chunk_length, jit_compile, strategy):
        compiled.append(jit_compile)

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    monkeypatch.setattr(building, "make_agent", lambda _, jit, updates: compiled.append(jit))
    monkeypatch.setattr(learners, "Learner", make)
    settings = Settings(task="dot_goal", jit_compile=setting)
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas, scope=contextlib.nullcontext)
    learners.make_learner({"seed": 0}, settings, strategy)
    assert compiled == [policies, updates]
