"""The same training behind TRL's SFTTrainer: our ids, targets, weights and masks; its devices and processes."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from thinktwice.train.batch import Batch, ExampleSteps, collate, fingerprint
from thinktwice.train.behind_trl import Job, Ours, check_settings, options, processes, spread
from thinktwice.train.device import choose_device, choose_precision, enable_checkpointing
from thinktwice.train.loop import Evaluate, Progress, TrainResult, dev_batches
from thinktwice.train.settings import Training
from thinktwice.train.sharding import configured
from thinktwice.train.vocab import quiet
from thinktwice.types import Example


def train_trl(
    model: nn.Module,
    examples: Sequence[Example],
    settings: Training,
    tokenizer: Any,
    *,
    out_dir: Path,
    dev: Sequence[Example] = (),
    progress: Progress | None = None,
    base: str = "",
    evaluate: Evaluate | None = None,
) -> TrainResult:
    """Train `model` in place, as `train_loop` does, on one or several processes.

    Law: on one process the same losses and, in fp32, the same weights as `train_loop`; checkpoints count only with a
    manifest whose hashes match; a loss or gradient that is not finite stops the training.

    Raises:
        ConfigError: settings TRL's loop does not carry (muon).
        TrainError: as `train_loop`.
    """
    check_settings(settings)
    pad_id = tokenizer.pad_token_id or 0
    source = ExampleSteps(examples, settings, pad_id)
    plan = spread([(rows, _weight(rows)) for rows in source.rows()], settings)
    precision = choose_precision(settings, choose_device())
    torch.manual_seed(settings.seed)
    if settings.gradient_checkpointing:
        enable_checkpointing(model)
    identity = {
        "settings": settings.fingerprint(),
        "data": fingerprint(examples),
        "base": base,
        "precision": precision,
        "world_size": processes(),
        **configured(settings),
    }
    gather = partial(collate, pad_id=pad_id)
    job = Job(plan, gather, settings, dev_batches(dev, settings), progress, out_dir, identity, evaluate)
    with quiet():
        names = SFTConfig.__dataclass_fields__
        ours = options(settings, source.total, precision, out_dir, names)
        config = SFTConfig(dataset_kwargs={"skip_prepare_dataset": True}, **ours)
        return _Examples(model, config, job, tokenizer).run()


def _weight(rows: Sequence[Sequence[Example]]) -> float:
    return math.fsum(weight for row in rows for example in row for weight in example.weights)


class _Examples(Ours, SFTTrainer):
    """SFTTrainer with weighted targets."""

    def measure(self, model: Any, batch: Batch) -> tuple[Tensor, Sequence[float]]:
        """Return sum(weight * nll)."""
        return (self.nll(model, batch) * batch.weights_BT).sum(), ()
