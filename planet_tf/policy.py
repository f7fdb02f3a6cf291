"""The agent's policy: filter the image, plan in latent space, act (paper section 2).

`PlanetPolicy` is a TFPolicy whose whole memory, its random state included, is its policy state;
`PlanetPyPolicy` is the same compiled for driving PyEnvironments.
"""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tf_agents.policies import py_tf_eager_policy, tf_policy
from tf_agents.trajectories import policy_step, time_step as ts

from planet_tf import planners, world_model as wm

_NO_PLAN = "no action: every candidate's score is NaN or infinite"
_WRONG_SIZES = (
    "time step and policy state must have the shapes of their specs, and as many rows in all parts"
)


def _row_noise(draw, shape, seeds: tf.Tensor) -> tf.Tensor:
    """Draws [B, *shape], each row from its own seed: a row acts in a batch as it would alone."""
    if seeds.shape[0] == 1:
        return draw(shape, seeds[0])[None]
    return tf.map_fn(lambda seed: draw(shape, seed), seeds, fn_output_signature=tf.float32)


def _split_rows(seeds: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Splits seeds, int32 [B, 2], into `count` times [B, 2]."""
    return tf.unstack(tf.map_fn(lambda seed: wm.split_seed(seed, count), seeds), count, axis=1)


def _check_inputs(inputs, specs) -> None:
    """Checks sizes and values: what broadcasts, or what a Relu swallows, would go unnoticed.

    Raises:
      InvalidArgumentError: if a part has not its spec's shape in as many rows as all others, or is
        NaN or infinite.
    """
    parts, specs = tf.nest.flatten(inputs), tf.nest.flatten(specs)
    rows = tf.shape(parts[0])[0]
    # Not their shapes: a SavedModel takes those for granted that its signature has.
    sizes = tf.stack([tf.size(part) for part in parts])
    expected = rows * tf.constant([spec.shape.num_elements() for spec in specs])
    tf.debugging.assert_equal(sizes, expected, _WRONG_SIZES, summarize=20)
    for part, spec in zip(parts, specs, strict=True):
        if spec.dtype.is_floating:
            tf.debugging.assert_all_finite(part, f"{spec.name} is NaN or infinite")


class PlanetPolicy(tf_policy.TFPolicy):
    """Plans every action anew with the cross-entropy method.

    The policy state is a dict of the latent state's parts (of an RSSM `deter` [B, D] and `stoch`
    [B, S]), `action` [B, A] (the action that was executed last, exploration noise included) and
    `seed` int32 [B, 2]. A row whose time step is FIRST starts from zeros whatever its state says;
    its seed goes on. Two calls with the same time step and state return the same action. Parts that
    differ in B or from their specs, NaN in them, and a model that leaves no finite score are an
    InvalidArgumentError; reward and discount are not read.

    Args:
      time_step_spec: observations are a dict with `image`, uint8 [H, W, C], or `state`, float32
        [N]: what the model reads.
      action_spec: BoundedTensorSpec float32 [A] in [-1, 1].
      world_model: the model to plan with; its variables are shared, not copied.
      exploration_noise: standard deviation of the Gaussian added to the action, which is clipped
        afterwards (collecting: 0.3, evaluating: 0); or a function that returns it, a scalar tensor.
      sample_per_candidate: starts every candidate from a posterior sample of its own (the paper's
        choice), in place of one that all share; of no effect on a model that draws nothing.
      jit_compile: compiles filter and planner with XLA (gains on a GPU, loses on a CPU).

    Raises:
      ValueError: if the action spec is not one vector in [-1, 1].
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec,
        world_model: wm.WorldModel,
        exploration_noise: float | Callable[[], tf.Tensor] = 0.0,
        sample_per_candidate: bool = False,
        jit_compile: bool = False,
        name: str = "planet_policy",
    ):
        low, high = getattr(action_spec, "minimum", None), getattr(action_spec, "maximum", None)
        if (
            len(getattr(action_spec, "shape", ())) != 1
            or action_spec.dtype != tf.float32
            or not (np.all(low == np.float32(-1)) and np.all(high == np.float32(1)))
        ):
            raise ValueError(f"actions must be one bounded vector in [-1, 1], got {action_spec}")
        cell = world_model.cell
        super().__init__(
            time_step_spec,
            action_spec,
            policy_state_spec={
                **{
                    key: tf.TensorSpec([size], tf.float32, key)
                    for key, size in cell.state_sizes.items()
                },
                "action": tf.TensorSpec(action_spec.shape, tf.float32, "previous_action"),
                "seed": tf.TensorSpec([2], tf.int32, "seed"),
            },
            # Rows are reset below: TF-Agents' reset would also draw a new seed.
            automatic_state_reset=False,
            name=name,
        )
        self.world_model = world_model
        self.exploration_noise = exploration_noise
        self.sample_per_candidate = sample_per_candidate
        self._decide_fn = tf.function(self._decide, autograph=False, jit_compile=jit_compile)

    def _variables(self):
        return self.world_model.variables

    def _get_initial_state(self, batch_size):
        # The raw operation: seeds of 0 mean a new random stream in every process, even after
        # tf.random.set_seed, which the usual functions would bake into an exported policy.
        limits = tf.int32.min, tf.int32.max
        seed = tf.raw_ops.RandomUniformInt(
            shape=tf.stack([batch_size, 2]), minval=limits[0], maxval=limits[1], seed=0, seed2=0
        )
        return self._state_with(tf.reshape(seed, [-1, 2]))

    def initial_state(self, batch_size: int, seed: tf.Tensor):
        """Returns an initial policy state whose random state is decided by `seed`, int32 [2]."""
        return self._state_with(
            tf.random.stateless_uniform(
                [batch_size, 2], seed, tf.int32.min, tf.int32.max, tf.int32, alg="philox"
            )
        )

    def _state_with(self, seed):
        batch_size = tf.shape(seed)[0]
        action = tf.zeros([batch_size, self.world_model.action_size])
        return {**self.world_model.cell.initial_state(batch_size), "action": action, "seed": seed}

    def _distribution(self, time_step, policy_state):
        raise NotImplementedError("planning gives an action, not a distribution: call action()")

    def _action(self, time_step, policy_state, seed=None):
        if seed is not None:
            raise ValueError("set policy_state['seed'] in place of seed=: it is the random state")
        reads = self.world_model.reads
        _check_inputs(
            (time_step.step_type, time_step.observation[reads], policy_state),
            (
                self.time_step_spec.step_type,
                self.time_step_spec.observation[reads],
                self.policy_state_spec,
            ),
        )
        action, state = self._decide_fn(
            time_step.observation[reads], time_step.is_first(), policy_state
        )
        # Out here, for XLA passes over assertions.
        action = tf.debugging.assert_all_finite(action, _NO_PLAN)
        return policy_step.PolicyStep(action, state, ())

    def _decide(self, observation, is_first, policy_state):
        model = self.world_model
        batch_size = observation.shape[0] or tf.shape(observation)[0]
        next_seed, observation_seed, stoch_seed, plan_seed, noise_seed = _split_rows(
            policy_state["seed"], 5
        )
        noise = _row_noise(wm.stateless_uniform, model.input_shape, observation_seed)
        observation = model.preprocess(observation, noise)
        before = {key: policy_state[key] for key in model.cell.state_sizes}
        noise = _row_noise(wm.stateless_normal, [model.cell.stoch_size], stoch_seed)
        latent = model.step(observation, policy_state["action"], is_first, before, noise)
        state = {key: latent[key] for key in before}

        def start(candidates, seeds):
            """Returns the state that every candidate starts from, parts [B * candidates, ...]."""
            starts = {key: tf.repeat(value, candidates, 0) for key, value in state.items()}
            if self.sample_per_candidate and "stoch" in state:
                size = model.cell.stoch_size
                noise = _row_noise(wm.stateless_normal, [candidates, size], seeds)
                stoch = latent["mean"][:, None] + latent["std"][:, None] * noise
                starts["stoch"] = tf.reshape(stoch, [-1, size])
            return starts

        mean, _ = self._plan(start, batch_size, plan_seed)
        action = tf.clip_by_value(mean[:, 0], -1.0, 1.0)  # candidates need not have been
        if self.exploration_noise:
            std = self.exploration_noise
            std = std() if callable(std) else std
            noise = _row_noise(wm.stateless_normal, [model.action_size], noise_seed)
            action = tf.clip_by_value(action + std * noise, -1.0, 1.0)
        action = tf.ensure_shape(action, [observation.shape[0], model.action_size])
        return action, {**state, "action": action, "seed": next_seed}

    def _plan(self, start, batch_size, seeds):
        """Runs the planner from the states that `start` gives so many candidates and a seed."""
        model = self.world_model
        action_seed, rollout_seed, start_seed = _split_rows(seeds, 3)

        def at(seeds, i):
            return tf.map_fn(lambda seed: wm.stateless_fold_in(seed, i), seeds)

        def noise(shape, i):
            return _row_noise(wm.stateless_normal, shape, at(action_seed, i))

        def evaluate(actions, i):
            candidates, horizon, action_size = actions.shape[1:]
            shape = [candidates, horizon, model.cell.stoch_size]
            rollout_noise = _row_noise(wm.stateless_normal, shape, at(rollout_seed, i))
            returns = model.imagined_return(
                start(candidates, at(start_seed, i)),
                tf.reshape(actions, [-1, horizon, action_size]),
                tf.reshape(rollout_noise, [-1, *shape[1:]]),
            )
            return tf.reshape(returns, [-1, candidates])

        return planners.cem(evaluate, noise, batch_size, model.action_size)


class PlanetPyPolicy(py_tf_eager_policy.PyTFEagerPolicy):
    """A PlanetPolicy as a PyPolicy, compiled with tf.function; counts the time of its decisions.

    Where no action can be planned it raises FloatingPointError.
    """

    def __init__(self, policy: PlanetPolicy, batch_time_steps: bool = True):
        super().__init__(policy, use_tf_function=True, batch_time_steps=batch_time_steps)
        self._decisions = 0
        self._seconds = 0.0

    def _action(self, time_step, policy_state, seed=None):
        start = time.perf_counter()
        try:
            step = super()._action(time_step, policy_state, seed)
        except tf.errors.InvalidArgumentError as error:
            for line in str(error).splitlines():
                if "NaN or infinite" in line:
                    raise FloatingPointError(line.split(" : Tensor had")[0]) from error
            raise
        self._seconds += time.perf_counter() - start
        self._decisions += 1
        return step

    @property
    def decision_ms(self) -> float:
        """The mean time of a decision since the last `pop_decision_ms`, in milliseconds."""
        return 1000 * self._seconds / max(self._decisions, 1)

    def pop_decision_ms(self) -> float:
        """Returns `decision_ms`, and counts anew from here."""
        mean = self.decision_ms
        self._decisions, self._seconds = 0, 0.0
        return mean
