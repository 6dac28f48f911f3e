import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from thinktwice.config import Recipe, load, parse
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods import build_method
from thinktwice.methods.react.grammar import build_grammar
from thinktwice.methods.react.written import read_episode
from thinktwice.pipeline import run_recipe
from thinktwice.records import Summary, TraceRecord
from thinktwice.render import PLAIN, Render
from thinktwice.run import Run
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.tools.build import corpus_of
from thinktwice.train.nano import tokenizer
from thinktwice.types import Completion, Problem, Sampling

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def finished(recipe: str, out: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[Run, Summary]:
    """Run a recipe of examples/ from the repository's root, as its reader does, made small."""
    monkeypatch.chdir(ROOT)
    root = run_recipe(load(Recipe, Path("examples") / recipe, overrides), out / "run")
    run = Run.load(root)
    return run, parse(Summary, run.summary() or {})


def records(run: Run, arm: str) -> list[TraceRecord]:
    return [parse(TraceRecord, row) for row in run.traces(arm).done.values()]


def test_the_task_in_one_file_is_a_sound_task() -> None:
    task = load_task(f"{EXAMPLES}/add_a_task.py:sums", terms=(2, 3), train=60, per_level=8)
    check_disjoint(task)
    assert {p.level for p in task.splits["test"]} == {1, 2}
    assert task.oracle is not None
    for problem in [p for split in task.splits.values() for p in split]:
        assert problem.solution is not None
        assert task.score(problem, problem.solution).value == 1
        assert task.oracle.first_wrong(problem, problem.solution) is None
    longest = max(task.splits["test"], key=lambda p: p.level)
    assert task.oracle.plausible_errors(longest, "")  # what `backtrack` plants
    again = load_task(f"{EXAMPLES}/add_a_task.py:sums", terms=(2, 3), train=60, per_level=8)
    assert [p.id for p in again.splits["test"]] == [p.id for p in task.splits["test"]]


def test_the_task_in_one_file_runs_in_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("task.train=30", "task.per_level=3", "train.steps=2", "train.tokens_per_step=400", "method.biases=[]")
    tiny = ("evaluation.problems=3", "evaluation.dev_problems=0", "decode.max_new_tokens=8")
    run, summary = finished("add_a_task.yaml", tmp_path, monkeypatch, *small, *tiny)
    assert {level: cell.n for level, cell in summary.arms["control"].items()} == {1: 3, 2: 3, 3: 3}
    assert {r.question.split()[0] for r in records(run, "backtrack")} == {"What"}
    planted = (run.root / "stages/collect-backtrack/traces.jsonl").read_text()
    assert '"undo"' in planted


def test_the_method_in_one_file_runs_beside_its_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("task.per_level=24", "evaluation.problems=24", "task.levels=[6]", "evaluation.levels=[6]")
    run, summary = finished(
        "add_a_method.yaml", tmp_path, monkeypatch, *small, "evaluation.in_distribution=null", "method.sure=0.9"
    )
    assert summary.headline is not None
    assert {a: cells[6].n for a, cells in summary.arms.items()} == dict.fromkeys(
        ("once", "likelier_of_two", "second_thought"), 24
    )
    traces = {r.key: r.trace for r in records(run, "second_thought")}
    plain = {r.key: r.trace for r in records(run, "once")}
    rewound = [t for t in traces.values() if any(s.rewind and s.rewind.n for s in t.steps)]
    outvoted = [key for key, t in traces.items() if t.steps[0].kind == "text" and not t.steps[0].kept]
    assert rewound
    assert outvoted
    for key in outvoted:
        assert traces[key].reply == plain[key].reply
    for key, trace in traces.items():  # nothing is free: whoever thinks twice pays for both
        assert trace.sampled_tokens >= plain[key].sampled_tokens
    cells = (summary.arms["second_thought"][6], summary.arms["once"][6])
    assert (cells[0].sampled_tokens or 0) > (cells[1].sampled_tokens or 0)


def test_a_second_thought_goes_back_to_the_least_likely_token() -> None:
    render = Render(tokenizer(), PLAIN)  # type: ignore[arg-type]
    method = build_method(f"{EXAMPLES}/add_a_method.py:SecondThought", {"sure": 0.5})
    problem = Problem("p", "How many?", "7")
    prompt = render.prompt(problem)
    unsure = render.encode("#### 8\n")

    class Doubtful(ScriptedEngine):
        """The first reply is unsure of its last number; the script then tries the banned token once."""

        def generate(self, prompts: Any, sampling: Any, **options: Any) -> list[Completion]:
            if tuple(prompts[0]) == prompt:
                probabilities = tuple(-1.0 if i == 1 else -0.1 for i in range(len(unsure)))
                return [Completion(unsure, ("kept",) * len(unsure), probabilities, "done")]
            return super().generate(prompts, sampling, **options)

    engine = Doubtful([[unsure[1], *render.encode(" 7"), render.end_id]], eos_ids={render.end_id})
    (trace,) = method.solve([problem], engine, render, Sampling())
    assert engine.prompts == [(*prompt, unsure[0])]
    assert [(s.kind, s.kept) for s in trace.steps] == [
        ("text", True),
        ("error", False),
        ("text", False),
        ("text", True),
    ]
    assert trace.steps[1].rewind is not None
    assert (trace.steps[1].rewind.n, trace.steps[1].rewind.ban) == (len(unsure) - 1, (unsure[1],))
    assert trace.reply == "#### 7"


def test_the_corpus_and_the_tool_in_one_file_carry_an_episode(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLES / "add_a_corpus.py"))
    (tmp_path / "rivers").mkdir()
    (tmp_path / "rivers/aare.md").write_text("# Aare\nAlso: Aar, Arole\n\nThe Aare is 288 km long.\n")
    (tmp_path / "rivers/rhone.md").write_text("# Rhone\n\nThe Rhone is 813 km long.\n")
    pages = corpus_of(example["notes"](tmp_path), "notes")
    tool = example["Desk"](pages)
    assert (pages.info.documents, pages.info.redirects) == (2, 2)
    assert tool.corpus != pages.corpus
    grammar = build_grammar("text", Render(tokenizer()))  # type: ignore[arg-type]
    turns = [("", "search", "Arole"), ("", "search", "Rhone"), ("", "search", "813 - 288"), ("", "answer", "525 km")]
    other = [("", "search", "no such river"), ("", "answer", "unknown")]
    engine = ScriptedEngine([[i for turn in each for i in grammar.act(*turn)] for each in (turns, other)])
    first, second = example["ask"](["By how much is the Rhone longer?", "How long is it?"], engine, grammar, tool)
    episode = read_episode(first, grammar)
    assert [turn.sources[:1] for turn in episode.turns] == [("Aare",), ("Rhone",), ("calculator",), ()]
    assert "813 - 288 = 525" in episode.turns[2].observation
    assert episode.answer == "525 km"
    assert first.corpus == tool.corpus
    assert read_episode(second, grammar).turns[0].sources == ()  # nothing found is an observation
    assert second.stop == "done"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_notebook_runs_and_ends_with_a_plot(tmp_path: Path) -> None:
    # In a process of its own: the kernel's client opens sockets that the interpreter may close with warnings.
    source = EXAMPLES / "first_run.ipynb"
    script = (
        "import sys, nbformat, nbclient\n"
        "book = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(book, timeout=240, kernel_name='python3').execute()\n"
        "nbformat.write(book, sys.argv[2])\n"
    )
    out = tmp_path / "executed.ipynb"
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    subprocess.run([sys.executable, "-c", script, source, out], check=True, cwd=tmp_path, env=quiet)
    for place in (source, out):
        cells = [c for c in json.loads(place.read_text())["cells"] if c["cell_type"] == "code"]
        assert all(c["execution_count"] for c in cells)
        last = [data for o in cells[-1]["outputs"] for data in o.get("data", {})]
        assert "image/svg+xml" in last, place
    assert str(ROOT) not in source.read_text()
