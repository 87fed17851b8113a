"""Headless rendering: which OpenGL this machine has, and small camera images from it fast.

MuJoCo reads MUJOCO_GL when it is first imported, where kinematics or robosuite may have done so long before anything is
drawn: `choose_backend` then gives it the other context, as drawing with the one of an absent window system ends the process.
It tries EGL and OSMesa in processes of their own, since a failed attempt cannot be taken back in one's own.
Mesa's software renderer and TensorFlow abort a process that holds both, whichever comes first (seen with Mesa 22.3 and
TensorFlow 2.21): where TensorFlow is loaded already, such a renderer is refused.
"""

from __future__ import annotations

import atexit
import importlib
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.robots.model import import_mujoco
from robot_pt.schema import Image

PACKAGES = {"egl": "libegl1 libegl-mesa0 libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""Debian and Ubuntu packages that bring each backend without a GPU."""

PROBED = "ROBOT_PT_GL"
"""Environment variable: the OpenGL that was found to render, here or in a parent process."""
_GIVEN = os.environ.get("MUJOCO_GL", "") if PROBED not in os.environ else ""
"""What the user set MUJOCO_GL to before this process or its parents chose; "" for nothing."""
_CONTEXT_HOLDERS = ("mujoco", "mujoco.gl_context", "mujoco.rendering.classic.gl_context")
"""Modules that mujoco keeps its choice in; its Renderer reads one of the last two, depending on its version."""
_SOFTWARE = ("llvmpipe", "softpipe", "swrast")
"""What Mesa calls itself where no GPU renders."""
_RENDER_ONE_FRAME = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().max() > 0, "the frame is black"
import OpenGL.GL as gl
name = gl.glGetString(gl.GL_RENDERER)
print("renderer:", name.decode() if name else "unknown")
renderer.close()
"""


class Backend(NamedTuple):
    """The OpenGL that will be used, and why."""

    name: str  # egl | osmesa | whatever MUJOCO_GL was set to
    reason: str


class RendererFailed(UserError):
    """OpenGL failed after it had drawn before.

    Attributes:
        why: what it said. backend: which OpenGL it was, "" for MuJoCo's default.
    """

    def __init__(self, why: str):
        self.why, self.backend = why, os.environ.get("MUJOCO_GL", "").strip().lower()
        other = "" if self.backend == "osmesa" else ", with MUJOCO_GL=osmesa if it happens again"
        super().__init__(
            f"OpenGL ({self.backend or 'default of MuJoCo'}) failed while it drew: {why}; what is finished is kept, go on in a new "
            f"process{other}."
        )


def choose_backend() -> Backend:
    """Probe EGL, then OSMesa, set MUJOCO_GL to the first that renders a frame and say why.

    A MUJOCO_GL that is already set is kept, and probed once. A mujoco that was imported before draws with it from here on.
    Raises UserError with the missing Debian packages if nothing renders, or for a MUJOCO_GL that does not render here, as `off` and
    `glfw` without a screen; MissingExtraError where mujoco is not installed.
    """
    if "mujoco" not in sys.modules and find_spec("mujoco") is None:
        raise MissingExtraError("mujoco", "sim", "a simulated robot")
    given = os.environ.get("MUJOCO_GL", "").strip().lower()
    if given:
        if given not in PACKAGES:
            import_mujoco()  # which names those it does not know
        if os.environ.get(PROBED) != given:
            _require_given(given)
        os.environ[PROBED] = given
        _hand_over(given)
        return Backend(given, f"{given}: set by the environment variable MUJOCO_GL")
    if sys.platform != "linux":
        return Backend("", f"MuJoCo's default on {sys.platform}")
    backend = _first_that_renders(tuple(PACKAGES))
    os.environ["MUJOCO_GL"] = os.environ[PROBED] = backend.name  # child processes inherit both and need not probe
    _hand_over(backend.name)
    return backend


def _require_given(name: str) -> None:
    if name in PACKAGES:
        _first_that_renders((name,))
        return
    failure, _ = probe(name)
    if failure:
        raise UserError(
            f"MUJOCO_GL is {name!r}, and nothing is drawn with it here ({failure}); set it to egl or osmesa, or unset it."
        )


def _hand_over(name: str) -> None:
    """A mujoco already imported makes its contexts with `name`; one not yet imported reads MUJOCO_GL itself.

    Raises UserError if the process has bound itself to another OpenGL before.
    """
    holders = [sys.modules[module] for module in _CONTEXT_HOLDERS if module in sys.modules]
    if name not in PACKAGES or not holders:
        return
    try:
        context = importlib.import_module(f"mujoco.{name}").GLContext
    except ImportError as error:
        raise UserError(
            f"this process has bound itself to another OpenGL than {name} ({error}); set MUJOCO_GL={name} in the environment "
            "before it starts, and leave PYOPENGL_PLATFORM unset."
        ) from error
    for holder in holders:
        vars(holder)["GLContext"] = context


@cache
def _first_that_renders(names: Sequence[str]) -> Backend:
    failures: list[str] = []
    for name in names:
        failure, renderer = probe(name)
        if not failure:
            before = f" ({'; '.join(failures)})" if failures else ""
            return Backend(name, f"{name}: renders with {renderer}{before}")
        failures.append(f"{name} fails: {failure}")
    install = ", or: ".join(f"sudo apt install -y {PACKAGES[name]}" for name in names)
    raise UserError(
        f"no headless OpenGL renders on this machine ({'; '.join(failures)}); on Debian or Ubuntu run: {install}."
    )


def probe(name: str, timeout_s: float = 60.0) -> tuple[str, str]:
    """Render one frame with MUJOCO_GL=`name` in a process of its own; returns (why it failed or "", renderer name)."""
    environment = {**os.environ, "MUJOCO_GL": name}
    command = [sys.executable, "-c", _RENDER_ONE_FRAME]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout_s,
            start_new_session=True,  # a Ctrl-C is not to look like a renderer that fails
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no frame within {timeout_s:.0f} s", ""
    names = [line.removeprefix("renderer: ") for line in done.stdout.splitlines() if line.startswith("renderer: ")]
    if done.returncode == 0 and names:
        return "", names[-1]
    lines = done.stderr.strip().splitlines()
    return (lines[-1].strip()[:160] if lines else f"exit code {done.returncode}"), ""


class Redrawing:
    """What to draw a job again with, in a fresh process, after `RendererFailed`: the same OpenGL once more, then the next one.

    A driver that was reset, or a machine that slept, draws as before in a new process, and the frames stay those of one renderer. An
    OpenGL that the user set by MUJOCO_GL has no next.
    """

    def __init__(self) -> None:
        self._failed: list[str] = []

    def next(self, backend: str, why: str, *, progress: bool) -> str:
        """What MUJOCO_GL is to be. `progress`: jobs were finished since the last failure.

        Raises UserError with what was tried where nothing is left that renders.
        """
        self._failed = [backend] if progress else [*self._failed, backend]
        others = [] if _GIVEN else [name for name in PACKAGES if name not in self._failed]
        for name in [*([backend] if self._failed.count(backend) == 1 else []), *others]:
            if name not in PACKAGES or not probe(name)[0]:
                warnings.warn(
                    f"OpenGL ({backend or 'default'}) failed while it drew: {why}; that episode is made again in a new process with "
                    f"{name or 'the same'}.",
                    stacklevel=2,
                )
                return name
        tried = " and ".join(dict.fromkeys(self._failed)) or "MuJoCo's default"
        raise UserError(
            f"OpenGL failed while it drew ({why}), with {tried}, also in a new process, and no other one renders here; what is finished "
            "is kept, go on with the rest once drawing works again."
        )


def require_no_tensorflow() -> None:
    """Raise UserError where rendering would abort this process: TensorFlow is loaded and Mesa renders in software."""
    if "tensorflow" not in sys.modules:
        return
    name = os.environ.get("MUJOCO_GL", "").strip().lower()
    if name not in PACKAGES:
        return
    _, renderer = probe(name)
    if name == "osmesa" or any(word in renderer.lower() for word in _SOFTWARE):
        raise UserError(
            f"this process has loaded TensorFlow, and Mesa's software renderer ({renderer or name}) beside it would abort the "
            "process; simulate in a process without TensorFlow, as robot-pt collect and robot-pt evaluate do."
        )


class CameraRenderer:
    """uint8 RGB frames, right way up, from named cameras of one model, without shadows, reflections or multisampling.

    Those three cost three quarters of the time with a software renderer. Geoms outside a camera's view are skipped
    before MuJoCo draws them: the arm alone has 350,000 vertices and most of it is out of the picture.
    """

    def __init__(self, model: Any, size: tuple[int, int], cameras: Sequence[int]):
        """`size` = (height, width) of every frame; `cameras` = MuJoCo camera ids. Raises UserError beside TensorFlow."""
        require_no_tensorflow()
        import mujoco

        model.vis.quality.shadowsize, model.vis.quality.offsamples = 0, 0
        model.vis.global_.offheight, model.vis.global_.offwidth = size
        self._model, self._cameras, self._aspect = model, list(cameras), size[1] / size[0]
        self._failures = _failures_of(mujoco)
        try:
            self._renderer = mujoco.Renderer(model, *size)
        except self._failures as error:  # the backend was found to render; a context may be refused all the same, later
            raise RendererFailed(str(error)) from error
        # registered after mujoco's own: contexts must go before it terminates EGL at exit
        atexit.register(_close_if_alive, weakref.ref(self))
        self._shape = (*size, 3)
        for flag in ("SHADOW", "REFLECTION", "HAZE"):
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [0, 1, 0, 0, 0, 0]  # robosuite: group 0 collides, group 1 is seen
        self._option.sitegroup[:] = 0
        self._seen = model.geom_group == 1
        self._radius = np.where(model.geom_rbound > 0, model.geom_rbound, np.inf)  # planes have no bound

    def render(self, data: Any, camera: int) -> Image:
        """(H, W, 3) as MuJoCo camera `camera` sees `data`, which must be fresh from mj_forward or a step.

        Raises RendererFailed where OpenGL fails, as a driver under memory pressure or a machine that was suspended may.
        """
        visible = self._in_view(data, camera)
        self._model.geom_group[:] = np.where(self._seen & ~visible, 5, self._model.geom_group)
        try:
            self._renderer.update_scene(data, camera, self._option)
        finally:
            self._model.geom_group[self._seen] = 1
        frame = np.zeros(self._shape, np.uint8)  # a lost context draws nothing and says nothing
        try:
            self._renderer.render(out=frame)
        except self._failures as error:
            raise RendererFailed(str(error)) from error
        if not frame.any():
            raise RendererFailed("the frame is black")
        return frame

    def _in_view(self, data: Any, camera: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(geoms,) whether the bounding sphere of each geom touches the camera's view pyramid."""
        offset = data.geom_xpos - data.cam_xpos[camera]
        right, up, back = (offset @ data.cam_xmat[camera].reshape(3, 3)).T
        half = np.deg2rad(self._model.cam_fovy[camera]) / 2
        inside = back < self._radius
        for sideways, tangent in ((up, np.tan(half)), (right, np.tan(half) * self._aspect)):
            # distance of the centre beyond the pyramid's side plane
            beyond = (np.abs(sideways) + back * tangent) / np.sqrt(1 + tangent**2)
            inside &= beyond < self._radius
        return np.asarray(inside)

    def close(self) -> None:
        self._renderer.close()


def _failures_of(mujoco: Any) -> tuple[type[Exception], ...]:
    """What drawing raises where it fails; RuntimeError or ImportError where a context cannot be made, or made current."""
    opengl = [sys.modules["OpenGL.error"].Error] if "OpenGL.error" in sys.modules else []
    return (RuntimeError, ImportError, mujoco.FatalError, *opengl)


def _close_if_alive(renderer: weakref.ref[CameraRenderer]) -> None:
    alive = renderer()
    if alive is not None:
        alive.close()
