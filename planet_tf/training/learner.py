"""The learner: compiled updates, test losses and predictions of one agent."""

import time
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from planet_tf import errors, runtime
from planet_tf.agents import PlanetAgent, building
from planet_tf.experience import ReplayBuffer
from planet_tf.models import open_loop
from planet_tf.run_files import Identity
from planet_tf.seeds import RunSeeds, Stream
from planet_tf.training import interrupts
from planet_tf.training.settings import Settings


class Learner:
    """Trains an agent on chunks of the replay, and tests it on held-out ones.

    It is the only place that knows how updates are compiled, and shared by several devices: each of
    R replicas takes B / R chunks, and gradients and loss terms are averaged.

    Attributes:
      agent: what is trained.
      update: a batch of chunks -> LossInfo; one optimizer step.
      chunk_length: L, frames per chunk.
    """

    def __init__(
        self,
        agent: PlanetAgent,
        seeds: RunSeeds,
        batch_size: int,
        chunk_length: int,
        jit_compile: bool,
        strategy: tf.distribute.Strategy | None = None,
    ):
        """Compiles nothing yet.

        Args:
          agent: made in the scope of the strategy.
          seeds: of the run.
          batch_size: B, chunks per update.
          chunk_length: L.
          jit_compile: compiles updates with XLA. Losses and predictions are too rare to gain by it.
          strategy: None: TensorFlow's default one, for one device.

        Raises:
          ConfigError: if latent overshooting does not fit into a chunk.
        """
        if (distance := agent.world_model.overshooting_distance) >= chunk_length:
            setting = "WorldModel.overshooting_distance"
            raise errors.ConfigError(
                f"{setting} ({distance}) must be below train.chunk_length ({chunk_length}): no "
                "chunk holds that many steps ahead",
                setting=setting,
            )
        self.agent, self._seeds = agent, seeds
        self._batch_size, self.chunk_length = batch_size, chunk_length
        self._strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self._strategy.num_replicas_in_sync
        update = agent.train if self._replicas == 1 else self._update_replicas
        self.update = tf.function(update, jit_compile=jit_compile, autograph=False)
        self._loss = tf.function(agent.loss, autograph=False)

        def predict(batch, context, seed):
            return open_loop.predict(agent.world_model, batch, context, seed)

        self._predict = tf.function(predict, autograph=False)

    @property
    def updates(self) -> int:
        """Optimizer steps taken."""
        return int(self.agent.train_step_counter.numpy())

    def check_finite(self) -> None:
        """Raises NotFiniteError if the model is not finite."""
        for variable in self.agent.world_model.variables:
            if not np.all(np.isfinite(variable)):
                raise errors.NotFiniteError(
                    f"{variable.name} is NaN or infinite after update {self.updates}; the run's "
                    "directory holds the last good checkpoint"
                )

    def fit(
        self, replay: ReplayBuffer, updates: int, progress: Callable[[int], None]
    ) -> dict[str, float]:
        """Takes `updates` optimizer steps; returns the means of the loss terms and the speed.

        Args:
          replay: the training episodes.
          updates: number of optimizer steps.
          progress: called with the number of steps taken, after each.

        Raises:
          NotFiniteError: if a term is NaN or infinite.
        """
        start, first = time.perf_counter(), self.updates
        history: list[dict[str, tf.Tensor]] = []
        for batch in self.chunks(replay, updates):
            terms = self.update(batch).extra
            if history:  # checked one update late so that a GPU never waits
                _check_finite(history[-1], first + len(history))
            history.append(terms)
            progress(len(history))
            interrupts.check()
        _check_finite(history[-1], first + updates)
        means = {f"train/{k}": float(np.mean([t[k] for t in history])) for k in history[0]}
        return {**means, "time/updates_per_second": updates / (time.perf_counter() - start)}

    def test(self, heldout: ReplayBuffer) -> dict[str, float]:
        """Returns the loss terms of held-out chunks; none if there is no episode."""
        if not heldout.longest:
            return {}
        batch = self._heldout_chunks(heldout, self._batch_size)
        return {f"test/{key}": float(value) for key, value in self._loss(batch).extra.items()}

    def predict(
        self, heldout: ReplayBuffer
    ) -> tuple[dict[str, float], dict[str, np.ndarray]] | None:
        """Predicts 8 held-out chunks open loop; None if no episode is as long as a chunk.

        Returns:
          the errors after the context, means by name, and the first chunk's prediction as arrays;
          see `open_loop`.
        """
        context = min(open_loop.CONTEXT, self.chunk_length - 1)
        if heldout.longest < self.chunk_length:
            return None
        batch = self._heldout_chunks(heldout, 8, across=False)
        prediction = self._predict(batch, context, tf.constant(open_loop.SEED))
        found = open_loop.measure(prediction, batch["reward"])
        means = {key: float(tf.reduce_mean(error[:, context:])) for key, error in found.items()}
        return means, {key: value[0].numpy() for key, value in prediction.items()}

    def chunks(self, replay: ReplayBuffer, updates: int) -> Iterable:
        """Returns the batches of the next updates; with several replicas, a part for each."""
        seed, count = self._seeds.integer(Stream.REPLAY), self._batch_size // self._replicas
        if self._replicas == 1:
            return self._chunks(replay, seed, updates, count)

        def parts(context: tf.distribute.InputContext) -> tf.data.Dataset:
            machine = context.input_pipeline_id, context.num_input_pipelines
            return self._chunks(replay, seed, updates, count, machine=machine)

        return self._strategy.distribute_datasets_from_function(parts)

    def _update_replicas(self, batch):
        info, mean = self._strategy.run(self.agent.train, (batch,)), tf.distribute.ReduceOp.MEAN
        terms = {key: self._strategy.reduce(mean, term, None) for key, term in info.extra.items()}
        return info._replace(loss=terms["loss"], extra=terms)

    def _chunks(self, replay: ReplayBuffer, seed, updates, count, machine=None):
        parts = self._replicas if machine else 1
        span = parts * self.updates, parts * updates
        return replay.chunks(
            seed, *span, count, self.chunk_length, self._learns_ends, machine=machine
        )

    def _heldout_chunks(self, heldout: ReplayBuffer, count: int, across: bool = True):
        seed = tf.stack([self._seeds.integer(Stream.TEST), self.updates])
        return heldout.sample(seed, count, self.chunk_length, self._learns_ends, across)

    @property
    def _learns_ends(self) -> bool:
        return self.agent.world_model.continuation is not None


def make_learner(
    identity: Identity, settings: Settings, strategy: tf.distribute.Strategy
) -> Learner:
    """Makes the agent of a run and its learner.

    Args:
      identity: see `building.make_agent`.
      settings: of the run.
      strategy: see `replicas.strategy`.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    compiles = runtime.compiles(settings.jit_compile)
    with strategy.scope():
        agent = building.make_agent(identity, compiles, settings.updates)
    return Learner(
        agent,
        RunSeeds(identity["seed"]),
        settings.batch_size,
        settings.chunk_length,
        compiles and strategy.num_replicas_in_sync == 1,
        strategy,
    )


def _check_finite(terms: dict[str, tf.Tensor], update: int) -> None:
    broken = [key for key, value in terms.items() if not np.isfinite(value)]
    if broken:
        raise errors.NotFiniteError(
            f"{', '.join(broken)} became NaN or infinite in update {update}; checkpoints and "
            "episodes are from before that"
        )
