"""The trained agent as a SavedModel that needs only TensorFlow to act."""

import json
import os
import shutil
from collections.abc import Mapping

import tensorflow as tf
from tf_agents.policies import policy_saver, tf_policy
from tf_agents.specs import tensor_spec

from planet_tf import run_files, storage
from planet_tf.agents.policy import NO_ACTION, PlanetPolicy

_WRONG_SIZES = "time step and policy state must have the shapes of their specs, all with B rows"


class CheckedPolicy(PlanetPolicy):
    """A PlanetPolicy that refuses wrong inputs: errors that no one is there to see on a robot.

    Parts that differ in B or from their specs, NaN in them, and a model that leaves no finite score
    are an InvalidArgumentError.

    It is traced once, for any number of rows: the saved functions would each trace it again.
    """

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        reads = self.time_step_spec.observation[self.world_model.reads]
        inputs = (reads, tf.TensorSpec([], tf.bool), self.policy_state_spec)
        self._decide_fn = self._decide_fn.get_concrete_function(
            *tf.nest.map_structure(lambda spec: tensor_spec.add_outer_dim(spec), inputs)
        )

    def _action(self, time_step, policy_state, seed=None):
        reads, spec = self.world_model.reads, self.time_step_spec
        _check_inputs(
            (time_step.step_type, time_step.observation[reads], policy_state),
            (spec.step_type, spec.observation[reads], self.policy_state_spec),
        )
        step = super()._action(time_step, policy_state, seed)
        # Outside of the compiled function, because XLA ignores assertions.
        return step._replace(action=tf.debugging.assert_all_finite(step.action, NO_ACTION))


class IndexedPolicy(tf_policy.TFPolicy):
    """A policy for discrete actions that returns the index of its choice, int32 [B]."""

    def __init__(self, policy: CheckedPolicy):
        (count,) = policy.action_spec.shape
        super().__init__(
            policy.time_step_spec,
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, count - 1, "action"),
            policy_state_spec=policy.policy_state_spec,
            automatic_state_reset=False,
            name=policy.name,
        )
        self._policy = policy

    def _variables(self):
        return self._policy.variables()

    def _get_initial_state(self, batch_size):
        return self._policy.get_initial_state(batch_size)

    def _distribution(self, time_step, policy_state):
        raise NotImplementedError("planning gives an action, not a distribution: call action()")

    def _action(self, time_step, policy_state, seed=None):
        step = self._policy.action(time_step, policy_state)
        return step._replace(action=tf.argmax(step.action, -1, tf.int32))


def _check_inputs(inputs, specs) -> None:
    """Checks sizes and values: broadcasting or a ReLU would hide wrong ones.

    Raises:
      InvalidArgumentError: if a part has another shape than its spec, another number of rows than
        the other parts, or is NaN or infinite.
    """
    parts, specs = tf.nest.flatten(inputs), tf.nest.flatten(specs)
    rows = tf.shape(parts[0])[0]
    # Sizes, not shapes: a SavedModel takes the shapes in its signature for granted.
    sizes = tf.stack([tf.size(part) for part in parts])
    expected = rows * tf.constant([spec.shape.num_elements() for spec in specs])
    tf.debugging.assert_equal(sizes, expected, _WRONG_SIZES, summarize=20)
    for part, spec in zip(parts, specs, strict=True):
        if spec.dtype.is_floating:
            tf.debugging.assert_all_finite(part, f"{spec.name} is NaN or infinite")


def export_policy(
    policy: PlanetPolicy,
    directory: str | os.PathLike,
    train_step: tf.Variable | None = None,
    jit_compile: bool = False,
    trained_on: Mapping | None = None,
    settings: str = "",
) -> str:
    """Writes encoder, latent model and planner as one SavedModel with explicit state in and out.

    Signatures: `get_initial_state(batch_size)` and `action(time step, policy state)`, for any batch
    size. Discrete actions are the index of the choice, int32 [B]. Every call draws a new seed for
    the initial state, in every process. The old contents of the directory are replaced only when
    the new export is complete.

    Args:
      policy: the policy to export; its exploration is exported too, as it is now.
      directory: where the SavedModel goes.
      train_step: variable whose value is exported too.
      jit_compile: exports the XLA-compiled variant, which TF Serving on a GPU and TF-Java do not
        run; it compiles once for every process and batch size.
      trained_on: the run's seed, task, action repeat, camera and observations, kept next to the
        model in run.json: the environment that the policy is to be evaluated in.
      settings: gin text, kept in config.gin: with it the policy can be loaded with another planner.

    Returns:
      The directory.

    Raises:
      ConfigError: if the directory's name holds a wildcard.
      StorageError: if it cannot be written; what was there is unchanged.
    """
    target = storage.tensorflow_path(directory)
    new, old = (target.with_name(target.name + suffix) for suffix in (".new", ".old"))
    shutil.rmtree(new, ignore_errors=True)
    saver = policy_saver.PolicySaver(
        _exportable(policy, jit_compile), batch_size=None, train_step=train_step
    )
    with storage.writing(target):
        saver.save(os.fspath(new))
        if trained_on is not None:
            storage.write_text(new / run_files.IDENTITY, json.dumps(trained_on) + "\n")
        if settings:
            storage.write_text(new / run_files.SETTINGS, settings)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return os.fspath(target)


def _exportable(policy: PlanetPolicy, jit_compile: bool) -> tf_policy.TFPolicy:
    """Returns a new policy, so that the exported functions are traced for any batch size.

    It takes only what the model reads.
    """
    reads, spec = policy.world_model.reads, policy.time_step_spec
    checked = CheckedPolicy(
        spec._replace(observation={reads: spec.observation[reads]}),
        policy.action_spec,
        policy.world_model,
        policy.planner,
        policy.objective,
        policy.exploration,
        updates=tf.constant(int(policy.updates)),  # its schedule stands still
        jit_compile=jit_compile,
    )
    return IndexedPolicy(checked) if policy.discrete else checked
