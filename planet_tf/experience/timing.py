"""How long decisions take."""

import time

import numpy as np
from tf_agents.policies import py_policy


class TimedPolicy(py_policy.PyPolicy):
    """A policy whose decisions are timed.

    Attributes:
      seconds: the time of each decision since the last `pop_mean_ms`.
    """

    def __init__(self, policy: py_policy.PyPolicy):
        super().__init__(
            policy.time_step_spec,
            policy.action_spec,
            policy.policy_state_spec,
            policy.info_spec,
        )
        self._policy = policy
        self.seconds: list[float] = []

    def _get_initial_state(self, batch_size):
        return self._policy.get_initial_state(batch_size)

    def _action(self, time_step, policy_state, seed=None):
        start = time.perf_counter()
        step = self._policy.action(time_step, policy_state)
        self.seconds.append(time.perf_counter() - start)
        return step

    @property
    def mean_ms(self) -> float:
        """The mean time of a decision in milliseconds; 0 if there was none."""
        return 1000 * float(np.mean(self.seconds)) if self.seconds else 0.0

    def pop_mean_ms(self) -> float:
        """Returns `mean_ms` and starts over."""
        mean, self.seconds = self.mean_ms, []
        return mean


def traced(policy: py_policy.PyPolicy, env) -> TimedPolicy:
    """Returns a timed policy that has acted once: its first decision traces it."""
    timed = TimedPolicy(policy)
    timed.action(env.reset(), timed.get_initial_state(env.batch_size or 1))
    timed.pop_mean_ms()
    return timed
