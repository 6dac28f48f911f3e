"""The scripted engine: what it is told, through the controls."""

import subprocess
import sys

from thinktwice.decode.undo import UndoRun
from thinktwice.engines.base import Engine
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.types import Append, Sampling

UNDO = 0


def test_replays_scripts_in_order_over_calls():
    engine: Engine = ScriptedEngine([[5, 6], [7], [8, 3, 9]], eos_ids=[3])
    first = engine.generate([[1], [2]], Sampling())
    assert [c.kept_ids for c in first] == [(5, 6), (7,)]
    assert [c.stop for c in first] == ["done", "done"]
    (last,) = engine.generate([[4]], Sampling())
    assert (last.kept_ids, last.stop) == ((8, 3), "done")
    (missing,) = engine.generate([[4]], Sampling())
    assert missing.stop == "error"
    assert "prompt 4" in missing.error
    assert engine.prompts == [(1,), (2,), (4,), (4,)]


def test_controls_budgets_and_stop_strings_apply():
    class Tool:
        watch = frozenset({7})

        def edit(self, row, drawn):
            return Append((70, 71)) if drawn == 7 else None

    engine = ScriptedEngine(lambda prompt: [5, UNDO, 6, 6, 7, 4], to_text=lambda ids: "".join(f"<{i}>" for i in ids))
    (row,) = engine.generate([[1]], Sampling(), controls=[UndoRun(UNDO), Tool()])
    assert row.fates == ("deleted", "control", "rejected", "kept", "kept", "inserted", "inserted", "kept")
    assert row.kept_ids == (6, 7, 70, 71, 4)
    (row,) = engine.generate([[1]], Sampling(max_new_tokens=2), controls=[UndoRun(UNDO)])
    assert (row.kept_ids, row.stop) == ((), "budget")
    (row,) = engine.generate([[1]], Sampling(stop=("<6><7>",)), controls=[UndoRun(UNDO)])
    assert (row.kept_ids, row.stop) == ((6, 7), "done")


def test_a_script_that_draws_what_is_banned_says_so():
    engine = ScriptedEngine([[5, UNDO, 6, 5]])
    (row,) = engine.generate([[1]], Sampling(), controls=[UndoRun(UNDO)])
    assert row.stop == "error"
    assert "draws 5 at depth 1" in row.error


def test_needs_no_torch():
    code = (
        "import sys, thinktwice.engines.scripted, thinktwice.decode.undo;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
