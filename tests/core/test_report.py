"""Pages are self-contained, say what the numbers say, and survive hostile text."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from robot_pt.errors import DataError, UserError
from robot_pt.report import Clip, Report, Selection, clips_of, from_run, outcomes, read_metrics, render, write_report
from robot_pt.results import EpisodeResult, Evaluation, compare
from robot_pt.videos import clip_path

HOSTILE = """</style></title><script>alert("1")</script><img src=http://x.example/a.png onerror='x'> & 日本"""


class Page(HTMLParser):
    """Open elements, addresses and visible text of a page; asserts that elements nest."""

    VOID = ("meta", "br", "img", "hr")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "poster", "data", "action")]
        if name not in self.VOID:
            self.stack.append(name)

    def handle_endtag(self, name):
        assert self.stack.pop() == name

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "title"):
            self.text += data


def evaluation(name, outcomes, **settings):
    made = tuple(
        EpisodeResult(seed=i, success=s, steps=9 + i, initial_conditions={"cube": [0.1, i / 3]}, policy_version="abc")
        for i, s in enumerate(outcomes)
    )
    return Evaluation(name=name, task="lift", seed=0, results=made, settings=settings)


def full(name="PTR", text="said"):
    """A report with every part; `text` stands wherever a user's words can."""
    ptr, bc = evaluation(name, [True] * 6 + [False] * 4, note=text), evaluation(text, [True] * 2 + [False] * 8)
    rng = np.random.default_rng(0)
    rows = [{"step": i, "loss": 1 / (i + 1), text: float(i), "speed/samples_per_s": 100.0} for i in range(50)]
    return Report(
        title=text, subtitle=text, command=f"robot-pt demo --out {text}", policy=name, evaluations=[bc, ptr],
        notes={name: text}, controls=[text], comparisons=[compare(ptr, bc)],
        clips={name: [Clip(video=b"\x00mp4", seed=3, success=True, steps=4)], text: [Clip(video=b"x", seed=4, success=False, steps=5)]},
        route=(text, f"first\n\n{text}"),
        values=[np.sort(rng.normal(size=n)).astype(np.float32) for n in (1, 12, 30)],
        selection=Selection(rule=text, rows=[{"step": 10 * i, "spearman": i / 3, "why": text} for i in range(4)], chosen=20),
        curves={"pretrain": rows, text: rows}, data=[{"data set": text, "episodes": 3, "labelled": True, "extra": [1]}],
        seconds={"pretrain": 20.0, text: 3.0}, config={text: text, "lr": 3e-4}, versions={"torch": text}, warnings=[text],
    )  # fmt: skip


@pytest.mark.parametrize("text", ["said", HOSTILE])
def test_page_asks_nothing_of_the_network_and_runs_nothing(text):
    page = render(full(text=text))
    parsed = Page(page)
    assert all(a.startswith(("#", "data:video/mp4;base64,")) for a in parsed.addresses)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert "link" not in parsed.tags
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in style


def test_hostile_text_is_shown_as_text():
    parsed = Page(render(full(text=HOSTILE)))
    assert parsed.text.count(HOSTILE) >= 10


def test_every_section_is_there_and_linked():
    parsed = Page(render(full()))
    for title in (
        "Success rates", "Rollouts", "How the policy was made", "What the critic believes", "Which checkpoint",
        "Learning curves", "Data and time", "All numbers", "Make it again",
    ):  # fmt: skip
        assert parsed.text.count(title) == 2  # in the navigation and as a heading


def test_an_empty_report_has_only_its_title():
    parsed = Page(render(Report(title="nothing yet")))
    assert parsed.text == "nothing yet"


def test_a_pretraining_run_has_curves_and_no_rates():
    rows = [{"step": i, "loss": float(i)} for i in range(3)]
    parsed = Page(render(Report(title="run", curves={"pretrain": rows}, data=[{"data set": "bridge", "episodes": 25}])))
    assert "Learning curves" in parsed.text
    assert "Success rates" not in parsed.text
    assert parsed.tags.count("svg") == 1


def test_the_policy_stands_first_with_its_numbers():
    text = Page(render(full())).text
    assert "PTR solved 6 of 10 episodes of lift" in text
    assert text.index("60 %") < text.index("20 %")
    low, high = evaluation("PTR", [True] * 6 + [False] * 4).interval
    assert f"{100 * low:.1f} to {100 * high:.1f} %" in text


@pytest.mark.parametrize(
    ("control", "verdict"), [(0, "under half"), (2, "under half"), (3, "not under half"), (6, "not under half")]
)
def test_controls_must_stay_under_half_of_the_policy(control, verdict):
    ptr, blind = (
        evaluation("PTR", [True] * 6 + [False] * 4),
        evaluation("blind", [True] * control + [False] * (10 - control)),
    )
    text = Page(render(Report(title="t", evaluations=[ptr, blind], controls=["blind"]))).text
    assert f"blind: {10 * control} %, {verdict} of the policy's 60 %" in text


def test_a_policy_that_never_succeeds_proves_nothing_against_a_control():
    ptr, blind = evaluation("PTR", [False] * 4), evaluation("blind", [False] * 4)
    assert "not under half" in Page(render(Report(title="t", evaluations=[ptr, blind], controls=["blind"]))).text


def test_comparison_in_words():
    text = Page(render(full())).text
    assert "PTR minus said: +40 points" in text
    assert "4 won by PTR and 0 by said" in text
    assert "McNemar p = 0.12" in text


def test_rising_values_are_counted():
    falling = np.linspace(1, 0, 20).astype(np.float32)
    text = Page(render(Report(title="t", values=[falling, -falling, -falling]))).text
    assert "last quarter of 2 of 3 demonstrations" in text


def test_curves_of_a_resumed_finetuning_share_a_panel():
    rows = [{"step": i, "loss": 1.0 * i, "speed/samples_per_s": 5.0, "note": "text"} for i in range(4)]
    page = render(Report(title="t", curves={"pretrain": rows, "finetune": [{"step": 9, "loss": 2.5}], "none": []}))
    assert Page(page).tags.count("svg") == 2
    assert "last 2.5" in page
    assert "1 more" in page  # what is about the machine is folded away


def test_clips_beyond_the_limit_are_named_not_embedded(monkeypatch):
    monkeypatch.setattr(outcomes, "MAX_CLIP_BYTES", 10)
    clips = [Clip(video=b"12345", seed=i, success=True, steps=1) for i in range(4)]
    page = render(Report(title="t", evaluations=[evaluation("a", [True])], clips={"a": clips}))
    assert page.count("<video") == 2
    assert "2 more clips" in page


def test_page_size_is_bounded():
    rows = [{"step": i, **{f"metric/{k}": float(np.sin(i * k)) for k in range(20)}} for i in range(20_000)]
    e = evaluation("a", [True] * 500)
    clips = [Clip(video=bytes(1_000_000), seed=i, success=True, steps=1) for i in range(30)]
    page = render(Report(title="t", curves={"pretrain": rows}, evaluations=[e], clips={"a": clips}))
    assert len(page) < 4 / 3 * outcomes.MAX_CLIP_BYTES + 1_000_000


def test_pages_are_written_whole(tmp_path):
    path = write_report(tmp_path / "run" / "report.html", full())
    assert path.read_text("utf-8") == render(full())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("change", [{"policy": "x"}, {"controls": ["x"]}, {"clips": {"x": []}}])
def test_names_that_are_not_evaluated(change):
    with pytest.raises(UserError, match=r"the report names \['x'\]"):
        render(Report(title="t", evaluations=[evaluation("a", [True])], **change))


def test_evaluations_of_one_name():
    with pytest.raises(UserError, match="need different names"):
        render(Report(title="t", evaluations=[evaluation("a", [True]), evaluation("a", [False])]))


def test_clips_are_the_first_by_seed(tmp_path):
    e = evaluation("a", [True, False, True, True])
    for seed in (3, 1, 2):
        clip_path(tmp_path, seed).write_bytes(bytes([seed]))
    assert [(c.seed, c.success, c.video) for c in clips_of(e, tmp_path, limit=2)] == [
        (1, False, b"\x01"),
        (2, True, b"\x02"),
    ]


def test_metrics_of_a_resumed_run_count_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 1, "loss": 5}, {"step": 2, "loss": 4}, {"step": 3, "loss": 3}, {"step": 2, "loss": 4.5, "q": 1}]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 4, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 5}, {"step": 2, "loss": 4.5, "q": 1}, {"step": 3, "loss": 3}]


@pytest.mark.parametrize("line", ["not json", "[1]", "{}", '{"loss": 1}', "3"])
def test_metrics_with_a_damaged_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(DataError, match="line 2 is not a JSON object with a step"):
        read_metrics(path)


def test_metrics_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_run_folder_reports_itself(tmp_path):
    run = tmp_path / "pretrain"
    run.mkdir()
    assert Page(render(from_run(run))).text.startswith("pretrain")
    (run / "metrics.jsonl").write_text('{"step": 1, "critic/q_data": 2.0}\n{"step": 2, "critic/q_data": 3.0}\n')
    (run / "config.json").write_text('{"encoder": "resnet34"}')
    text = Page(render(from_run(run, "My run"))).text
    assert "My run" in text
    assert "last 3" in text
    assert "Q of the actions in the data" in text
    assert "resnet34" in text


@pytest.mark.parametrize(("content", "message"), [("{", "not readable JSON"), ("[1]", "holds list")])
def test_damaged_configurations(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=message):
        from_run(tmp_path)
