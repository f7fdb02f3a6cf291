"""PlanetAgent: world model, optimizer and policies as one TF-Agents agent."""

import functools
from typing import Any

import tensorflow as tf
from tf_agents.agents import tf_agent
from tf_agents.trajectories import time_step as ts

from planet_tf import action_specs, checks, seeds
from planet_tf.agents.exploration import EpsilonGreedy, Exploration, GaussianNoise
from planet_tf.agents.policy import PlanetPolicy
from planet_tf.models import WorldModel
from planet_tf.planning import Planner


@checks.configurable(
    denylist=[
        "time_step_spec",
        "action_spec",
        "terminates",
        "run_updates",
        "seed",
        "jit_compile",
        "train_step_counter",
    ],
)
class PlanetAgent(tf_agent.TFAgent):
    """Learns the world model from chunks and acts by planning in it.

    `train(experience)` takes a batch of chunks (see `world_model.Batch`), not a Trajectory: the
    alignment of actions with images happens once, in `experience.episode.align`. Made in the scope
    of a `tf.distribute.Strategy` and run by it, every replica trains on a part of the batch: their
    gradients are averaged before they are clipped.

    Args:
      time_step_spec: observations are a dict with `image`, uint8 [H, W, C], or `state`, float32
        [N], or both; see `WorldModel` for what is read.
      action_spec: BoundedTensorSpec float32 [A] in [-1, 1]; in [0, 1]: a one-hot vector of A
        choices.
      terminates: whether episodes may end with discount 0; see `WorldModel.continuation_scale`.
      run_updates: optimizer steps that the run takes.
      seed: decides, with the number of the update, all randomness in training.
      learning_rate: of Adam (release: 1e-3).
      adam_epsilon: of Adam, outside the bias correction (release: 1e-4).
      final_learning_rate: the learning rate after `learning_rate_updates` updates, reached
        linearly; None: it stays.
      learning_rate_updates: optimizer steps until `final_learning_rate` is reached; an update that
        overflows float16 is not counted. None: all of the run's; if the run is then given more
        episodes, the learning rate rises again.
      clip_norm: gradients are clipped to this global norm, in which the diagnosis head's do not
        count (release: 1000).
      collect_planner: plans while episodes are collected, in gin such as @collect/CEM(), whose
        settings are collect/CEM.NAME; None: the planner that is evaluated and exported,
        `PlanetPolicy.planner`.
      exploration: noise of the collect policy, in gin such as @GaussianNoise(); None:
        GaussianNoise, or EpsilonGreedy for discrete actions.
      jit_compile: compiles the policies with XLA.
      train_step_counter: counts updates.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec,
        terminates: bool = False,
        run_updates: int = 100_000,
        seed: int = 0,
        learning_rate: checks.Positive = 1e-3,
        adam_epsilon: checks.Positive = 1e-4,
        final_learning_rate: checks.NonNegative | None = None,
        learning_rate_updates: checks.Count | None = None,
        clip_norm: checks.Positive = 1000.0,
        collect_planner: Planner | None = None,
        exploration: Exploration | None = None,
        jit_compile: bool = False,
        train_step_counter: tf.Variable | None = None,
        name: str = "planet_agent",
    ):
        tf.Module.__init__(self, name=name)
        shapes = {key: tuple(spec.shape) for key, spec in time_step_spec.observation.items()}
        self.world_model = WorldModel(
            action_size=action_spec.shape[0],
            image_shape=shapes.get("image"),
            state_size=shapes.get("state", (0,))[0],
            terminates=terminates,
        )
        last = learning_rate if final_learning_rate is None else final_learning_rate
        self.optimizer = self._make_optimizer(
            tf.keras.optimizers.schedules.PolynomialDecay(
                learning_rate, learning_rate_updates or run_updates, last
            ),
            adam_epsilon,
        )
        self._seed, self._clip_norm = seed, clip_norm
        if train_step_counter is None:
            train_step_counter = tf.Variable(
                0,
                trainable=False,
                dtype=tf.int64,
                name="train_step",
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        policy = functools.partial(
            PlanetPolicy,
            time_step_spec,
            action_spec,
            self.world_model,
            updates=train_step_counter,
            jit_compile=jit_compile,
        )
        usual = EpsilonGreedy if action_specs.is_discrete(action_spec) else GaussianNoise
        collects: dict[str, Any] = {"exploration": exploration or usual()}
        if collect_planner is not None:
            collects["planner"] = collect_planner
        super().__init__(
            time_step_spec,
            action_spec,
            policy(),
            policy(**collects, name="planet_collect_policy"),
            train_sequence_length=None,
            training_data_spec=chunk_spec(time_step_spec.observation, action_spec.shape),
            train_step_counter=train_step_counter,
        )

    def _make_optimizer(self, learning_rate, epsilon: float):
        optimizer = tf.keras.optimizers.Adam(learning_rate, epsilon=epsilon, jit_compile=False)
        if self.world_model.precision == "mixed_float16":
            # Small gradients would be lost in float16; updates that overflow are skipped.
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        optimizer.build(self.world_model.trainable_variables)
        return optimizer

    def _train(self, experience, weights=None):
        scaled = isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            info = self._loss(experience, weights, training=True)
            loss = self.optimizer.get_scaled_loss(info.loss) if scaled else info.loss
        variables = self.world_model.trainable_variables
        # A custom network may have variables that the loss does not depend on.
        gradients = tape.gradient(
            loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        if scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        replicas = tf.distribute.get_replica_context()
        if replicas.num_replicas_in_sync > 1:  # each has an equal part of the batch
            gradients = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        norm = tf.linalg.global_norm(self._without_diagnosis(gradients, variables))
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        if scaled:  # the optimizer skips an overflow and lowers the scale
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        self.optimizer.apply_gradients(
            zip(gradients, variables, strict=True), skip_gradients_aggregation=True
        )
        self.train_step_counter.assign_add(1)
        clipped = tf.cast(norm > self._clip_norm, tf.float32)
        return info._replace(
            extra={**info.extra, "gradient_norm": norm, "gradient_clipped": clipped}
        )

    def _without_diagnosis(self, gradients, variables) -> list[tf.Tensor]:
        """Returns the gradients without those of the diagnosis head, which must change no other."""
        head = self.world_model.diagnosis
        apart = {variable.ref() for variable in head.trainable_variables} if head else set()
        pairs = zip(gradients, variables, strict=True)
        return [gradient for gradient, variable in pairs if variable.ref() not in apart]

    def _loss(self, experience, weights=None, training=False):
        if weights is not None:
            raise ValueError("PlanetAgent takes no loss weights: every chunk counts the same")
        stream = 0 if training else 1
        seed = tf.stack([self._seed, 2 * tf.cast(self.train_step_counter, tf.int32) + stream])
        replicas = tf.distribute.get_replica_context()
        if replicas.num_replicas_in_sync > 1:
            seed = seeds.fold_in(seed, replicas.replica_id_in_sync_group)
        loss, terms = self.world_model.loss(experience, seed)
        return tf_agent.LossInfo(loss, {"loss": loss, **terms})


def chunk_spec(observation_spec: dict, action_shape) -> dict[str, tf.TensorSpec]:
    """Returns the spec of one aligned step: what replay stores and `PlanetAgent.train` takes."""
    return {
        **{
            key: tf.TensorSpec(spec.shape, spec.dtype, key)
            for key, spec in observation_spec.items()
        },
        "action": tf.TensorSpec(action_shape, tf.float32, "action"),
        "reward": tf.TensorSpec([], tf.float32, "reward"),
        "discount": tf.TensorSpec([], tf.float32, "discount"),
        "is_first": tf.TensorSpec([], tf.bool, "is_first"),
    }
