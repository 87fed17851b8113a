import contextlib
import errno
import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robot_pt import safe_files
from robot_pt.errors import DataError
from robot_pt.safe_files import MAX_JSON_BYTES, exchange, read_json, replace_json, replace_text, write_json
from robot_pt.safe_tensors import _as_os_error, read_tensors, same_shapes, write_tensors

TENSORS = {"a": torch.arange(6).reshape(2, 3), "b": torch.tensor(1.5), "c": torch.zeros(0), "d": torch.tensor([True])}


def test_tensors_round_trip_with_type_and_shape(tmp_path):
    digest = write_tensors(tmp_path / "x.safetensors", TENSORS)
    again = read_tensors(tmp_path / "x.safetensors", digest)
    assert set(again) == set(TENSORS)
    for name, value in TENSORS.items():
        assert torch.equal(again[name], value)
        assert again[name].dtype == value.dtype


def test_tensors_that_share_memory_or_are_views_can_be_saved(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "x", {"whole": base, "same": base, "turned": base.T, "part": base[1:, ::2]})
    again = read_tensors(tmp_path / "x")
    assert torch.equal(again["turned"], base.T)
    assert torch.equal(again["part"], base[1:, ::2])


def test_a_changed_file_is_noticed_by_its_hash(tmp_path):
    path = tmp_path / "x"
    digest = write_tensors(path, {"a": torch.zeros(4)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # still a well-formed file
    path.write_bytes(bytes(content))
    read_tensors(path)
    with pytest.raises(DataError, match="not what was saved"):
        read_tensors(path, digest)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_tensor_reader(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_tensors(path)


def test_a_header_that_promises_terabytes_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DataError, match="no safetensors file"):
        read_tensors(tmp_path / "x")


def test_a_missing_file_is_a_sentence(tmp_path):
    for read in (read_tensors, read_json):
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        read_tensors(tmp_path / "none", "0")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"1", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b"[" * 200_000],
)
def test_json_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_json(tmp_path / "x")


@given(st.binary(max_size=100))
def test_no_bytes_crash_the_json_reader(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert isinstance(read_json(path), dict)


def test_a_huge_json_is_not_even_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(DataError, match="more than any file"):
        read_json(tmp_path / "x")


def test_json_round_trip_and_replacement(tmp_path):
    write_json(tmp_path / "x", {"a": [1, 0.1], "ü": "ü"})
    replace_json(tmp_path / "x", {"b": 2})
    assert read_json(tmp_path / "x") == {"b": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failed_replacement_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        replace_json(tmp_path / "x", {"a": float("nan")})
    assert read_json(tmp_path / "x") == {"a": 1}


@pytest.mark.parametrize("cut", ["write", "rename"])
def test_text_cut_on_its_way_to_the_disk_leaves_the_old_file(tmp_path, monkeypatch, cut):
    path = tmp_path / "x"
    replace_text(path, "old ü")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*(("os.fsync", full) if cut == "write" else (safe_files.Path, "replace", full)))
        with pytest.raises(OSError, match="No space"):
            replace_text(path, "new" * 1000)
        assert path.read_text("utf-8") == "old ü"
    replace_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "new")], "what the cut left is gone"


def test_library_errors_keep_their_number():
    from safetensors import SafetensorError

    error = _as_os_error(SafetensorError("I/O error: No space left on device (os error 28)"))
    assert (error.errno, error.strerror) == (28, "No space left on device")
    assert _as_os_error(SafetensorError("odd")).strerror == "odd"


@pytest.mark.parametrize("kernel", ["knows the rename", "does not", "refuses it here"])
def test_two_folders_swap_names(tmp_path, monkeypatch, kernel):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    if kernel == "does not":
        monkeypatch.setattr(safe_files.ctypes, "CDLL", lambda *_, **__: object())
    if kernel == "refuses it here":
        refusing = SimpleNamespace(renameat2=lambda *_: -1)
        monkeypatch.setattr(safe_files.ctypes, "CDLL", lambda *_, **__: refusing)
        monkeypatch.setattr(safe_files.ctypes, "get_errno", lambda: errno.EINVAL)
    exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "file").read_text() for name in ("a", "b")] == ["b", "a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "a", tmp_path / "nowhere")


def test_same_shapes_names_the_first_difference():
    layer = torch.nn.Linear(2, 3)
    state = layer.state_dict()
    assert same_shapes(layer, state) is None
    assert same_shapes(layer, {"weight": state["weight"]}) == "bias is missing"
    assert same_shapes(layer, {**state, "zzz": state["bias"]}) == "zzz belongs to no layer"
    assert "instead of (3,)" in same_shapes(layer, {**state, "bias": torch.zeros(4)})
