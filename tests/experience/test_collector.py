"""A collector replaces an environment that fails, and nothing else."""

import itertools

import helpers
import numpy as np
import pytest
from own_tasks import Moody

from planet_tf import environments, errors
from planet_tf.experience import Collector, UniformPolicy, run_episodes

FINE, FAILS, NAN = range(3)  # what a seed modulo 3 means to Moody


def sequence(*moods):
    """Returns the seed of an episode with these moods: its own, and those of its repetitions."""
    for number in itertools.count():
        seed = repeated = np.random.SeedSequence(number)
        found = [seed.generate_state(3)[0] % 3]
        for _ in moods[1:]:
            (repeated,) = repeated.spawn(1)
            found.append(repeated.generate_state(3)[0] % 3)
        if found == list(moods):
            return np.random.SeedSequence(number)


class Source:
    """Makes environments and remembers them."""

    def __init__(self, make=lambda: Moody(observations=("state",))):
        self._make, self.made, self.closed, self.said = make, [], [], []

    def __call__(self):
        env, number = self._make(), len(self.made)
        close = env.close
        env.close = lambda: (close(), self.closed.append(number))
        self.made.append(env)
        return env

    def collector(self):
        return Collector(self, self.said.append)


def collect(collector, *seeds):
    return collector.collect(UniformPolicy(collector.env), seeds)


def test_a_failed_episode_is_repeated_with_another_seed():
    source = Source()
    collector = source.collector()
    (found,) = collect(collector, sequence(FAILS, FINE))
    assert (len(source.made), source.closed, collector.failures) == (2, [0], 1)
    assert collector.env is source.made[1]
    (line,) = source.said
    assert "dot_goal: OSError: the motor is hot" in line
    env = Moody(observations=("state",))
    (expected,) = run_episodes(env, UniformPolicy(env), sequence(FAILS, FINE).spawn(1))
    helpers.assert_same(found, expected)


def test_all_episodes_of_a_call_are_repeated():
    collector = Source().collector()
    found = collect(collector, sequence(FINE, FINE), sequence(FAILS, FINE))
    assert [len(episode["reward"]) for episode in found] == [51, 51]
    assert collector.failures == 1


def test_three_failures_in_a_row_are_the_last():
    source = Source()
    collector = source.collector()
    with pytest.raises(errors.EnvironmentFailure, match="3 .*the motor is hot") as error:
        collect(collector, sequence(FAILS, FAILS, FAILS))
    assert isinstance(error.value.__cause__, errors.EnvironmentFailure)
    assert (collector.failures, len(source.said)) == (3, 3)
    assert ["again" in line for line in source.said] == [True, True, False]
    assert (len(source.made), source.closed) == (3, [0, 1])  # the last one is not replaced
    (found,) = collect(collector, sequence(FAILS, FAILS, FINE))  # two, in a new row of them
    assert (collector.failures, len(found["reward"])) == (5, 51)


def test_a_reward_that_is_not_finite_is_not_retried():
    source = Source()
    collector = source.collector()
    with pytest.raises(errors.NotFiniteError, match="reward"):
        collect(collector, sequence(NAN, FINE))
    assert (collector.failures, len(source.made), source.said) == (0, 1, [])


def test_failures_in_parallel_rows_are_told_apart(monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    source = Source(lambda: environments.load("own_tasks:Moody", processes=2))
    collector = source.collector()
    found = collect(collector, sequence(FINE, FINE), sequence(FAILS, FINE))
    assert [len(episode["reward"]) for episode in found] == [51, 51]
    assert (collector.failures, len(source.made), source.closed) == (1, 2, [0])
    assert "environment 1 of own_tasks:Moody" in source.said[0]
    with pytest.raises(errors.NotFiniteError, match="environment 1 of own_tasks:Moody.*reward"):
        collect(collector, sequence(FINE, FINE), sequence(NAN, FINE))
    assert (collector.failures, len(source.made)) == (1, 2)
    collector.close()
    assert source.closed == [0, 1]


def test_an_environment_that_cannot_be_made_again_is_named():
    made = []

    def make():
        if made:
            raise OSError("no display")
        made.append(Moody())
        return made[0]

    collector = Collector(make, made.append)
    with pytest.raises(errors.EnvironmentFailure, match="dot_goal.*OSError: no display"):
        collect(collector, sequence(FAILS))


def test_an_environment_that_fails_to_close_is_replaced(capsys):
    source = Source()
    collector = source.collector()

    def fail():
        raise OSError("it is gone")

    collector.env.close = fail
    collect(collector, sequence(FAILS, FINE))
    assert collector.env is source.made[1]
    collector.env.close = fail
    collector.close()
    assert "OSError: it is gone" in capsys.readouterr().err


def test_another_error_is_not_retried():
    source = Source()
    collector = source.collector()

    def stop(transition):
        raise errors.Interrupted("stopped", 130)

    with pytest.raises(errors.Interrupted):
        collector.collect(UniformPolicy(collector.env), [sequence(FINE)], [stop])
    assert (collector.failures, len(source.made)) == (0, 1)
