"""`robot-pt bench` runs the scripts of benchmarks/ and hands their JSON on."""

import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from robot_pt import cli
from robot_pt.errors import UserError
from robot_pt.recipes import bench


def checkout(tmp_path, monkeypatch, script: str) -> None:
    (tmp_path / "robot_pt").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "loader.py").write_text(script)
    monkeypatch.setattr("robot_pt.__file__", str(tmp_path / "robot_pt" / "__init__.py"))


def test_the_last_line_is_the_result_and_quick_is_passed_on(tmp_path, monkeypatch) -> None:
    checkout(tmp_path, monkeypatch, "import sys, json\nprint('a table')\nprint(json.dumps({'argv': sys.argv[1:]}))")
    assert bench.bench("loader", quick=True) == {"argv": ["--quick"]}


def test_parts_of_the_tables_are_asked_for_and_nothing_else_has_parts(tmp_path, monkeypatch, capsys) -> None:
    checkout(tmp_path, monkeypatch, "")
    (tmp_path / "benchmarks" / "ptr.py").write_text("import sys, json\nprint(json.dumps({'argv': sys.argv[1:]}))")
    assert cli.main(["bench", "ptr", "--quick", "--minutes", "2.5", "--table", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"argv": ["--quick", "--minutes=2.5", "--table"]}
    (tmp_path / "benchmarks" / "ptr.py").write_text('print(\'{"out": "here", "picture": "drawn", "rows": [1, 2]}\')')
    assert cli.main(["bench", "ptr", "--quick"]) == 0
    assert capsys.readouterr().out == "cells: here, picture: drawn\n", "its rows are in the table"
    (tmp_path / "benchmarks" / "ptr.py").write_text('print(\'{"out": "here", "picture": null, "rows": []}\')')
    assert cli.main(["bench", "ptr", "--quick"]) == 0
    assert capsys.readouterr().out == "cells: here\n", "nothing was drawn"
    for word in ("--minutes=3", "--table"):
        assert cli.main(["bench", "loader", word]) == 2
        assert f"{word.split('=')[0]} is about ptr" in capsys.readouterr().err


def test_outside_a_checkout_the_sentence_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("robot_pt.__file__", str(tmp_path / "robot_pt" / "__init__.py"))
    with pytest.raises(UserError, match="git checkout"):
        bench.bench("loader")


def test_a_failing_script_is_an_error_not_a_result(tmp_path, monkeypatch) -> None:
    checkout(tmp_path, monkeypatch, "raise SystemExit(3)")
    with pytest.raises(UserError, match="code 3"):
        bench.bench("loader")


def test_a_script_that_is_killed_says_by_what(tmp_path, monkeypatch) -> None:
    checkout(tmp_path, monkeypatch, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UserError, match=r"loader.py was killed by SIGSEGV; it could not say why"):
        bench.bench("loader")


def test_ctrl_c_ends_the_script_without_its_traceback(tmp_path, monkeypatch, capfd) -> None:
    began = tmp_path / "pid"
    script = f"import os, time\nopen({str(began)!r}, 'w').write(str(os.getpid()))\nprint('began')\ntime.sleep(60)"
    checkout(tmp_path, monkeypatch, script)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.stderr, "print", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.bench("loader")
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
    assert "Traceback" not in capfd.readouterr().err


def script(name: str):
    place = importlib.util.spec_from_file_location(
        f"benchmark_{name}", Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("device", "missing"), [("cpu", "my-cxx, g++, clang++"), ("cuda", "gcc, clang")])
def test_compiling_without_a_compiler_is_one_sentence(tmp_path, monkeypatch, device, missing) -> None:
    update = script("update")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "my-cxx")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(SystemExit, match=re.escape(f"none of {missing} is here; install one")):
        update.require_compiler(device)
    (tmp_path / missing.split(", ")[0]).write_text("#!/bin/sh\n")
    (tmp_path / missing.split(", ")[0]).chmod(0o755)
    update.require_compiler(device)


@pytest.mark.slow
def test_the_loader_measures_the_same_data_as_array_record(tmp_path, monkeypatch) -> None:
    pytest.importorskip("tensorflow", reason="the benchmark writes its data with TensorFlow (extra rlds)")
    import robot_pt_data

    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "cache"))
    loader, folder = script("loader"), tmp_path / "bridge_dataset" / "1.0.0"
    loader.generate(folder, 4, 3)
    copy = loader.as_array_record(folder, tmp_path / "copy" / "bridge_dataset" / "1.0.0")
    one, other = robot_pt_data.open(folder), robot_pt_data.open(copy)
    assert one.spec == other.spec
    np.testing.assert_array_equal(one.actions, other.actions)
    for camera in loader.CAMERAS:
        assert one.encoded(np.arange(12), camera) == other.encoded(np.arange(12), camera)
    assert loader.loader(copy, 1)(0.05) > 0
