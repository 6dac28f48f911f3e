from pathlib import Path

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.methods import build_method
from thinktwice.render import PLAIN, Render
from thinktwice.tasks import check_disjoint, load_task
from thinktwice.train.nano import tokenizer
from thinktwice.types import Sampling

PARITY = Path(__file__).parents[1] / "examples" / "parity.py"


def test_a_task_and_a_method_in_one_file_need_no_registration() -> None:
    task = load_task(f"{PARITY}:parity", count=12)
    check_disjoint(task)
    render = Render(tokenizer(), PLAIN)  # type: ignore[arg-type]
    vote = build_method(f"{PARITY}:Vote", {"k": 3})
    problems = list(task.splits["test"])[:2]  # 2 and 5
    said = [render.encode(word) for word in ("yes", "no", "yes", "yes", "no", "no")]
    engine = ScriptedEngine([(*ids, render.end_id) for ids in said], eos_ids=frozenset({render.end_id}))
    traces = vote.solve(problems, engine, render, Sampling())
    assert [trace.reply for trace in traces] == ["yes", "no"]
    assert [task.score(p, t.reply).value for p, t in zip(problems, traces, strict=True)] == [1.0, 1.0]
