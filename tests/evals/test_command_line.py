"""The harness's own command line, in its own process, on a saved model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from thinktwice.evals import TASKS_DIR, evaluate, export
from thinktwice.evals.harness import ThinkTwiceLM


@pytest.mark.slow
@pytest.mark.parametrize("stock", [True, False], ids=["lm-eval", "python -m thinktwice.evals"])
def test_command_line_gives_the_same_numbers(slips, tokenizer, sevens, tmp_path, stock):
    model = tmp_path / "model"
    slips.save_pretrained(model)
    tokenizer.save_pretrained(model)
    data = export(sevens, tmp_path / "rows.jsonl")
    lm_eval = str(Path(sys.executable).with_name("lm-eval"))
    command = [lm_eval] if stock else [sys.executable, "-m", "thinktwice.evals"]
    task = str(TASKS_DIR / "thinktwice_arith.yaml") if stock else "thinktwice_arith"
    options = {
        "--model": ["thinktwice"],
        "--model_args": [f"pretrained={model}", "max_retractions=5"],
        "--include_path": [str(TASKS_DIR)],
        "--tasks": [task],
        "--metadata": [f"data={data}"],
        "--batch_size": ["4"],
        "--output_path": [str(tmp_path / "out")],
        "--log_samples": [],
    }
    done = subprocess.run(
        [*command, "run", *(word for option, values in options.items() for word in (option, *values))],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("out/**/results_*.json")
    results = json.loads(path.read_text())
    theirs = {
        k.removesuffix(",none"): v for k, v in results["results"]["thinktwice_arith"].items() if k.endswith(",none")
    }
    lm = ThinkTwiceLM.create_from_arg_obj({"pretrained": str(model), "device": "cpu"})
    ours = evaluate(lm, options={"data": str(data)})["thinktwice_arith"].metrics
    assert {name: value for name, value in theirs.items() if not name.endswith("_stderr")} == ours
    assert ours["accuracy"] == 0.5
    assert ours["undo_replies"] == 1.0
    assert not any("," in name for name in ours)
    (rows,) = tmp_path.glob("out/**/samples_*.jsonl")
    assert [json.loads(line)["accuracy"] for line in rows.read_text().splitlines()] == [1, 1, 1, 0, 1, 0, 0, 0]
    assert results["config"]["method"][1]["max_retractions"] == 5
