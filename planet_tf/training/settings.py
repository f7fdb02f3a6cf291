"""The settings of `train`: gin sets them as train.NAME."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from planet_tf import checks, errors


@checks.configurable("train")
@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run does, apart from the model, the planner and the environment.

    Args:
      task: name of the environment, see `planet_tf.environments.load`, such as 'cheetah_run' or a
        custom 'my_module:make'; or a tuple of names: one agent learns all, from episodes collected
        in each in turn.
      seed: decides all randomness.
      episodes: ends the run, seed episodes included.
      seed_episodes: episodes of uniform random actions before the first update.
      heldout_episodes: random episodes that are never trained on, for the test losses.
      updates_per_episode: updates before each collected episode.
      batch_size: B, chunks per update.
      chunk_length: L, steps per chunk.
      evaluate_every: episodes between evaluations, which add no exploration noise.
      evaluation_episodes: episodes per evaluation; they join the held-out ones.
      export_every: episodes between exports of the policy; a checkpoint follows every collection.
      environments: environments that act in parallel, each in its own process; one batched plan
        serves all. N episodes follow N x `updates_per_episode` updates; 1 is the paper's algorithm.
      collectors: number of Ray processes that collect and evaluate while the model trains. Updates
        per episode stay the same, but the weights that collect are a few episodes old. 0: collect
        in this process. See `RemoteCollectors`.
      random_collection: collects with uniform random actions instead of the policy's (an experiment
        of the paper).
      replicas: GPUs of this machine that share the batch of every update; with TF_CONFIG set, the
        machines that it names share it too. See docs/scaling.md.
      device: 'cpu', 'gpu', or 'auto' for a GPU if there is one.
      jit_compile: compiles updates and policies with XLA; None: on a GPU, where the first update
        then takes a minute. Updates that several replicas share are not compiled.

    Raises:
      ConfigError: if there would be nothing to learn, or settings exclude each other.
    """

    task: str | Sequence[str] = ""
    seed: checks.Natural = 0
    episodes: checks.Count = 1000
    seed_episodes: checks.Count = 5
    heldout_episodes: checks.Count = 5
    updates_per_episode: checks.Count = 100
    batch_size: checks.Count = 50
    chunk_length: checks.AtLeastTwo = 50
    evaluate_every: checks.Count = 10
    evaluation_episodes: checks.Count = 1
    export_every: checks.Count = 10
    environments: checks.Count = 1
    collectors: checks.Natural = 0
    random_collection: bool = False
    replicas: checks.Count = 1
    device: Literal["auto", "cpu", "gpu"] = "auto"
    jit_compile: bool | None = None

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return (self.episodes - self.seed_episodes) * self.updates_per_episode

    def __post_init__(self):
        tasks = len(self.task) if isinstance(self.task, (tuple, list)) else 1
        if self.seed_episodes < tasks:
            raise errors.ConfigError(
                f"train.seed_episodes ({self.seed_episodes}) must be at least the number of tasks, "
                f"{tasks}: they are counted over all tasks",
                setting="train.seed_episodes",
            )
        if self.environments > 1 and tasks > 1:
            raise errors.ConfigError(
                f"train.environments ({self.environments}) must be 1 with several tasks: episodes "
                "are collected from each in turn",
                setting="train.environments",
            )
        if self.collectors and (self.environments > 1 or tasks > 1 or self.random_collection):
            raise errors.ConfigError(
                f"train.collectors ({self.collectors}) must be 0 with several environments, "
                "several tasks or random collection: each has one environment of one task",
                setting="train.collectors",
            )
        if self.episodes <= self.seed_episodes:
            raise errors.ConfigError(
                f"train.episodes ({self.episodes}) must exceed train.seed_episodes "
                f"({self.seed_episodes}), which are random: nothing would be learned",
                setting="train.episodes",
            )
