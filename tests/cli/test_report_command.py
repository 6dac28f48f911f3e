import json
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thinktwice.config import Arm, Evaluation, Recipe, Spec, to_dict
from thinktwice.records import TraceRecord
from thinktwice.run import Run, Stage, write_json
from thinktwice.types import Rewind, Score, Step, Trace

RECIPE = Recipe(
    name="one",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(method={"name": "baseline"}), "backtrack": Arm()},
    evaluation=Evaluation(problems=2, levels=(8,)),
)
WORDS = {"Ann": 0, " has": 1, " 3.\n": 2, " 9.\x1b": 3, "<undo>": 4, "?": 5}
Call = Callable[..., tuple[int, str, str]]


def trace(retracts: bool, probabilities: bool = True) -> Trace:
    def known(*values: float) -> tuple[float, ...]:
        return values if probabilities else ()

    steps = [Step("text", "Ann has", (0, 1), logprobs=known(-0.6931, 0.0))]
    if retracts:
        steps += [
            Step("error", " 9.", (3,), kept=False, logprobs=known(-0.1054)),
            Step("undo", "<undo>", (4,), kept=False, logprobs=known(-0.0)),
            Step("text", "?", (5,), kept=False, logprobs=known(-2.3026), rewind=Rewind(3, (3,))),
        ]
    steps.append(Step("text", " 3.\n", (2,), logprobs=known(0.0)))
    return Trace("p", tuple(steps))


def build(root: Path, name: str, probabilities: bool = True) -> Path:
    def base(stage: Stage) -> None:
        model = {"type": "WordLevel", "vocab": WORDS, "unk_token": "?"}
        empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor"))
        write_json(
            stage.path / "tokenizer.json",
            {"version": "1.0", "added_tokens": [], "decoder": {"type": "Fuse"}, "model": model, **empty},
        )

    with Run.open(root / name, to_dict(replace(RECIPE, name=name))) as run:
        run.stage("base", base)
        for arm, right in (("backtrack", True), ("control", False)):
            score = Score(float(right), "3" if right else None, "" if right else "no answer found")
            run.traces(arm).append([
                to_dict(TraceRecord(f"8/p{i}", arm, 8, f"How many? ({i})", "3", trace(right, probabilities), score,
                                    "" if right else "no answer"))
                for i in range(2)
            ])  # fmt: skip
    return root / name


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        build(tmp_path, name)
    return tmp_path


def test_one_run_gives_its_page_and_several_a_comparison(call: Call, runs: Path) -> None:
    assert call("report", f"{runs}/one") == (0, f"report: {runs}/one/report.html\n", "")
    assert call("report", f"{runs}/one", f"{runs}/two") == (0, f"compare: {runs}/compare.html\n", "")
    assert "Comparison of one and two" in (runs / "compare.html").read_text()
    out = runs / "pages" / "both.html"
    assert call("report", f"{runs}/two", f"{runs}/one", "--out", str(out))[1] == f"compare: {out}\n"
    assert "Comparison of two and one" in out.read_text()


def test_a_directory_of_runs_stands_for_all_of_them(call: Call, runs: Path, tmp_path: Path) -> None:
    (runs / "two" / "stages" / "base" / "config.json").write_text('{"model_type": "llama"}')  # a model is no run
    assert call("report", str(runs))[1] == f"compare: {runs}/compare.html\n"
    assert "Comparison of one and two" in (runs / "compare.html").read_text()
    build(tmp_path / "alone", "only")
    assert call("report", f"{tmp_path}/alone")[1] == f"report: {tmp_path}/alone/only/report.html\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["one", "one"], 2, "is named twice; name each run once"),
        ([".", "one"], 2, "is named twice"),
        (["one", "twoo"], 1, "two'?"),
        (["one/logs"], 1, "is no run and holds none; `thinktwice run RECIPE` makes one"),
        (["one", "--out", "x.html"], 2, "--out is for the page of several runs"),
        (["one", "two", "--out", "one/config.json"], 1, "is there already and is no comparison of ours"),
    ],
)
def test_a_mistake_is_one_sentence(
    call: Call, runs: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(runs)
    before = (runs / "one" / "config.json").read_text()
    found, _, errors = call("report", *words)
    assert found == code
    assert says in errors
    assert errors.count("\n") == 1
    assert (runs / "one" / "config.json").read_text() == before


def test_open_opens_the_page_and_nothing_else_does(call: Call, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    call("report", f"{runs}/one", f"{runs}/two")
    assert opened == []
    call("report", f"{runs}/one", f"{runs}/two", "--open")
    assert opened == [(runs / "compare.html").as_uri()]


def test_one_problem_is_shown_whole_as_every_arm_answered_it(call: Call, runs: Path) -> None:
    out = call("show", f"{runs}/one", "--key", "8/p1")[1]
    assert out.count("How many? (1)") == 1
    assert "How many? (0)" not in out
    assert out.index("control · wrong: no answer, not 3") < out.index("backtrack · right")  # as in the recipe
    assert "Ann has[- 9.-] 3." in out
    assert "6 tokens sampled, 3 of them not in the reply · stopped: done" in out
    assert "no answer · no answer found" in out
    assert "control · wrong" not in call("show", f"{runs}/one", "--key", "8/p1", "--arm", "backtrack")[1]


def test_probabilities_stand_beside_their_tokens(call: Call, runs: Path) -> None:
    out = call("show", f"{runs}/one", "--key", "8/p0", "--arm", "backtrack", "--probabilities")[1]
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "1 'Ann' 50.0 % ▇▇▇▇▇" in lines
    assert "3 ' 9.\\x1b' 90.0 % ▇▇▇▇▇▇▇▇▇ retracted" in lines
    assert "4 '<undo>' 100.0 % ▇▇▇▇▇▇▇▇▇▇ undo" in lines
    assert "5 '?' 10.0 % ▇ rejected" in lines
    assert "↶ 3 tokens deleted; not next: ' 9.\\x1b'" in lines
    assert lines.index("↶ 3 tokens deleted; not next: ' 9.\\x1b'") < lines.index("6 ' 3.\\n' 100.0 % ▇▇▇▇▇▇▇▇▇▇")
    assert "\x1b" not in out


def test_probabilities_that_nobody_recorded_are_said_to_be_missing(call: Call, tmp_path: Path) -> None:
    place = build(tmp_path, "old", probabilities=False)
    out = call("show", str(place), "--key", "8/p0", "--probabilities")[1]
    assert out.count("this run did not record probabilities") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key", "8/p"], "has no answer to a problem '8/p'. Did you mean '8/p1'?"),
        (["--key", "zzz"], "has no answer to a problem 'zzz'. Keys look like '8/p0'."),
        (["--key", "8/p0", "--arm", "contrl"], "Did you mean 'control'?"),
        (["--probabilities"], "--probabilities needs one problem; name it with --key KEY"),
    ],
)
def test_a_problem_that_is_not_there_is_answered_with_the_nearest(
    call: Call, runs: Path, words: list[str], says: str
) -> None:
    code, _, errors = call("show", f"{runs}/one", *words)
    assert code == 2
    assert says in errors


def test_a_row_with_every_field_of_a_step_is_shown_from_a_file(call: Call, runs: Path) -> None:
    path = runs / "one" / "traces" / "backtrack.jsonl"
    assert json.loads(path.read_text().splitlines()[0])["trace"]["steps"][3]["rewind"]["ban"] == [3]
    assert "Ann has[- 9.-] 3." in call("show", str(path), "--limit", "1")[1]
