"""What a run's directory holds: the names of its files (see docs/runs.md), and its identity."""

from typing import Any, TypedDict

IDENTITY = "run.json"  # these two are in an exported policy, too
SETTINGS = "config.gin"
PROCESSES = "processes.jsonl"
SCALARS = "scalars.jsonl"
TENSORBOARD = "tensorboard"
TRAIN_EPISODES = "episodes/train"
HELDOUT_EPISODES = "episodes/heldout"
CHECKPOINTS = "checkpoints"
POLICY = "policy"
LOCK = "lock"


class Identity(TypedDict, total=False):
    """The contents of run.json: what must not change within a run, and shapes its agent.

    Of several tasks, `task`, `action_repeat` and `camera` are lists. Missing: False or None.
    """

    seed: int
    task: str | list[str]
    action_repeat: int | list[int]
    camera: Any  # a number or a name; None: no images
    observations: dict[str, list[int]]  # shapes by name, 'image' and 'state'
    action_size: int
    discrete: bool  # actions are one-hot vectors
    terminates: bool  # the model predicts whether an episode goes on
    kwargs: dict[str, Any]  # load_environment.kwargs


def tasks(identity: Identity) -> list[str]:
    """Returns the names of a run's tasks; of no identity, one without a name."""
    task = identity.get("task", "")
    return [task] if isinstance(task, str) else task
