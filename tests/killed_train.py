"""The train command, which kills itself in the middle of what sys.argv[1] names.

`MOMENT:NUMBER`: at the NUMBER-th time, from 1, that an episode's file, a checkpoint or an export is
half written, or the export's two directories are half exchanged; `random:NUMBER`: so many seconds
after the directory was locked.
"""

import io
import os
import pathlib
import signal
import sys
import threading
import time

import numpy as np
import tensorflow as tf
from tf_agents.policies import policy_saver

from planet_tf import cli


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def at(number, act, kill_instead):
    """Returns `act`, whose number-th call is replaced."""
    calls = []

    def call(*arguments, **settings):
        calls.append(arguments)
        return (kill_instead if len(calls) == number else act)(*arguments, **settings)

    return call


def half_an_episode(file, **episode):
    whole = io.BytesIO()
    SAVEZ(whole, **episode)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    kill()


def half_a_checkpoint(manager, *arguments, **settings):
    directory = pathlib.Path(manager.directory)
    directory.mkdir(exist_ok=True)
    before = set(directory.iterdir())

    def watch():
        while set(directory.iterdir()) == before:
            pass
        kill()

    threading.Thread(target=watch, daemon=True).start()
    SAVE(manager, *arguments, **settings)
    kill()


def half_an_export(saver, path):
    def watch():
        while not list(pathlib.Path(path).glob("variables/*")):
            pass
        kill()

    threading.Thread(target=watch, daemon=True).start()
    EXPORT(saver, path)
    kill()


def half_an_exchange(path, target):
    if not path.name.endswith(".new"):
        return RENAME(path, target)
    return kill()


SAVEZ, RENAME = np.savez_compressed, pathlib.Path.rename
SAVE, EXPORT = tf.train.CheckpointManager.save, policy_saver.PolicySaver.save


def main():
    (moment, number), arguments = sys.argv[1].split(":"), sys.argv[2:]
    if moment == "episode":
        np.savez_compressed = at(int(number), SAVEZ, half_an_episode)
    elif moment == "checkpoint":
        tf.train.CheckpointManager.save = at(int(number), SAVE, half_a_checkpoint)
    elif moment == "export":
        policy_saver.PolicySaver.save = at(int(number), EXPORT, half_an_export)
    elif moment == "exchange":
        pathlib.Path.rename = half_an_exchange
    else:
        (root_dir,) = (x.split("=")[1] for x in arguments if x.startswith("--root_dir="))

        def wait():
            lock = pathlib.Path(root_dir, "lock")
            while not (lock.exists() and f"process {os.getpid()} " in lock.read_text()):
                time.sleep(0.01)
            time.sleep(float(number))
            kill()

        threading.Thread(target=wait, daemon=True).start()
    return cli.main(["train", *arguments])


if __name__ == "__main__":
    sys.exit(main())
