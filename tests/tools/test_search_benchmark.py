import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks/search.py"


def test_the_benchmark_measures_every_size_and_engine(tmp_path):
    out = tmp_path / "search.json"
    words = [sys.executable, str(BENCHMARK), "--sizes", "300,1500", "--queries", "20", "--out", str(out)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["sizes"]
    assert [size["documents"] for size in found] == [300, 1500]
    for size in found:
        for kind in ("question", "title"):
            assert 0 < size["fts5"][kind]["p50_ms"] <= size["fts5"][kind]["p95_ms"]
    assert "a question, 1,500 documents: FTS5 takes" in done.stdout
