import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

import robot_pt_sim
from robot_pt.errors import MissingExtraError, UserError
from robot_pt.store import DemoStore
from robot_pt_sim import rendering
from robot_pt_sim.collection import CollectSetup, _Collector
from robot_pt_sim.processes import run_jobs
from robot_pt_sim.rendering import Backend, RendererFailed, choose_backend, probe, require_no_tensorflow
from robot_pt_sim.simulators import spec_of


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has neither chosen nor imported anything; returns what the probes answer."""
    for name in ("MUJOCO_GL", "ROBOT_PT_GL"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "mujoco"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "platform", "linux")
    rendering._first_that_renders.cache_clear()
    answers, asked = {}, []

    def answer(name, timeout_s=60.0):
        asked.append(name)
        return answers[name]

    monkeypatch.setattr(rendering, "probe", answer)
    answers["asked"] = asked
    yield answers
    rendering._first_that_renders.cache_clear()


def test_egl_is_taken_where_it_renders(fresh, monkeypatch):
    fresh["egl"] = ("", "llvmpipe")
    assert choose_backend() == Backend("egl", "egl: renders with llvmpipe")
    assert rendering.os.environ["MUJOCO_GL"] == "egl"
    assert choose_backend().name == "egl"
    assert fresh["asked"] == ["egl"]  # one probe serves the whole process, and its children


def test_osmesa_is_taken_where_egl_fails_and_the_reason_is_told(fresh):
    fresh["egl"], fresh["osmesa"] = ("no libEGL", ""), ("", "softpipe")
    backend = choose_backend()
    assert backend.name == "osmesa"
    assert "egl fails: no libEGL" in backend.reason


def test_without_mujoco_no_package_for_drawing_is_named(fresh, monkeypatch):
    monkeypatch.setattr(rendering, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs mujoco, .* pip install 'robot-pt\[sim\]'"):
        choose_backend()
    assert fresh["asked"] == []


def test_nothing_renders_names_the_packages(fresh):
    fresh["egl"], fresh["osmesa"] = ("no libEGL", ""), ("no libOSMesa", "")
    with pytest.raises(UserError) as raised:
        choose_backend()
    for words in ("no libEGL", "no libOSMesa", "libegl1 libegl-mesa0 libgl1-mesa-dri", "libosmesa6"):
        assert words in str(raised.value)


def test_a_given_backend_is_kept_and_checked_once(fresh, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    fresh["osmesa"] = ("", "softpipe")
    assert choose_backend().reason.endswith("MUJOCO_GL")
    choose_backend()
    assert fresh["asked"] == ["osmesa"]


def test_a_given_backend_that_does_not_render_is_refused(fresh, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    fresh["osmesa"] = ("no libOSMesa", "")
    with pytest.raises(UserError, match="libosmesa6"):
        choose_backend()


@pytest.mark.parametrize("given", ["glfw", "off"])
def test_a_given_opengl_of_a_screen_or_none_is_checked_too(fresh, monkeypatch, given):
    monkeypatch.setenv("MUJOCO_GL", given)
    monkeypatch.setattr(rendering, "import_mujoco", lambda: None)  # it knows both
    fresh[given] = ("no context", "")
    with pytest.raises(
        UserError, match=f"MUJOCO_GL is '{given}', and nothing is drawn with it here .no context.; set it to egl"
    ):
        choose_backend()
    assert "ROBOT_PT_GL" not in os.environ
    fresh[given] = ("", "a GPU")
    for _ in range(2):
        assert choose_backend().name == given
    assert fresh["asked"] == [given, given]  # refused, then found to draw, and not asked again


def test_other_platforms_keep_mujocos_default(fresh, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose_backend().name == ""


def test_a_mujoco_imported_before_is_given_the_chosen_context(fresh, monkeypatch):
    fresh["egl"] = ("", "llvmpipe")
    egl = ModuleType("mujoco.egl")
    egl.GLContext = object()
    names = ("mujoco", "mujoco.rendering.classic.gl_context")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "mujoco.egl", egl)
    for _ in range(2):  # chosen, then found in MUJOCO_GL
        assert choose_backend().name == "egl"
        assert all(sys.modules[name].GLContext is egl.GLContext for name in names)


def test_a_process_bound_to_another_opengl_is_told(fresh, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    fresh["osmesa"] = ("", "softpipe")
    monkeypatch.setitem(sys.modules, "mujoco", ModuleType("mujoco"))  # no package: mujoco.osmesa cannot be imported
    with pytest.raises(UserError, match="bound itself to another OpenGL than osmesa"):
        choose_backend()


_AFTER_KINEMATICS = """
from robot_pt.robots import load
load("wx250s")  # imports mujoco, which binds itself to a window system
import robot_pt_sim
for task in ("kitchen/open-drawer", "kitchen/put-cup-in-sink"):
    simulator = robot_pt_sim.make(task)
    print(simulator.reset(0).images["primary"].std() > 10)
    simulator.close()
"""


def test_a_process_that_did_kinematics_first_draws_all_the_same(backend):
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "ROBOT_PT_GL", "PYOPENGL_PLATFORM")}
    command = [sys.executable, "-c", _AFTER_KINEMATICS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr[-500:]


@pytest.mark.parametrize(
    ("backend", "renderer", "refused"),
    [
        ("egl", "llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("osmesa", "", True),
        ("egl", "NVIDIA H200/PCIe/SSE2", False),
        ("glfw", "never asked", False),
    ],
)
def test_only_a_software_renderer_is_refused_beside_tensorflow(fresh, monkeypatch, backend, renderer, refused):
    monkeypatch.setenv("MUJOCO_GL", backend)
    fresh[backend] = ("", renderer)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    require_no_tensorflow()
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    if refused:
        with pytest.raises(UserError, match="without TensorFlow"):
            require_no_tensorflow()
    else:
        require_no_tensorflow()


_BESIDE_TENSORFLOW = """
import tensorflow as tf
tf.io.encode_jpeg(tf.zeros([8, 8, 3], tf.uint8))
import robot_pt_sim
try:
    robot_pt_sim.make("lift-red", seed=0)
except robot_pt_sim.rendering.UserError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_a_process_with_tensorflow_gets_a_sentence_and_no_abort(backend):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed: pip install 'robot-pt[rlds]'")
    done = subprocess.run([sys.executable, "-c", _BESIDE_TENSORFLOW], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-500:]  # -11 or -6 before there was a guard
    software = any(word in probe(backend.name)[1].lower() for word in rendering._SOFTWARE)
    assert ("refused: this process has loaded TensorFlow" in done.stdout) is software


def test_a_probe_reports_what_a_broken_backend_says():
    failure, renderer = probe("nonsense")
    assert "nonsense" in failure
    assert renderer == ""


def test_a_probe_that_hangs_is_given_up():
    assert "no frame within" in probe("egl", timeout_s=0.001)[0]


def test_the_probe_of_the_chosen_backend_names_its_renderer(backend):
    failure, renderer = probe(backend.name)
    assert failure == ""
    assert renderer


def test_skipping_geoms_out_of_view_changes_no_pixel(pictured, monkeypatch):
    pictured.reset(4)
    culling, data = pictured._renderer, pictured._data
    for camera in pictured._cameras.values():
        seen = culling._in_view(data, camera)
        assert 0 < seen.sum() < len(seen)
        frame = culling.render(data, camera)
        with monkeypatch.context() as patch:
            patch.setattr(culling, "_in_view", lambda data, camera: np.ones(culling._model.ngeom, bool))
            np.testing.assert_array_equal(frame, culling.render(data, camera))


def test_frames_are_upright_and_their_own(pictured):
    """The white table fills the bottom of the primary picture, the grey wall is on top."""
    first = pictured.reset(4).images["primary"]
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert first[-1].mean() > 200 > first[0].mean()
    before = first.copy()
    pictured.step(np.array([0, 0, 0.05, 0, 0, 0, 1], np.float32))
    np.testing.assert_array_equal(first, before)


def test_a_context_that_is_lost_stops_with_a_sentence(backend):
    """OpenGL draws nothing then and says nothing: the memory of an older frame would be recorded."""
    for lost in ("_gl_context", "_mjr_context"):
        simulator = robot_pt_sim.make("kitchen/open-drawer", seed=0)
        getattr(simulator._renderer._renderer, lost).free()
        with pytest.raises(
            RendererFailed, match=rf"OpenGL \({backend.name}\) failed while it drew: the frame is black"
        ):
            simulator.step(np.zeros(7, np.float32))
        simulator.close()


def test_a_closed_renderer_is_told(backend):
    simulator = robot_pt_sim.make("kitchen/open-drawer", seed=0)
    simulator.close()
    with pytest.raises(RendererFailed, match="after close"):
        simulator.step(np.zeros(7, np.float32))


DRAWER = "kitchen/open-drawer"


def setup_that(kind):
    return kind(DRAWER, {"clean": 1}, 1.0, ("primary",), (32, 32), {})


def recorded(store, setup, seeds, workers):
    for episode in run_jobs(setup, seeds, workers):
        store.append(episode)


@pytest.fixture
def store(tmp_path):
    return DemoStore.create(tmp_path / "demos", spec_of(DRAWER, ("primary",), (32, 32)))


def test_episodes_whose_context_was_lost_are_drawn_again_in_a_new_process(backend):
    """Every process loses its context after two episodes; all are there, in order, with the frames of an undisturbed run."""
    with pytest.warns(UserWarning, match=f"failed while it drew: .* made again in a new process with {backend.name}"):
        found = list(run_jobs(setup_that(LosesItsContext), range(3), 1))
    calm = list(run_jobs(setup_that(CollectSetup), range(3), 1))
    for ours, theirs in zip(found, calm, strict=True):
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        assert np.abs(ours.images["primary"].astype(int) - theirs.images["primary"]).max() <= 1


@pytest.mark.parametrize(("given", "workers"), [("", 1), pytest.param("", 2, marks=pytest.mark.slow), ("given", 1)])
def test_an_opengl_that_keeps_failing_gives_way_to_the_next_or_stops(backend, store, monkeypatch, given, workers):
    """From seed 2 on nothing is drawn with the first OpenGL. One that the user chose has no next."""
    (other,) = set(rendering.PACKAGES) - {backend.name}
    monkeypatch.setenv("LOST_OPENGL", backend.name)
    monkeypatch.setattr(rendering, "_GIVEN", given)
    if not given and not probe(other)[0]:
        with pytest.warns(UserWarning, match=f"made again in a new process with {other}"):
            recorded(store, setup_that(LosesOneOpenGL), range(3), workers)
        whole = 3
    else:
        tried = "with egl, also in a new process"
        with (
            pytest.warns(UserWarning, match="with egl"),
            pytest.raises(UserError, match=f"{tried}.* what is finished is kept"),
        ):
            recorded(store, setup_that(LosesOneOpenGL), range(3), workers)
        whole = 2
    assert os.environ["MUJOCO_GL"] == backend.name
    assert len(DemoStore(store.path).source().episodes) == whole
    assert not [path for path in store.path.rglob("*") if "tmp" in path.name or path.suffix == ".part"]
    DemoStore(store.path).recover(check_all=True)
    assert len(DemoStore(store.path).source().episodes) == whole


def test_a_context_that_cannot_be_made_is_a_renderer_that_failed(pictured, monkeypatch):
    """As where the driver went after the probe: a display number that does not exist."""
    import mujoco

    class Refused:
        def __init__(self, width, height):
            raise RuntimeError("Cannot create an EGL context.")

    for name in [name for name in rendering._CONTEXT_HOLDERS if name in sys.modules]:
        monkeypatch.setattr(sys.modules[name], "GLContext", Refused, raising=False)
    with pytest.raises(RendererFailed, match="Cannot create an EGL context") as raised:
        rendering.CameraRenderer(pictured._model, (8, 8), [0])
    assert isinstance(raised.value, UserError)
    assert raised.value.backend == os.environ["MUJOCO_GL"]
    assert mujoco is not None


@pytest.mark.parametrize(
    ("fail", "renders", "expected"),
    [
        (["egl"], {"egl", "osmesa"}, "egl"),
        (["egl"], {"osmesa"}, "osmesa"),
        (["egl", "egl"], {"egl", "osmesa"}, "osmesa"),
        (["egl", "egl", "osmesa"], {"egl", "osmesa"}, "osmesa"),
        (["egl", "egl", "osmesa", "osmesa"], {"egl", "osmesa"}, None),
        (["egl", "egl"], {"egl"}, None),
        (["egl"], set(), None),
        ([""], set(), ""),
        (["", ""], set(), None),
    ],
)
@pytest.mark.filterwarnings("ignore:OpenGL")
def test_each_opengl_gets_two_tries_at_an_episode(monkeypatch, fail, renders, expected):
    monkeypatch.setattr(rendering, "probe", lambda name: ("" if name in renders else "no", ""))
    monkeypatch.setattr(rendering, "_GIVEN", "")  # whatever this shell has MUJOCO_GL set to
    redrawing = rendering.Redrawing()
    for tries, backend in enumerate(fail[:-1]):
        redrawing.next(backend, "black", progress=tries == 0)
    if expected is None:
        with pytest.raises(UserError, match="and no other one renders here"):
            redrawing.next(fail[-1], "black", progress=len(fail) == 1)
    else:
        assert redrawing.next(fail[-1], "black", progress=len(fail) == 1) == expected
    if "egl" in renders:
        assert redrawing.next("egl", "black", progress=True) == "egl"  # the next episode has its own


class LosesItsContext(CollectSetup):
    """After two episodes of a process."""

    def __call__(self):
        return OfTwoEpisodes(super().__call__()._simulator, self.shares, self.strength)


class OfTwoEpisodes(_Collector):
    done = 0

    def __call__(self, seed):
        if self.done == 2:
            self._simulator._renderer._renderer._gl_context.free()
        self.done += 1
        return super().__call__(seed)


class LosesOneOpenGL(CollectSetup):
    """LOST_OPENGL, from seed 2 on, in every process."""

    def __call__(self):
        return UpToSeedTwo(super().__call__()._simulator, self.shares, self.strength)


class UpToSeedTwo(_Collector):
    def __call__(self, seed):
        if seed >= 2 and os.environ["MUJOCO_GL"] == os.environ["LOST_OPENGL"]:
            self._simulator._renderer._renderer._gl_context.free()
        return super().__call__(seed)


@pytest.mark.parametrize(
    ("task", "camera", "opengl", "said"),
    [
        ("kitchen/open-drawer", "primary", "nonsense", "which MuJoCo does not know"),
        ("kitchen/open-drawer", "none", "nonsense", "which MuJoCo does not know"),
        ("lift-red", "primary", "nonsense", "which MuJoCo does not know"),
        ("kitchen/open-drawer", "primary", "off", "and nothing is drawn with it here"),
    ],
)
def test_an_opengl_that_there_is_not_is_a_sentence(tmp_path, task, camera, opengl, said):
    if task == "lift-red":
        pytest.importorskip("robosuite")
    words = [
        "collect",
        "--task",
        task,
        "--camera",
        camera,
        "--episodes",
        "1",
        "--workers",
        "1",
        "--out",
        str(tmp_path / "demos"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "robot_pt", *words], capture_output=True, text=True, check=False,
        env={**{name: value for name, value in os.environ.items() if name != "ROBOT_PT_GL"}, "MUJOCO_GL": opengl},
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"MUJOCO_GL is {opengl!r}, {said}" in " ".join(done.stderr.split())
