"""`robot-pt probe` on encoders that were trained, on pictures whose truth is known: what is there is seen, what is not is not.

Pictures: a red square on noise beside a green one that moves on its own; "the object" is the red one.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.cli import main
from robot_pt.comparison.frozen import random_encoder
from robot_pt.encoder_record import EncoderRecord
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import probe
from robot_pt.recipes.origins import Origin
from robot_pt.schema import OBJECT_POSITIONS, Episode, Spec
from robot_pt.store import DemoStore

SIZE, SIDE, STEPS, EPISODES = 16, 4, 12, 40
CONFIG = EncoderConfig(name="small", latent=16)


def picture(rng, red, green):
    frame = rng.integers(0, 120, (SIZE, SIZE, 3), np.uint8)
    for (row, column), colour in ((green, (20, 230, 20)), (red, (230, 20, 20))):
        frame[row : row + SIDE, column : column + SIDE] = colour
    return frame


def place(rng):
    return rng.integers(0, SIZE - SIDE, 2)


def pictures(rng, count):
    red = [place(rng) for _ in range(count)]
    return np.stack([picture(rng, r, place(rng)) for r in red]), np.array(red) / 100.0


def store_of(folder: Path, cameras=("primary",)) -> DemoStore:
    rng = np.random.default_rng(0)
    spec = Spec(cameras=dict.fromkeys(cameras, (SIZE, SIZE)), embodiment="toy")
    store = DemoStore.create(folder, spec)
    for _ in range(EPISODES):
        red = [place(rng) for _ in range(STEPS)]
        frames = np.stack([picture(rng, r, place(rng)) for r in red])
        where = np.concatenate([np.array(red) / 100.0, np.zeros((STEPS, 1))], axis=1)
        store.append(
            Episode(
                spec=spec, images={c: frames if i == 0 else frames[:, :, ::-1] for i, c in enumerate(cameras)},
                proprio=rng.normal(size=(STEPS, 7)).astype(np.float32), actions=np.zeros((STEPS, 7), np.float32),
                rewards=np.zeros(STEPS, np.float32), terminated=np.zeros(STEPS, bool), truncated=np.arange(STEPS) == STEPS - 1,
                task="find", metadata={OBJECT_POSITIONS: {"red": where.tolist()}},
            )
        )  # fmt: skip
    return store


class Knows:
    """An encoder that was taught where the red square is, saved as a run of pretraining saves it."""

    def __init__(self, encoder):
        self.encoder = encoder

    def state_dict(self):
        return dict(self.encoder.state_dict())

    def load_state_dict(self, state):
        self.encoder.load_state_dict(state)


def save(folder: Path, encoder) -> Path:
    record = EncoderRecord(
        objective="taught",
        encoder=CONFIG.to_json(),
        camera="primary",
        image_size=(SIZE, SIZE),
        trains="encoder",
        data=[],
    )
    checkpoint.write_config(folder, {"format_version": 1})
    checkpoint.save(folder, 1, Knows(encoder), record, {})
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    store_of(folder / "data")
    torch.manual_seed(0)
    encoder, rng = random_encoder(CONFIG, (SIZE, SIZE), 0), np.random.default_rng(1)
    head = torch.nn.Linear(16, 2)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 2e-3)
    for _ in range(250):
        frames, red = pictures(rng, 64)
        loss = (head(encoder(torch.from_numpy(frames))) - 10 * torch.from_numpy(red).float()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save(folder / "taught", encoder)
    return folder


@pytest.fixture(scope="module")
def found(world):
    return probe.probe([world / "taught"], [world / "data"], out=world / "out", controls=3, permuted=True)


def test_what_was_taught_is_seen_beyond_all_random_encoders(found):
    taught = found["probes"]["taught"]["encoder"]["object R2"]
    random = [found["probes"][f"random {s}"]["encoder"]["object R2"] for s in range(3)]
    assert taught["value"] > 0.8
    assert taught["interval"][0] > max(r["interval"][1] for r in random)


@pytest.mark.parametrize("kind", ["map", "encoder"])
def test_the_spoilt_encoder_lands_among_the_random_ones(found, kind):
    """The benchmark's own test: shuffle the taught weights within each channel and nothing of what was taught may be left."""
    random = [found["probes"][f"random {s}"][kind]["object R2"]["interval"] for s in range(3)]
    spoilt = found["probes"]["permuted"][kind]["object R2"]["value"]
    assert min(low for low, _ in random) <= spoilt <= max(high for _, high in random)


def test_what_pictures_do_not_show_no_encoder_has(found):
    """Proprio and order are drawn apart from the pictures."""
    for encoder in found["probes"].values():
        assert encoder["map"]["tool R2"]["value"] < 0.1
        assert encoder["map"]["order"]["value"] == pytest.approx(0.5, abs=0.12)
        assert encoder["map"]["tool R2"]["interval"][0] < 0.0


def test_the_page_and_the_table_name_everything(found):
    page = Path(found["report"]).read_text()
    for said in ("taught", "random 2", "permuted", "object position, R²", "RankMe", "dormant units"):
        assert said in page
    lines = found["text"].splitlines()
    assert lines[0].split()[:2] == ["encoder", "features"]
    assert sum(line.startswith("random") for line in lines) == 6
    json.dumps({k: v for k, v in found.items() if k != "text"}, allow_nan=False)


def test_what_was_probed_before_is_not_computed_again(world, found, monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(probe, "run_probes", never)
    again = probe.probe([world / "taught"], [world / "data"], out=world / "out", controls=3, permuted=True)
    assert again["probes"] == found["probes"]


def test_a_second_camera_is_searched_for_the_same_moment(world, tmp_path):
    store_of(tmp_path / "two", ("primary", "secondary"))
    result = probe.probe([world / "taught"], [tmp_path / "two"], out=tmp_path / "out")
    assert result["other_camera"] == "secondary"
    assert 0 <= result["probes"]["taught"]["map"]["retrieval"]["value"] <= 1
    alone = probe.probe([world / "taught"], [tmp_path / "two"], out=tmp_path / "out", other_camera="")
    assert "retrieval" not in alone["probes"]["taught"]["map"]


def test_the_verb_prints_a_table_or_json(world, capsys):
    verb = ["probe", str(world / "taught"), "--data", str(world / "data"), "--out", str(world / "out")]
    assert main([*verb, "--json"]) == 0
    assert "taught" in json.loads(capsys.readouterr().out.splitlines()[-1])["probes"]
    assert main(verb) == 0
    shown = capsys.readouterr()
    assert "object R2" in shown.out
    assert "--assume-success" not in shown.err  # nobody learns from rewards here, and the verb has no such flag


def test_what_cannot_be_probed_is_said(world, tmp_path):
    with pytest.raises(UserError, match="at least one RUN"):
        probe.probe([], [world / "data"])
    with pytest.raises(DataError, match="does not exist"):
        probe.probe([tmp_path / "none"], [world / "data"])
    with pytest.raises(DataError, match="beside 'primary' the data has none"):
        probe.probe([world / "taught"], [world / "data"], other_camera="wrist", out=tmp_path)


def test_origins_are_what_they_say(world):
    origin = Origin.of(world / "taught")
    weights = origin.encoder().state_dict()
    assert not all(torch.equal(weights[n], v) for n, v in origin.untrained(0).encoder().state_dict().items())
    assert not all(torch.equal(weights[n], v) for n, v in origin.spoilt(0).encoder().state_dict().items())
    assert origin.extractor().fingerprint == Origin.of(world / "taught").extractor().fingerprint
    assert origin.extractor("secondary").camera == "secondary"
