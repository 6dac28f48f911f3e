import importlib.util
import json
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks/transplant.py"


def test_the_benchmark_compares_three_ways_that_learn_the_same(tmp_path, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("transplant_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    size = module.Size(items=2, question=8, solution=12, layers=2, hidden=32)
    out = tmp_path / "transplant.json"
    module.measure(size, 1, tmp_path / "base", out, lambda *_: 1)  # losses and gradients are compared inside
    found = json.loads(out.read_text())
    assert set(found["step_s"]) == set(module.WAYS)
    assert all(seconds > 0 for seconds in (*found["step_s"].values(), *found["answer_s"].values()))
    assert "same losses and gradients" in capsys.readouterr().out
    choices = module.make_choices(size)
    loss, _ = module.build(size, tmp_path / "base", "ours")
    assert module.peak_bytes(lambda: loss().backward(), loss) >= 0
    assert {choice.right for choice in choices} == {0, 1}
