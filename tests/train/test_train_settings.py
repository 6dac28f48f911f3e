import math
import subprocess
import sys

import pytest

from thinktwice.errors import ConfigError
from thinktwice.train.settings import Training


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"steps": 0}, "steps"),
        ({"epochs": 0}, "epochs"),
        ({"tokens_per_step": 0}, "tokens_per_step"),
        ({"batch_size": 2, "grad_accumulation": 4}, "grad_accumulation"),
        ({"decay_share": 0.0}, "decay_share"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"early_stopping": 2}, "eval_every"),
        ({"embedding_lr": 1e-3}, "optimizer=muon"),
        ({"optimizer": "muon", "mode": "lora"}, "muon"),
        ({"lora_targets": ()}, "lora_targets"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
    ],
)
def test_contradictions_are_refused_by_name(options, field):
    with pytest.raises(ConfigError, match=field):
        Training(**options)


def test_schedules():
    constant = Training(schedule="constant", warmup_steps=4, lr=1.0)
    assert [constant.learning_rate(s, 10) for s in (0, 3, 4, 9)] == [0.25, 1.0, 1.0, 1.0]
    linear = Training(schedule="linear", lr=1.0)
    assert [linear.learning_rate(s, 4) for s in range(4)] == [1.0, 0.75, 0.5, 0.25]
    cosine = Training(schedule="cosine", lr=2.0)
    assert cosine.learning_rate(0, 10) == 2.0
    assert cosine.learning_rate(5, 10) == pytest.approx(1.0)
    stable = Training(schedule="wsd", decay_share=0.5, warmup_steps=2, lr=1.0)
    assert [stable.learning_rate(s, 8) for s in range(8)] == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    for schedule in ("linear", "cosine", "wsd"):
        assert Training(schedule=schedule, lr=1.0).learning_rate(99, 100) > 0  # the last step still learns


def test_fingerprint_is_of_what_decides_the_weights():
    assert Training(log_every=1, save_every=7).fingerprint() == Training().fingerprint()
    assert Training(seed=1).fingerprint() != Training().fingerprint()


def test_settings_need_no_torch():
    code = "import sys, thinktwice.train.settings, thinktwice.train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
