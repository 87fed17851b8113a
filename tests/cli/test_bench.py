"""`robot-pt bench` runs the scripts of benchmarks/ and hands their JSON on."""

import os

import pytest

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


def test_outside_a_checkout_the_sentence_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("robot_pt.__file__", str(tmp_path / "robot_pt" / "__init__.py"))
    with pytest.raises(UserError, match="git checkout"):
        bench.bench("loader")


def test_a_failing_script_is_an_error_not_a_result(tmp_path, monkeypatch) -> None:
    checkout(tmp_path, monkeypatch, "raise SystemExit(3)")
    with pytest.raises(UserError, match="code 3"):
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
