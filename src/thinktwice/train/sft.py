"""The same training behind TRL's SFTTrainer: our ids, targets, weights and masks; its devices and processes.

TRL prepares nothing: every row of its dataset is one of our micro-batches, in our order. Its fused head scores our
explicit targets (`shift_labels`), so one path serves plain, weighted and retracting examples alike, and the loss is
normalised over the whole step across micro-batches and processes.
"""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train.batch import Batch, ExampleSteps, collate, fingerprint
from thinktwice.train.checkpoint import MANIFEST, flush, sha256, verify
from thinktwice.train.device import choose_device, choose_precision, enable_checkpointing
from thinktwice.train.loop import ADVICE, Evaluate, Progress, TrainResult, dev_batches, name_problems
from thinktwice.train.metrics import Clock, Metrics, StepReport
from thinktwice.train.objective import forward_inputs
from thinktwice.train.optimizer import build_optimizers
from thinktwice.train.settings import Training
from thinktwice.train.vocab import quiet
from thinktwice.types import Example

log = logging.getLogger("thinktwice.train")
OVERFLOWS = 25
"""fp16: steps in a row whose gradient may overflow while the loss scale is being found."""


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
    if settings.optimizer != "adamw":
        raise ConfigError("training.backend=trl trains with adamw; use training.backend=loop for muon.")
    pad_id = tokenizer.pad_token_id or 0
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    plan = _plan(ExampleSteps(examples, settings, pad_id), settings, processes)
    precision = choose_precision(settings, choose_device())
    torch.manual_seed(settings.seed)
    if settings.gradient_checkpointing:
        enable_checkpointing(model)
    identity = {
        "settings": settings.fingerprint(),
        "data": fingerprint(examples),
        "base": base,
        "precision": precision,
        "world_size": processes,
    }
    steps = len(plan) // (settings.grad_accumulation * processes)
    with quiet():
        config = _config(settings, steps, precision, out_dir)
        trainer = _Trainer(model, config, plan, settings, dev, progress, out_dir, identity, tokenizer, evaluate)
        return trainer.run()


def _config(settings: Training, steps: int, precision: str, out_dir: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(out_dir / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=1,  # a row is a whole micro-batch
        gradient_accumulation_steps=settings.grad_accumulation,
        learning_rate=settings.lr,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=choose_device().type == "cpu",
        seed=settings.seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if settings.save_every else "no",
        save_steps=settings.save_every or 1,
        save_total_limit=2,
        eval_strategy="no",  # `_Trainer.log` measures dev itself, with weights
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        **_no_gradient_checkpointing(),
    )


def _no_gradient_checkpointing() -> dict[str, Any]:
    # TRL turns it on by default; Transformers is renaming it. It is enabled on the model itself, where asked for.
    names = SFTConfig.__dataclass_fields__
    return {
        name: False
        for name in ("activation_checkpointing", "gradient_checkpointing")
        if name in names and (name == "activation_checkpointing" or "activation_checkpointing" not in names)
    }


def _plan(source: ExampleSteps, settings: Training, processes: int) -> list[tuple[Any, float]]:
    """Return (rows of a micro-batch, weight of its whole step), for every micro-batch of every step and process."""
    parts = settings.grad_accumulation * processes
    plan: list[tuple[Any, float]] = []
    for rows in source.rows():
        total = math.fsum(weight for row in rows for example in row for weight in example.weights)
        size = -(-len(rows) // parts)
        pieces: list[Any] = [rows[start : start + size] for start in range(0, len(rows), size)]
        silent = [replace(example, weights=(0.0,) * len(example.weights)) for example in rows[0]]
        pieces += [[silent]] * (parts - len(pieces))  # every process takes part in every step
        plan += [(piece, total) for piece in pieces]
    return plan


class _Trainer(SFTTrainer):
    """SFTTrainer with our batches, our loss, our optimiser and schedule, and no silence about broken numbers."""

    def __init__(
        self,
        model: nn.Module,
        config: SFTConfig,
        plan: list[tuple[Any, float]],
        settings: Training,
        dev: Sequence[Example],
        progress: Progress | None,
        out_dir: Path,
        identity: dict[str, Any],
        tokenizer: Any,
        evaluate: Evaluate | None,
    ) -> None:
        self.evaluate_answers = evaluate
        self.plan, self.settings, self.progress, self.out_dir, self.identity = (
            plan,
            settings,
            progress,
            out_dir,
            identity,
        )
        self.dev = dev_batches(dev, settings)
        if settings.early_stopping and not self.dev:
            raise ConfigError("training.early_stopping needs dev examples; give some or set it to 0.")
        self.counts = {"tokens": 0, "supervised": 0, "overflows": 0, "bad_evaluations": 0, "best_step": 0}
        self.net, self.pad_id = model, tokenizer.pad_token_id or 0
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.dev_loss = math.inf, math.nan
        self.step_sums, self.step_names = [0.0, 0.0, 0.0], list[str]()
        super().__init__(
            model=cast(Any, model),
            args=config,
            train_dataset=Dataset.from_dict({"input_ids": [[0]] * len(plan), "row": list(range(len(plan)))}),
            data_collator=self._collate,
            processing_class=tokenizer,
            callbacks=[_Checkpoints(self)],
        )
        cast(Any, self).loss_is_scaled_for_ga = True  # `compute_loss` divides by the weight of the whole step

    def run(self) -> TrainResult:
        newest = self._newest_checkpoint()
        state = {} if newest is None else json.loads((newest / "early.json").read_text(encoding="utf-8"))
        step = state.get("step", 0)
        if newest is not None:
            self.counts, self.best_loss, self.dev_loss = state["counts"], state["best_loss"], state["dev_loss"]
            self.best = load_file(newest / "best.safetensors") if (newest / "best.safetensors").exists() else {}
        path = self.out_dir / "metrics.jsonl" if self.is_world_process_zero() else None
        self.metrics, self.clock = Metrics(path, step), Clock(step, self.counts["tokens"])
        self.train(resume_from_checkpoint=None if newest is None else str(newest))
        if self.settings.early_stopping:
            named = dict(self.net.named_parameters())
            with torch.no_grad():
                for name, tensor in self.best.items():
                    named[name].copy_(tensor)
            self.dev_loss = self.best_loss
        self.net.eval()
        steps = self.state.global_step
        return TrainResult(
            steps=steps,
            tokens=self.counts["tokens"],
            supervised=self.counts["supervised"],
            loss=self.state.log_history[-1].get("step_loss", math.nan) if self.state.log_history else math.nan,
            dev_loss=self.dev_loss if self.dev else None,
            best_step=self.counts["best_step"] if self.settings.early_stopping else steps,
        )

    def _collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        (row,) = rows
        micro, total = self.plan[row["row"]]
        batch = collate(micro, self.pad_id)
        return {"input_ids": batch.input_ids_BT, "batch": batch, "total": total}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(range(len(self.plan)))  # the plan is in its order already

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Use the same groups as our own loop."""
        if self.optimizer is None:
            (self.optimizer,) = build_optimizers(self.net if model is None else model, self.settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Use the same schedule as our own loop."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                cast(torch.optim.Optimizer, optimizer or self.optimizer),
                lambda step: self.settings.learning_rate(min(step, num_training_steps - 1), num_training_steps, 1.0),
            )
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the micro-batch's part of sum(weight * nll) / sum(weight) of the whole step."""
        batch: Batch = inputs["batch"].to(self.args.device)
        # DDP averages gradients over processes; the sum over the step's micro-batches is what we want.
        loss: Tensor = self._weighted_nll(model, batch) * (self.accelerator.num_processes / inputs["total"])
        self._count(batch, float(loss.detach()))
        return loss

    def _weighted_nll(self, model: Any, batch: Batch) -> Tensor:
        out = model(**forward_inputs(self.net, batch), shift_labels=batch.targets_BT, fused_lm_head=True)
        total: Tensor = -(out.log_probs.float() * batch.weights_BT).sum()
        return total

    def _count(self, batch: Batch, loss: float) -> None:
        supervised = len(batch.supervised_N)
        learned = (loss / self.accelerator.num_processes, batch.tokens if supervised else 0, supervised)
        self.step_sums = [sum(pair) for pair in zip(self.step_sums, learned, strict=True)]
        self.step_names += batch.problem_ids
        if not math.isfinite(loss):
            names = name_problems(self.step_names)
            raise TrainError(f"The loss is {loss} at step {self.state.global_step + 1} ({names}). {ADVICE}")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write one of our reports for every step; TRL's own numbers stay in its state."""
        if "grad_norm" not in logs:
            return
        sums = torch.tensor(self.step_sums, dtype=torch.float64, device=self.args.device)
        loss, tokens, supervised = cast(Tensor, self.accelerator.reduce(sums, "sum")).tolist()
        self.counts["tokens"] += int(tokens)
        self.counts["supervised"] += int(supervised)
        step, steps, norm = self.state.global_step, self.args.max_steps, float(logs["grad_norm"])
        self.counts["overflows"] = 0 if math.isfinite(norm) else self.counts["overflows"] + 1
        if self.counts["overflows"] > (OVERFLOWS if self.args.fp16 else 0):
            raise TrainError(f"The gradient is {norm} at step {step} ({name_problems(self.step_names)}). {ADVICE}")
        due = (self.settings.eval_every and step % self.settings.eval_every == 0) or step == steps
        measured = self._evaluate_dev() if self.dev and due else None
        accuracy = self._answer() if self.evaluate_answers is not None and due else None
        speed, eta = self.clock.read(step, steps, self.counts["tokens"])
        lr = self.settings.learning_rate(step - 1, steps)
        report = StepReport(step, steps, loss, lr, norm, self.counts["tokens"], speed, eta, measured, accuracy)
        self.state.log_history.append({"step": step, "step_loss": loss})
        ended = step == steps or self.control.should_training_stop
        if step % self.settings.log_every == 0 or due or ended or step == 1:
            self.metrics.write(report)
        if self.progress is not None and self.is_world_process_zero():
            self.progress(report)
        self.step_sums, self.step_names = [0.0, 0.0, 0.0], []

    def _answer(self) -> float:
        assert self.evaluate_answers is not None
        self.net.eval()
        accuracy = self.evaluate_answers(self.net)
        self.net.train()
        return accuracy

    @torch.no_grad()
    def _evaluate_dev(self) -> float:
        self.net.eval()
        total, weight = 0.0, 0.0
        for batch in self.dev:
            with self.compute_loss_context_manager():
                total += float(self._weighted_nll(self.net, batch.to(self.args.device)))
            weight += batch.weight
        self.net.train()
        self.dev_loss = total / weight
        if not math.isfinite(self.dev_loss):
            raise TrainError(f"The dev loss is {self.dev_loss} after step {self.state.global_step}. {ADVICE}")
        if self.settings.early_stopping and self.dev_loss < self.best_loss:
            self.best_loss, self.counts["bad_evaluations"] = self.dev_loss, 0
            self.counts["best_step"] = self.state.global_step
            named = self.net.named_parameters()
            self.best = {name: p.detach().to("cpu", copy=True) for name, p in named if p.requires_grad}
        elif self.settings.early_stopping:
            self.counts["bad_evaluations"] += 1
            self.control.should_training_stop = self.counts["bad_evaluations"] >= self.settings.early_stopping
        return self.dev_loss

    def _newest_checkpoint(self) -> Path | None:
        folders = (self.out_dir / "checkpoints").glob("checkpoint-*")
        for folder in sorted(folders, key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True):
            try:
                manifest = verify(folder)
            except (OSError, ValueError, KeyError) as damage:
                log.warning("Checkpoint %s is damaged (%s); going back to the one before.", folder, damage)
                continue
            if manifest["identity"] != self.identity:
                raise TrainError(f"{folder} belongs to another training. Use a new directory, or undo the change.")
            return folder
        return None


class _Checkpoints(TrainerCallback):
    """Completes TRL's checkpoints with our state and, last, the manifest that makes them count."""

    def __init__(self, trainer: _Trainer) -> None:
        self.trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.accelerator.wait_for_everyone()
        if not trainer.is_world_process_zero():
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        record = {
            "step": state.global_step,
            "counts": trainer.counts,
            "best_loss": trainer.best_loss,
            "dev_loss": trainer.dev_loss,
        }
        (folder / "early.json").write_text(json.dumps(record), encoding="utf-8")
        if trainer.best:
            save_file(trainer.best, folder / "best.safetensors")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            flush(path)
        manifest = {
            "files": {str(path.relative_to(folder)): sha256(path) for path in files},
            "identity": trainer.identity,
        }
        aside = folder / f".{MANIFEST}"
        aside.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        flush(aside)
        os.replace(aside, folder / MANIFEST)
        flush(folder)
