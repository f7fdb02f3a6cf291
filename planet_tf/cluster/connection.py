"""Connects to Ray: one that is started here, for this process alone, or a cluster."""

import contextlib
import importlib
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from planet_tf import errors

_LOOPBACK = "127.0.0.1"
_OBJECT_STORE = 512 * 2**20  # bytes of shared memory, taken as they are needed


@contextlib.contextmanager
def connected(
    address: str | None = None, cpus: int | None = None, modules: Sequence[str] = ()
) -> Iterator[Any]:
    """Yields the module `ray`, connected; disconnects afterwards, and ends what was started.

    Ray executes what it is sent. One that is started here listens on the loopback interface alone,
    and answers only those who know a token that is drawn for this process (or is in
    RAY_AUTH_TOKEN).

    Args:
      address: None starts Ray on this machine; 'auto' finds the cluster that this machine belongs
        to; 'HOST:PORT' and 'ray://HOST:PORT' name one.
      cpus: CPUs of a Ray that is started; None: all of this machine.
      modules: files and folders of Python modules that are sent to the machines of a cluster.

    Raises:
      ConfigError: if Ray is not installed, was imported too early, or there is no such cluster.
      EnvironmentFailure: if Ray does not start here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    if address is None:
        if sys.modules.get("ray") and os.environ.get("RAY_AUTH_MODE") != "token":
            raise errors.ConfigError(
                "Ray was imported before its token authentication could be turned on",
                "import ray after planet_tf has started it, or set RAY_AUTH_MODE=token",
            )
        os.environ["RAY_AUTH_MODE"] = "token"
        # Drawn once: Ray keeps the first one that a process has used.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = _ray()
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        _start(ray, num_cpus=cpus, include_dashboard=False, **quiet)
    else:
        _connect(ray, address, runtime_env={"py_modules": list(modules)}, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_resources(ray: Any, cpus: float, gpus: float) -> None:
    """Checks that a Ray of this machine alone has what is asked for: it would wait forever.

    Raises:
      ConfigError: if it has less.
    """
    has = ray.cluster_resources()
    for name, asked in (("CPU", cpus), ("GPU", gpus)):
        if asked > has.get(name, 0.0):
            raise errors.ConfigError(
                f"{asked:g} {name}s are asked for, and this machine has {has.get(name, 0.0):g}",
                "ask for fewer, or name a cluster with --address",
            )


def python_path() -> dict[str, str]:
    """Returns PYTHONPATH with absolute paths, for processes that start in another folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    return {"PYTHONPATH": ":".join(paths)} if paths else {}


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise errors.ConfigError(
            "Ray is not installed", "pip install -e '.[cluster]' in the checkout installs it"
        ) from error


def _start(ray, **settings) -> None:
    """Starts Ray on the loopback interface.

    Ray replaces 127.0.0.1 by the address that other machines see, and then listens on all
    interfaces; there is no setting against it.
    """
    unchanged = mock.patch("ray._private.services.resolve_ip_for_localhost", lambda host: host)
    try:
        with unchanged:
            ray.init(
                address="local",
                _node_ip_address=_LOOPBACK,
                object_store_memory=_OBJECT_STORE,
                **settings,
            )
    except Exception as error:  # a bare one if this takes longer than 30 s
        raise errors.EnvironmentFailure(
            f"Ray did not start: {error}",
            "the same command tries again; a busy machine may be too slow for it",
        ) from error
    if ray.util.get_node_ip_address() != _LOOPBACK:
        ray.shutdown()
        raise errors.ConfigError(
            f"this version of Ray, {ray.__version__}, does not stay on the loopback interface",
            "pip install -e '.[cluster]' in the checkout installs one that does",
        )


def _connect(ray, address: str, **settings) -> None:
    """Connects to a cluster."""
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, AttributeError) as error:
        raise errors.ConfigError(
            f"no connection to Ray at {address}: {error}",
            "ray status shows whether a cluster runs here; ray start --head starts one",
            "--address",
        ) from error
