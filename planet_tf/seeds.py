"""Randomness that depends on seeds alone, so that runs, resumed runs and batches agree.

A stateless seed is int32 [2]. The generator is named (Philox) because TensorFlow's default differs
between XLA and plain execution; even so, one seed gives other numbers under XLA than without.
"""

import enum

import numpy as np
import tensorflow as tf


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Splits a seed, int32 [2], into `count` independent seeds."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count, alg="philox"))


def fold_in(seed: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns another seed, int32 [2], made from a seed and a number."""
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


def normal(shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws float32 standard normals of a shape."""
    return tf.random.stateless_normal(shape, seed, alg="philox")


def uniform(shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws float32 uniforms in [0, 1) of a shape."""
    return tf.random.stateless_uniform(shape, seed, alg="philox")


class RowSeeds:
    """One seed per row of a batch: a row draws the same numbers in any batch, and alone.

    Attributes:
      seeds: int32 [B, 2].
    """

    def __init__(self, seeds: tf.Tensor):
        self.seeds = seeds

    def split(self, count: int) -> "list[RowSeeds]":
        """Splits every row's seed into `count` independent ones."""
        parts = tf.map_fn(lambda seed: tf.stack(split(seed, count)), self.seeds)
        return [RowSeeds(part) for part in tf.unstack(parts, count, axis=1)]

    def fold_in(self, number: int | tf.Tensor) -> "RowSeeds":
        """Makes another seed from every row's seed and a number."""
        return RowSeeds(tf.map_fn(lambda seed: fold_in(seed, number), self.seeds))

    def normal(self, shape) -> tf.Tensor:
        """Draws standard normals, float32 [B, *shape]."""
        return self._draw(normal, shape)

    def uniform(self, shape) -> tf.Tensor:
        """Draws uniforms in [0, 1), float32 [B, *shape]."""
        return self._draw(uniform, shape)

    def _draw(self, draw, shape) -> tf.Tensor:
        if self.seeds.shape[0] == 1:
            return draw(shape, self.seeds[0])[None]
        return tf.map_fn(lambda seed: draw(shape, seed), self.seeds, fn_output_signature=tf.float32)


class Stream(enum.IntEnum):
    """The uses of randomness in a run; each is a stream of its own."""

    WEIGHTS = 0
    UPDATES = 1
    REPLAY = 2
    COLLECT = 3
    HELDOUT = 4
    EVALUATION = 5
    ENVIRONMENT = 6
    TEST = 7


class RunSeeds:
    """All seeds of a run: functions of its seed, a stream and a counter, which resuming repeats."""

    def __init__(self, seed: int):
        self._seed = seed

    def sequence(self, stream: Stream, number: int = 0) -> np.random.SeedSequence:
        """Returns the source of one use of a stream, such as one episode."""
        return np.random.SeedSequence([self._seed, int(stream), number])

    def integer(self, stream: Stream) -> int:
        """Returns a stream's seed as a non-negative int32."""
        return int(self.sequence(stream).generate_state(1)[0] >> 1)
