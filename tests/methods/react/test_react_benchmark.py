"""The benchmark runs, and its arms write the very same tokens."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks/react.py"


def test_every_arm_writes_the_same_episodes(tmp_path):
    out = tmp_path / "react.json"
    words = [sys.executable, str(BENCHMARK), "--questions", "4", "--rounds", "1", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    for delay in ("0 ms", "20 ms"):
        assert found[delay]["the same tokens one at a time"] == 4
        assert found[delay]["the same tokens in lock-step"] == 4
        assert set(found[delay]["ratios"]) >= {"one at a time", "lock-step"}
        assert sum(found[delay]["turns"].values()) == 4
    assert len(found["0 ms"]["turns"]) > 1  # of different lengths, or there would be nothing to refill
    assert "one at a time / in flight" in done.stdout
