import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from thinktwice.config import Headline, parse, to_dict
from thinktwice.errors import RunError
from thinktwice.records import Cell, Comparison, Summary, TraceRecord
from thinktwice.report import report
from thinktwice.report.assets import content_policy
from thinktwice.report.claims import find, headline, interval, percent, points, split, verdict
from thinktwice.run import Rows, Run, write_json
from thinktwice.types import Score, Step, Trace


class Reader(HTMLParser):
    """Collects what a browser would see: text, tags, attributes; and what it would run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pieces: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("script", "style"):
            self._inside = "data" if dict(attrs).get("type") else tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.pieces.append(data)


@pytest.fixture
def run_dir(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    return make_run(tmp_path / "sample")


def test_the_numbers_of_the_page_are_those_of_the_summary(run_dir: Path) -> None:
    path = report(run_dir)
    text = Reader(path.read_text()).text.replace("\u00a0", " ")
    saved = json.loads((run_dir / "summary.json").read_text())
    for cells in saved["arms"].values():
        for c in cells.values():
            low, high = c["ci"]
            assert f"{100 * c['accuracy']:.1f} % {100 * low:.1f} to {100 * high:.1f}" in text
    for c in saved["comparisons"]:
        signed = [f"{100 * v:+.1f}".replace("-", "−") for v in (c["difference"], *c["ci"])]
        assert f"{c['a']} − {c['b']} {signed[0]} {signed[1]} to {signed[2]}" in text
    assert (
        "At level 8, backtrack answers 77.6 % of 500 test problems correctly, its control 55.4 %: +22.2 points "
        "(95 % interval +17.9 to +26.5)." in text
    )
    assert "learning to detect: +14.8 points" in text
    assert "acting on it: +7.4 points" in text
    assert "stopped: budget 3" in text


ATTACK = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x1b[2J\u202egnp"


def attacked(run_dir: Path) -> None:
    """Put hostile text wherever a model's or a user's text lands."""
    key = f"8/{ATTACK}"
    steps = (
        Step("text", ATTACK, (1,)),
        Step("error", ATTACK, (2,), kept=False),
        Step("undo", ATTACK, (3,), kept=False),
    )
    config = json.loads((run_dir / "config.json").read_text())
    with Run.open(run_dir, config) as run:
        for arm, right in (("backtrack", True), ("control", False)):
            trace, score = Trace("x", steps, error=ATTACK), Score(float(right), ATTACK, ATTACK)
            row = TraceRecord(key, arm, 8, ATTACK, ATTACK, trace, score, "" if right else ATTACK)
            run.traces(arm).append([to_dict(row)])
    config["model"]["path"] = config["task"]["notes"] = ATTACK
    write_json(run_dir / "config.json", config)
    place = json.loads((run_dir / "environment.json").read_text())
    write_json(run_dir / "environment.json", place | {"command": ["thinktwice", ATTACK], "cpu": ATTACK})
    summary = json.loads((run_dir / "summary.json").read_text())
    write_json(run_dir / "summary.json", summary | {"failures": {ATTACK: 1}, "seconds": {ATTACK: 1.0}})
    for arm in ("control", "backtrack"):
        path = run_dir / "stages" / f"train-{arm}" / "audit.json"
        audit = json.loads(path.read_text()) | {"sample_problem_id": ATTACK}
        write_json(path, audit | {"dropped": [{"problem_id": ATTACK, "reason": ATTACK, "length": 1}]})


def test_nothing_a_model_or_a_user_wrote_is_obeyed(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run_dir = make_run(tmp_path / "r", said=(ATTACK, ATTACK + "\n", ATTACK), problems=2)
    harmless = Reader(report(run_dir).read_text())
    attacked(run_dir)
    page = report(run_dir).read_text()
    read = Reader(page)
    assert read.scripts == harmless.scripts
    assert "img" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.text.count("<script>alert(1)</script>") > 10
    assert "&amp;amp;" in page
    assert "\x1b" not in page


def test_only_the_scripts_of_the_page_may_run(run_dir: Path) -> None:
    read = Reader(report(run_dir).read_text())
    policy = next(value for name, value in read.attributes if name == "content" and value and "default-src" in value)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in read.scripts]
    assert len(hashes) == 3
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data:"
    assert content_policy().count("script-src 'none'") == 1
    for text in read.scripts:
        assert "<!--" not in text  # would change where the script ends
        assert "innerHTML" not in text
        assert "eval(" not in text


def test_the_page_asks_the_network_for_nothing(run_dir: Path) -> None:
    page = report(run_dir).read_text()
    read = Reader(page)
    assert not {"link", "img", "iframe", "object", "base"} & set(read.tags)
    linked = [value for name, value in read.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert linked
    assert all(value and value.startswith("#") for value in linked)
    assert "url(" not in page
    assert "@import" not in page


def test_the_examples_for_paper_strike_through_what_was_taken_back(run_dir: Path) -> None:
    page = report(run_dir).read_text()
    paper = page[page.index('class="paper"') :]
    assert '<span class="retracted">Cat has 7 + 9 = 17.</span><span class="undo">↶</span>' in paper
    assert re.findall(r"<h3>(.*?) · level 8", paper)[:2] == ["only backtrack is right", "only control is right"]
    arms = re.findall(r'class="card"><span class="arm"><i class="key c\d"></i>(\w+)</span> <span class="(\w+)"', paper)
    assert [name for name, _ in arms] == ["backtrack", "control", "backtrack_off"] * 2
    assert (arms[0][1], arms[1][1]) == ("right", "wrong")


def test_the_flips_are_those_of_the_traces(run_dir: Path) -> None:
    run = Run.load(run_dir)
    right = {
        arm: {key for key, row in run.traces(arm).done.items() if row["level"] == 8 and row["score"]["value"] == 1}
        for arm in ("backtrack", "control")
    }
    gained, lost = right["backtrack"] - right["control"], right["control"] - right["backtrack"]
    page = report(run_dir).read_text()
    text = Reader(page).text.replace("\u00a0", " ")
    said = (
        f"Of 40 problems at level 8, backtrack gains {len(gained)} that control gets wrong, and loses {len(lost)} that"
    )
    assert said in text
    linked = re.findall(r'<a href="#trace=([^&"]+)&amp;arms=backtrack,control">', page[: page.index('id="traces"')])
    assert {unquote(key) for key in linked} == gained | lost
    assert f"{40 - len(right['backtrack'] | right['control'])} both wrong" in text


def test_failures_are_counted_by_arm_and_kind_also_in_runs_that_did_not_write_them_down(run_dir: Path) -> None:
    path = run_dir / "traces" / "base.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = [row for row in rows if row["level"] == 8 and row["score"]["value"] != 1]
    for row in rows:
        del row["failure"], row["check"]
    wrong[0]["trace"]["stop"] = "budget"
    wrong[1]["score"]["answer"] = None
    path.unlink()
    with Run.open(run_dir, json.loads((run_dir / "config.json").read_text())) as run:
        run.traces("base").append(rows)
    text = Reader(report(run_dir).read_text()).text
    assert f"base {len(wrong)} of 40" in text
    counted = text[text.index("What went wrong") : text.index("Counted over all arms")]
    table = counted.index("arm wrong")
    kinds = counted[table : counted.index("base ", table)]
    for kind in ("out of tokens", "no answer", "wrong answer"):
        assert kind in kinds


def test_the_audit_is_shown_with_its_example_in_colour(run_dir: Path) -> None:
    page = report(run_dir).read_text()
    assert (
        '<span class="seen">Ann has</span><span class="learned"> 3.\n</span><span class="retracted"> 9.</span>' in page
    )
    text = Reader(page).text.replace("\u00a0", " ")
    assert "310,000 (62.0 % of the tokens)" in text
    assert "1 longer than 512 tokens" in text
    assert "5 %: 61 · median 118 · 95 %: 190 · longest 255 of 512 allowed" in text


def test_an_unfinished_run_claims_nothing_and_says_what_is_missing(run_dir: Path) -> None:
    (run_dir / "summary.json").unlink()
    (run_dir / "environment.json").unlink()
    for place in ("traces", "stages"):
        shutil.rmtree(run_dir / place)
    text = Reader(report(run_dir).read_text()).text
    for missing in (
        "sample is not finished",
        "no result is claimed",
        "No loss curves",
        "No training is finished",
        "No traces are in this run",
        "No answers are in this run",
        "Not compared yet: the run is not finished",
        "No stage has been timed",
        "No environment.json was written",
    ):
        assert missing in text
    assert "points (95" not in text


def test_parts_that_were_not_measured_are_named(run_dir: Path) -> None:
    saved = json.loads((run_dir / "summary.json").read_text())
    saved |= {"comparisons": [], "retraction": {}, "threshold": None, "failures": {}}
    write_json(run_dir / "summary.json", saved)
    text = Reader(report(run_dir).read_text()).text
    assert "Not split: the recipe names no arm between the two" in text
    assert "No comparisons are in summary.json" in text
    assert "No retraction numbers are in summary.json" in text
    assert "No failure counts are in summary.json" in text
    assert "Undo threshold" not in text


def test_learning_rates_that_were_tried_are_told(run_dir: Path) -> None:
    arm = next(path.name for path in (run_dir / "stages").glob("train-*") if path.is_dir())
    tried = [{"lr": 0.003, "dev_loss": 0.72, "accuracy": 0.5}, {"lr": 0.001, "dev_loss": 0.8, "accuracy": 0.798}]
    write_json(run_dir / "stages" / arm / "rates.json", {"kept": 0.001, "by": "accuracy", "tried": tried})
    told = (
        "chosen on dev: 0.001 (dev loss 0.800, 79.8 % right) was kept; tried too: 0.003 (dev loss 0.720, 50.0 % right)."
    )
    assert told in Reader(report(run_dir).read_text()).text


def test_retractions_are_not_missed_where_nothing_was_taken_back(run_dir: Path) -> None:
    saved = json.loads((run_dir / "summary.json").read_text())
    write_json(run_dir / "summary.json", saved | {"retraction": {}, "threshold": None})
    for path in (run_dir / "traces").glob("*.jsonl"):
        rows = [
            row
            for row in Rows(path, "key", writable=False).done.values()
            if all(s["kept"] for s in row["trace"]["steps"])
        ]
        path.unlink()
        Rows(path, "key", writable=True).append(rows)
    assert "retraction numbers" not in Reader(report(run_dir).read_text()).text


def test_a_run_without_a_headline_claims_nothing_and_pairs_nothing(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    run_dir = make_run(tmp_path / "r", problems=4)
    config = json.loads((run_dir / "config.json").read_text()) | {"headline": None}
    saved = json.loads((run_dir / "summary.json").read_text()) | {"headline": None}
    write_json(run_dir / "config.json", config)
    write_json(run_dir / "summary.json", saved)
    text = Reader(report(run_dir).read_text()).text
    assert "results without a headline" in text
    assert "there is no pair to compare" in text
    assert "points (95" not in text


def test_the_cost_names_what_was_not_recorded(run_dir: Path) -> None:
    text = Reader(report(run_dir).read_text()).text
    assert "backtrack not recorded" in text  # the tokens of its training
    for path in (run_dir / "stages").glob("*.seconds.json"):
        path.write_text("12.5")  # as runs wrote it before memory was recorded
    text = Reader(report(run_dir).read_text()).text.replace("\u00a0", " ")
    assert "train-control 12 s" in text
    assert "Memory was not recorded" in text
    (run_dir / "stages" / "train-control.seconds.json").write_text(
        '{"seconds": 75, "host": 209715200, "device": 3221225472}'
    )
    text = Reader(report(run_dir).read_text()).text.replace("\u00a0", " ")
    assert "train-control 75 s 200 MiB + 3.0 GiB GPU" in text


def test_arms_are_described_by_what_sets_them_apart(run_dir: Path) -> None:
    text = Reader(report(run_dir).read_text()).text
    assert "base backtrack · the base model, untouched" in text
    assert "backtrack_off backtrack, context off · the weights of backtrack" in text
    assert "control baseline · trained here" in text


def test_a_damaged_summary_is_refused(run_dir: Path) -> None:
    (run_dir / "summary.json").write_text('{"arms": {"ba')
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        report(run_dir)


def cell(accuracy: float) -> Cell:
    return Cell(500, accuracy, (accuracy - 0.04, accuracy + 0.04))


def summary(difference: float, half: float) -> Summary:
    c = Comparison("a", "b", 8, difference, (difference - half, difference + half))
    return Summary({"a": {8: cell(0.5 + difference)}, "b": {8: cell(0.5)}}, (c,), c)


@pytest.mark.parametrize(
    ("difference", "half", "says", "holds"),
    [
        (0.20, 0.04, "The whole interval lies above zero, by at least 16.0 points", True),
        (0.04, 0.03, "a difference under 5 points is reported as noise", False),
        (0.06, 0.07, "No difference was shown: the interval contains zero", False),
        (-0.20, 0.04, "a is worse than its control, and the interval excludes zero", False),
    ],
)
def test_a_verdict_says_what_the_interval_allows(difference: float, half: float, says: str, holds: bool) -> None:
    claim = headline(summary(difference, half))
    assert claim is not None
    assert says in claim.verdict
    assert claim.holds is holds
    assert points(difference) in claim.sentence


def test_a_negative_result_is_printed_as_plainly(run_dir: Path) -> None:
    saved = parse(Summary, json.loads((run_dir / "summary.json").read_text()))
    assert saved.headline is not None
    worse = replace(saved.headline, difference=-0.12, ci=(-0.16, -0.08))
    write_json(run_dir / "summary.json", to_dict(replace(saved, headline=worse)))
    text = Reader(report(run_dir).read_text()).text
    assert "−12.0 points (95 % interval −16.0 to −8.0)" in text.replace("\u00a0", " ")
    assert "backtrack is worse than its control" in text


def test_the_parts_of_a_gain_add_up_to_it(run_dir: Path) -> None:
    saved = parse(Summary, json.loads((run_dir / "summary.json").read_text()))
    parts = split(saved, Headline("backtrack", "control", 8, "backtrack_off"))
    assert parts is not None
    assert saved.headline is not None
    assert sum(p.comparison.difference for p in parts) == pytest.approx(saved.headline.difference)
    assert [p.name for p in parts] == ["learning to detect", "acting on it"]
    assert split(saved, Headline("backtrack", "control", 8)) is None


def test_a_comparison_is_found_whichever_way_it_was_stored() -> None:
    s = summary(0.2, 0.04)
    turned = find(s, "b", "a", 8)
    assert turned is not None
    assert (turned.difference, *turned.ci) == pytest.approx((-0.2, -0.24, -0.16))
    assert find(s, "a", "b", 9) is None


def test_numbers_are_written_one_way() -> None:
    assert percent(0.774) == "77.4\u00a0%"
    assert interval((-0.01, 0.02)) == "−1.0 to +2.0"
    assert verdict(Comparison("a", "b", 1, 0.0, (0.0, 0.0)))[1] is False


def test_the_page_is_made_again_from_a_run_that_is_open(run_dir: Path) -> None:
    config = json.loads((run_dir / "config.json").read_text())
    with Run.open(run_dir, config):
        assert report(run_dir).exists()  # reading needs no lock


def test_graded_answers_are_not_called_right_or_wrong(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    root = make_run(tmp_path / "sample")
    whole = json.loads((root / "summary.json").read_text())
    for comparison in (*whole["comparisons"], whole["headline"]):
        comparison["p"] = None
    write_json(root / "summary.json", {**whole, "measure": "F1"})
    path = root / "traces" / "backtrack.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        del row["check"]
        row["score"]["value"] *= 0.5
    path.unlink()
    with Run.open(root, json.loads((root / "config.json").read_text())) as run:
        run.traces("backtrack").append(rows)
    text = Reader(report(root).read_text()).text
    assert "backtrack reaches a mean F1 of 77.6" in text
    assert "correctly" not in text
    assert "McNemar p of the right answers" in text
    assert "≈" in text
    assert "Mean F1 against difficulty" in text
    assert "Wilson" not in text
    assert "not exactly right" in text
