"""Exported policies: SavedModels, as TF-Agents policies or as the parameters of an agent."""

import itertools
import os
import pathlib

from tf_agents.policies import py_tf_eager_policy

from planet_tf import errors, run_files, runtime, storage
from planet_tf.agents import PlanetAgent


def is_policy(path: pathlib.Path) -> bool:
    """Whether a directory is an exported policy."""
    return (path / "saved_model.pb").is_file()


def load_policy(directory: str | os.PathLike) -> py_tf_eager_policy.SavedModelPyTFEagerPolicy:
    """Loads an exported policy as a TF-Agents PyPolicy.

    Raises:
      ConfigError: if the directory holds none.
    """
    path = storage.tensorflow_path(directory)
    if not is_policy(path) and (path / run_files.SETTINGS).is_file():
        raise errors.ConfigError(
            f"{path} is a run, not an exported policy",
            f"load {path / run_files.POLICY}, or write one with planet-tf export",
        )
    if not is_policy(path) or not (path / "policy_specs.pbtxt").is_file():
        raise errors.ConfigError(
            f"{path} holds neither a run (config.gin) nor an exported policy (saved_model.pb)"
        )
    runtime.choose_device()
    return _load_saved_model(path)


def _load_saved_model(path: pathlib.Path) -> py_tf_eager_policy.SavedModelPyTFEagerPolicy:
    return py_tf_eager_policy.SavedModelPyTFEagerPolicy(os.fspath(path), load_specs_from_pbtxt=True)


def restore(agent: PlanetAgent, path: pathlib.Path) -> None:
    """Gives an agent the parameters of an exported policy."""
    policy = _load_saved_model(path)
    values = [value for value in policy.variables() if value.dtype.is_floating]  # not the counter
    pairs = _paired(agent.world_model, values)
    if any(one is None or other is None or one.shape != other.shape for one, other in pairs):
        raise errors.ConfigError(f"{path}: its parameters do not fit its config.gin")
    for variable, value in pairs:
        variable.assign(value)
    agent.train_step_counter.assign(policy.get_train_step())


def _paired(model, values) -> list[tuple]:
    """Pairs a model's variables with those of an exported one, or with None.

    By their names, which survive a change of their order between versions; by their order if names
    are missing or not unique, as in custom networks.
    """
    cell = f"{model.cell.name}/"  # whether names have it depends on the first call
    ours = {variable.name.removeprefix(cell): variable for variable in model.variables}
    theirs = {value.name.removeprefix(cell): value for value in values}
    if ours.keys() == theirs.keys() and len(ours) == len(model.variables) == len(values):
        return [(variable, theirs[name]) for name, variable in ours.items()]
    return list(itertools.zip_longest(model.variables, values))
