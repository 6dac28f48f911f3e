import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thinktwice import cli
from thinktwice.config import Arm, Recipe, Spec, to_dict
from thinktwice.records import Cell, Comparison, Summary, TraceRecord
from thinktwice.run import Run, Stage
from thinktwice.types import Example, Pair, Score, Step, Trace

RECIPE = Recipe(
    name="tiny",
    task=Spec("arith"),
    method=Spec("backtrack"),
    arms={"control": Arm(), "backtrack": Arm(), "keep": Arm(weights="backtrack")},
)
Call = Callable[..., tuple[int, str, str]]


def record(key: str, arm: str, level: int, right: bool, retracts: bool) -> TraceRecord:
    steps = [Step("text", "Ann has 3.\n", (1,))]
    if retracts:
        steps += [Step("error", "Ben has 9.\n", (2,), kept=False), Step("undo", "<undo>", (3,), kept=False)]
    steps.append(Step("text", "Ben has 7.\n#### 7" if right else "Ben has 8.\n#### 8", (4,)))
    score = Score(float(right), "7" if right else "8", "last stated answer")
    return TraceRecord(key, arm, level, f"How many does Ben have? ({key})", "7", Trace(key, tuple(steps)), score)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    def train(stage: Stage) -> None:
        (stage.path / "model").mkdir()
        (stage.path / "model" / "config.json").write_text('{"model_type": "llama"}')

    with Run.open(tmp_path / "tiny", to_dict(RECIPE)) as run:
        run.stage("train-backtrack", train)
        run.traces("backtrack").append([to_dict(record("p1", "backtrack", 8, True, True)),
                                        to_dict(record("p2", "backtrack", 6, False, False))])  # fmt: skip
        run.traces("control").append([to_dict(record("p1", "control", 8, False, False))])
        cells = {"backtrack": Cell(500, 0.8, (0.76, 0.83)), "control": Cell(500, 0.6, (0.55, 0.64))}
        c = Comparison("backtrack", "control", 8, 0.2, (0.15, 0.25))
        run.write_summary(to_dict(Summary({name: {8: cell} for name, cell in cells.items()}, (c,), c)))
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    "code",
    [
        "import thinktwice",
        "import sys; sys.argv = ['thinktwice', '--help']; from thinktwice.cli import main; main()",
        "import sys; sys.argv = ['thinktwice', 'run', '--help']; from thinktwice.cli import main; main()",
        "import thinktwice.run, thinktwice.report, thinktwice.show, thinktwice.config, thinktwice.tasks",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    heavy = "{'torch', 'transformers', 'trl', 'peft', 'datasets', 'lm_eval', 'numpy'} & set(sys.modules)"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('HEAVY', sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_every_command_explains_itself_with_an_example() -> None:
    app, runner = cli.build(), CliRunner()
    top = runner.invoke(app, ["--help"])
    names = [f.__name__.replace("evaluate", "eval") for f, _ in cli.COMMANDS]
    assert " ".join(names) == (
        "run slurm watch train solve eval show attribute report repeated ui types export distil export_pairs review "
        "argue audit verify compose_eval compose_sft label migrate pretrain tasks methods doctor"
    )
    for name in (name.replace("_", "-") for name in names):
        assert re.search(rf"\b{name}\b", top.output)
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert f"Example:  thinktwice {name}" in shown.output


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "RECIPE", "trian.lr=1"], 2, "unknown key 'trian'. Did you mean 'train'?"),
        (["run", "RECIPE", "decode.batch_size=x"], 2, "decode.batch_size: expected a whole number, got text 'x'"),
        (["run", "missing.yaml"], 2, "no recipe at missing.yaml"),
        (["report", "missing"], 1, "no run at missing"),
        (["show", "missing"], 1, "there is nothing at missing"),
        (["solve", "a question", "--runs", "missing"], 1, "there is no finished run under missing/"),
        (["solve", ""], 2, "there is no question"),
        (["export", "missing", "--to", "x"], 1, "there is no directory missing"),
    ],
)
def test_an_error_is_one_sentence_and_its_exit_code_says_whose(
    call: Call, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(to_dict(RECIPE)))
    found, _, errors = call(*(str(recipe) if w == "RECIPE" else w for w in words))
    assert found == code
    assert says in errors
    assert errors.startswith("thinktwice: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("words", "near"), [(["rnu"], "run"), (["run", "x.yaml", "--run", "y"], "--runs")])
def test_a_mistyped_command_or_option_is_named(call: Call, words: list[str], near: str) -> None:
    code, _, errors = call(*words)
    assert code == 2
    assert near in errors


def test_ctrl_c_ends_with_130_and_one_sentence() -> None:
    """A real process and a real signal; it waits for a question that never comes."""
    script = (
        # A background job starts with Ctrl-C ignored, and its children too; a terminal's does not.
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from thinktwice.cli import main\n"
        "class Waiting:\n"
        "    def read(self): print('waiting', flush=True); time.sleep(60)\n"
        "sys.stdin = Waiting(); sys.argv = ['thinktwice', 'solve', '-']; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "thinktwice: interrupted\n"


def test_show_prints_a_run_with_its_retractions(call: Call, run_dir: Path) -> None:
    code, out, _ = call("show", str(run_dir), "--arm", "backtrack", "--limit", "1")
    assert code == 0
    assert out == (
        "backtrack · level 8 · p1 · right\n"
        "How many does Ben have? (p1)\nAnn has 3.\n[-Ben has 9.-]\nBen has 7.\n#### 7\n"
    )


def test_show_lets_through_what_was_asked_for(call: Call, run_dir: Path) -> None:
    def headings(*words: str) -> list[str]:
        return re.findall(r"^(\w+) · level (\d) · (\w+)", call("show", str(run_dir), *words)[1], re.MULTILINE)

    assert headings() == [("backtrack", "8", "p1"), ("backtrack", "6", "p2"), ("control", "8", "p1")]
    assert headings("--wrong") == [("backtrack", "6", "p2"), ("control", "8", "p1")]
    assert headings("--retracted") == [("backtrack", "8", "p1")]
    assert headings("--level", "6") == [("backtrack", "6", "p2")]
    assert "no row of" in call("show", str(run_dir), "--level", "9")[1]
    code, _, errors = call("show", str(run_dir), "--arm", "contrl")
    assert code == 2
    assert "Did you mean 'control'?" in errors


def test_show_prints_files_of_problems_traces_and_examples(call: Call, tmp_path: Path, run_dir: Path) -> None:
    problems = tmp_path / "train.jsonl"
    problems.write_text(json.dumps({"question": "How many?", "answer": "Two.\n#### 2"}) + "\n")
    assert call("show", str(problems))[1] == f"{problems}:1\nHow many?\n{{+Two.\n#### 2+}}\n"
    assert "[-Ben has 9.-]" in call("show", str(run_dir / "traces/backtrack.jsonl"))[1]
    traces = tmp_path / "traces.jsonl"
    traces.write_text(json.dumps(to_dict(record("p1", "x", 8, True, True).trace)) + "\n")
    assert "[-Ben has 9.-]" in call("show", str(traces))[1]
    examples = tmp_path / "examples.jsonl"
    examples.write_text(json.dumps(to_dict(Example((0, 1, 2), (1, 2, 0), (0.0, 1.0, 0.0), problem_id="p"))) + "\n")
    assert call("show", str(examples))[0] == 2
    words = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2},
             "unk_token": "a"}, "decoder": {"type": "Fuse"}}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    assert call("show", str(examples), "--tokenizer", str(tmp_path))[1] == "p · 3 tokens\nab{+c+}\n"
    problems.write_text('{"question": "x", "answer": "y"}\n{"question"\n')
    assert f"{problems}:2: not a JSON line" in call("show", str(problems))[2]
    problems.write_text('{"query": "x"}\n')
    assert "a row with keys query is no trace, example, pair or problem" in call("show", str(problems))[2]


def test_show_prints_pairs_with_the_tokenizer_of_the_model_trained_on_them(call: Call, tmp_path: Path) -> None:
    words = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2},
             "unk_token": "a"}, "decoder": {"type": "Fuse"}}  # fmt: skip
    chosen = Example((0, 1), (1, 0), (1.0, 0.0), problem_id="p")
    rows = [
        to_dict(Pair(chosen, replace(chosen, token_ids=(0, 2), targets=(2, 0)), "loop")),
        {"prompt": "Q?\n", "chosen": "yes", "rejected": "no"},
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "--tokenizer DIR" in call("show", str(pairs))[2]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(words))
    code, out, _ = call("show", str(pairs))
    assert code == 0
    assert out == f"p · loop · 2 and 2 tokens\na\n{{+b+}}\n[-c-]\n\n{pairs}:2 · pair\nQ?\n{{+yes+}}\n[-no-]\n"


def test_show_uses_colour_where_there_is_any(call: Call, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = call("show", str(run_dir), "--retracted")[1]
    assert re.search("\x1b\\[9;31mBen has 9\\.", out)
    assert "[-" not in out


def test_report_and_export_from_the_command_line(call: Call, run_dir: Path, tmp_path: Path) -> None:
    assert call("report", str(run_dir))[1] == f"report: {run_dir}/report.html\n"
    target = tmp_path / "exported"
    assert call("export", str(run_dir), "--to", str(target), "--arm", "keep")[1] == f"model: {target}\n"
    assert json.loads((target / "config.json").read_text())["model_type"] == "llama"
    assert "exists already" in call("export", str(run_dir), "--to", str(target))[2]
    assert "has no finished training" in call("export", str(run_dir), "--to", f"{target}2", "--arm", "control")[2]
    assert "Did you mean 'keep'?" in call("export", str(run_dir), "--to", f"{target}2", "--arm", "kep")[2]


def test_tasks_and_methods_say_in_a_line_what_they_are(call: Call) -> None:
    for command, known in (("tasks", "arith"), ("methods", "backtrack")):
        lines = call(command)[1].splitlines()
        assert any(line.startswith(known) for line in lines)
        for line in lines:
            assert re.fullmatch(r"\w+ +[A-Z].+\.", line), line


def test_the_doctor_says_what_to_do_and_keeps_secrets(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = call("doctor")
    assert code == 0
    assert "hf_secret" not in out
    assert "set (not shown)" in out
    assert "→ OMP_NUM_THREADS=4096 is more than there are cores" in out
    assert "→ HF_HUB_OFFLINE is set" in out
    assert re.search(r"^torch +\d", out, re.MULTILINE)
