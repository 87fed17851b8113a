"""TFRecord framing: what is sound is found, what is damaged is named, nothing else happens."""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_data.tfrecord import Record, frame, map_file, masked_crc, scan

PAYLOADS = st.lists(st.binary(max_size=300), min_size=1, max_size=8)


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def sound(data: bytes) -> list[bytes]:
    return [data[r.offset : r.offset + r.length] for r in scan(array(data), "s") if not r.fault]


def test_masked_crc_is_the_published_one() -> None:
    # CRC32C of "123456789" is 0xE3069283 (RFC 3720 B.4); masked as rotate right by 15 plus 0xA282EAD8
    crc = 0xE3069283
    assert masked_crc(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


@given(PAYLOADS)
def test_round_trip(payloads: list[bytes]) -> None:
    assert sound(b"".join(map(frame, payloads))) == payloads


@given(PAYLOADS, st.data())
def test_a_flipped_bit_costs_at_most_its_own_record(payloads: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(frame, payloads)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    ends = np.cumsum([len(frame(p)) for p in payloads])
    hit = int(np.searchsorted(ends, bit // 8, side="right"))
    found = list(scan(array(bytes(whole)), "s"))
    assert [whole[r.offset : r.offset + r.length] for r in found if not r.fault] == [
        p for i, p in enumerate(payloads) if i != hit
    ]
    faults = [r for r in found if r.fault]
    assert [r.number for r in faults] == [hit]
    assert f"record {hit} of s" in faults[0].fault


@given(PAYLOADS, st.data())
def test_a_cut_shard_keeps_what_is_whole(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(frame, payloads))
    cut = data.draw(st.integers(0, len(whole) - 1))
    ends = np.cumsum([len(frame(p)) for p in payloads])
    kept = int((ends <= cut).sum())
    found = list(scan(array(whole[:cut]), "s"))
    assert [whole[r.offset : r.offset + r.length] for r in found if not r.fault] == payloads[:kept]
    if cut not in (0, *ends):
        assert "cut off" in found[-1].fault
        assert found[-1].number == kept


@given(st.binary(max_size=2000))
@settings(max_examples=300)
def test_any_bytes_give_records_inside_the_file_and_terminate(data: bytes) -> None:
    for record in scan(array(data), "s"):
        assert isinstance(record, Record)
        assert 0 <= record.offset <= record.offset + record.length <= len(data)


def test_a_length_with_a_sound_checksum_that_lies_about_the_size() -> None:
    length = struct.pack("<Q", 1 << 62)
    data = frame(b"first") + length + struct.pack("<I", masked_crc(length)) + b"x" * 50
    records = list(scan(array(data), "s"))
    assert len(records) == 2
    assert "record 1 of s is cut off" in records[1].fault


def test_resync_over_a_megabyte_of_garbage() -> None:
    garbage = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8).tobytes()
    data = garbage + frame(b"survivor") + frame(b"")
    found = list(scan(array(data), "s"))
    assert [data[r.offset : r.offset + r.length] for r in found if not r.fault] == [b"survivor", b""]
    assert found[0].fault


def test_map_file_is_read_only_and_takes_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert len(map_file(tmp_path / "empty")) == 0
    (tmp_path / "full").write_bytes(frame(b"abc"))
    mapped = map_file(tmp_path / "full")
    assert sound(mapped.tobytes()) == [b"abc"]
    assert not mapped.flags.writeable


def test_frame_refuses_what_is_no_bytes() -> None:
    with pytest.raises(DataError, match="a TFRecord payload is bytes, not str"):
        frame("text")  # type: ignore[arg-type]


def test_vectorised_checksum_of_the_search_agrees_with_the_library() -> None:
    # plant sound headers at known places among noise; each must be found by the search and by nothing else
    rng = np.random.default_rng(1)
    for _ in range(20):
        head = rng.integers(0, 256, int(rng.integers(17, 300)), np.uint8).tobytes()
        payload = rng.integers(0, 256, int(rng.integers(0, 80)), np.uint8).tobytes()
        data = head + frame(payload)
        last = [r for r in scan(array(data), "s") if not r.fault]
        assert [(r.offset, r.length) for r in last] == [(len(head) + 12, len(payload))]
    assert google_crc32c.value(b"") == 0
