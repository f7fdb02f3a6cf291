"""A run's directory: locked by one process, and the same run forever."""

import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Mapping

from planet_tf import config, errors, gin_internals, run_files, storage
from planet_tf.agents.exploration import Exploration
from planet_tf.planning import Objective, Planner
from planet_tf.run_files import Identity
from planet_tf.training import provenance

# The settings of these may change when a run is resumed, and those of subclasses of the latter,
# such as a custom planner; all other settings are the model's.
_CHANGEABLE = (
    "train",
    "PlanetAgent",
    "PlanetPolicy",
    "ReplayBuffer",
    "RemoteCollectors",
    "load_environment",
)
_CHANGEABLE_KINDS = (Planner, Objective, Exploration)


class RunDirectory:
    """Locks a run's directory, and refuses it to another run or another model.

    `run.json` holds the run's identity; `config.gin` holds the settings of the process that wrote
    there last.

    Args:
      root_dir: the directory; created if it is missing.
      identity: what must not change in a run, see `Identity`; goes to JSON.

    Attributes:
      root: the directory.
      settings: as gin text: those in use, and those of planners that may be chosen later.
      killed: the process that held the directory last and was killed, or None.
      changes: 'NAME: THEN -> NOW' for each setting that has changed.

    Raises:
      ConfigError: if another process holds it, or it belongs to another run; nothing is changed.
      StorageError: if it cannot be created or written to.
    """

    def __init__(self, root_dir: str | os.PathLike, identity: Identity):
        self.root, self._identity = pathlib.Path(root_dir), identity
        self.settings, self.changes = config.in_use(_changeable), list[str]()
        self._created = not self.root.exists()
        self.killed = self._lock()
        try:
            self._refuse_another_run()
        except BaseException:
            self.release()
            raise

    def write(self) -> None:
        """Writes identity, settings and provenance; call it when the parts have been made."""
        self.settings = config.in_use(_changeable)
        self.changes = [f"{name}: {change}" for name, change in self._changed_settings().items()]
        storage.write_text(self.root / run_files.IDENTITY, json.dumps(self._identity) + "\n")
        storage.write_text(self.root / run_files.SETTINGS, self.settings)
        provenance.record(self.root)

    def release(self) -> None:
        """Unlocks the directory, and removes it if the run has left nothing."""
        if self._file.closed:
            return
        (self.root / run_files.LOCK).unlink(missing_ok=True)
        if self._created and self.root.exists() and not any(self.root.iterdir()):
            self.root.rmdir()
        self._file.close()

    # What may not change.

    def _refuse_another_run(self) -> None:
        """Raises ConfigError if the identity or a setting of the model has changed."""
        before = read_identity(self.root)
        refused = changes(before, self._identity) if before else []
        refused += [
            f"{name}: {change}"
            for name, change in self._changed_settings().items()
            if not _changeable(config.owner(name))
        ]
        if refused:
            raise errors.ConfigError(
                "\n  ".join([f"{self.root} holds another run, then -> now:", *refused]),
                f"use its settings (they are in {self.root / run_files.SETTINGS}), or name another "
                "directory with --root_dir",
            )

    def _changed_settings(self) -> dict[str, str]:
        file = self.root / run_files.SETTINGS
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        return config.differences(before, self.settings)

    # The lock, which the kernel releases when the process ends, however it ends.

    def _lock(self) -> str | None:
        """Locks the directory; returns the process that did not release it, or None."""
        with storage.writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            while not self._acquired():
                pass  # its holder removed the file in between
            self._file.seek(0)
            killed = self._file.read().strip() or None
            self._file.truncate(0)
            now = datetime.datetime.now().isoformat(" ", "seconds")
            self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            self._file.flush()
            return killed

    def _acquired(self) -> bool:
        path = self.root / run_files.LOCK
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise errors.ConfigError(
                f"{self.root} is in use by {holder}",
                "wait until it ends, or name another --root_dir",
            ) from error
        if path.exists() and os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
            return True
        self._file.close()
        return False


def _changeable(owner: str) -> bool:
    """Whether the settings of a configurable, given by name, may change within a run."""
    return owner in _CHANGEABLE or gin_internals.is_a(owner, *_CHANGEABLE_KINDS)


def read_identity(directory: pathlib.Path) -> Identity:
    """Returns the contents of run.json in a run's or policy's directory; {} if there is none.

    Raises:
      ConfigError: if the file cannot be read.
    """
    file = directory / run_files.IDENTITY
    try:
        return Identity(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError) as error:
        raise errors.ConfigError(
            f"{file} cannot be read ({error})", "restore it, or use another directory"
        ) from error


def changes(before: Mapping, now: Mapping) -> list[str]:
    """Returns 'NAME: THEN -> NOW' for what differs between two identities."""
    now = json.loads(json.dumps(now))
    return [
        f"{name}: {before.get(name)} -> {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
