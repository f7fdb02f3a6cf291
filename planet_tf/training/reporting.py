"""Everything that a run reports: all tags of TensorBoard and scalars.jsonl, all status lines."""

import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from planet_tf import config, run_files, user_modules
from planet_tf.analysis import pictures
from planet_tf.experience import Episode
from planet_tf.training.log import Log
from planet_tf.training.progress import Progress
from planet_tf.training.run_directory import RunDirectory

Counters = Mapping[str, int]
"""updates, episodes, agent_steps and env_steps so far."""


class Report:
    """Writes a run's log and its lines on the terminal.

    Args:
      directory: the run's.
      episodes: at which the run ends.
      counters: at the start.
    """

    def __init__(self, directory: RunDirectory, episodes: int, counters: Counters):
        self._root, self._episodes = directory.root, episodes
        self._log = Log(directory.root)
        self._log.text("config", directory.settings, counters["updates"])
        self._log.hparams(config.settings(directory.settings), os.fspath(directory.root))
        self._progress = Progress(episodes, counters["episodes"])
        self._fit: Mapping[str, float] = {}
        self._mentioned: set[str] = set()

    def line(self, text: str) -> None:
        """Prints a line."""
        self._progress.report(text)

    def once(self, text: str) -> None:
        """Prints a line unless it has been printed before."""
        if text not in self._mentioned:
            self._mentioned.add(text)
            self.line(text)

    def resumed(
        self, directory: RunDirectory, counters: Counters, saved: int | None, bad_files: int
    ) -> None:
        """Reports what the run was resumed from, and what was lost.

        Args:
          directory: the run's.
          counters: after resuming.
          saved: the number of episodes at the checkpoint; None: there was none.
          bad_files: files in episodes/ that are not episodes.
        """
        episodes, updates = counters["episodes"], counters["updates"]
        checkpoint = f"checkpoint {saved}" if saved else "no checkpoint yet"
        self.line(
            f"resumed {self._root}: episode {episodes} of {self._episodes}, update {updates} "
            f"({checkpoint})"
        )
        if directory.killed or episodes > (saved or 0):
            lost = f"lost: the updates after update {updates}"
            killed = f" and the current episode, because {directory.killed} was killed"
            self.line(lost + (killed if directory.killed else ""))
        if bad_files:
            self.line(f"lost: {bad_files} episodes with bad files, now *.bad")
        if directory.changes:
            self.line("settings changed since: " + "; ".join(directory.changes))
        if episodes >= self._episodes:
            self.line(
                "it is complete: to continue, raise train.episodes, such as "
                f'--gin_bindings="train.episodes={2 * episodes}"'
            )

    def within_fit(self, done: int, updates: int) -> None:
        """Shows progress within a fit."""
        self._progress.within("update", done, updates)

    def fitted(self, terms: Mapping[str, float], counters: Counters) -> None:
        """Logs the terms of a fit: train/..., test/..., time/updates_per_second."""
        # The first gradients of a fresh model are long.
        if self._fit and terms["train/gradient_clipped"] > 0.5:
            self.once(
                "warning: more than half of the gradients exceed PlanetAgent.clip_norm and are "
                "clipped; raise it if the weights of the likelihoods are large"
            )
        self._fit = terms
        self._log.scalars(counters["updates"], dict(terms), **counters)

    def collected(
        self,
        task: str,
        episode: Mapping[str, float],
        counters: Counters,
        failures: int,
        decision_ms: float,
        several: bool,
    ) -> None:
        """Logs a collected episode.

        Args:
          task: of the episode.
          episode: its `return`, `length` and, if it was collected remotely, `weights_age`: the
            updates since the weights that it was collected with.
          counters: with it.
          failures: of environments so far.
          decision_ms: mean time of its decisions; 0 for random actions.
          several: whether the run learns several tasks.
        """
        values = {f"collect/{key}": value for key, value in episode.items()}
        if failures:
            values["collect/environment_failures"] = failures
        if several:
            values[f"collect/return/{task}"] = episode["return"]
        if decision_ms:
            values["time/decision_ms"] = decision_ms
        self._log.scalars(counters["env_steps"], values, **counters)
        self._log.flush()
        parts = [task] if several else []
        parts += [f"{counters['env_steps']} env steps", f"return {episode['return']:.1f}"]
        if self._fit:
            parts.append(f"loss {self._fit['train/loss']:.1f}")
            parts.append(f"{self._fit['time/updates_per_second']:.2f} updates/s")
        if decision_ms:
            parts.append(f"{decision_ms:.0f} ms per decision")
        self._progress.episode(counters["episodes"], ", ".join(parts), bool(self._fit))

    def explain(self, episode: Episode, chunk_length: int, learns_ends: bool) -> None:
        """Reports once that an episode is shorter than a chunk, or that it terminated."""
        if len(episode["reward"]) < chunk_length:
            self.once(
                f"episodes are shorter than a chunk of {chunk_length} frames: chunks go on into "
                "others"
            )
        if not episode["discount"][-1] and not learns_ends:
            self.once(
                "warning: an episode terminated, but nothing learns where episodes end; "
                "WorldModel.continuation_scale = 1.0 in a new run does"
            )

    def evaluated(
        self,
        returns: Mapping[str, np.ndarray],
        decision_ms: float,
        counters: Counters,
        is_best: bool,
    ) -> None:
        """Logs an evaluation: evaluation/..., per task if there are several.

        Args:
          returns: of the episodes, float64 [N], by task.
          decision_ms: mean time of a decision.
          counters: at its start.
          is_best: whether none before had a higher mean.
        """
        means = {name: float(each.mean()) for name, each in returns.items()}
        mean = sum(means.values()) / len(means)
        std = sum(float(each.std()) for each in returns.values()) / len(means)
        by_task = means if len(means) > 1 else {}
        values = {
            "evaluation/return": mean,
            "evaluation/return_std": std,
            **{f"evaluation/return/{name}": value for name, value in by_task.items()},
            "time/evaluation_decision_ms": decision_ms,
        }
        self._log.scalars(counters["env_steps"], values, **counters)
        each = "".join(f"; {name} {value:.1f}" for name, value in by_task.items())
        count = len(next(iter(returns.values())))
        self.line(
            f"evaluation after {counters['episodes']} episodes, {counters['env_steps']} env steps: "
            f"return {mean:.1f} (std {std:.1f}, {count} episodes"
            f"{' per task' * bool(each)}{each}){', the best so far' * is_best}"
        )

    def predicted(self, means: Mapping[str, float], first: Mapping | None, counters) -> None:
        """Logs open-loop predictions of held-out chunks: open_loop/..., heldout/...

        Args:
          means: errors by name.
          first: a chunk's prediction; None if the model reads no images.
          counters: updates, episodes, agent_steps and env_steps.
        """
        step = counters["env_steps"]
        values = {f"open_loop/{name}": value for name, value in means.items()}
        self._log.scalars(step, values, **counters)
        if first is not None:
            strip = pictures.strip(first, difference=False)
            self._log.image("heldout/real_and_predicted", strip, step)
            self._log.video("heldout/open_loop", pictures.narrow_video(first), step)

    def finished(self, directory: RunDirectory, tasks: Sequence[str]) -> None:
        """Prints where everything is, and commands to look at it."""
        self._progress.close()
        program = _program(user_modules.folders(user_modules.needed(directory.settings, tasks)))
        root = shlex.quote(os.fspath(self._root))
        policy = "policy (SavedModel), " if (self._root / run_files.POLICY).exists() else ""
        print(
            f"{self._root}: {policy}checkpoints, episodes, tensorboard, scalars.jsonl\n"
            f"next: {program} evaluate {root} --video=evaluation.gif\n"
            f"      {program} imagine {root}\n"
            f"      tensorboard --logdir {root}"
        )

    def close(self) -> None:
        """Closes the log and leaves the terminal in a clean state."""
        self._progress.close()
        self._log.close()


def _program(folders: Sequence[str]) -> str:
    """Returns how this installation's command is called, with the PYTHONPATH that it needs."""
    program = "planet-tf"
    if not shutil.which(program):
        python = pathlib.Path(sys.executable)
        here = pathlib.Path.cwd()
        python = python.relative_to(here) if python.is_relative_to(here) else python
        program = f"{shlex.quote(os.fspath(python))} -m planet_tf"
    path = f"PYTHONPATH={shlex.quote(os.pathsep.join(folders))} " if folders else ""
    return path + program
