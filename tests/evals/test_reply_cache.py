import subprocess
import sys

import pytest

pytest.importorskip("lm_eval")

from thinktwice.errors import DataError
from thinktwice.evals import cache
from thinktwice.types import Step, Trace

WRITE = """
import sys
from pathlib import Path
from thinktwice.evals.cache import ReplyCache
from thinktwice.types import Step, Trace
store = ReplyCache(Path(sys.argv[1]))
for index in range(40):
    store.add({str(index): Trace(str(index), (Step("text", sys.argv[2], (index,)),))})
"""


def test_what_is_kept_comes_back(tmp_path):
    store = cache.ReplyCache(tmp_path / "deep" / "cache")
    trace = Trace("p", (Step("error", "x", (1, 2), kept=False), Step("text", "é", (3,))), "budget")
    store.add({"a": trace, "b": Trace("q", stop="error", error="boom")})
    assert cache.ReplyCache(store.path).find(["a", "b", "c", "a"]) == {"a": trace}


def test_two_processes_share_one_file(tmp_path):
    store = cache.ReplyCache(tmp_path / "cache")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(store.path), name]) for name in "xy"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = store.find([str(index) for index in range(40)])
    assert {key: trace.problem_id for key, trace in found.items()} == {str(i): str(i) for i in range(40)}


def test_another_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at")
    with pytest.raises(DataError, match="is not a reply cache"):
        cache.ReplyCache(tmp_path / "notes.txt")


def test_keys_depend_on_every_part_and_not_on_order():
    assert cache.key(a=1, b=[2]) == cache.key(b=[2], a=1) != cache.key(a=1, b=[3])
