"""Where episodes come from: an environment that is replaced when it fails."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tf_agents.policies import py_policy

from planet_tf import errors
from planet_tf.experience import rollout
from planet_tf.experience.episode import Episode

ATTEMPTS = 3
"""Failures in a row after which no further episode is tried."""


class Collector:
    """Collects episodes; discards and repeats those whose environment fails.

    Attributes:
      env: the environment in use.
      failures: how often it has failed.
    """

    def __init__(self, make_env: Callable[[], Any], report: Callable[[str], None] = print):
        """Makes the environment.

        Args:
          make_env: returns a new environment of `planet_tf.environments`.
          report: called with one line about each failure.
        """
        self._make_env, self.report = make_env, report
        self.env = make_env()
        self.failures = 0

    def collect(
        self,
        policy: py_policy.PyPolicy,
        seeds: Sequence[np.random.SeedSequence],
        observers: Sequence[rollout.Observer] = (),
    ) -> list[Episode]:
        """Runs one episode per seed; see `rollout.run_episodes`.

        A failed episode is repeated in a new environment and with another seed: with the same one
        it would fail the same way.

        Raises:
          EnvironmentFailure: if the environment fails 3 times in a row, or cannot be made again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return rollout.run_episodes(self.env, policy, seeds, observers)
            except errors.EnvironmentFailure as error:
                cause = error
            self.failures += 1
            failed = f"discarded the current episode: {cause.message} (failure {attempt} in a row)"
            if attempt < ATTEMPTS:
                self.report(f"{failed}; starting it again in a new environment")
                self._replace()
                seeds = [seed.spawn(1)[0] for seed in seeds]
        self.report(failed)
        raise errors.EnvironmentFailure(
            f"{ATTEMPTS} episodes in a row failed, the last one: {cause.message}"
        ) from cause

    def _replace(self) -> None:
        with contextlib.suppress(Exception):  # what failed need not close properly
            self.env.close()
        try:
            self.env = self._make_env()
        except Exception as error:
            raise errors.EnvironmentFailure(
                f"{self.env.name} cannot be made again: {type(error).__name__}: {error}"
                f"{errors.place(error)}"
            ) from error

    def close(self) -> None:
        """Closes the environment; prints an error, which must not hide one that came before."""
        try:
            self.env.close()
        except Exception as error:  # whatever a simulator or a robot may raise
            what = f"{type(error).__name__}: {error}"
            print(f"{self.env.name} did not close: {what}", file=sys.stderr)
