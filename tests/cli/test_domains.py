"""`pretrain --domain NAME`: the published settings of Cal-QL's domains reach the run, and the online learning that goes on from it."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from robot_pt import cli
from robot_pt.cli import learning
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import algorithms, cal_ql_domains, pretrain, runs
from robot_pt.recipes.online_setup import Wanted, plan_of
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={}, embodiment="ant")
STEPS = 5
STATE = ("--camera", "none", "--seed", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes, the second of which reaches its goal in the third step and goes on."""
    rng, store = np.random.default_rng(0), DemoStore.create(tmp_path_factory.mktemp("data") / "ant", SPEC)
    for number in range(4):
        rewards = np.zeros(STEPS, np.float32)
        rewards[2] = number == 1
        store.append(
            Episode(
                spec=SPEC, images={}, proprio=rng.normal(0, 0.1, (STEPS, 7)).astype(np.float32),
                actions=rng.uniform(0, 0.03, (STEPS, 7)).astype(np.float32), rewards=rewards, terminated=np.zeros(STEPS, bool),
                truncated=np.arange(STEPS) == STEPS - 1, task="maze", success=number == 1,
            )
        )  # fmt: skip
    return store.path


def test_the_command_line_knows_every_domain() -> None:
    assert get_args(learning.Domain) == cal_ql_domains.NAMES


def test_a_run_is_what_its_domain_says_and_goes_on_online_like_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--domain",
        "franka_kitchen",
        "--algorithm",
        "cql",
        "--options",
        "weight=3",
        "critic_hidden=8",
        "actor_hidden=8",
    )
    out = tmp_path / "run"
    code = cli.main(["pretrain", "--data", str(data), "--out", str(out), "--steps", "1", *STATE, *words])
    assert code == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "4 episodes, 20 steps, rewards as recorded, 0 to 1." in said
    assert "labelled successful" not in said  # labels decide nothing here
    settings, document = runs.read_settings(out)
    assert (settings.algorithm, settings.gamma, settings.batch_size) == ("cql", 0.99, 256)
    assert (settings.reward.source, settings.reward.scale, settings.reward.beyond) == ("stored", 1.0, "repeat_last")
    assert (settings.options.importance, settings.options.weight, settings.options.critic_hidden) == (False, 3.0, (8,))
    agent = settings.build(SPEC, "cpu")
    wanted = Wanted(task="maze", data=(str(data),))
    assert plan_of(agent, wanted, settings, document).offline_share == 0.25
    assert plan_of(agent, wanted, settings, {}).offline_share == 0.5


def test_steps_and_batch_are_the_domains_where_nobody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    asked: list[tuple[int, int, str]] = []

    def note(*_: object, steps: int, batch_size: int, algorithm: str, **__: object) -> dict[str, object]:
        asked.append((steps, batch_size, algorithm))
        return {}

    monkeypatch.setattr(pretrain, "pretrain", note)
    for words in (
        (),
        ("--steps", "7", "--batch-size", "32", "--algorithm", "cql"),
        ("--steps=160000", "--batch_size", "64"),  # what they are without a domain, said all the same
    ):
        cli.main(["pretrain", "--data", str(data), "--out", "o", *STATE, "--domain", "adroit_binary", *words, "--json"])
    assert asked == [(20_000, 256, "cal_ql"), (7, 32, "cql"), (160_000, 64, "cal_ql")]


@pytest.mark.parametrize(
    ("words", "gamma"),
    [
        ((), 0.96),
        (("--discount", "0.9"), 0.9),
        (("--domain", "antmaze"), 0.99),
        (("--domain", "antmaze", "--discount", "0.9"), 0.9),
        (("--domain", "antmaze", "--discount", "0.96"), 0.96),
    ],
)
def test_the_discount_is_the_one_given_then_the_domains(
    data: Path, tmp_path: Path, words: tuple[str, ...], gamma: float
) -> None:
    small = ("--options", "critic_hidden=8", "actor_hidden=8") if "--domain" in words else ()
    out = tmp_path / "run"
    batch = ("--batch-size", "4", "--steps", "1")
    assert cli.main(["pretrain", "--data", str(data), "--out", str(out), *STATE, *batch, *words, *small]) == 0
    assert runs.read_settings(out)[0].gamma == gamma


@pytest.mark.parametrize(("algorithm", "values", "bins"), [("ptr", "hl_gauss", 128), ("cal_ql", "c51", 51)])
def test_a_critic_learns_a_distribution_over_the_returns_there_can_be(
    data: Path, tmp_path: Path, algorithm: str, values: str, bins: int
) -> None:
    out = tmp_path / "run"
    words = ("--algorithm", algorithm, "--critic-values", values, "--batch-size", "4", "--steps", "1")
    assert cli.main(["pretrain", "--data", str(data), "--out", str(out), *STATE, *words]) == 0
    settings, _ = runs.read_settings(out)
    found = (settings.ptr if algorithm == "ptr" else settings.options).categories
    assert (found.kind, found.bins) == (values, bins)
    assert (found.low, found.high) == pytest.approx((-25.0, 10.0))


@pytest.mark.parametrize(("gamma", "low"), [(0.96, -25.0), (0.9, -10.0)])
def test_the_distribution_that_scaled_ql_learns_reaches_as_far_as_the_returns(gamma: float, low: float) -> None:
    config = algorithms.default_config("scaled_ql")
    encoder = EncoderConfig(name="small")
    settings = runs.RunSettings(
        algorithm="scaled_ql", encoder=encoder, camera="primary", image_size=(64, 64), task_slots=1, gamma=gamma, options=config
    )  # fmt: skip
    found = pretrain._valued(settings, "scalar").options
    assert (found.categories.kind, found.categories.bins) == ("c51", 51)
    assert (found.categories.low, found.categories.high) == pytest.approx((low, 10.0))
    assert (found == config) == (gamma == 0.96)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--domain", "antmazes"), "choose one of adroit_binary, antmaze"),
        (("--domain", "antmaze", "--algorithm", "iql"), "has settings for cal_ql and cql, not for iql"),
        (("--domain", "antmaze", "--rewards", "0", "1"), "--rewards is decided by --domain antmaze"),
        (("--domain", "antmaze", "--rewards", "-1", "10"), "--rewards is decided by --domain antmaze"),
        (("--algorithm", "cql", "--route", "max_q"), "--route shapes PTR's policy"),
        (("--demos", "10"), "--demos is about --target"),
        (("--discount", "1"), "the discount gamma is 1.0; give a number from 0 up to, not including, 1"),
        (("--algorithm", "bet", "--discount", "0.9"), "--discount is what a critic learns from and bet has none"),
        (("--objective", "curl", "--discount", "0.96"), "--discount shapes a policy"),
        (("--domain", "antmaze", "--objective", "curl"), "--domain shapes a policy"),
        (("--domain", "antmaze", "--critic-values", "c51"), "cannot be told from stored rewards"),
        (("--algorithm", "bc", "--critic-values", "c51"), "is about a critic and bc has none"),
        (("--algorithm", "cal_ql", "--options", "categories=c51"), "is decided by pretrain's --critic-values"),
    ],
)
def test_a_domain_that_means_nothing_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    out = tmp_path / "run"
    assert cli.main(["pretrain", "--data", str(data), "--out", str(out), "--steps", "1", *STATE, *words, "--json"]) == 2
    assert sentence in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert not out.exists()
