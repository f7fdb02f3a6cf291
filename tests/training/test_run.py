"""A run: what its acts leave, how it is resumed, and what ends it."""

import json
import os
import shutil
import signal

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf
from dm_control.rl import control

from planet_tf import config, errors, training
from planet_tf.environments import dot_goal
from planet_tf.seeds import RunSeeds, Stream
from planet_tf.training import Settings, interrupts, run as runs


def episodes(run, kind="train"):
    """Returns the episodes of a run by their files' names."""
    found = {}
    for path in (run / "episodes" / kind).iterdir():
        with np.load(path) as file:
            found[path.name] = dict(file)
    return found


def assert_same_run(one, two, checkpoint, number):
    helpers.assert_identical(checkpoint(one, number), checkpoint(two, number))
    for kind in ("train", "heldout"):
        expected, got = episodes(one, kind), episodes(two, kind)
        assert expected.keys() == got.keys()
        for name, episode in expected.items():
            helpers.assert_identical(episode, got[name])


def lose_newest_checkpoint(run, number):
    """Leaves the directory as a kill between the episode and its checkpoint does."""
    for path in (run / "checkpoints").glob(f"ckpt-{number}.*"):
        path.unlink()
    last = f'"ckpt-{number - 1}"'
    state = f"model_checkpoint_path: {last}\nall_model_checkpoint_paths: {last}\n"
    (run / "checkpoints" / "checkpoint").write_text(state)


@pytest.fixture
def toy(toy_run, tmp_path):
    """A copy of the toy's run: 4 episodes, 6 updates."""
    return shutil.copytree(toy_run, tmp_path / "toy")


# Resuming.


def test_a_resumed_run_is_the_uninterrupted_one(quick, toy_run, toy, capsys, checkpoint):
    # As a kill after the last checkpoint but one leaves it: with one episode less, not evaluated.
    lose_newest_checkpoint(toy, 4)
    (toy / "episodes" / "train" / "000003-51.npz").unlink()
    (toy / "episodes" / "heldout" / "000001-51.npz").unlink()
    quick(toy)
    assert "episode 3 of 4, update 3 (checkpoint 3)" in capsys.readouterr().err
    assert_same_run(toy_run, toy, checkpoint, 4)
    values = checkpoint(toy, 4)
    (iterations,) = (x for key, x in values.items() if "optimizer/_iterations" in key)
    assert iterations == 6 and len(values) > 60
    one, two = (
        [{**line, "time": 0} for line in helpers.scalars(run) if "train/loss" in line]
        for run in (toy_run, toy)
    )
    assert len(one) == 2 and len(two) == 3  # the second fit is there twice
    for key in one[1].keys() - {"time/updates_per_second"}:
        assert one[1][key] == two[1][key] == two[2][key], key


@pytest.mark.faults
def test_a_run_stopped_within_a_fit_is_the_uninterrupted_one(
    quick, toy_run, tmp_path, checkpoint, monkeypatch, capsys
):
    stops = [2, 1]  # of the 3 updates of the first fit, and of the one that is left then

    def within_fit(report, done, updates):
        if stops[:1] == [done]:
            del stops[0]
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runs.Report, "within_fit", within_fit)
    for updates in (2, 3):
        with pytest.raises(errors.Interrupted):
            quick(tmp_path)
        assert f"stopped at update {updates}:" in capsys.readouterr().err
    quick(tmp_path)
    assert_same_run(toy_run, tmp_path, checkpoint, 4)


@pytest.mark.faults
@pytest.mark.parametrize("rows", [1, 2])
def test_a_continued_run_is_the_uninterrupted_one(quick, tmp_path, checkpoint, monkeypatch, rows):
    helpers.workers_as_threads(monkeypatch)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quick(whole, train__environments=rows, train__evaluate_every=1, train__episodes=6)
    for number in (4, 6):
        quick(parts, train__episodes=number)
    assert_same_run(whole, parts, checkpoint, 6)


def test_parallel_episodes_do_not_depend_on_interruptions(light, tmp_path, checkpoint, monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"train__environments": 2, "load_environment__action_repeat": 5}
    light(whole, **settings, train__episodes=6)
    for number in (4, 6):
        light(parts, train__episodes=number)
    assert_same_run(whole, parts, checkpoint, 6)
    lines = [line for line in helpers.scalars(parts) if "train/loss" in line]
    assert [line["updates"] for line in lines] == [6, 12]


def test_an_episode_without_its_checkpoint_counts(light, toy, capsys):
    lose_newest_checkpoint(toy, 4)
    light(toy, train__episodes=5)
    assert "episode 4 of 5, update 3 (checkpoint 3)" in capsys.readouterr().err
    last = helpers.scalars(toy)[-1]
    assert (last["episodes"], last["agent_steps"], last["updates"]) == (5, 250, 6)


def test_the_number_of_environments_may_change(light, toy, monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    light(toy, train__episodes=7, train__environments=2)
    lines = helpers.scalars(toy)
    updates = {line["episodes"]: line["updates"] for line in lines if "collect/return" in line}
    assert updates == {1: 0, 2: 0, 3: 3, 4: 6, 5: 12, 6: 12, 7: 15}
    assert [line["episodes"] for line in lines if "evaluation/return" in line] == [4, 6, 7]


@pytest.mark.parametrize(
    ("setting", "other", "change"),
    [
        ("train__seed", 1, "seed: 0 -> 1"),
        ("load_environment__action_repeat", 2, "action_repeat: 1 -> 2"),
        ("load_environment__observations", ("state",), "observations: {'image'"),
        ("WorldModel__free_nats", 1.0, "WorldModel.free_nats: 3.0 -> 1.0"),
        ("WorldModel__latent", "ssm", "WorldModel.latent: 'rssm' -> 'ssm'"),
    ],
)
def test_a_directory_belongs_to_one_run_and_one_model(light, toy, setting, other, change):
    before = helpers.contents(toy)
    with pytest.raises(errors.ConfigError) as error:
        light(toy, **{setting: other})
    assert f"\n  {change}" in error.value.message
    assert helpers.contents(toy) == before


def test_a_run_keeps_its_camera(light, toy):
    identity = json.loads((toy / "run.json").read_text())
    assert identity["camera"] is None
    (toy / "run.json").write_text(json.dumps({**identity, "camera": 1}))
    with pytest.raises(errors.ConfigError, match="camera: 1 -> None"):
        light(toy)


# Acts.


@pytest.fixture(scope="module")
def acted(tmp_path_factory):
    """A run that has acted twice, with its directory; the tests share its traced functions."""
    config.parse(["dot_goal.gin", "debug.gin"], ["CEM.horizon = 2", "CEM.iterations = 1"])
    settings = Settings(chunk_length=3, episodes=9)
    with training.opened(tmp_path_factory.mktemp("acted") / "run", settings) as run:
        run.collect_random()
        run.hold_out_random()
        for _ in range(2):
            run.fit(2)
            run.collect()
            run.evaluate(2)
        run.save()
        yield run
    gin.clear_config()


def test_updates_and_decisions_are_traced_once(acted):
    learner, agent = acted.learner, acted.agent
    for function in (
        *(learner.update, learner._loss, learner._predict),
        *(agent.policy._decide_fn, agent.collect_policy._decide_fn),
        *(acted.policy._policy._policy_action_fn, acted.collect_policy._policy._policy_action_fn),
    ):
        assert function.experimental_get_tracing_count() == 1, function


def test_acts_are_counted(acted):
    expected = {"updates": 4, "episodes": 3, "agent_steps": 150, "env_steps": 150}
    assert acted.counters() == expected
    assert (acted.heldout_episodes, acted.evaluated) == (1 + 2 * 2, 3)
    decisions = acted.collect_policy.seconds  # of the last collection
    assert len(decisions) == 50 and min(decisions) > 0
    last = helpers.scalars(acted.directory.root)[-1]
    assert {key: last[key] for key in expected} == expected
    assert {"open_loop/observation", "open_loop/reward", "open_loop/kl"} < last.keys()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_checkpoint_holds_a_model_that_is_not_finite(acted, value):
    directory = acted.directory.root / "checkpoints"
    before = helpers.contents(directory)
    variable = acted.agent.world_model.variables[0]
    good = variable.numpy()
    variable.assign(tf.fill(variable.shape, np.float32(value)))
    with pytest.raises(errors.NotFiniteError, match=variable.name):
        acted.save()
    variable.assign(good)
    assert helpers.contents(directory) == before


def test_a_machine_that_is_lost_at_the_end_changes_nothing(acted, monkeypatch):
    def give(*_):
        raise tf.errors.UnavailableError(None, None, "gone")

    monkeypatch.setattr(acted._orders, "give", give)
    monkeypatch.setattr(runs.replicas, "machines", lambda: 2)
    acted.release_machines()


def test_updates_that_diverge_are_noticed(acted):
    for variable in acted.agent.world_model.trainable_variables:
        variable.assign(1e30 * variable)
    with pytest.raises(errors.NotFiniteError, match="loss.* update 5;"):
        acted.fit(2)


# What ends a run.


@pytest.mark.faults
def test_a_loss_that_is_not_finite_ends_the_run(quick, toy, capsys):
    before = helpers.contents(toy / "checkpoints")
    with pytest.raises(errors.NotFiniteError, match="loss.* update [78];"):
        quick(toy, train__episodes=5, PlanetAgent__learning_rate=1e36)
    assert "PlanetAgent.learning_rate: 0.001 -> 1e+36" in capsys.readouterr().err
    assert helpers.contents(toy / "checkpoints") == before


def seed_with(*moods):
    """Returns a run's seed whose first episodes have these moods; see `own_tasks.Moody`."""
    for seed in range(10_000):
        words = [RunSeeds(seed).sequence(Stream.COLLECT, n).generate_state(3)[0] for n in range(9)]
        if [word % 3 for word in words[: len(moods)]] == list(moods):
            return seed
    raise AssertionError


@pytest.mark.parametrize("rows", [1, 2])
def test_a_reward_that_is_not_finite_ends_the_run(light, tmp_path, capsys, monkeypatch, rows):
    helpers.workers_as_threads(monkeypatch)
    run, moody = tmp_path / "run", {"train__task": "own_tasks:Moody", "train__environments": rows}
    with pytest.raises(errors.NotFiniteError, match="own_tasks:Moody.*reward"):
        light(run, **moody, train__seed=seed_with(0, 2))
    assert "discarded" not in capsys.readouterr().err  # it would be as bad in a new environment
    assert not list((run / "checkpoints").glob("*")) and not (run / "lock").exists()


def test_nothing_stays_open_if_a_run_cannot_be_opened(light, tmp_path, monkeypatch):
    closed = []

    def close(self):
        closed.append(self)
        raise OSError("the port is gone")

    monkeypatch.setattr(dot_goal.DotGoal, "close", close)
    (tmp_path / "episodes").write_text("not a directory")
    with pytest.raises(errors.StorageError, match=str(tmp_path)):
        light(tmp_path)
    assert len(closed) == 1 and not (tmp_path / "lock").exists()


def test_everything_is_closed_although_something_fails_to(light, tmp_path, monkeypatch, capsys):
    def fail(self):
        raise OSError("the port is gone")

    monkeypatch.setattr(dot_goal.DotGoal, "close", fail)
    light(tmp_path, train__episodes=3)
    assert "OSError: the port is gone" in capsys.readouterr().err
    assert not (tmp_path / "lock").exists()


class Sick(dot_goal.DotGoal):
    """Fails in the first episodes of all that are made."""

    episodes_left = 0
    made = 0

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        Sick.made += 1

    def _advance(self, action):
        if self._steps == 5 and Sick.episodes_left:
            Sick.episodes_left -= 1
            raise control.PhysicsError("warning BADQACC")
        return super()._advance(action)


@pytest.fixture
def sick(monkeypatch):
    """Makes the toy fail in its next episodes: (how many)."""

    def fail(count):
        Sick.episodes_left, Sick.made = count, 0

    fail(0)
    monkeypatch.setattr(dot_goal, "DotGoal", Sick)
    return fail


def test_a_failed_episode_is_repeated_and_counted(light, sick, tmp_path, capsys, checkpoint):
    sick(2)
    light(tmp_path, train__episodes=3)
    assert capsys.readouterr().err.count("PhysicsError: warning BADQACC") == 2
    assert Sick.made == 3
    found = episodes(tmp_path)
    assert sorted(found) == [f"00000{number}-51.npz" for number in range(3)]
    assert len({episode["image"][0].tobytes() for episode in found.values()}) == 3
    collected = [line for line in helpers.scalars(tmp_path) if "collect/return" in line]
    assert [line["collect/environment_failures"] for line in collected] == [2, 2, 2]
    assert collected[-1]["env_steps"] == 150  # those of the failed ones do not count
    (failures,) = (x for key, x in checkpoint(tmp_path, 3).items() if "failures" in key)
    assert failures == 2


def test_three_failures_in_a_row_stop_after_a_checkpoint(light, sick, toy, capsys):
    sick(3)
    with pytest.raises(errors.EnvironmentFailure, match="BADQACC"):
        light(toy, train__episodes=5)
    assert "update 9" in capsys.readouterr().err
    light(toy, train__episodes=5)
    said = capsys.readouterr().err
    assert "episode 4 of 5, update 9 (checkpoint 4)" in said and "lost" not in said
    assert len(episodes(toy)) == 5


def test_a_signal_to_workers_too_is_no_failure(acted):
    # As SIGTERM to a process group: the worker is gone before the parent looks.
    with interrupts.deferred(), pytest.raises(errors.Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        acted._environment_failed("its process died")
    assert not int(acted._failures)


def test_config_gin_holds_every_setting_in_use(light, tmp_path, monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    light(tmp_path, train__environments=2, load_environment__observations=("state",))
    text = (tmp_path / "config.gin").read_text()
    assert "load_environment.observations = ('state',)" in text
    assert "ReplayBuffer.capacity = 100" in text


class Interrupting(dot_goal.DotGoal):
    """Sends signals to this process in the 20th step."""

    signals = ()

    def _advance(self, action):
        if self._steps == 20:
            for number in Interrupting.signals:
                os.kill(os.getpid(), number)
        return super()._advance(action)


@pytest.fixture
def interrupting(monkeypatch):
    monkeypatch.setattr(dot_goal, "DotGoal", Interrupting)
    # Where the tests run in the background, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda *signals: monkeypatch.setattr(Interrupting, "signals", signals)
    signal.signal(signal.SIGINT, before)


def test_a_signal_stops_after_an_agent_step_and_a_checkpoint(light, interrupting, toy, capsys):
    interrupting(signal.SIGTERM)
    with pytest.raises(errors.Interrupted) as error:
        light(toy, train__episodes=5)
    assert error.value.exit_status == 143
    assert "update 9" in capsys.readouterr().err and not (toy / "lock").exists()
    interrupting()
    light(toy, train__episodes=5)
    assert "episode 4 of 5, update 9 (checkpoint 4)" in capsys.readouterr().err
    assert len(episodes(toy)) == 5
    assert helpers.scalars(toy)[-1]["updates"] == 9  # the fit is not repeated
    lose_newest_checkpoint(toy, 5)
    light(toy, train__episodes=6)  # from checkpoint 4: its fit was that of episode 5
    assert helpers.scalars(toy)[-1]["updates"] == 12


def test_a_second_ctrl_c_stops_without_a_checkpoint(light, interrupting, tmp_path):
    interrupting(signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        light(tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*")) and not (tmp_path / "lock").exists()


# Short episodes.


def test_what_follows_from_short_episodes_is_said_once(light, tmp_path, capsys):
    ends = {"train__task": "odd_tasks:EndsSoon", "load_environment__observations": ("state",)}
    light(tmp_path, **ends)
    lines = capsys.readouterr().err
    assert lines.count("chunks go on into others") == 1
    assert lines.count("nothing learns where episodes end") == 1
    assert "terminates" not in json.loads((tmp_path / "run.json").read_text())


def test_a_task_that_terminates_needs_no_warning(light, tmp_path, capsys):
    ends = {"train__task": "odd_tasks:SaysItEnds", "load_environment__observations": ("state",)}
    light(tmp_path, **ends)
    assert "nothing learns" not in capsys.readouterr().err
    assert json.loads((tmp_path / "run.json").read_text())["terminates"]


# Remote collectors.


def test_collectors_are_started_for_a_directory_that_is_the_runs(light, tmp_path, monkeypatch):
    started = []

    def start(*_):
        started.append(1)
        raise errors.ConfigError("no connection to Ray")

    light(tmp_path / "mine")
    monkeypatch.setattr(runs.remote, "started", start)
    with pytest.raises(errors.ConfigError, match="another run"):
        light(tmp_path / "mine", train__seed=5)
    assert not started
    with pytest.raises(errors.ConfigError, match="no connection"):
        light(tmp_path / "new")
    assert started and not (tmp_path / "new").exists()
