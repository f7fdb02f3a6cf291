"""What every planner is: an optimizer of action sequences that knows nothing but their scores."""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import tensorflow as tf

from planet_tf.seeds import RowSeeds

Score = Callable[[tf.Tensor, RowSeeds], tf.Tensor]
"""(candidates float32 [B, J, H, A], seeds) -> scores float32 [B, J]; higher is better."""

PlannerState = dict[str, tf.Tensor]
"""What a planner remembers from one decision to the next, each [B, ...]; {} for most planners."""


class Plan(NamedTuple):
    """The result of planning.

    Attributes:
      actions: float32 [B, H, A]; actions[:, 0] is executed. NaN where no candidate has a finite
        score.
      std: float32 [B, H, A], of what was fitted to the best candidates; 0 for a single one.
      state: for the next decision.
    """

    actions: tf.Tensor
    std: tf.Tensor
    state: PlannerState


class Planner(abc.ABC):
    """Plans B decisions at a time, independently of each other.

    A planner with memory declares it in `state_spec`. Its state joins the policy state: it is reset
    in the rows whose episode starts, exported and resumed.

    Attributes:
      discrete: whether it plans one-hot vectors instead of vectors in [-1, 1].
      horizon: how far it looks ahead, in agent steps; None: not known.
    """

    discrete: ClassVar[bool] = False
    horizon: int | None = None

    def state_spec(self, action_size: int) -> dict[str, tf.TensorSpec]:
        """Returns the specs of one row of the state."""
        return {}

    @property
    def evaluations(self) -> int | None:
        """Action sequences that a decision scores; None: not known."""
        return None

    @abc.abstractmethod
    def plan(self, score: Score, seeds: RowSeeds, action_size: int, state: PlannerState) -> Plan:
        """Plans actions in [-1, 1], or one-hot vectors if the planner is discrete.

        Args:
          score: rates candidates; see `Score`.
          seeds: one per decision; they decide all randomness, that of the scores included.
          action_size: A.
          state: of the previous decision; zeros in rows that start an episode.
        """


def clip(actions: tf.Tensor) -> tf.Tensor:
    """Clips actions to [-1, 1] but keeps NaN, which XLA's clip would turn into a bound."""
    return tf.where(tf.math.is_nan(actions), actions, tf.clip_by_value(actions, -1.0, 1.0))


def most_probable(probabilities: tf.Tensor) -> tf.Tensor:
    """Returns the one-hot vector of the largest component, [..., A]; keeps NaN."""
    chosen = tf.one_hot(tf.argmax(probabilities, -1), probabilities.shape[-1])
    return tf.where(tf.math.is_nan(probabilities), probabilities, chosen)


def shift(actions: tf.Tensor) -> tf.Tensor:
    """Moves plans of the last decision, [..., H, A], one step ahead; the new last action is 0."""
    return tf.concat([actions[..., 1:, :], tf.zeros_like(actions[..., :1, :])], -2)


def constant(seeds: RowSeeds, shape: Sequence[int], value: float) -> tf.Tensor:
    """Returns one value everywhere, float32 [B, *shape]: a row per seed."""
    filled = tf.fill(tf.stack([tf.shape(seeds.seeds)[0], *shape]), value)
    return tf.ensure_shape(filled, [seeds.seeds.shape[0], *shape])


def repeat(times: int, step: Callable, *carried: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Runs `carried = step(i, *carried)` for i = 0, ..., times - 1 as a graph loop."""
    _, *carried = tf.while_loop(
        lambda i, *_: i < times,
        lambda i, *carried: (i + 1, *step(i, *carried)),
        (tf.constant(0), *carried),
        parallel_iterations=1,
        maximum_iterations=times,
    )
    return tuple(carried)
