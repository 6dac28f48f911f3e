import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Arm, Evaluation, Headline, Recipe, Spec, to_dict
from thinktwice.errors import ConfigError, RunError
from thinktwice.records import Cell, Comparison, Summary, TraceRecord
from thinktwice.report.assets import content_policy
from thinktwice.report.compare import compare, compare_page, default_path
from thinktwice.report.compare.differing import families, flat, recipe_rows
from thinktwice.report.compare.pairing import Contrast, contrast, flips, gain_contrast, over_runs, overlap
from thinktwice.report.compare.sides import letters, read_sides
from thinktwice.report.compare.text import clip
from thinktwice.run import Run, Stage, write_json
from thinktwice.scoring import stats
from thinktwice.types import Score, Step, Trace

RECIPE = Recipe(
    name="one",
    task=Spec("arith", {"seed": 7}),
    method=Spec("backtrack"),
    arms={"control": Arm(method={"name": "baseline"}), "backtrack": Arm()},
    train={"lr": 0.004},
    evaluation=Evaluation(problems=20, levels=(4, 8)),
    headline=Headline("backtrack", "control", 8),
)
CONTROL = "1" * 10 + "0" * 10  # 50 %
BETTER = "1" * 16 + "0" * 4  # 80 %: gains 30 points
WORSE = "0" * 4 + "1" * 11 + "0" * 5  # 55 %: of BETTER's problems it loses the first 4 and the 16th
Make = Callable[..., Path]


class Reader(HTMLParser):
    """Collects what a browser would see: text, tags, attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pieces: list[str] = []
        self.hidden = 0
        self.feed(page)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).replace("\u00a0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(data)


def record(arm: str, i: int, level: int, right: bool, question: str) -> TraceRecord:
    trace = Trace(f"p{i}", (Step("text", "#### 16", (1, 2, 3)),))
    score = Score(float(right), "16" if right else "17", "")
    return TraceRecord(
        f"{level}/p{i}", arm, level, f"{question} ({i})", "16", trace, score, "" if right else "wrong answer"
    )


def difference(a: str, b: str, level: int, arms: Mapping[str, str]) -> Comparison:
    first, second = ([float(c) for c in arms[name]] for name in (a, b))
    found = stats.paired_difference(first, second)
    return Comparison(a, b, level, found.value, found.ci, stats.mcnemar(first, second))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a run whose answers are given as strings of 0 and 1, one character a problem, the same at both levels."""

    def write(
        name: str,
        recipe: Recipe = RECIPE,
        *,
        backtrack: str = BETTER,
        control: str = CONTROL,
        question: str = "How many?",
        finish: bool = True,
        parent: Path = tmp_path,
    ) -> Path:
        arms = {"control": control, "backtrack": backtrack}
        recipe = replace(recipe, name=name)
        with Run.open(parent / name, to_dict(recipe)) as run:
            for arm, marks in arms.items():
                rows = [record(arm, i, lv, m == "1", question) for lv in (4, 8) for i, m in enumerate(marks)]
                run.traces(arm).append([to_dict(row) for row in rows])
            if finish:
                cells = {
                    arm: {
                        lv: Cell(len(m), m.count("1") / len(m), stats.wilson(m.count("1"), len(m)), 0, 3.0)
                        for lv in (4, 8)
                    }
                    for arm, m in arms.items()
                }
                c = difference("backtrack", "control", 8, arms) if len(backtrack) == len(control) else None
                run.write_summary(to_dict(Summary(cells, (c,) if c else (), c if recipe.headline else None)))
        return parent / name

    return write


def page(*places: Path) -> str:
    return compare_page([Run.load(place) for place in places])


def text(*places: Path) -> str:
    return Reader(page(*places)).text


def test_numbers_of_two_runs_are_those_computed_by_hand(make: Make) -> None:
    one, two = make("one"), make("two", replace(RECIPE, train={"lr": 0.012}), backtrack=WORSE)
    sides = read_sides([Run.load(one), Run.load(two)])
    # 55 % - 80 %, five problems lost and none gained: p = 2 / 2**5.
    found = contrast(*sides, "backtrack", 8)
    assert found is not None
    assert (found.value, found.n, found.p) == (pytest.approx(-0.25), 20, pytest.approx(0.0625))
    assert contrast(*sides, "control", 8) == Contrast(0.0, 0.0, 0.0, 20, 1.0)
    # Gains: +30 and +5, and the same control in both.
    gain = gain_contrast(*sides)
    assert isinstance(gain, Contrast)
    assert (gain.value, gain.n, gain.why) == (pytest.approx(-0.25), 20, "")
    assert (gain.low, gain.high) == pytest.approx((found.low, found.high))
    changed = flips(*sides, "backtrack", 8)
    assert changed.won == ()
    assert set(changed.lost) == {"8/p0", "8/p1", "8/p2", "8/p3", "8/p15"}
    assert (changed.both, changed.neither) == (11, 4)
    shown = text(one, two)
    bounds = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}".replace("-", "−")
    assert f"gains +30.0 points over control in one and +5.0 in two: −25.0 (95 % interval {bounds})." in shown
    assert f"55.0 % 34.2 to 74.2 Δ −25.0 ({bounds}) · p 0.0625" in shown
    assert "control 50.0 % 29.9 to 70.1 50.0 % 29.9 to 70.1 Δ 0 no problem changed" in shown
    assert "B against A , backtrack at level 8: 0 gained, 5 lost, −25.0 points" in shown
    assert "Both are right on 11 problems, neither on 4." in shown
    assert "train.lr 0.004 0.012" in shown
    assert "The same 40 test problems: every difference is paired on them." in shown


def test_other_problems_are_not_paired_and_the_reason_is_said(make: Make) -> None:
    other = replace(RECIPE, task=Spec("arith", {"seed": 8}))
    one, two = make("one"), make("two", other, backtrack=WORSE, question="How few?")
    sides = read_sides([Run.load(one), Run.load(two)])
    assert overlap(*sides).shared == frozenset()
    assert overlap(*sides).changed == 40
    assert contrast(*sides, "backtrack", 8) is None
    gain = gain_contrast(*sides)
    assert isinstance(gain, Contrast)
    assert (gain.value, gain.n, gain.why) == (pytest.approx(-0.25), 0, "they answered different problems")
    a, b = sides[0].gain, sides[1].gain
    assert a is not None
    assert b is not None
    assert gain.low == pytest.approx(-0.25 - math.hypot(b.difference - b.low, a.high - a.difference))
    assert gain.high == pytest.approx(-0.25 + math.hypot(b.high - b.difference, a.difference - a.low))
    shown = text(one, two)
    assert "Not comparable problem by problem. B answered other problems than A (task.seed: 7 and 8)" in shown
    assert "a paired comparison is impossible" in shown
    assert "40 keys name different problems in the two." in shown
    assert "B − A is not paired: they answered different problems." in shown
    assert "Δ −" not in shown
    assert "No run shares problems at level 8 with A for the arm backtrack." in shown


def test_runs_that_share_some_problems_are_paired_on_those(make: Make) -> None:
    fewer = replace(RECIPE, evaluation=Evaluation(problems=8, levels=(4, 8)))
    shown = text(make("one"), make("two", fewer, backtrack="0" * 8, control="1" * 8))
    assert "B answered 16 problems and A 40 (evaluation.problems: 20 and 8); 16 are shared." in shown
    assert "B − A is on the 8 problems both answered." in shown
    assert "Δ −100.0 (−100.0 to −100.0)" in shown  # not 0 - 80: on the shared ones A is right throughout
    assert "paired on 8 problems" in shown


def test_runs_that_differ_in_their_seed_only_give_mean_and_range_over_runs(make: Make) -> None:
    runs = [
        make(name, replace(RECIPE, seed=seed), backtrack=right)
        for seed, (name, right) in enumerate({"a": BETTER, "b": WORSE, "c": "1" * 14 + "0" * 6}.items())
    ]
    sides = read_sides([Run.load(run) for run in runs])
    (family,) = families(sides)
    assert family.seeds == ("0", "1", "2")
    assert not family.repeats
    over = over_runs(sides)
    assert over is not None
    assert (over.value, over.problems, over.replicates) == (pytest.approx((0.3 + 0.05 + 0.2) / 3), 20, 3)
    shown = text(*runs)
    assert "Over 3 seeds, backtrack gains +18.3 points over control at level 8 on average: from +5.0 to +30.0." in shown
    bounds = f"{100 * over.low:+.1f} to {100 * over.high:+.1f}".replace("-", "−")
    assert f"95 % interval over seeds and problems {bounds}: it contains zero." in shown
    assert "The recipes differ in nothing but the seed." in shown


def test_seeds_of_one_recipe_among_other_runs_are_put_together(make: Make) -> None:
    runs = [
        make("a"), make("b", replace(RECIPE, seed=1), backtrack=WORSE), make("c", replace(RECIPE, train={"lr": 1.0}))
    ]  # fmt: skip
    shown = text(*runs)
    assert "A and B have one recipe and the seeds 0, 1. Over these 2 runs the mean gain is +17.5 points" in shown
    assert "gains between +5.0 (b) and +30.0 points" in shown


def test_a_repeat_is_not_called_a_replication(make: Make) -> None:
    shown = text(make("a"), make("b"))
    assert "A and B have the same recipe and seed: repeats, not replications." in shown
    assert "Over 2 seeds" not in shown
    assert "The recipes are the same." in shown


def test_an_unfinished_run_is_shown_with_what_it_has_and_claims_nothing(make: Make) -> None:
    shown = text(make("one"), make("two", replace(RECIPE, seed=3), backtrack=WORSE[:6], control=CONTROL, finish=False))
    assert "2 runs side by side: B has no final result yet" in shown
    assert "Unfinished: 52 of 80 answers are written, and no result is claimed." in shown
    assert "So far backtrack − control, level 8: −66.7 points" in shown
    assert "on 6 problems. not a result" in shown
    assert "6 problems, so far" in shown
    assert "Unfinished: B. The numbers there are what is written so far." in shown


def test_a_run_without_any_answer_yet_is_shown(make: Make, tmp_path: Path) -> None:
    one = make("one")
    with Run.open(tmp_path / "new", to_dict(replace(RECIPE, name="new"))):
        pass
    shown = text(one, tmp_path / "new")
    assert "Unfinished: 0 of 80 answers are written" in shown
    assert "B kept no traces: nothing can be paired with A." in shown
    assert "B has no headline gain." in shown


def test_runs_with_other_headlines_are_shown_without_a_difference_of_gains(make: Make) -> None:
    other = replace(RECIPE, headline=Headline("backtrack", "control", 4))
    two = make("two", other)
    saved = json.loads((two / "summary.json").read_text())
    saved["headline"]["level"] = 4
    write_json(two / "summary.json", saved)
    shown = text(make("one"), two)
    assert "their headlines differ, so their gains are not compared" in shown
    assert "B − A is not given: the headlines differ: backtrack − control, level 8 in A, backtrack" in shown
    none = make("three", replace(RECIPE, headline=None))
    assert "Its recipe fixes no headline comparison, so nothing is claimed." in text(make("four"), none)
    assert "fixes no headline, so no arm is singled out" in text(none, make("five"))


def test_nothing_a_model_or_a_recipe_says_is_obeyed(make: Make) -> None:
    attack = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[2J"
    evil = replace(RECIPE, method=Spec("backtrack", {attack: attack, "long": "x" * 100_000}))
    one, two = make("one", evil, question=attack), make("two", backtrack=WORSE, question=attack)
    whole = page(one, two)
    read = Reader(whole)
    assert read.tags.count("script") == page(make("p"), make("q")).count("<script>") == 2
    assert "img" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in read.text
    assert "\\u202e" in read.text
    assert not {"\x1b", "\u202e"} & set(whole)
    assert len(whole) < 300_000  # a long value is cut


def test_the_page_asks_for_nothing_and_runs_only_its_own_scripts(make: Make) -> None:
    whole = page(make("one"), make("two"))
    read = Reader(whole)
    scripts = re.findall(r"<script>(.*?)</script>", whole, re.DOTALL)
    assert ("content", content_policy(*scripts)) in read.attributes
    assert not {"link", "img", "iframe", "object", "base"} & set(read.tags)
    assert "url(" not in whole
    assert "@import" not in whole


def test_links_lead_into_the_pages_that_exist(make: Make, tmp_path: Path) -> None:
    one, two = make("one"), make("two", backtrack=WORSE)
    (one / "report.html").write_text("a page")
    out = compare([one, two], tmp_path / "pages" / "both.html")
    links = {value for name, value in Reader(out.read_text()).attributes if name == "href" and "report" in str(value)}
    assert "../one/report.html" in links
    assert "../one/report.html#trace=8%2Fp15" in links
    assert not [link for link in links if "two" in str(link)]
    assert "B has no page to read the traces in" in Reader(out.read_text()).text
    served = compare_page([Run.load(one), Run.load(two)], link=lambda run: f"/run/{run.root.name}")
    assert 'href="/run/two#trace=8%2Fp0"' in served


def test_the_page_lies_beside_the_runs_and_never_on_somebody_elses_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make("one"), make("two")
    assert compare([one, two]) == tmp_path / "compare.html"
    assert compare([one, two]) == tmp_path / "compare.html"  # ours: written again
    assert compare([one, two], tmp_path) == tmp_path / "compare.html"
    (tmp_path / "notes.html").write_text("<title>Notes</title>")
    with pytest.raises(RunError, match=r"notes\.html is there already and is no comparison of ours.*--out"):
        compare([one, two], tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text() == "<title>Notes</title>"
    deep = make("three", parent=tmp_path / "old")
    assert default_path([one, deep]) == tmp_path / "compare.html"
    monkeypatch.chdir(tmp_path)
    assert default_path([Path("one"), Path("two")]) == Path("compare.html")
    with pytest.raises(ConfigError, match="name the page with --out FILE"):
        default_path([Path("/a/x"), Path("/b/y")])


def test_mistakes_are_named(make: Make, tmp_path: Path) -> None:
    one = make("one")
    with pytest.raises(ConfigError, match="needs two runs or more"):
        compare([one])
    with pytest.raises(ConfigError, match="one is named twice"):
        compare([one, Path(os.path.relpath(one))])
    with pytest.raises(RunError, match=r"no run at .*on\. Did you mean '.*one'"):
        compare([one, tmp_path / "on"])
    write_json(one / "summary.json", [])
    with pytest.raises(ConfigError, match=r"summary\.json: expected a mapping"):
        compare([one, make("two")])


def test_only_keys_that_differ_are_listed_and_what_is_absent_is_a_dash(make: Make) -> None:
    long = "y" * 80
    one = make("one")
    two = make("two", replace(RECIPE, train={"lr": 0.004, "steps": 5}, method=Spec("backtrack", {"errors": [long]})))
    sides = read_sides([Run.load(one), Run.load(two)])
    assert {row.key: row.values for row in recipe_rows(sides)} == {
        "method.errors": ("–", long),
        "train.steps": ("–", "5"),
    }
    assert f"<summary>{'y' * 44}…</summary>" in page(one, two)
    assert flat({"a": {"b": [1, 2]}, "c": {}}) == {"a.b": [1, 2], "c": {}}


def test_code_and_machines_that_differ_are_named(make: Make) -> None:
    one, two = make("one"), make("two")
    code, place = (json.loads((two / name).read_text()) for name in ("code.json", "environment.json"))
    code["files"]["decode/loop.py"] = "0" * 64
    place["packages"]["torch"] = "9.9"
    place["gpu"] = ["H200"]
    write_json(two / "code.json", {**code, "commit": "abcdef0123456789", "changed": True})
    write_json(two / "environment.json", place)
    shown = text(one, two)
    assert "Other code than A’s made B: decode/loop.py." in shown
    assert "abcdef012345 with changes" in shown
    assert "the machines or their settings differ (torch and GPU)" in shown
    (two / "code.json").unlink()
    assert "B did not record the code." in text(one, two)


def test_seconds_tokens_and_memory_stand_side_by_side(make: Make) -> None:
    one, two = make("one"), make("two")

    def train(stage: Stage) -> None:
        (stage.path / "metrics.jsonl").write_text('{"step": 1, "tokens": 10}\n{"step": 2, "tokens": 12345}\n{"st')

    with Run.open(one, json.loads((one / "config.json").read_text())) as run:
        run.stage("train-backtrack", train)
    (one / "stages" / "train-backtrack.seconds.json").write_text(
        json.dumps({"seconds": 61.5, "host": 2**30, "device": 0})
    )
    shown = text(one, two)
    assert "together 61.5 –" in shown
    assert "training 61.5 –" in shown
    assert "training 1,024 –" in shown
    assert "backtrack 12,345 –" in shown
    assert "Tokens sampled a problem at level 8" in shown
    assert "control 3.0 3.0" in shown


def test_ten_runs_are_one_page(make: Make) -> None:
    runs = [make(f"run{i}", replace(RECIPE, train={"lr": i / 100}), backtrack=WORSE) for i in range(10)]
    shown = text(*runs)
    assert "J run9" in shown
    assert "in 10 runs" in shown
    fewer = [make(f"few{i}", replace(RECIPE, train={"lr": 1.0}), backtrack="1" * 5, control="0" * 5) for i in range(3)]
    assert "B, C and D answered 10 problems and A 40; 10 are shared." in text(runs[0], *fewer)


def test_two_runs_of_one_name_are_told_apart(make: Make, tmp_path: Path) -> None:
    shown = text(make("one", parent=tmp_path / "new"), make("one", parent=tmp_path / "old"))
    assert "A new/one" in shown
    assert "B old/one" in shown


@pytest.mark.parametrize(("number", "shown"), [(0, "A"), (25, "Z"), (26, "AA"), (53, "BB")])
def test_letters_never_run_out(number: int, shown: str) -> None:
    assert letters(number) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [("a\nb", "a b"), ("abcdef", "abcd…"), ("\u202ea", "\\u20…"), ("\x1b", "\\x1b"), ("x" * 10**6, "xxxx…")],
)
def test_text_is_cut_and_made_harmless(said: str, shown: str) -> None:
    assert clip(said, 5) == shown


def test_rows_of_another_version_are_named(make: Make) -> None:
    one, two = make("one"), make("two")
    rows: Sequence[dict[str, Any]] = list(Run.load(two).traces("control").done.values())
    (two / "traces" / "control.jsonl").unlink()
    with Run.open(two, json.loads((two / "config.json").read_text())) as run:
        run.traces("control").append([{key: v for key, v in row.items() if key != "score"} for row in rows])
    with pytest.raises(RunError, match=r"two/traces/control\.jsonl has a row this version cannot read"):
        compare([one, two])


def test_graded_scores_are_not_called_accuracy(make: Make) -> None:
    one, two = make("one"), make("two")
    assert "Accuracy with its 95 % interval" in text(one, two)
    for root in (one, two):
        path = root / "summary.json"
        write_json(path, {**json.loads(path.read_text()), "measure": "F1"})
    shown = text(one, two)
    assert "Mean F1 with its 95 % interval" in shown
    assert "Accuracy" not in shown
