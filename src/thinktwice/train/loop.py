"""Our own training loop: one process, explicit targets, and a run that can be killed anywhere."""

import math
import os
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from thinktwice.errors import ConfigError, TrainError
from thinktwice.train.batch import MicroBatch, StepSource, collate, plan_window
from thinktwice.train.checkpoint import Checkpoint, load_newest, save_checkpoint
from thinktwice.train.device import choose_device, choose_precision, enable_checkpointing, finish_step_on_signal
from thinktwice.train.metrics import Clock, Metrics, Preference, StepReport
from thinktwice.train.objective import Objective
from thinktwice.train.optimizer import build_optimizers, set_learning_rate
from thinktwice.train.preference import DropGuard, PairObjective, still
from thinktwice.train.processes import Processes
from thinktwice.train.reference import autocast
from thinktwice.train.settings import Training
from thinktwice.types import Example

Progress = Callable[[StepReport], None]
Evaluate = Callable[[nn.Module], float]
"""Answers dev problems with the weights as they are and returns the share of right answers."""
SCALER_PATIENCE = 25
"""fp16: steps in a row that may overflow while the loss scale is being found."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended."""

    steps: int
    """Optimiser steps taken."""
    tokens: int
    """Tokens trained on, padding not counted."""
    supervised: int
    """Of these, tokens with a weight above 0."""
    loss: float
    """Loss of the last step."""
    dev_loss: float | None
    """Dev loss of the weights the model has now; None without dev examples."""
    best_step: int
    """The step these weights are from: the last, or the best on dev with early stopping."""


def train_loop(
    model: nn.Module,
    source: StepSource,
    settings: Training,
    *,
    out_dir: Path | None = None,
    dev: Sequence[Example] | Sequence[MicroBatch] = (),
    progress: Progress | None = None,
    device: torch.device | None = None,
    base: str = "",
    evaluate: Evaluate | None = None,
    pairs: bool = False,
    objective: Any = None,
    processes: Processes | None = None,
) -> TrainResult:
    """Train `model` in place. Law: killed anywhere and called again, it ends with bit-identical weights.

    Args:
        model: a causal language model, or PEFT's wrapper of one; what requires a gradient is trained.
        source: the batches; `source.total` steps are taken.
        settings: see `Training`.
        out_dir: where metrics.jsonl and checkpoints/ go; None: nothing is written, nothing can be resumed.
        dev: examples (or batches of pairs or choices) whose loss is measured every `eval_every` steps and at the end.
        progress: called after every step.
        device: default: the GPU when there is one.
        base: identifies the weights training starts from, so that a resume over others is refused.
        evaluate: called every `eval_every` steps and at the end, in evaluation mode; must not draw from torch's
            global random state.
        pairs: the batches are of pairs, and the loss is direct preference optimisation's (`preference`). The model's
            own dropout is switched off, since its reference has none.
        objective: computes the loss of a batch in place of the usual one (`split.ChoiceObjective`).
        processes: who shares the work of every step (`objective` only).

    Raises:
        TrainError: a loss or gradient that is not finite (naming step and problems; nothing is saved as good), a
            checkpoint of another training, chosen less likely than `max_chosen_drop` allows.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after the running step is finished and saved.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and processes is None:
        raise TrainError("training.backend=loop is one process; use training.backend=trl with several.")
    device = device or choose_device()
    processes = processes or Processes()
    return _Loop(
        model, source, settings, out_dir, dev, progress, device, base, evaluate, pairs, objective, processes
    ).run()


class _Loop:
    """The state of one training."""

    def __init__(
        self,
        model: nn.Module,
        source: StepSource,
        settings: Training,
        out_dir: Path | None,
        dev: Sequence[Example] | Sequence[MicroBatch],
        progress: Progress | None,
        device: torch.device,
        base: str,
        evaluate: Evaluate | None,
        pairs: bool,
        objective: Any,
        processes: Processes,
    ) -> None:
        self.processes = processes
        self.source, self.settings, self.progress, self.device = source, settings, progress, device
        self.evaluate = evaluate
        self.precision = choose_precision(settings, device)
        self.model = model.to(device).train()
        torch.manual_seed(settings.seed)
        if settings.gradient_checkpointing:
            enable_checkpointing(model)
        if pairs:
            still(model)
        self.objective = objective or (PairObjective(model, settings) if pairs else Objective(model))
        self.guard = DropGuard(settings.max_chosen_drop if pairs else 0.0)
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.named:
            raise TrainError("No weight of the model requires a gradient; there is nothing to train.")
        self.optimizers = build_optimizers(model, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.dev = dev_batches(dev, settings)
        if settings.early_stopping and not self.dev:
            raise ConfigError("training.early_stopping needs dev examples; give some or set it to 0.")
        self.folder = None if out_dir is None else out_dir / "checkpoints"
        self.metrics_path = None if out_dir is None else out_dir / "metrics.jsonl"
        self.identity = {
            "settings": settings.fingerprint(),
            "data": source.fingerprint,
            "base": base,
            "precision": self.precision,
            "device": device.type,
            "world_size": processes.world,
        }
        self.step, self.cursor = 0, (0, 0)
        self.counts = {"tokens": 0, "supervised": 0, "overflows": 0, "bad_evaluations": 0, "best_step": 0}
        self.loss, self.dev_loss, self.best_loss = math.nan, math.nan, math.inf
        self.best_score = -math.inf
        self.best: dict[str, Tensor] = {}
        self.dev_preference: Preference | None = None
        self.stopped = False

    def run(self) -> TrainResult:
        if self.folder is not None and (saved := load_newest(self.folder, self.identity)) is not None:
            self._restore(saved)
        metrics = Metrics(self.metrics_path if self.processes.first else None, self.step)
        clock = Clock(self.step, self.counts["tokens"])
        steps = self.source.total
        with finish_step_on_signal() as interrupted:
            for batches, cursor in self.source.steps(self.cursor) if not self._finished() else ():
                lr = set_learning_rate(self.optimizers, self.settings, self.step, steps)
                self.loss, grad_norm = self._optimise([batch.to(self.device) for batch in batches])
                self.step, self.cursor = self.step + 1, cursor
                preference = self.objective.take()
                due = self.settings.eval_every and self.step % self.settings.eval_every == 0
                due = due or self.step == steps
                measured = self._evaluate() if self.dev and due else None
                accuracy = self._answer() if self.evaluate is not None and due else None
                if measured is not None and self.settings.early_stopping:
                    self._keep_best(-measured if self.settings.keep == "loss" else accuracy)
                speed, eta = clock.read(self.step, steps, self.counts["tokens"])
                report = StepReport(
                    step=self.step,
                    steps=steps,
                    loss=self.loss,
                    lr=lr,
                    grad_norm=grad_norm,
                    tokens=self.counts["tokens"],
                    tokens_per_second=speed,
                    eta_s=eta,
                    dev_loss=measured,
                    eval_acc=accuracy,
                    eval_slot=getattr(self.objective, "commonest", None) if accuracy is not None else None,
                    preference=preference,
                    dev_preference=self.dev_preference if measured is not None else None,
                )
                ended = self._finished()
                if self.step % self.settings.log_every == 0 or due or ended or self.step == 1:
                    metrics.write(report)
                if self.progress is not None and self.processes.first:
                    self.progress(report)
                self.guard.see(self.step, preference)
                if self.settings.save_every and self.step % self.settings.save_every == 0 and not ended:
                    self._save()
                if self.processes.any(bool(interrupted), self.device):
                    self._save()
                    raise interrupted[0] if interrupted else KeyboardInterrupt
                if ended:
                    break
        if self.settings.early_stopping:
            self._load_weights(self.best)
            self.dev_loss = self.best_loss
        self.model.eval()
        best_step = self.counts["best_step"] if self.settings.early_stopping else self.step
        dev_loss = self.dev_loss if self.dev else None
        return TrainResult(self.step, self.counts["tokens"], self.counts["supervised"], self.loss, dev_loss, best_step)

    def _finished(self) -> bool:
        return self.stopped or self.step >= self.source.total

    def _optimise(self, batches: Sequence[MicroBatch]) -> tuple[float, float]:
        """Take one step and return (loss, gradient norm): one normalisation for the whole step, not one a batch."""
        total = sum(batch.weight for batch in batches)
        if not total > 0:
            raise TrainError(f"Step {self.step + 1} has nothing to learn: every weight is 0 ({_problems(batches)}).")
        loss = torch.zeros((), device=self.device)
        for batch in self.processes.share(batches):
            with self._autocast():
                part = self.objective(cast(Any, batch)) / total
            torch.autograd.backward(self.scaler.scale(part))
            loss += part.detach()
        self.processes.sum_gradients(self.named.values())
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.settings.max_grad_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.named.values(), limit))
        (value,) = self.processes.sum([float(loss)], self.device)
        if not math.isfinite(value):
            raise TrainError(f"The loss is {value} at step {self.step + 1} ({_problems(batches)}). {ADVICE}")
        self.counts["overflows"] = 0 if math.isfinite(norm) else self.counts["overflows"] + 1
        patience = SCALER_PATIENCE if self.scaler.is_enabled() else 0  # the scaler skips the step by itself
        if self.counts["overflows"] > patience:
            raise TrainError(f"The gradient is {norm} at step {self.step + 1} ({_problems(batches)}). {ADVICE}")
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        self.counts["tokens"] += sum(batch.tokens for batch in batches)
        self.counts["supervised"] += sum(len(batch.supervised_N) for batch in batches)
        return value, norm

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.precision)

    @torch.no_grad()
    def _evaluate(self) -> float:
        self.model.eval()
        total, weight = 0.0, 0.0
        for batch in self.processes.share(self.dev):
            with self._autocast():
                total += float(self.objective(cast(Any, batch.to(self.device))))
            weight += batch.weight
        total, weight = self.processes.sum([total, weight], self.device)
        self.dev_preference = self.objective.take()
        self.model.train()
        self.dev_loss = total / weight
        if not math.isfinite(self.dev_loss):
            raise TrainError(f"The dev loss is {self.dev_loss} after step {self.step}. {ADVICE}")
        return self.dev_loss

    def _keep_best(self, score: float | None) -> None:
        """Keep the weights if no evaluation before was as good; stop where too many in a row were not."""
        if score is None:
            raise ConfigError(
                "training.keep=accuracy needs dev problems that are answered in the loop: evaluation.num_test, or a "
                "verifier's own choices. Set keep=loss."
            )
        if score > self.best_score or (score == self.best_score and self.dev_loss < self.best_loss):
            self.best_score, self.best_loss = score, self.dev_loss
            self.counts["best_step"], self.counts["bad_evaluations"] = self.step, 0
            self.best = {name: p.detach().to("cpu", copy=True) for name, p in self.named.items()}
        else:
            self.counts["bad_evaluations"] += 1
            self.stopped = self.counts["bad_evaluations"] >= self.settings.early_stopping

    def _answer(self) -> float:
        assert self.evaluate is not None
        self.model.eval()
        accuracy = self.evaluate(self.model)
        self.model.train()
        return accuracy

    def _save(self) -> None:
        if self.folder is not None and self.processes.first:
            self._write_checkpoint(self.folder)
        self.processes.wait()

    def _write_checkpoint(self, folder: Path) -> None:
        tensors: dict[str, Tensor] = {f"weights/{name}": p for name, p in self.named.items()}
        tensors |= {f"buffers/{name}": b for name, b in self.model.state_dict().items() if name in self._buffers()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for index, optimizer in enumerate(self.optimizers):
            for key, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{index}/{key}/{name}": tensor for name, tensor in state.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        state = {
            "cursor": list(self.cursor),
            "counts": self.counts,
            "loss": self.loss,
            "dev_loss": self.dev_loss,
            "best_loss": self.best_loss,
            "best_score": self.best_score,
            "scaler": self.scaler.state_dict(),
            "chosen_changes": list(self.guard.recent),
        }
        save_checkpoint(folder, Checkpoint(self.step, tensors, state), self.identity)

    def _buffers(self) -> set[str]:
        return {name for name, _ in self.model.named_buffers()}

    def _restore(self, saved: Checkpoint) -> None:
        self.step, self.cursor = saved.step, (saved.state["cursor"][0], saved.state["cursor"][1])
        self.counts = dict(saved.state["counts"])
        self.loss, self.dev_loss, self.best_loss = (saved.state[key] for key in ("loss", "dev_loss", "best_loss"))
        self.best_score = saved.state["best_score"]
        self.guard.recent.extend(saved.state.get("chosen_changes", ()))
        patience = self.settings.early_stopping
        self.stopped = bool(patience) and self.counts["bad_evaluations"] >= patience
        self._load_weights(_under(saved.tensors, "weights/"))
        self.model.load_state_dict(_under(saved.tensors, "buffers/"), strict=False)
        self.best = _under(saved.tensors, "best/")
        for index, optimizer in enumerate(self.optimizers):
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(saved.tensors, f"optimizer/{index}/").items():
                key, field = name.split("/")
                states.setdefault(int(key), {})[field] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        if saved.state["scaler"]:
            self.scaler.load_state_dict(saved.state["scaler"])
        torch.set_rng_state(saved.tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(saved.tensors["random/cuda"], self.device)

    @torch.no_grad()
    def _load_weights(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.named.items():
            parameter.copy_(weights[name])


def dev_batches(dev: Sequence[Example] | Sequence[MicroBatch], settings: Training) -> Sequence[MicroBatch]:
    """Return dev examples in batches, always the same ones, in the order of their lengths; batches as they are."""
    examples = [example for example in dev if isinstance(example, Example)]
    if len(examples) < len(dev) or not dev:
        return [batch for batch in dev if not isinstance(batch, Example)]
    plan = plan_window(examples, replace(settings, grad_accumulation=1), random.Random(0))
    return [collate(rows) for rows in plan]


ADVICE = (
    "Nothing of this step was kept. Lower training.lr, set training.max_grad_norm, or use training.precision=fp32; "
    "look at these problems with `thinktwice show`."
)


def name_problems(names: Sequence[str], shown: int = 8) -> str:
    """Return the first few problems of a batch, for an error message."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"problems {', '.join(names[:shown])}{rest}"


def _problems(batches: Sequence[MicroBatch]) -> str:
    return name_problems([name for batch in batches for name in batch.problem_ids])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
