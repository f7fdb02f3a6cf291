"""PlanetAgent: world model, optimizer and policies as one TF-Agents agent."""

import functools

import gin
import tensorflow as tf
from tf_agents.agents import tf_agent
from tf_agents.trajectories import time_step as ts

from planet_tf import policy as policies, world_model as wm


@gin.configurable(
    module="planet_tf",
    denylist=["time_step_spec", "action_spec", "seed", "jit_compile", "train_step_counter"],
)
class PlanetAgent(tf_agent.TFAgent):
    """Learns the world model from chunks and acts by planning in it.

    `train(experience)` takes a batch of chunks (see `world_model.Batch`), not a Trajectory: the
    alignment of actions with images happens once, in `replay.align`.

    Args:
      time_step_spec: observations are a dict with `image`, uint8 [H, W, C], or `state`, float32
        [N], or both; see `WorldModel` for what is read.
      action_spec: BoundedTensorSpec float32 [A] in [-1, 1].
      seed: decides, with the number of the update, all that is random in training.
      learning_rate, adam_epsilon: of Adam (release: 1e-3, 1e-4).
      final_learning_rate: what the learning rate goes to, linearly in the number of updates; None:
        it stays.
      learning_rate_updates: updates until it is there.
      clip_norm: global norm that gradients are clipped to (release: 1000).
      exploration_noise: standard deviation of the action noise of the collect policy.
      final_exploration_noise: what it goes to, linearly in the number of updates; None: it stays.
      exploration_updates: updates until it is there.
      sample_per_candidate: see `PlanetPolicy`.
      jit_compile: compiles the policies with XLA.
      train_step_counter: counts updates.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec,
        seed: int = 0,
        learning_rate: float = 1e-3,
        adam_epsilon: float = 1e-4,
        final_learning_rate: float | None = None,
        learning_rate_updates: int = 100_000,
        clip_norm: float = 1000.0,
        exploration_noise: float = 0.3,
        final_exploration_noise: float | None = None,
        exploration_updates: int = 100_000,
        sample_per_candidate: bool = False,
        jit_compile: bool = False,
        train_step_counter: tf.Variable | None = None,
        name: str = "planet_agent",
    ):
        tf.Module.__init__(self, name=name)
        shapes = {key: tuple(spec.shape) for key, spec in time_step_spec.observation.items()}
        self.world_model = wm.WorldModel(
            action_size=action_spec.shape[0],
            image_shape=shapes.get("image"),
            state_size=shapes.get("state", (0,))[0],
        )
        self.optimizer = tf.keras.optimizers.Adam(
            learning_rate, epsilon=adam_epsilon, jit_compile=False
        )
        if self.world_model.precision == "mixed_float16":
            # Small gradients would be lost in float16; updates that overflow are passed over.
            self.optimizer = tf.keras.mixed_precision.LossScaleOptimizer(self.optimizer)
        self.optimizer.build(self.world_model.trainable_variables)
        self.learning_rate = learning_rate
        self._seed = seed
        self._clip_norm = clip_norm
        if train_step_counter is None:
            train_step_counter = tf.Variable(0, trainable=False, dtype=tf.int64, name="train_step")
        schedules = {
            "final_learning_rate": final_learning_rate or 0.0,
            "learning_rate_updates": learning_rate_updates,
            "exploration_noise": exploration_noise,
            "final_exploration_noise": final_exploration_noise or 0.0,
            "exploration_updates": exploration_updates,
        }
        for key, value in schedules.items():
            if isinstance(value, str) or not value >= 0:
                raise ValueError(f"PlanetAgent.{key} must be a number of at least 0, got {value!r}")
        if sample_per_candidate not in (True, False):
            raise ValueError(
                "PlanetAgent.sample_per_candidate must be True or False, got "
                f"{sample_per_candidate!r}"
            )

        self._scheduled_rate = _linear(
            learning_rate, final_learning_rate, learning_rate_updates, train_step_counter
        )
        noise = _linear(
            exploration_noise, final_exploration_noise, exploration_updates, train_step_counter
        )
        make = functools.partial(
            policies.PlanetPolicy,
            time_step_spec,
            action_spec,
            self.world_model,
            sample_per_candidate=sample_per_candidate,
            jit_compile=jit_compile,
        )
        super().__init__(
            time_step_spec,
            action_spec,
            make(),
            make(exploration_noise=noise, name="planet_collect_policy"),
            train_sequence_length=None,
            training_data_spec=chunk_spec(time_step_spec.observation, action_spec.shape),
            train_step_counter=train_step_counter,
        )

    def _train(self, experience, weights=None):
        scaled = isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            info = self._loss(experience, weights, training=True)
            loss = self.optimizer.get_scaled_loss(info.loss) if scaled else info.loss
        variables = self.world_model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        gradients, norm = tf.clip_by_global_norm(gradients, self._clip_norm)
        if scaled:  # the optimizer passes over an overflow and scales less from then on
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        if callable(self._scheduled_rate):
            self.optimizer.learning_rate = self._scheduled_rate()
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.train_step_counter.assign_add(1)
        return info._replace(extra={**info.extra, "gradient_norm": norm})

    def _loss(self, experience, weights=None, training=False):
        if weights is not None:
            raise ValueError("PlanetAgent takes no loss weights: every chunk counts alike")
        stream = 0 if training else 1
        seed = tf.stack([self._seed, 2 * tf.cast(self.train_step_counter, tf.int32) + stream])
        loss, terms = self.world_model.loss(experience, seed)
        return tf_agent.LossInfo(loss, {"loss": loss, **terms})


def _linear(first: float, last: float | None, updates: int, counter: tf.Variable):
    """Returns what goes from first to last in so many updates, as a function; first if it stays."""
    if last is None:
        return first

    def value():
        done = tf.cast(counter, tf.float32) / max(updates, 1)
        return first + (last - first) * tf.minimum(done, 1.0)

    return value


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
