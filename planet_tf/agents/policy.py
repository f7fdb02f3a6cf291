"""The agent's policy: filter the observation, plan in latent space, act (paper section 2).

`PlanetPolicy` is a TFPolicy whose whole memory, random state included, is its policy state;
`PlanetPyPolicy` is the same compiled for driving PyEnvironments.
"""

import numpy as np
import tensorflow as tf
from tf_agents.policies import py_tf_eager_policy, tf_policy
from tf_agents.trajectories import policy_step, time_step as ts

from planet_tf import action_specs, checks, errors
from planet_tf.agents import exploration as explorations
from planet_tf.models import WorldModel
from planet_tf.planning import (
    CEM,
    CategoricalCEM,
    ImaginedReturn,
    Objective,
    Plan,
    Planner,
    clip,
    most_probable,
)
from planet_tf.seeds import RowSeeds

NO_ACTION = "no action: every candidate's score is NaN or infinite"


@checks.configurable(
    denylist=[
        "time_step_spec",
        "action_spec",
        "world_model",
        "exploration",
        "updates",
        "jit_compile",
        "name",
    ]
)
class PlanetPolicy(tf_policy.TFPolicy):
    """Plans every action, starting from the current latent state.

    The policy state is a dict of the latent state's parts (for an RSSM `deter` [B, D] and `stoch`
    [B, S]), `action` [B, A] (the action that was executed last, exploration noise included), `seed`
    int32 [B, 2], and `planner`, a dict, if the planner has memory. A row whose time step is FIRST
    starts from zeros whatever its state says; only its seed continues. Two calls with the same time
    step and state return the same action. Reward and discount are not read.

    Args:
      time_step_spec: observations are a dict with `image`, uint8 [H, W, C], or `state`, float32
        [N]: what the model reads.
      action_spec: BoundedTensorSpec float32 [A] in [-1, 1]; in [0, 1]: a one-hot vector of A
        choices.
      world_model: the model to plan with; its variables are shared, not copied.
      planner: the optimizer of action sequences, in gin such as @CEM(); None: CEM, or
        CategoricalCEM for discrete actions.
      objective: what the planner maximises; None: ImaginedReturn.
      exploration: adds noise to the planned action; None: no noise (evaluation).
      updates: counts updates, for the exploration's schedule.
      jit_compile: compiles filter and planner with XLA (faster on a GPU, slower on a CPU).

    Raises:
      ValueError: if the action spec is not one vector in [-1, 1] or [0, 1].
      ConfigError: if planner or exploration are for the other kind of actions.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec,
        world_model: WorldModel,
        planner: Planner | None = None,
        objective: Objective | None = None,
        exploration: explorations.Exploration | None = None,
        updates: tf.Variable | None = None,
        jit_compile: bool = False,
        name: str = "planet_policy",
    ):
        _check_action_spec(action_spec)
        self.world_model = world_model
        self.discrete = action_specs.is_discrete(action_spec)
        usual = CategoricalCEM if self.discrete else CEM
        self.planner = usual() if planner is None else planner
        self.objective = ImaginedReturn() if objective is None else objective
        self.exploration = exploration
        self.updates = tf.constant(0) if updates is None else updates
        for setting, part in (("PlanetPolicy.planner", self.planner), ("exploration", exploration)):
            if part is not None and part.discrete != self.discrete:
                raise errors.ConfigError(
                    f"{setting} is {type(part).__name__}, but the task's actions are "
                    f"{'discrete' if self.discrete else 'vectors in [-1, 1]'}",
                    f"{usual.__name__} plans them" if part is self.planner else "",
                    setting,
                )
        super().__init__(
            time_step_spec,
            action_spec,
            policy_state_spec=self._state_spec(),
            # Rows are reset in `filter`: TF-Agents' reset would also draw a new seed.
            automatic_state_reset=False,
            name=name,
        )
        self._decide_fn = tf.function(self._decide, autograph=False, jit_compile=jit_compile)

    def _state_spec(self) -> dict:
        model = self.world_model
        sizes = {**model.cell.state_sizes, "action": model.action_size}
        spec = {key: tf.TensorSpec([size], tf.float32, key) for key, size in sizes.items()}
        spec["seed"] = tf.TensorSpec([2], tf.int32, "seed")
        if memory := self.planner.state_spec(model.action_size):
            spec["planner"] = memory
        return spec

    def _variables(self):
        return self.world_model.variables

    def _get_initial_state(self, batch_size):
        # The raw operation: with seeds of 0 it starts a new random stream in every process, even
        # after tf.random.set_seed, which the usual functions would bake into an exported policy.
        limits = tf.int32.min, tf.int32.max
        seed = tf.raw_ops.RandomUniformInt(
            shape=tf.stack([batch_size, 2]), minval=limits[0], maxval=limits[1], seed=0, seed2=0
        )
        return self.initial_state(tf.reshape(seed, [-1, 2]))

    def initial_state(self, seeds: tf.Tensor) -> dict:
        """Returns the first policy state of an episode; seeds: int32 [B, 2], its random state."""
        rows = tf.shape(seeds)[0]

        def zeros(spec: tf.TensorSpec) -> tf.Tensor:
            return tf.zeros(tf.concat([[rows], spec.shape], 0), spec.dtype)

        return {**tf.nest.map_structure(zeros, self.policy_state_spec), "seed": seeds}

    def _distribution(self, time_step, policy_state):
        raise NotImplementedError("planning gives an action, not a distribution: call action()")

    def _action(self, time_step, policy_state, seed=None):
        if seed is not None:
            raise ValueError("set policy_state['seed'] instead of seed=: it is the random state")
        observation = time_step.observation[self.world_model.reads]
        action, state = self._decide_fn(observation, time_step.is_first(), policy_state)
        return policy_step.PolicyStep(action, state, ())

    # A decision: filter, plan, explore.

    def _decide(self, observation, is_first, policy_state):
        next_seeds, filter_seeds, plan_seeds, noise_seeds = RowSeeds(policy_state["seed"]).split(4)
        posterior, latent = self.filter(observation, is_first, policy_state, filter_seeds)
        plan = self.plan(latent, posterior, plan_seeds, self._memory(policy_state, is_first))
        action = plan.actions[:, 0]
        # Candidates may be unclipped.
        action = most_probable(action) if self.discrete else clip(action)
        if self.exploration is not None:
            action = self.exploration(action, noise_seeds, self.updates)
        action = tf.ensure_shape(action, [observation.shape[0], self.world_model.action_size])
        state = {**latent, "action": action, "seed": next_seeds.seeds}
        if plan.state:
            state["planner"] = plan.state
        return action, state

    def filter(self, observation, is_first, policy_state, seeds: RowSeeds):
        """Updates the latent state with an observation and the action that led to it.

        Args:
          observation: uint8 [B, H, W, C] or float32 [B, N].
          is_first: bool [B]; True starts the row from the zero state.
          policy_state: of the previous decision.
          seeds: draw the dequantisation noise and stoch.

        Returns:
          the posterior over stoch (None for an RNN), and the latent state, parts [B, ...].
        """
        model = self.world_model
        observation_seeds, stoch_seeds = seeds.split(2)
        observation = model.preprocess(observation, observation_seeds.uniform(model.input_shape))
        before = {key: policy_state[key] for key in model.cell.state_sizes}
        noise = stoch_seeds.normal([model.cell.stoch_size])
        return model.filter(observation, policy_state["action"], is_first, before, noise)

    def plan(self, latent, posterior, seeds: RowSeeds, memory: dict | None = None) -> Plan:
        """Plans from a latent state; see `filter` and `Planner.plan`."""
        score = self.objective.score_from(self.world_model, latent, posterior)
        return self.planner.plan(score, seeds, self.world_model.action_size, memory or {})

    def _memory(self, policy_state: dict, is_first: tf.Tensor) -> dict:
        """Returns the planner's state; zeros in rows that start an episode."""

        def reset(value):
            first = tf.reshape(is_first, [-1, *[1] * (value.shape.rank - 1)])
            return tf.where(first, tf.zeros_like(value), value)

        return tf.nest.map_structure(reset, policy_state.get("planner", {}))


def _check_action_spec(spec) -> None:
    low, high = getattr(spec, "minimum", None), getattr(spec, "maximum", None)
    if (
        len(getattr(spec, "shape", ())) != 1
        or spec.dtype != tf.float32
        or not (np.all(low == np.float32(-1)) or np.all(low == np.float32(0)))
        or not np.all(high == np.float32(1))
    ):
        raise ValueError(f"actions must be one vector in [-1, 1] or [0, 1], got {spec}")


class PlanetPyPolicy(py_tf_eager_policy.PyTFEagerPolicy):
    """A PlanetPolicy as a PyPolicy, compiled with tf.function.

    Raises NotFiniteError if no action can be planned.
    """

    def __init__(self, policy: PlanetPolicy, batch_time_steps: bool = True):
        super().__init__(policy, use_tf_function=True, batch_time_steps=batch_time_steps)

    def _action(self, time_step, policy_state, seed=None):
        step = super()._action(time_step, policy_state, seed)
        if not np.all(np.isfinite(step.action)):
            raise errors.NotFiniteError(NO_ACTION)
        return step
