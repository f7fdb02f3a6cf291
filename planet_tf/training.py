"""Training: Algorithm 1 of the paper; the acts it is made of are in `runs`."""

from collections.abc import Sequence

import gin

from planet_tf import config, devices, paths, runs


@gin.configurable(module="planet_tf", denylist=["root_dir"])
def train(
    root_dir: str,
    task: str | Sequence[str] = "",
    seed: int = 0,
    episodes: int = 1000,
    seed_episodes: int = 5,
    heldout_episodes: int = 5,
    updates_per_episode: int = 100,
    batch_size: int = 50,
    chunk_length: int = 50,
    evaluate_every: int = 10,
    evaluation_episodes: int = 1,
    export_every: int = 10,
    environments: int = 1,
    random_collection: bool = False,
    device: str = "auto",
    jit_compile: bool | None = None,
) -> None:
    """Trains an agent (paper algorithm 1); goes on where the run in `root_dir` stopped.

    Args:
      root_dir: the run's directory: checkpoints, episodes, tensorboard, scalars.jsonl, policy.
      task: name of the environment, see `planet_tf.environments.load`, such as 'cheetah_run' or
        one's own 'my_module:make'; or a tuple of names: one agent learns all, from episodes
        collected in each in turn.
      seed: decides everything random.
      episodes: ends the run, seed episodes included.
      seed_episodes: episodes of uniform random actions before the first update.
      heldout_episodes: random episodes that are never trained on, for the test losses.
      updates_per_episode: updates before each collected episode.
      batch_size, chunk_length: B and L of an update.
      evaluate_every: episodes between evaluations, which add no exploration noise.
      evaluation_episodes: episodes of an evaluation; they join the held-out ones.
      export_every: episodes between exports of the policy; a checkpoint follows every collection.
      environments: how many act at once, in processes of their own, planned for in one batch. N
        episodes are collected together, after N times `updates_per_episode` updates: the paper's
        algorithm is that of 1.
      random_collection: goes on to collect with uniform random actions in place of the policy's.
      device: 'cpu', 'gpu', or 'auto' for a GPU where there is one.
      jit_compile: compiles updates and policies with XLA; None: on a GPU.

    Raises:
      ConfigError: if a setting cannot be used; nothing has been written then.
      FloatingPointError: if an observation, a reward, the loss, a gradient or a plan is not finite;
        the last checkpoint is good.
      EnvironmentFailure: if an environment fails 3 times in a row, each time made anew; after a
        checkpoint.
      StorageError: if the directory cannot be written to; what was in it is as it was.
      KeyboardInterrupt, Terminated: on Ctrl-C and SIGTERM, after a checkpoint.
    """
    with config.config_errors():
        config.check_training(locals())
        root = paths.for_tensorflow(root_dir)
        devices.choose(device)
        run = runs.Run(root, task, seed, batch_size, chunk_length, jit_compile, environments)
        run.open(episodes)

    with run.saved_if_stopped():
        while (missing := seed_episodes - run.episodes) > 0:
            run.collect_random(min(missing, environments))
        while (missing := heldout_episodes - run.heldout.num_episodes) > 0:
            run.hold_out_random(min(missing, environments))

        while (missing := episodes - run.episodes) > 0:
            before, count = run.episodes, min(missing, environments)
            run.fit(count * updates_per_episode)
            run.collect(count, random_collection)
            evaluated = max(run.evaluated, seed_episodes)
            if _passed(evaluate_every, evaluated, run.episodes) or count == missing:
                run.evaluate(evaluation_episodes)
            run.save()
            if _passed(export_every, before, run.episodes):
                run.export()
        if run.evaluated < run.episodes:  # the process before was killed at it
            run.evaluate(evaluation_episodes)
            run.save()
        run.export()
    run.close()


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return before // every < now // every
