import sys

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt_sim import rendering
from robot_pt_sim.rendering import Backend, choose_backend, probe


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


def test_other_platforms_keep_mujocos_default(fresh, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose_backend().name == ""


def test_too_late_is_said(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", object())
    with pytest.raises(UserError, match="was imported before"):
        choose_backend()


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
