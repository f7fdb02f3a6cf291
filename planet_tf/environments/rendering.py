"""Chooses how frames are rendered off-screen, when the first one is needed.

dm_control reads MUJOCO_GL when it is imported, and an OpenGL library that failed to load cannot be
unloaded, so each backend is tried in a process of its own. To see which one is used:
`python -m planet_tf.environments.rendering`.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from types import ModuleType
from typing import NamedTuple

from planet_tf import errors, stack

BACKENDS = ("egl", "osmesa")  # tried in this order unless MUJOCO_GL names one
PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}  # Debian's and Ubuntu's
_ANSWER = "PLANET_TF_RENDERING"  # environment variable: child processes reuse the answer
_TIMEOUT = 120  # seconds; a second or two is usual
_SOFTWARE = re.compile("llvmpipe|softpipe|swrast|swiftshader|software", re.IGNORECASE)
_PROBE = """
import planet_tf
import tensorflow  # with which some renderers crash
from dm_control import mujoco
physics = mujoco.Physics.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 2"/><geom size="1"/></worldbody></mujoco>')
assert physics.render(16, 16).any(), 'the rendered frame is black'
try:
    from OpenGL import GL
    with physics.contexts.gl.make_current() as context:
        renderer = context.call(GL.glGetString, GL.GL_RENDERER).decode()
except Exception:
    renderer = 'unknown'
print('renders with', renderer, flush=True)
"""


# dm_control's module of backends while none is chosen: `choose` reloads it.
_postponed: ModuleType | None = None


class Backend(NamedTuple):
    """A rendering backend that has rendered a frame."""

    name: str  # as in MUJOCO_GL
    renderer: str  # OpenGL's GL_RENDERER

    @property
    def software(self) -> bool:
        """Whether frames are rendered by the CPU."""
        return bool(_SOFTWARE.search(self.renderer))


def import_suite() -> ModuleType:
    """Imports dm_control's suite without OpenGL, unless dm_control is imported already.

    Frames can be rendered once `choose` has found a backend, before or after this.
    """
    global _postponed
    if "dm_control._render" not in sys.modules and _ANSWER not in os.environ:
        users = os.environ.get("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "off"
        try:
            from dm_control import _render, suite
        finally:
            del os.environ["MUJOCO_GL"]
            if users is not None:
                os.environ["MUJOCO_GL"] = users
        _postponed = _render
    from dm_control import suite

    return suite


def choose() -> Backend:
    """Chooses the rendering backend and tells dm_control by os.environ['MUJOCO_GL'].

    It is the user's MUJOCO_GL if that is set, else EGL, else OSMesa: each has to render a frame in
    a child process first (a second or two). The answer is remembered for this process and its
    children. If other code than `import_suite` has imported dm_control, its choice is only checked.

    Raises:
      RenderingError: if none works; the message has each one's last error line and the packages.
        Also if TensorFlow was imported before planet_tf and frames would be rendered in software.
    """
    global _postponed
    imported = sys.modules.get("dm_control._render")
    postponed = imported is not None and imported is _postponed
    if postponed:
        imported = None
    chosen = (imported.BACKEND or "disabled") if imported else os.environ.get("MUJOCO_GL")
    name, _, renderer = os.environ.get(_ANSWER, "").partition(":")
    if name and name == chosen:
        return _checked(Backend(name, renderer))
    failures = []
    for name in [chosen] if chosen else BACKENDS:
        variables = _variables(name, bool(chosen))
        renderer, error = _try(variables)
        if not error:
            os.environ.update(variables)
            os.environ[_ANSWER] = f"{name}:{renderer}"
            if postponed:
                importlib.reload(sys.modules["dm_control._render"])
                _postponed = None
            return _checked(Backend(name, renderer))
        failures.append(f"  MUJOCO_GL={name}: {error}")
    raise errors.RenderingError(_message(failures, bool(imported), bool(chosen)))


def _checked(backend: Backend) -> Backend:
    """Returns the backend, or raises RenderingError if it would crash this process."""
    if backend.software and stack.crashes_software_renderers():
        raise errors.RenderingError(
            f"TensorFlow was imported before planet_tf: {backend.renderer} would crash",
            "import planet_tf first, or render on a GPU",
        )
    return backend


def try_backends() -> list[tuple[str, str, str]]:
    """Tries every backend in child processes, the user's MUJOCO_GL first, without choosing one.

    Returns:
      (name, OpenGL's GL_RENDERER, '') of a backend that works; (name, '', the last error line) of
      one that does not.
    """
    chosen = os.environ.get("MUJOCO_GL")
    names = dict.fromkeys([chosen, *BACKENDS] if chosen else BACKENDS)
    return [(name, *_try(_variables(name, name == chosen))) for name in names]


def _variables(name: str, chosen: bool) -> dict[str, str]:
    """Returns the environment variables of a backend; chosen: the user has set MUJOCO_GL to it."""
    # With a MUJOCO_GL of the user's, the user's PYOPENGL_PLATFORM is kept too.
    return {"MUJOCO_GL": name} if chosen else {"MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}


def _try(variables: dict[str, str]) -> tuple[str, str]:
    """Renders a frame in a child process; returns GL_RENDERER and '', or '' and the last error."""
    # The child finds planet_tf where this process did, such as in a folder added to sys.path.
    command = [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{_PROBE}"]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return "", f"no frame within {_TIMEOUT} seconds"
    # Not the exit status: some drivers crash when they are unloaded, after a good frame.
    found = re.search("^renders with (.*)$", done.stdout, re.MULTILINE)
    if found:
        return found.group(1), ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "", lines[-1] if lines else f"the process ended with status {done.returncode}"


def _message(failures: list[str], imported: bool, chosen: bool) -> str:
    if imported:
        note = "dm_control was imported before the choice: set MUJOCO_GL=egl before that import."
    elif chosen:
        note = "MUJOCO_GL is set, so nothing else was tried: unset it to try EGL and OSMesa."
    else:
        note = "Set MUJOCO_GL to egl, osmesa or glfw to choose one yourself."
    return "\n".join(
        [
            "cannot render frames off-screen. What was tried:",
            *failures,
            f"On Debian, Ubuntu: apt-get install {PACKAGES['egl']} (EGL, also without a GPU)",
            f"or: apt-get install {PACKAGES['osmesa']} (OSMesa).",
            note,
        ]
    )


def main() -> int:
    """Prints the backend and returns 0, or prints what to install and returns 2."""
    try:
        backend = choose()
    except errors.RenderingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    where = "in software" if backend.software else "in hardware"
    print(f"rendering {where}: MUJOCO_GL={backend.name} ({backend.renderer})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
