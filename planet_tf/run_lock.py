"""One process a run: a lock on the run's directory, which a kill releases too."""

import datetime
import fcntl
import os
import pathlib
import socket

from planet_tf import config, files


class RunLock:
    """Holds a run's directory until `release`, or until the process ends in whatever way.

    Args:
      root_dir: the run's directory; made if it is missing.

    Attributes:
      killed: who held it last, if that process ended without `release`; else None.

    Raises:
      ConfigError: if another process holds it; says which.
      StorageError: if the directory cannot be made or written to.
    """

    def __init__(self, root_dir: str | os.PathLike):
        self._root = pathlib.Path(root_dir)
        self._path = self._root / "lock"
        self._made = not self._root.exists()
        with files.writing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            while not self._acquired():
                pass  # its holder removed it in between
            self._file.seek(0)
            self.killed = self._file.read().strip() or None
            self._file.truncate(0)
            now = datetime.datetime.now().isoformat(" ", "seconds")
            self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            self._file.flush()

    def _acquired(self) -> bool:
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise config.ConfigError(
                f"{self._root} is in use by {holder}: wait for its end, or name another --root_dir"
            ) from error
        if self._path.exists():
            mine, there = os.fstat(self._file.fileno()), self._path.stat()
            if os.path.samestat(mine, there):
                return True
        self._file.close()
        return False

    def release(self) -> None:
        """Lets another process have the directory; leaves none if nothing came of the run."""
        if self._file.closed:
            return
        self._path.unlink(missing_ok=True)
        if self._made and self._root.exists() and not any(self._root.iterdir()):
            self._root.rmdir()
        self._file.close()
