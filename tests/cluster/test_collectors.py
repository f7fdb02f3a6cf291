"""Remote collectors: who works on what with which weights, and what happens when one fails."""

import contextlib
import importlib
import os
import sys
import types

import gin
import helpers
import numpy as np
import pytest

from planet_tf import config, errors, runtime
from planet_tf.agents import building
from planet_tf.cluster import actor, collectors, connection
from planet_tf.cluster.actor import Collected, Weights
from planet_tf.cluster.collectors import Pool
from planet_tf.seeds import RunSeeds, Stream

IDENTITY = {
    "seed": 0,
    "task": "dot_goal",
    "observations": {"image": [64, 64, 3]},
    "action_size": 2,
}


class Lost(Exception):
    """What Ray raises when a process is gone."""


class FakeRay:
    """Ray in this process: an episode is finished when the test says so."""

    class exceptions:  # noqa: N801
        RayError = Lost

    def __init__(self):
        self.started, self.answers, self.killed, self.closed = 0, [], [], False
        self.fails = []  # results of the next episodes, instead of good ones
        self.starts = True  # whether there is room for another collector
        self.bad_starts = []  # results of the next replacements, instead of good ones

    def remote(self, kind):
        return self

    def options(self, **resources):
        self.resources = resources
        return type("Class", (), {"remote": lambda *_: FakeActor(self)})

    def cluster_resources(self):
        return {"CPU": 4.0, "GPU": 1.0}

    def put(self, value):
        return value

    def get(self, answer):
        if isinstance(answer, list):
            return [None for _ in answer]
        value = answer.value()
        if isinstance(value, Lost):
            raise value
        return value

    def wait(self, answers, num_returns, timeout):
        done = [answer for answer in answers if answer.is_done][:num_returns]
        return done, [answer for answer in answers if answer not in done]

    def kill(self, actor):
        self.killed.append(actor.number)


class FakeActor:
    def __init__(self, ray):
        self.number, ray.started = ray.started, ray.started + 1
        self.ready = type("Method", (), {"remote": lambda *_: FakeStart(ray)})()
        self.collect = type("Method", (), {"remote": lambda _, *given: FakeAnswer(ray, *given)})()


class FakeStart:
    """What a collector answers once it has started."""

    def __init__(self, ray):
        self._ray, self.is_done = ray, ray.starts

    def value(self):
        return self._ray.bad_starts.pop(0) if self._ray.bad_starts else None


class FakeAnswer:
    is_done = True

    def __init__(self, ray, weights, sequence, explores):
        self._ray, self.weights, self.sequence = ray, weights, sequence
        self.explores = explores
        ray.answers.append(self)

    def value(self):
        if self._ray.fails:
            return self._ray.fails.pop(0)
        return Collected(self.sequence, self.weights.updates, 1.0)


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()

    class Connected:
        def __enter__(self):
            return fake

        def __exit__(self, *_):
            fake.closed = True

    def connect(*given):
        fake.connected = given
        return Connected()

    monkeypatch.setattr(connection, "connected", connect)
    return fake


@pytest.fixture
def pool(ray):
    lines = []
    made = Pool(2, IDENTITY, lines.append, lambda: None)
    made.lines = lines
    return made


def take(pool, updates, first, count, left):
    return list(pool.take(Weights([], updates), first, count, left))


def evaluate(pool, updates, *seeds):
    pool.evaluate(Weights([], updates), [np.random.SeedSequence(seed) for seed in seeds])


def number(sequence):
    """Returns the number of an episode for the replay, or the seed of one that evaluates."""
    entropy = sequence.entropy
    return entropy[-1] if isinstance(entropy, list) else entropy


def begun(ray):
    return [number(answer.sequence) for answer in ray.answers]


def numbers(found):
    return [number(each.episode) for each in found]


def test_episodes_have_the_seeds_of_the_run(ray, pool):
    (found,) = take(pool, 0, 5, 1, 1)
    assert found.episode.entropy == RunSeeds(0).sequence(Stream.COLLECT, 5).entropy


def test_collectors_go_on_while_the_learner_learns(ray, pool):
    found = take(pool, 100, 5, 1, 4)
    assert numbers(found) == [5] and found[0].updates == 100
    # 6 and 7 were begun with the weights of then; 8 is begun now.
    assert begun(ray) == [5, 6, 7]
    found = take(pool, 200, 6, 2, 3)
    assert numbers(found) == [6, 7] and [each.updates for each in found] == [100, 100]
    assert numbers(take(pool, 300, 8, 1, 1)) == [8]
    assert [answer.weights.updates for answer in ray.answers] == [100, 100, 100, 200]
    assert len(ray.answers) == 4  # none is begun that nobody wants


def test_an_evaluation_comes_first_and_has_its_own_weights(ray, pool):
    take(pool, 100, 0, 1, 100)
    assert begun(ray) == [0, 1, 2]
    evaluate(pool, 100, 50, 51, 52)  # 1 and 2 have ended meanwhile
    assert begun(ray) == [0, 1, 2, 50, 51]
    assert pool.pop_evaluation(wait=False) == []
    assert numbers(take(pool, 200, 1, 3, 99)) == [1, 2, 3]
    assert begun(ray)[5:8] == [52, 3, 4]
    assert {answer.weights.updates for answer in ray.answers if not answer.explores} == {100}
    evaluated = [answer.sequence for answer in ray.answers if not answer.explores]
    assert [each.entropy for each in evaluated] == [50, 51, 52]
    found = pool.pop_evaluation(wait=True)
    assert numbers(found) == [50, 51, 52] and {each.updates for each in found} == {100}
    assert pool.pop_evaluation(wait=True) == []


def test_the_last_evaluation_is_shared_and_waited_for(ray, pool):
    take(pool, 100, 0, 1, 1)
    ray.fails = [Lost()]
    evaluate(pool, 100, 50, 51, 52)
    assert begun(ray) == [0, 50, 51]
    found = pool.pop_evaluation(wait=True)
    assert [each.episode.spawn_key for each in found].count((1,)) == 1 and len(found) == 3
    assert {each.updates for each in found} == {100} and len(ray.answers) == 5


def test_what_is_collected_during_an_evaluation_is_kept(ray, pool):
    take(pool, 100, 0, 1, 100)
    evaluate(pool, 100, 50, 51, 52)
    pool.pop_evaluation(wait=True)
    assert len(pool._finished) + pool._jobs(explore=True) == 2  # no collector is further ahead
    assert numbers(take(pool, 200, 1, 2, 99)) == [1, 2]


def test_a_collector_that_is_dropped_in_an_evaluation_leaves_it_to_another(ray, pool):
    take(pool, 100, 0, 1, 1)
    pool._failures[0], ray.fails = 2, [Lost()]
    evaluate(pool, 100, 50, 51)
    found = pool.pop_evaluation(wait=True)
    assert "collectors left: 1" in pool.lines[0]
    assert sorted((number(each.episode), each.episode.spawn_key) for each in found) == [
        (50, (1,)),
        (51, ()),
    ]
    assert {each.updates for each in found} == {100}


def test_an_evaluation_ends_if_all_collectors_are_lost(ray, pool):
    take(pool, 100, 0, 1, 1)
    ray.fails = [Lost() for _ in range(6)]
    evaluate(pool, 100, 50)
    with pytest.raises(errors.EnvironmentFailure, match="all collectors failed"):
        pool.pop_evaluation(wait=True)


def test_a_collector_that_cannot_be_started_again_holds_up_nobody(ray, pool):
    ray.starts, ray.fails = False, [Lost()]
    found = take(pool, 100, 0, 3, 3)
    assert [(number(each.episode), each.episode.spawn_key) for each in found] == [
        *[(1, ()), (0, (1,)), (2, ())]
    ]
    evaluate(pool, 100, 50, 51)
    assert numbers(pool.pop_evaluation(wait=True)) == [50, 51]


def test_collectors_that_wait_for_resources_are_mentioned_and_can_be_stopped(
    ray, monkeypatch, capsys
):
    ray.starts, looks = False, []
    monkeypatch.setattr(collectors, "_SLOW_SECONDS", 0.0)
    gin.parse_config("RemoteCollectors.address = 'auto'\nRemoteCollectors.cpus = 16")

    def check():
        looks.append(1)
        if len(looks) == 3:
            raise errors.Interrupted("stopped by SIGINT", 130)

    with pytest.raises(errors.Interrupted):
        Pool(2, IDENTITY, print, check)
    assert ray.closed
    assert capsys.readouterr().err.count("2 of 2 collectors have not started yet; each waits") == 1


def test_a_replacement_that_cannot_be_made_is_replaced_too(ray, pool):
    ray.fails, ray.bad_starts = [Lost()], [errors.ConfigError("the port is in use")]
    assert numbers(take(pool, 100, 0, 3, 3)) == [1, 0, 2]
    assert "the port is in use (failure 2 in a row); starting it again" in pool.lines[1]


def test_failures_of_an_environment_are_reported(ray, pool):
    ray.fails = [Collected(np.random.SeedSequence(0), 0, 1.0, ("it fell", "again"))]
    take(pool, 0, 0, 1, 1)
    assert pool.lines == ["it fell", "again"]


def test_an_error_in_a_collector_is_named(ray, pool):
    lost = Lost()
    lost.cause = TypeError("no such joint")
    ray.fails = [lost]
    take(pool, 0, 0, 1, 1)
    assert pool.lines[0].startswith("collector 0 failed: TypeError: no such joint (failure 1 in")


def test_no_collector_is_more_than_one_episode_ahead(ray, pool):
    take(pool, 0, 0, 1, 100)
    for number in range(1, 10):
        assert len(ray.answers) == number + 2
        take(pool, number, number, 1, 100 - number)


def test_a_failed_episode_is_repeated_with_other_seeds_and_new_weights(ray, pool):
    ray.fails = [Lost(), errors.EnvironmentFailure("the robot fell")]
    found = take(pool, 3, 0, 1, 1)
    assert found[0].episode.spawn_key == (1, 1)  # the collector itself tries (0,) and (0, 0)
    assert [line.split(":")[1].strip()[:20] for line in pool.lines] == [
        "Lost (failure 1 in a",
        "the robot fell (fail",
    ]
    assert ray.started == 4 and len(ray.killed) == 2


def test_a_collector_is_dropped_after_three_failures_and_the_last_ends_the_run(ray, pool):
    ray.fails = [Lost() for _ in range(6)]
    with pytest.raises(errors.EnvironmentFailure, match="all collectors failed 3 times"):
        take(pool, 0, 0, 1, 1)
    assert [line.split("; ")[1] for line in pool.lines if "left" in line] == [
        "collectors left: 1",
        "collectors left: 0",
    ]


def test_the_episode_of_a_dropped_collector_goes_to_an_idle_one(ray, pool):
    pool._failures[0], ray.fails = 2, [Lost()]
    (found,) = take(pool, 0, 0, 1, 1)  # one episode: one collector works; the other is idle
    assert found.episode.spawn_key == (1,) and "collectors left: 1" in pool.lines[0]


def test_no_two_episodes_have_the_same_seeds_when_a_collector_is_dropped(ray, pool):
    pool._failures[0], ray.fails = 2, [Lost()]  # of the first collector, which works on 0
    found = [each.episode for each in take(pool, 0, 0, 3, 100)]
    assert "collectors left: 1" in pool.lines[0]
    assert [(number(each), each.spawn_key) for each in found] == [(1, ()), (0, (1,)), (2, ())]


def test_a_wrong_setting_of_a_collector_ends_the_run(ray, pool):
    ray.fails = [errors.ConfigError("no such task", "name another")]
    with pytest.raises(errors.ConfigError, match="no such task"):
        take(pool, 0, 0, 1, 1)
    pool.close()
    assert ray.closed


def test_resources_are_asked_for(ray):
    gin.parse_config("RemoteCollectors.cpus = 3\nRemoteCollectors.gpus = 0.5")
    Pool(1, IDENTITY, print, lambda: None)
    assert (ray.resources["num_cpus"], ray.resources["num_gpus"]) == (3, 0.5)
    assert ray.resources["runtime_env"]["env_vars"]["TF_NUM_INTRAOP_THREADS"] == "3"


def test_the_modules_of_a_custom_task_go_to_a_cluster(ray, root):
    importlib.import_module("own_tasks")
    gin.parse_config("RemoteCollectors.address = 'auto'")
    Pool(1, {**IDENTITY, "task": "own_tasks:make"}, print, lambda: None)
    address, _, modules = ray.connected
    assert address == "auto" and modules == [str(root / "tests" / "own_tasks.py")]


def test_gpus_that_this_machine_lacks_are_named_instead_of_waited_for(ray):
    gin.parse_config("RemoteCollectors.gpus = 0.75")
    with pytest.raises(
        errors.ConfigError, match=r"1\.5 GPUs are asked for, and this machine has 1"
    ):
        Pool(2, IDENTITY, None, None)
    assert ray.closed and not ray.started
    connection.check_resources(ray, 4, 1)
    with pytest.raises(errors.ConfigError, match="5 CPUs"):
        connection.check_resources(ray, 5, 0)


def test_a_collector_acts_as_the_run_does(tiny, agent):
    """In this process: the same weights, seeds and settings give the same episode."""
    from planet_tf import environments
    from planet_tf.agents import PlanetPyPolicy
    from planet_tf.experience import run_episodes

    values = [variable.numpy() for variable in agent.world_model.variables]
    made = actor.CollectorProcess(config.in_use(), IDENTITY, False)
    assert made.ready() is None
    sequence = np.random.SeedSequence(4)
    weights = Weights(values, int(agent.train_step_counter))
    env = environments.load("dot_goal", seed=0)
    for explores, policy in ((True, agent.collect_policy), (False, agent.policy)):
        found = made.collect(weights, sequence, explores)
        (expected,) = run_episodes(env, PlanetPyPolicy(policy), [sequence])
        helpers.assert_same(found.episode, expected)
    other = made.collect(Weights(values[:-1], 0), sequence, True)
    assert isinstance(other, errors.ConfigError) and "another model" in other.message


@pytest.mark.parametrize(
    ("gpu", "setting", "compiled"),
    [(True, None, True), (True, True, True), (True, False, False), (False, True, False)],
)
def test_a_collector_is_compiled_on_a_gpu_unless_it_is_refused(
    tiny, monkeypatch, gpu, setting, compiled
):
    made = []
    monkeypatch.setattr(runtime, "has_gpu", lambda: gpu)
    monkeypatch.setattr(building, "make_agent", lambda _, jit_compile: made.append(jit_compile))
    with pytest.raises(AttributeError):  # as there is no agent
        actor.CollectorProcess(f"train.jit_compile = {setting}", IDENTITY, False)
    assert made == [compiled]


def test_a_collector_that_cannot_be_made_says_why(tiny):
    made = actor.CollectorProcess("CEM.horizon = -1", IDENTITY, False)
    assert isinstance(made.ready(), errors.ConfigError)
    assert made.collect(None, None, True) is made.ready()


def test_a_ray_that_does_not_start_is_one_line(monkeypatch):
    def init(**_):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(connection, "_ray", lambda: types.SimpleNamespace(init=init))
    monkeypatch.setattr(connection.mock, "patch", lambda *_: contextlib.nullcontext())
    with pytest.raises(errors.EnvironmentFailure, match="did not start: .* timed out"):
        connection.connected().__enter__()


def test_a_ray_that_was_imported_too_early_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with (
        pytest.raises(errors.ConfigError, match="imported before its token"),
        connection.connected(),
    ):
        pass
    assert "RAY_AUTH_MODE" not in os.environ
