"""What an e-stop leaves on disk."""

import pytest

from robot_pt.errors import DataError
from robot_pt_ros.latches import LatchFile


def test_latches_survive_a_restart(tmp_path):
    path = tmp_path / "new" / "latch.json"
    first = LatchFile(path)
    assert first.read() == ""
    first.write('{"estop": true, "fault": ""}')
    assert LatchFile(path).read() == '{"estop": true, "fault": ""}'


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"other": 1}'])
def test_a_damaged_file_is_no_clean_start(tmp_path, content):
    path = tmp_path / "latch.json"
    path.write_bytes(content)
    assert LatchFile(path).read() == "unreadable"


def test_without_a_path_nothing_is_written(tmp_path):
    latches = LatchFile(None)
    latches.write("x")
    assert latches.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"latch_file .* cannot be written"):
        LatchFile(tmp_path / "file" / "latch.json")
