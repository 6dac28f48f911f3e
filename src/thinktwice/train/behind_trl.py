"""What is ours in a training behind TRL: batches, order, optimiser, schedule, reports, checkpoints that count.

TRL prepares nothing: every row of its dataset is one of our micro-batches, in our order, so that its default lengths
cut nothing. Its fused head scores our explicit targets (`shift_labels`), so one path serves plain, weighted, retracting
and paired examples alike, and the loss is normalised over the whole step across micro-batches and processes.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train.batch import Batch, MicroBatch
from thinktwice.train.checkpoint import MANIFEST, flush, sha256, verify
from thinktwice.train.device import choose_device
from thinktwice.train.loop import ADVICE, Evaluate, Progress, TrainResult, name_problems
from thinktwice.train.metrics import Clock, Metrics, Preference, StepReport
from thinktwice.train.objective import forward_inputs
from thinktwice.train.optimizer import build_optimizers
from thinktwice.train.preference import SUMS, DropGuard, summary
from thinktwice.train.settings import Training
from thinktwice.train.sharding import check_deepspeed, gather, stage_of

log = logging.getLogger("thinktwice.train")
OVERFLOWS = 25
"""fp16: steps in a row whose gradient may overflow while the loss scale is being found."""
COLUMN = "row"
"""The one column of TRL's dataset that means something: which micro-batch a row is."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does of one step between two exchanges: a micro-batch, not yet in tensors."""

    rows: Any
    total: float
    """Weight of the whole step."""
    live: bool = True
    """False of one that only fills up: every process takes part in every step, and this one learns nothing from it."""


@dataclass(frozen=True)
class Job:
    """Everything that a training behind TRL is given, for examples and pairs alike."""

    plan: Sequence[Part]
    collate: Callable[[Any], MicroBatch]
    settings: Training
    dev: Sequence[MicroBatch]
    progress: Progress | None
    out_dir: Path
    identity: dict[str, Any]
    evaluate: Evaluate | None


def check_settings(settings: Training) -> None:
    """Refuse what TRL's loop does not carry.

    Raises:
        ConfigError: naming the setting.
    """
    if settings.optimizer != "adamw":
        raise ConfigError("training.backend=trl trains with adamw; use training.backend=loop for muon.")
    check_deepspeed(settings)


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def spread(steps: Sequence[tuple[Sequence[Any], float]], settings: Training) -> list[Part]:
    """Return the parts of every step (its rows, its weight) for every micro-batch and process."""
    parts = settings.grad_accumulation * processes()
    plan: list[Part] = []
    for rows, total in steps:
        size = -(-len(rows) // parts)
        pieces = [Part(rows[start : start + size], total) for start in range(0, len(rows), size)]
        plan += pieces + [Part(rows[:1], total, live=False)] * (parts - len(pieces))
    return plan


def options(settings: Training, steps: int, precision: str, out_dir: Path, names: Any) -> dict[str, Any]:
    """Return what SFTConfig and DPOConfig are told alike; `names` are the fields that the installed version has."""
    return {
        "output_dir": str(out_dir / "checkpoints"),
        "max_steps": steps,
        "per_device_train_batch_size": 1,  # a row is a whole micro-batch
        "gradient_accumulation_steps": settings.grad_accumulation,
        "learning_rate": settings.lr,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": choose_device().type == "cpu",
        "deepspeed": settings.deepspeed,
        "seed": settings.seed,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if settings.save_every else "no",
        "save_steps": settings.save_every or 1,
        "save_total_limit": 2,
        "eval_strategy": "no",  # `Ours.log` measures dev itself, with weights
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "max_length": None,
        "dataloader_pin_memory": False,
        **_no_gradient_checkpointing(names),
    }


def _no_gradient_checkpointing(names: Any) -> dict[str, Any]:
    # TRL turns it on by default; Transformers is renaming it. It is enabled on the model itself, where asked for.
    return {
        name: False
        for name in ("activation_checkpointing", "gradient_checkpointing")
        if name in names and (name == "activation_checkpointing" or "activation_checkpointing" not in names)
    }


class Ours(Trainer):
    """Mixed into one of TRL's trainers: our batches, optimiser and schedule, and no silence about broken numbers."""

    def __init__(self, model: nn.Module, config: Any, job: Job, tokenizer: Any, **more: Any) -> None:
        self.job, self.settings, self.out_dir = job, job.settings, job.out_dir
        self.dev = job.dev
        if self.settings.early_stopping and not self.dev:
            raise ConfigError("training.early_stopping needs dev examples; give some or set it to 0.")
        self.counts = {"tokens": 0, "supervised": 0, "overflows": 0, "bad_evaluations": 0, "best_step": 0}
        self.net = model
        self.guard = DropGuard(self.settings.max_chosen_drop)
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.dev_loss = math.inf, math.nan
        self.dev_preference: Preference | None = None
        self.step_sums, self.step_names = [0.0] * (3 + SUMS), list[str]()
        plan = Dataset.from_dict({"input_ids": [[0]] * len(job.plan), COLUMN: list(range(len(job.plan)))})
        super().__init__(
            model=cast(Any, model),
            args=config,
            train_dataset=plan,
            data_collator=self._collate,
            processing_class=tokenizer,
            callbacks=[_Checkpoints(self)],
            **more,
        )
        if self.settings.deepspeed is not None and not self.is_deepspeed_enabled:
            raise TrainError(
                "training.deepspeed was given, but DeepSpeed does not train; this is a bug, please report it."
            )
        cast(Any, self).loss_is_scaled_for_ga = True  # `compute_loss` divides by the weight of the whole step

    def run(self) -> TrainResult:
        """Train, from the newest checkpoint that is whole, and return how it ended."""
        newest = self._newest_checkpoint()
        state = {} if newest is None else json.loads((newest / "early.json").read_text(encoding="utf-8"))
        step = state.get("step", 0)
        if newest is not None:
            self.counts, self.best_loss, self.dev_loss = state["counts"], state["best_loss"], state["dev_loss"]
            self.guard.recent.extend(state.get("chosen_changes", ()))
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
        if stage_of(self.settings) >= 3:
            gather(self.net, self.is_world_process_zero())
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
        part = self.job.plan[row[COLUMN]]
        return {"input_ids": torch.zeros(1, 1), "batch": self.job.collate(part.rows), "part": part}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(range(len(self.job.plan)))  # the plan is in its order already

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Use the same groups as our own loop."""
        if self.optimizer is None:
            (self.optimizer,) = build_optimizers(self.net if model is None else model, self.settings)
        return self.optimizer

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a checkpoint is not published."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Use the same schedule as our own loop."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                cast(torch.optim.Optimizer, optimizer or self.optimizer),
                lambda step: self.settings.learning_rate(min(step, num_training_steps - 1), num_training_steps, 1.0),
            )
        return self.lr_scheduler

    def measure(self, model: Any, batch: Any) -> tuple[Tensor, Sequence[float]]:
        """Return (loss summed over a batch, its numbers where it holds pairs)."""
        raise NotImplementedError

    def nll(self, model: Any, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of every target (B, T), 0 where there is none, by TRL's fused head."""
        out = model(**forward_inputs(self.net, batch), shift_labels=batch.targets_BT, fused_lm_head=True)
        nll_BT: Tensor = -out.log_probs.float()
        return nll_BT

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the micro-batch's part of the loss of the whole step."""
        part, batch = inputs["part"], inputs["batch"].to(self.args.device)
        summed, numbers = self.measure(model, batch)
        # DDP averages gradients over processes; the sum over the step's micro-batches is what we want.
        loss: Tensor = summed * (part.live * self.accelerator.num_processes / part.total)
        value = float(loss.detach())
        counts = (value / self.accelerator.num_processes, batch.tokens, len(batch.supervised_N), *numbers)
        if part.live:
            self.step_sums = [a + b for a, b in zip(self.step_sums, (*counts, *[0.0] * SUMS), strict=False)]
            self.step_names += batch.problem_ids
        if not math.isfinite(value):
            names = name_problems(self.step_names)
            raise TrainError(f"The loss is {value} at step {self.state.global_step + 1} ({names}). {ADVICE}")
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write one of our reports for every step; TRL's own numbers stay in its state."""
        if "grad_norm" not in logs:
            return
        sums = torch.tensor(self.step_sums, dtype=torch.float64, device=self.args.device)
        loss, tokens, supervised, *numbers = cast(Tensor, self.accelerator.reduce(sums, "sum")).tolist()
        preference = summary(numbers)
        self.counts["tokens"] += int(tokens)
        self.counts["supervised"] += int(supervised)
        step, steps, norm = self.state.global_step, self.args.max_steps, float(logs["grad_norm"])
        self.counts["overflows"] = 0 if math.isfinite(norm) else self.counts["overflows"] + 1
        if self.counts["overflows"] > (OVERFLOWS if self.args.fp16 else 0):
            raise TrainError(f"The gradient is {norm} at step {step} ({name_problems(self.step_names)}). {ADVICE}")
        due = (self.settings.eval_every and step % self.settings.eval_every == 0) or step == steps
        measured = self._evaluate_dev() if self.dev and due else None
        accuracy = self._answer() if self.job.evaluate is not None and due else None
        speed, eta = self.clock.read(step, steps, self.counts["tokens"])
        report = StepReport(
            step=step,
            steps=steps,
            loss=loss,
            lr=self.settings.learning_rate(step - 1, steps),
            grad_norm=norm,
            tokens=self.counts["tokens"],
            tokens_per_second=speed,
            eta_s=eta,
            dev_loss=measured,
            eval_acc=accuracy,
            preference=preference,
            dev_preference=self.dev_preference if measured is not None else None,
        )
        self.state.log_history.append({"step": step, "step_loss": loss})
        ended = step == steps or self.control.should_training_stop
        if step % self.settings.log_every == 0 or due or ended or step == 1:
            self.metrics.write(report)
        if self.job.progress is not None and self.is_world_process_zero():
            self.job.progress(report)
        self.step_sums, self.step_names = [0.0] * (3 + SUMS), []
        self.guard.see(step, preference)

    def _answer(self) -> float:
        assert self.job.evaluate is not None
        self.net.eval()
        accuracy = self.job.evaluate(self.net)
        self.net.train()
        return accuracy

    @torch.no_grad()
    def _evaluate_dev(self) -> float:
        self.net.eval()
        total, weight, sums = 0.0, 0.0, [0.0] * SUMS
        for batch in self.dev:
            with self.compute_loss_context_manager():
                loss, numbers = self.measure(self.net, batch.to(self.args.device))
            total += float(loss)
            sums = [a + b for a, b in zip(sums, numbers, strict=True)] if numbers else sums
            weight += batch.weight
        self.dev_preference = summary(sums)
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
            if manifest["identity"] != self.job.identity:
                raise TrainError(f"{folder} belongs to another training. Use a new directory, or undo the change.")
            return folder
        return None


class _Checkpoints(TrainerCallback):
    """Completes TRL's checkpoints with our state and, last, the manifest that makes them count."""

    def __init__(self, trainer: Ours) -> None:
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
            "chosen_changes": list(trainer.guard.recent),
        }
        (folder / "early.json").write_text(json.dumps(record), encoding="utf-8")
        if trainer.best:
            save_file(trainer.best, folder / "best.safetensors")
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            flush(path)
        manifest = {
            "files": {str(path.relative_to(folder)): sha256(path) for path in files},
            "identity": trainer.job.identity,
        }
        aside = folder / f".{MANIFEST}"
        aside.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        flush(aside)
        os.replace(aside, folder / MANIFEST)
        flush(folder)
