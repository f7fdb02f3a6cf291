"""A run's directory: one process at a time, one run for good, and what the last process left."""

import json
import os
import pathlib
import re

import gin

from planet_tf import config, custom_code, files, run_lock

# Settings of these may change when a run goes on; those of all else are the model's.
_CHANGEABLE = ("train", "PlanetAgent", "ReplayBuffer", "cem", "load_environment")


class RunDirectory:
    """Locks a run's directory, and refuses it to another run or another model.

    `run.json` says whose run it is; `config.gin` holds the settings of the process that wrote there
    last.

    Args:
      root_dir: the directory; made if it is missing.
      identity: what must not change in a run, such as its task and seed; goes to JSON.

    Attributes:
      root: the directory.
      killed: who held it last and could not end in order, or None.
      changes: 'NAME: THEN -> NOW' of each setting that has changed.

    Raises:
      ConfigError: if another process holds it, or it is of another run; nothing is changed then.
    """

    def __init__(self, root_dir: str | os.PathLike, identity: dict):
        self.root = pathlib.Path(root_dir)
        self._lock = run_lock.RunLock(self.root)
        self.killed = self._lock.killed
        settings = gin.operative_config_str()
        imports = "".join(f"{line}\n" for line in custom_code.imports(settings))
        self._identity, self._settings = identity, imports + settings
        try:
            refused = self._changed_identity()
            self.changes: list[str] = []
            for name, change in self._changed_settings().items():
                allowed = config.owner(name) in _CHANGEABLE
                (self.changes if allowed else refused).append(f"{name}: {change}")
            if refused:
                raise config.ConfigError(
                    "\n  ".join([f"{self.root} holds another run, then -> now:", *refused])
                    + f"\nuse its settings (they are in {self.root / 'config.gin'}), or name "
                    "another directory with --root_dir"
                )
        except BaseException:
            self._lock.release()
            raise

    def _changed_identity(self) -> list[str]:
        file = self.root / "run.json"
        if not file.exists():
            return []
        try:
            before = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise config.ConfigError(
                f"{file} cannot be read ({error}): name another --root_dir, or delete it if the "
                f"run there is {self._identity}"
            ) from error
        return changes(before, self._identity)

    def _changed_settings(self) -> dict[str, str]:
        file = self.root / "config.gin"
        if not file.exists():
            return {}
        return config.differences(file.read_text(encoding="utf-8"), self._settings)

    @property
    def imports(self) -> list[str]:
        """The 'import MODULE' lines of config.gin: modules of the user's that the settings need."""
        return re.findall(r"(?m)^import [\w.]+$", self._settings)

    def take(self) -> str:
        """Makes the directory this run's, with the present settings; returns them."""
        with files.written_whole(self.root / "run.json") as out:
            out.write(json.dumps(self._identity).encode() + b"\n")
        with files.written_whole(self.root / "config.gin") as out:
            out.write(self._settings.encode())
        return self._settings

    def release(self) -> None:
        """Lets another process have the directory."""
        self._lock.release()


def changes(before: dict, now: dict) -> list[str]:
    """Returns 'NAME: THEN -> NOW' of what differs in two identities; see `runs.Run.identity`."""
    now = json.loads(json.dumps(now))
    return [
        f"{name}: {before.get(name)} -> {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
