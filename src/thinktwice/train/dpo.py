"""The same training on pairs behind TRL's DPOTrainer: our ids, masks and reference; its devices and processes.

TRL would cut every side at 1024 tokens, from the end (the default of `max_length`), tokenise text again, and keep a
second model or adapter for the reference; none of that happens here.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from peft import PeftModel
from torch import Tensor, nn
from transformers import PretrainedConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from thinktwice.train.behind_trl import Job, Ours, check_settings, options, processes, spread
from thinktwice.train.device import choose_device, choose_precision, enable_checkpointing
from thinktwice.train.loop import Evaluate, Progress, TrainResult
from thinktwice.train.pairs import PairBatch, PairSteps, ReferencedPair, collate_pairs, held_out_batches
from thinktwice.train.preference import measure, still
from thinktwice.train.settings import Training
from thinktwice.train.sharding import configured
from thinktwice.train.vocab import quiet


def join_processes() -> None:
    """Meet the other processes, where there are any, so that they can share the reference's work."""
    PartialState(cpu=choose_device().type == "cpu")


def train_trl_pairs(
    model: nn.Module,
    pairs: Sequence[ReferencedPair],
    settings: Training,
    tokenizer: Any,
    *,
    out_dir: Path,
    dev: Sequence[ReferencedPair] = (),
    progress: Progress | None = None,
    base: str = "",
    evaluate: Evaluate | None = None,
) -> TrainResult:
    """Train `model` in place on pairs, as `train_loop` does, on one or several processes.

    Law: on one process the same losses and, in fp32, the same weights as `train_loop`; the rest as `sft.train_trl`.

    Raises:
        ConfigError: settings TRL's loop does not carry (muon).
        TrainError: as `train_loop`.
    """
    check_settings(settings)
    pad_id = tokenizer.pad_token_id or 0
    source = PairSteps(pairs, settings, pad_id)
    plan = spread([(step, float(len(step))) for step in source.rows()], settings)
    precision = choose_precision(settings, choose_device())
    torch.manual_seed(settings.seed)
    if settings.gradient_checkpointing:
        enable_checkpointing(model)
    still(model)
    identity = {
        "settings": settings.fingerprint(),
        "data": source.fingerprint,
        "base": base,
        "precision": precision,
        "world_size": processes(),
        **configured(settings),
    }
    batches = held_out_batches(dev, settings, pad_id)
    job = Job(plan, partial(collate_pairs, pad_id=pad_id), settings, batches, progress, out_dir, identity, evaluate)
    with quiet():
        ours = options(settings, source.total, precision, out_dir, DPOConfig.__dataclass_fields__)
        config = DPOConfig(beta=settings.beta, precompute_ref_log_probs=True, disable_dropout=False, **ours)
        # With an adapter TRL would copy it, to have a reference; something else in its place keeps it from that.
        nobody = {"ref_model": _Nobody()} if isinstance(model, PeftModel) else {}
        trainer = _Pairs(model, config, job, tokenizer, **nobody)
        trainer.ref_model = None
        return trainer.run()


class _Pairs(Ours, DPOTrainer):
    """DPOTrainer with our loss, on sides that are token ids already and whose reference is known."""

    def measure(self, model: Any, batch: PairBatch) -> tuple[Tensor, Sequence[float]]:
        """Return (the pairs' summed losses, their summed numbers)."""
        nll_N = self.nll(model, batch.rows).reshape(-1)[batch.supervised_N]
        loss, numbers = measure(nll_N, batch, self.settings)
        return loss, numbers.tolist()

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _Nobody(nn.Module):
    """Stands where TRL looks for a reference model; it is never asked anything."""

    def __init__(self) -> None:
        super().__init__()
        self.config = PretrainedConfig()
