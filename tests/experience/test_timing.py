"""A timed policy acts as the policy does, and knows how long that took."""

import time

import helpers
from own_tasks import Varying

from planet_tf.experience import UniformPolicy, run_episodes, timing


class Slow(UniformPolicy):
    def _action(self, *arguments):
        time.sleep(0.002)
        return super()._action(*arguments)


def test_decisions_are_timed():
    env = Varying()
    timed = timing.TimedPolicy(Slow(env))
    assert timed.mean_ms == 0
    (expected,) = run_episodes(env, UniformPolicy(env), helpers.sequences(1))
    (found,) = run_episodes(env, timed, helpers.sequences(1))
    helpers.assert_same(found, expected)
    assert len(timed.seconds) == len(found["reward"]) - 1 and min(timed.seconds) >= 0.002
    timed.seconds = [0.001, 0.003]
    assert timed.mean_ms == timed.pop_mean_ms() == 2
    assert (timed.mean_ms, timed.seconds) == (0, [])
