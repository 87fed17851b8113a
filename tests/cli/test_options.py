"""`pretrain --options NAME=VALUE`: what the config of an algorithm or objective takes, checked field by field."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from robot_pt.agents.bet import BeTConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.errors import UserError
from robot_pt.recipes import algorithms, objectives
from robot_pt.recipes.options import ELSEWHERE, changed
from robot_pt.recipes.runs import read_settings
from robot_pt.safe_files import read_json
from tests.cli.test_runs import run, store


def test_every_kind_of_value_is_read() -> None:
    words = ["layers=2", "learning_rate=3e-4", "betas=0.8,0.99", "acts=mode", "offset_weight=1"]
    config = changed(BeTConfig(), words, "bet")
    assert config == replace(
        BeTConfig(), layers=2, learning_rate=3e-4, betas=(0.8, 0.99), acts="mode", offset_weight=1.0
    )
    config = changed(
        PTRConfig(), ["conservative_floor=-8", "normalize_features=true", "augment.pad=1", "critic_steps=5"], "ptr"
    )
    assert (config.conservative_floor, config.normalize_features, config.critic_steps) == (-8.0, True, 5)
    assert config.augment.pad == 1
    assert changed(config, ["augment=none", "conservative_floor=none"], "ptr").augment is None
    icvf = changed(objectives.config_class("icvf")(), ["hidden=64,64,32", "optim.learning_rate=0.01"], "icvf")
    assert (icvf.hidden, icvf.optim.learning_rate) == ((64, 64, 32), 0.01)
    assert changed(BeTConfig(), [], "bet") == BeTConfig()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("layers", "is no NAME=VALUE; give such as"),
        ("layer=2", "bet has no option 'layer'; it has "),
        ("layers=two", "give a whole number"),
        ("layers=2.5", "give a whole number"),
        ("learning_rate=nan", "give a finite number"),
        ("learning_rate=fast", "give a finite number"),
        ("betas=0.9", "give 2 values, separated by commas"),
        ("acts=dance", "choose one of sample, mode"),
        ("bf16=true", "is decided by --bf16; use that"),
        ("layers.deep=1", "set layers with a value each"),
        ("dropout=7", "BeT's dropout is 7.0"),
    ],
)
def test_a_mistake_is_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(UserError) as told:
        changed(BeTConfig(), [word], "bet")
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_groups_are_set_field_by_field() -> None:
    with pytest.raises(UserError, match=r"set augment.pad, augment.*with a value each"):
        changed(PTRConfig(), ["augment=1"], "ptr")
    with pytest.raises(UserError, match="ptr's augment has no option 'padding'"):
        changed(PTRConfig(), ["augment.padding=1"], "ptr")
    with pytest.raises(UserError, match="give true or false"):
        changed(PTRConfig(), ["normalize_features=1"], "ptr")


def plain(config, prefix=""):
    """(name, value) of every field that has a plain value, nested ones by dots."""
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from plain(value, f"{prefix}{f.name}.")
        elif value is not None and not isinstance(value, str) and prefix + f.name not in ELSEWHERE:
            yield prefix + f.name, value


@pytest.mark.parametrize("name", [n for n in algorithms.ALGORITHMS if n not in ("ptr", "bc", "awbc")])
def test_what_a_config_says_can_be_said_of_it(name: str) -> None:
    config = algorithms.default_config(name)
    for field, value in plain(config):
        if isinstance(value, (tuple, bool, int, float)):
            said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
            assert changed(config, [f"{field}={said}"], name) == config, field


def test_a_run_is_what_its_options_say_and_resumes_with_them_alone(tmp_path: Path, capsys) -> None:
    data = store(tmp_path / "data", "lift-red", 3)
    words = ["--data", data, "--encoder", "small", "--batch-size", 4, "--steps", 1, "--image-size", 16]
    bet = [*words, "--algorithm", "bet", "--out", tmp_path / "bet"]
    code, _, said = run("pretrain", *bet, "--options", "layers=1", "heads=2", "width=8", "bins=4", capsys=capsys)
    assert code == 0, said
    settings, _ = read_settings(tmp_path / "bet")
    assert (settings.options.layers, settings.options.width, settings.options.bins) == (1, 8, 4)
    code, _, said = run("pretrain", *bet, "--options", "layers=2", "--resume", capsys=capsys)
    assert code == 2
    assert "was started with" in said
    code, _, said = run(
        "pretrain", *words, "--objective", "icvf", "--out", tmp_path / "v", "--options", "hidden=8", capsys=capsys
    )
    assert code == 0, said
    assert read_json(tmp_path / "v" / "config.json")["settings"]["config"]["hidden"] == [8]
    for algorithm, option in (("ptr", "alpha=5"), ("bc", "learning_rate=0.001")):
        out = tmp_path / algorithm
        code, _, said = run(
            "pretrain", *words, "--algorithm", algorithm, "--out", out, "--options", option, capsys=capsys
        )
        assert code == 0, said
        name, value = option.split("=")
        assert getattr(getattr(read_settings(out)[0], algorithm), name) == float(value)
