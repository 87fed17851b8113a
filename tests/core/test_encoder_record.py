import pytest

from robot_pt.encoder_record import EncoderRecord
from robot_pt.errors import DataError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy_record import version_of

RECORD = EncoderRecord(
    objective="curl", encoder=EncoderConfig(name="small").to_json(), camera="primary", image_size=(64, 48), trains="encoder",
    data=[{"name": "bridge", "episodes": 3}],
)  # fmt: skip


def test_what_is_written_is_read_again_and_its_version_is_its_content():
    document = RECORD.to_json(7, "ab" * 32)
    assert EncoderRecord.from_json(document) == RECORD
    assert document["version"] == version_of(document)
    assert RECORD.to_json(7, "cd" * 32)["version"] != document["version"]
    assert RECORD.to_json(8, "ab" * 32)["version"] != document["version"]
    assert RECORD.file == "encoder.json"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 9}, "has format 9"),
        ({"objective": 3}, "objective must be a str"),
        ({"image_size": "64"}, "image_size must be a list"),
        ({"data": {}}, "data must be a list"),
        ({"image_size": [64]}, r"image_size is \[64\]"),
        ({"image_size": [64, 1 << 20]}, "image_size is"),
        ({"image_size": [64, 0.5]}, "image_size is"),
        ({"trains": "head"}, "trains is 'head'"),
        ({"encoder": {"name": "timm:hf-hub:evil/model"}}, "no name of an encoder"),
        ({"encoder": {"name": 3}}, "no name of an encoder"),
        ({"encoder": {"name": "small", "latent": 10**9}}, "out of all proportion"),
    ],
)
def test_a_record_that_was_not_written_here_is_refused(change, sentence):
    document = {**RECORD.to_json(1, "ab" * 32), **change}
    document["version"] = version_of(document)
    with pytest.raises(DataError, match=sentence):
        EncoderRecord.from_json(document)


def test_a_changed_record_is_refused():
    with pytest.raises(DataError, match="changed after it was written"):
        EncoderRecord.from_json({**RECORD.to_json(1, "ab" * 32), "step": 2})
