"""Fits fresh models to a run's episodes, and measures how far ahead they predict."""

import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from planet_tf import errors, run_files, runtime, storage
from planet_tf.agents import building
from planet_tf.analysis.fits import AHEAD, Row
from planet_tf.analysis.predictions import windows
from planet_tf.comparisons.points import Point
from planet_tf.experience import ReplayBuffer
from planet_tf.experience.episode import Episode
from planet_tf.models import WorldModel, open_loop
from planet_tf.run_files import Identity
from planet_tf.training import loading, run_directory
from planet_tf.training.learner import make_learner
from planet_tf.training.settings import Settings

HELD_OUT = 5
"""Of this many episodes of each task, one is predicted and the others are fitted."""
_WARM_UP = 20  # updates that are not timed


def check(root: str | os.PathLike, point: Point) -> None:
    """Makes a point's model, in seconds; raises ConfigError if its bindings cannot be used."""
    identity = _parse(root, point)
    with errors.as_config_errors():
        runtime.choose_device(Settings().device)
        building.make_agent(identity, jit_compile=False)


def episode_files(root: str | os.PathLike, count: int | None = None) -> list[pathlib.Path]:
    """Returns the files of a run's first `count` training episodes; None: of all.

    Raises:
      ConfigError: if there are fewer, or too few to hold out one of each task.
    """
    path = storage.tensorflow_path(root)
    files = sorted((path / run_files.TRAIN_EPISODES).glob("*.npz"))[:count]
    wanted = max(count or 0, HELD_OUT * len(run_files.tasks(run_directory.read_identity(path))))
    if len(files) < wanted:
        raise errors.ConfigError(
            f"{root} has only {len(files)} episodes; a fit needs {wanted}",
            f"of {HELD_OUT} episodes of each task, one is predicted and the others are fitted",
        )
    return files


def measure(
    root: str | os.PathLike,
    files: Sequence[pathlib.Path],
    point: Point,
    updates: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Row:
    """Fits a model with fresh weights to 4 of 5 episodes of a run, and predicts the others.

    Args:
      root: the run's directory, which is only read.
      files: the episodes; see `episode_files`.
      point: settings that differ from the run's.
      updates: optimizer steps.
      seed: decides weights, batches and latent states.
      progress: called with the number of steps taken.

    Raises:
      ConfigError: if there is no run, a setting cannot be used, or the episodes are too short.
      NotFiniteError: if a loss is NaN or infinite.
    """
    identity = _parse(root, point)
    identity["seed"] = seed
    with errors.as_config_errors(), tempfile.TemporaryDirectory() as folder:
        settings = Settings()
        runtime.choose_device(settings.device)
        learner = make_learner(identity, settings, tf.distribute.get_strategy())
        agent, tasks = learner.agent, run_files.tasks(identity)
        fitted, heldout = _split(files, len(tasks), pathlib.Path(folder))
        replay = ReplayBuffer(agent.training_data_spec, fitted)
        unseen = _long_episodes(ReplayBuffer(agent.training_data_spec, heldout))
        warm_up = min(_WARM_UP, updates - 1)
        if warm_up:
            learner.fit(replay, warm_up, progress)
        start = time.perf_counter()
        learner.fit(replay, updates - warm_up, lambda done: progress(warm_up + done))
        speed = (updates - warm_up) / (time.perf_counter() - start)
    return Row(
        os.fspath(root),
        "+".join(tasks),
        len(files),
        updates,
        seed,
        point.flags,
        speed,
        **predicted(agent.world_model, unseen),
    )


def _parse(root: str | os.PathLike, point: Point) -> Identity:
    """Parses a run's settings and the point's; returns the run's identity."""
    used = (
        "train.batch_size",
        "train.chunk_length",
        "train.device",
        "train.jit_compile",
        "PlanetAgent",
    )
    return loading.parse(storage.tensorflow_path(root), point.bindings, used)


def _split(
    files: Sequence[pathlib.Path], tasks: int, folder: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Links episodes into two folders: those to fit, and the held-out ones.

    Episodes come from the tasks in turn: of five rounds through them, one is held out.
    """
    parts = folder / "fitted", folder / "heldout"
    for part in parts:
        part.mkdir()
    for number, file in enumerate(files):
        held_out = number // tasks % HELD_OUT == HELD_OUT - 1
        (parts[held_out] / file.name).symlink_to(file.absolute())
    return parts


def _long_episodes(heldout: ReplayBuffer) -> list[Episode]:
    length = open_loop.CONTEXT + AHEAD[-1]
    found = [
        episode for _, episode in heldout.episodes_since(0) if len(episode["reward"]) >= length
    ]
    if not found:
        raise errors.ConfigError(f"no held-out episode has the {length} frames of a prediction")
    return found


def predicted(model: WorldModel, episodes: list[Episode]) -> dict[str, float]:
    """Measures open-loop predictions of episodes: the columns of `analysis.fits.Row` by name.

    Args:
      model: the world model.
      episodes: each of at least `open_loop.CONTEXT` + `AHEAD[-1]` frames.
    """
    at = [open_loop.CONTEXT - 1 + step for step in AHEAD]

    @tf.function(autograph=False, reduce_retracing=True)
    def predict(chunks):
        found = open_loop.predict(model, chunks, open_loop.CONTEXT, open_loop.SEED)
        observation = chunks[model.reads]
        # In the middle of the dequantisation noise, which nothing can predict.
        middle = tf.fill([*tf.unstack(tf.shape(observation)[:2]), *model.input_shape], 0.5)
        target = model.preprocess(observation, middle)
        pairs = {
            "reward": (found["reward"], chunks["reward"]),
            "observation": (found["observation"], target),
        }
        at_steps = {key: [tf.gather(x, at, axis=1) for x in pair] for key, pair in pairs.items()}
        return at_steps, found["kl"][:, : open_loop.CONTEXT]

    sums, kls = {"reward": _Sums(), "observation": _Sums()}, []
    for episode in episodes:
        pairs, kl = predict(windows(episode, at[-1] + 1))
        kls.append(float(tf.reduce_mean(kl)))
        for key, (prediction, target) in pairs.items():
            sums[key].add(prediction.numpy(), target.numpy())
    shares = {key: each.explained() for key, each in sums.items()}
    return {"kl": float(np.mean(kls))} | {
        f"{key}_{step}": float(share[i])
        for key, share in shares.items()
        for i, step in enumerate(AHEAD)
    }


class _Sums:
    """Sums over windows, from which the explained share of the variance is computed."""

    def __init__(self):
        self._count, self._off, self._sum, self._squares = 0, 0.0, 0.0, 0.0

    def add(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Adds windows, [N, steps, ...] each."""
        target = target.astype(np.float64)
        self._count += len(target)
        self._off += _per_step(np.square(prediction - target).sum(0))
        self._sum += target.sum(0)
        self._squares += np.square(target).sum(0)

    def explained(self) -> np.ndarray:
        """Returns 1 - squared error / variance around the mean (of each pixel), per step.

        NaN where the target does not vary, such as CartPole's reward.
        """
        variance = _per_step(self._squares - np.square(self._sum) / self._count)
        varies = variance > 1e-9 * np.maximum(_per_step(self._squares), 1.0)
        return np.where(varies, 1.0 - self._off / np.where(varies, variance, 1.0), np.nan)


def _per_step(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).sum(1)
