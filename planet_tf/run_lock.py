"""One process a run: a lock on the run's directory, which a kill releases too."""

import datetime
import fcntl
import os
import pathlib
import socket

from planet_tf import config


class RunLock:
    """Holds a run's directory until `release`, or until the process ends in whatever way.

    Args:
      root_dir: the run's directory; made if it is missing.

    Raises:
      ConfigError: if another process holds it; says which.
    """

    def __init__(self, root_dir: str | os.PathLike):
        root = pathlib.Path(root_dir)
        self._root, self._made = root, not root.exists()
        root.mkdir(parents=True, exist_ok=True)
        self._path = root / "lock"
        while True:
            self._file = self._path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.seek(0)
                holder = self._file.read().strip() or "another process"
                self._file.close()
                raise config.ConfigError(
                    f"{root} is in use by {holder}: wait for its end, or name another --root_dir"
                ) from error
            if self._path.exists() and os.path.samestat(
                os.fstat(self._file.fileno()), self._path.stat()
            ):
                break
            self._file.close()  # its holder removed it in between
        self._file.truncate(0)
        now = datetime.datetime.now().isoformat(" ", "seconds")
        self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
        self._file.flush()

    def release(self) -> None:
        """Lets another process have the directory; leaves none if nothing came of the run."""
        if self._file.closed:
            return
        self._path.unlink(missing_ok=True)
        if self._made and not any(self._root.iterdir()):
            self._root.rmdir()
        self._file.close()
