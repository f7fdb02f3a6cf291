"""The trained agent as a SavedModel that needs only TensorFlow to act."""

import json
import os
import shutil
from collections.abc import Mapping

import tensorflow as tf
from tf_agents.policies import policy_saver

from planet_tf import files, paths, policy as policies, signals


def export_policy(
    policy: policies.PlanetPolicy,
    directory: str | os.PathLike,
    train_step: tf.Variable | None = None,
    jit_compile: bool = False,
    trained_on: Mapping | None = None,
) -> str:
    """Writes encoder, latent model and planner as one SavedModel with explicit state in and out.

    Signatures: `get_initial_state(batch_size)` and `action(time step, policy state)`, for any batch
    size. The initial state's seed is drawn anew at every call, in every process. What was in the
    directory is replaced only when the new export is complete.

    Args:
      policy: the policy to export; its exploration noise goes with it (of a schedule, as it is).
      directory: where the SavedModel is to stand.
      train_step: variable whose value goes with it.
      jit_compile: exports the XLA-compiled variant, which TF Serving on a GPU and TF-Java do not
        run; it compiles once for every process and batch size.
      trained_on: the run's seed, task, action repeat, camera and observations, kept beside the
        model in run.json: the environment that the policy is to be evaluated in.

    Returns:
      The directory.

    Raises:
      StorageError: if it cannot be written; what was there is as it was.
    """
    target = paths.for_tensorflow(directory)
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    # A policy of its own, so that the functions traced for export have any batch size. It takes
    # only what the model reads.
    reads, noise = policy.world_model.reads, policy.exploration_noise
    spec = policy.time_step_spec
    exported = policies.PlanetPolicy(
        spec._replace(observation={reads: spec.observation[reads]}),
        policy.action_spec,
        policy.world_model,
        exploration_noise=float(noise()) if callable(noise) else noise,
        sample_per_candidate=policy.sample_per_candidate,
        jit_compile=jit_compile,
    )
    saver = policy_saver.PolicySaver(exported, batch_size=None, train_step=train_step)
    old = target.with_name(target.name + ".old")
    with files.writing(target), signals.held():
        saver.save(os.fspath(new))
        if trained_on is not None:
            with files.written_whole(new / "run.json") as out:
                out.write(json.dumps(trained_on).encode() + b"\n")
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return os.fspath(target)
