"""Makes an agent from what run.json says of its task, without making the environment."""

import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import action_specs
from planet_tf.agents import PlanetAgent
from planet_tf.run_files import Identity
from planet_tf.seeds import RunSeeds, Stream

_DTYPES = {"image": tf.uint8, "state": tf.float32}


def make_agent(identity: Identity, jit_compile: bool, run_updates: int = 100_000) -> PlanetAgent:
    """Makes the agent of a run with freshly initialized weights.

    Args:
      identity: its seed, observations, action_size, discrete and terminates are used.
      jit_compile: compiles the policies with XLA.
      run_updates: that it will be trained for; the learning rate may depend on it.
    """
    seeds = RunSeeds(identity["seed"])
    observations = {
        key: tensor_spec.TensorSpec(shape, _DTYPES[key], key)
        for key, shape in identity["observations"].items()
    }
    action = action_specs.vector(identity["action_size"], identity.get("discrete", False))
    tf.keras.utils.set_random_seed(seeds.integer(Stream.WEIGHTS))
    return PlanetAgent(
        ts.time_step_spec(observations),
        tensor_spec.from_spec(action),
        identity.get("terminates", False),
        run_updates=run_updates,
        seed=seeds.integer(Stream.UPDATES),
        jit_compile=jit_compile,
    )
