"""What decides a training, as one frozen value. No torch here, so that recipes can be checked without it."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from thinktwice.errors import ConfigError

Backend = Literal["loop", "trl"]
Mode = Literal["full", "lora", "qlora", "prompt-tuning", "prefix-tuning"]
Schedule = Literal["constant", "linear", "cosine", "wsd"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Attention = Literal["auto", "layout", "unrolled"]
PREFERENCE = ("beta", "nll_weight", "label_smoothing", "length_normalised", "max_chosen_drop")
"""Settings that count only where pairs are learned from."""
VERIFIER = ("arguer", "transplant_layers", "transplant_parts", "loss_over", "adversarial")
"""Settings that count only where choices are learned from."""
SPREAD = ("processes", "deepspeed")
"""Settings that count only where several processes train."""
Arguer = Literal["joint", "frozen", "tied"]


@dataclass(frozen=True, slots=True)
class Training:
    """Everything that decides a training. Law: the same settings, data and base give the same weights.

    Raises:
        ConfigError: values that contradict each other; the message names the field and what to set instead.
    """

    backend: Backend = "loop"
    """loop: this package's own loop, one process; trl: behind TRL's SFTTrainer, for pairs its DPOTrainer (several
    processes, see `processes`)."""
    processes: int = 1
    """trl only: processes that train together on this machine, one a GPU; the training starts them itself, and
    everything else stays in one process. Each takes its share of every step's rows."""
    deepspeed: str | None = None
    """trl only: a DeepSpeed configuration (recipes/deepspeed/zero2.json, zero3.json) that shares optimiser states,
    gradients and, with stage 3, weights out among the processes."""
    mode: Mode = "full"
    """full: every weight; lora: adapters and the control tokens' rows; qlora: the same over a quantised base;
    prompt-tuning: the control tokens' rows and nothing else; prefix-tuning: keys and values before the text, in every
    layer, and nothing else."""
    prefix_tokens: int = 16
    """prefix-tuning only: how many positions the prefix has."""
    bits: Literal[4, 8] = 4
    """qlora only: 4 (NF4) or 8 (LLM.int8) bits a weight of the base."""
    steps: int | None = None
    """Optimiser steps; None: as many as `epochs` passes over the examples need."""
    epochs: int = 1
    """Passes over the examples; ignored where `steps` is set."""
    batch_size: int = 32
    """Rows of one optimiser step (pairs, where pairs are learned from), all accumulated micro-batches together; ignored
    where `tokens_per_step` is set."""
    tokens_per_step: int | None = None
    """Token budget of one optimiser step, padding included (rows x longest row; a pair is two rows), all micro-batches
    together."""
    grad_accumulation: int = 1
    """Micro-batches a step; the loss is normalised over the whole step, so this changes memory, not the result."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: hidden matrices by Muon, everything else (embeddings, head, norms, biases) by AdamW."""
    lr: float = 1e-3
    """Peak learning rate."""
    lrs: tuple[float, ...] = ()
    """Two rates or more: train at each instead of at `lr`, and keep the one that is best on dev (by `keep`). Where arms
    are compared, each is then at a rate that suits it."""
    embedding_lr: float | None = None
    """With muon: AdamW's peak learning rate for what Muon does not move; None: the same as `lr`."""
    weight_decay: float = 0.0
    """Decoupled weight decay, on matrices only (not on norms and biases)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    schedule: Schedule = "linear"
    """After the warm-up: constant; linear or cosine decay to 0 at the last step; wsd: stable, then linear to 0."""
    decay_share: float = 0.2
    """wsd only: the share of all steps, at the end, that decay."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    max_grad_norm: float = 1.0
    """Gradients with a larger global norm are scaled down to it; 0: never."""
    precision: Precision = "auto"
    """auto: bf16 autocast on a GPU that has it, otherwise fp32. Master weights stay fp32 in full training."""
    packing: bool = False
    """Put several examples in one row; they neither see each other nor share positions."""
    max_length: int | None = None
    """Longest example, in tokens; None: what the model can take."""
    overflow: Literal["error", "drop"] = "error"
    """A longer example stops the training, or is dropped and counted. Law: nothing is ever cut."""
    early_stopping: int = 0
    """Stop after so many evaluations without a better dev loss and keep the best weights; 0: never, keep the last."""
    keep: Literal["loss", "accuracy"] = "loss"
    """With early stopping: the best weights are those of the lowest dev loss, or of the most dev problems right (ties:
    the lower loss). A verifier that grows too sure of itself has its lowest loss long before it is at its best."""
    eval_every: int = 0
    """Steps between evaluations on dev; 0: only at the end."""
    save_every: int = 0
    """Steps between checkpoints; 0: only when interrupted."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    seed: int = 0
    """Seeds the order of the examples, dropout and the adapters' initial weights."""
    lora_rank: int = 16
    """Rank of the adapters."""
    lora_alpha: int = 32
    """Scale of the adapters: alpha / rank."""
    lora_dropout: float = 0.0
    """Dropout before the adapters."""
    lora_targets: tuple[str, ...] = ("all-linear",)
    """Names of the layers that get an adapter; "all-linear" (all but the head), "mlp" (the feed-forward layers) and
    "atten" (the attention's projections) are read for every architecture."""
    lora_new_rows: bool = True
    """Train the control tokens' embedding and head rows beside the adapters; without it they stay as initialised."""
    attention: Attention = "auto"
    """How retracted tokens are hidden: layout: a 4-D mask over one sequence; unrolled: one sequence for every context;
    auto: layout where the model's attention can express it."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    beta: float = 0.1
    """Pairs only: scale of the log-ratios between the model and what it started from (DPO, Rafailov et al., 2023);
    smaller moves further from the start."""
    nll_weight: float = 0.0
    """Pairs only: weight of chosen's mean negative log-likelihood, added to the loss (Pang et al., 2024); guards
    against chosen becoming unlikely along with rejected, which is worst where the two hardly differ."""
    label_smoothing: float = 0.0
    """Pairs only: the share of pairs taken to be the wrong way round (conservative DPO, Mitchell, 2023)."""
    length_normalised: bool = False
    """Pairs only: divide each side's log-ratio by its number of learned tokens before they are compared, so that length
    alone decides nothing (Tülu 3, Lambert et al., 2024; the idea of SimPO, and of DMPO for agents); wants a larger
    `beta`."""
    max_chosen_drop: float = 0.0
    """Pairs only: stop when chosen's log-probability has fallen by more than this since the start, in nats a token, on
    average over the last 10 steps; warn at half of it; 0: never."""

    arguer: Arguer = "joint"
    """Choices only: joint: the arguer has an adapter of its own, trained through the chooser's loss; frozen: it is the
    base as it is; tied: one adapter for both (seed 003). Each adapter has `lora_rank`, so that joint trains twice the
    weights of the others: a chooser that reads the text alone has the same budget with twice the rank (and alpha)."""
    transplant_layers: tuple[int, ...] = ()
    """Choices only: layers (from 0) whose keys and values are moved; empty: all."""
    transplant_parts: Literal["k", "v", "kv"] = "kv"
    """Choices only: move keys, values, or both."""
    loss_over: Literal["options", "vocabulary"] = "options"
    """Choices only: the identifier's probability among the options, or among all tokens."""
    adversarial: float = 0.0
    """Choices only: above 0 the arguer of a wrong candidate works for its own: what it is taught by the chooser's loss
    is turned round, and scaled by this. The chooser learns to see through it. 0: both work together."""

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "grad_accumulation", "log_every", "lora_rank", "lora_alpha")
        for name in (*positive, "prefix_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("steps", "tokens_per_step", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"training.{name} is {value}; it must be at least 1, or left out.")
        for name in ("warmup_steps", "early_stopping", "eval_every", "save_every", "weight_decay", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be 0 or more.")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"training.lr is {self.lr}; it must be a positive number.")
        if self.lrs and (len(set(self.lrs)) < max(2, len(self.lrs)) or not all(0 < r < math.inf for r in self.lrs)):
            raise ConfigError(f"training.lrs is {list(self.lrs)}; name two positive rates or more, each once.")
        if self.embedding_lr is not None and not (math.isfinite(self.embedding_lr) and self.embedding_lr > 0):
            raise ConfigError(f"training.embedding_lr is {self.embedding_lr}; it must be a positive number.")
        if self.embedding_lr is not None and self.optimizer != "muon":
            raise ConfigError("training.embedding_lr only counts with optimizer=muon; drop it or set optimizer=muon.")
        if not 0 < self.decay_share <= 1:
            raise ConfigError(f"training.decay_share is {self.decay_share}; it must be above 0 and at most 1.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"training.betas is {self.betas}; both must be at least 0 and below 1.")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"training.lora_dropout is {self.lora_dropout}; it must be at least 0 and below 1.")
        if self.early_stopping and not self.eval_every:
            raise ConfigError("training.early_stopping needs training.eval_every; set the steps between evaluations.")
        if self.tokens_per_step is None and self.batch_size < self.grad_accumulation:
            raise ConfigError(
                f"training.batch_size={self.batch_size} cannot be split over grad_accumulation="
                f"{self.grad_accumulation}; batch_size counts the rows of a whole step."
            )
        for name in ("nll_weight", "max_chosen_drop"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"training.{name} is {value}; it must be a number, 0 or more.")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise ConfigError(f"training.beta is {self.beta}; it must be a positive number (0.1 is usual).")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(
                f"training.label_smoothing is {self.label_smoothing}; it must be at least 0 and below 0.5, "
                "where the pairs would say nothing."
            )
        if not (math.isfinite(self.adversarial) and self.adversarial >= 0):
            raise ConfigError(f"training.adversarial is {self.adversarial}; it must be a number, 0 or more.")
        if self.adversarial and self.arguer != "joint":
            raise ConfigError("training.adversarial needs an arguer with an adapter of its own; set arguer=joint.")
        if not self.lora_targets:
            raise ConfigError('training.lora_targets is empty; use ["all-linear"] or name layers.')
        if self.mode == "prefix-tuning" and self.backend != "loop":
            raise ConfigError("training.mode=prefix-tuning is trained by this package's own loop; set backend=loop.")
        if self.processes < 1:
            raise ConfigError(f"training.processes is {self.processes}; it must be at least 1.")
        for name in SPREAD:
            if getattr(self, name) not in (1, None) and self.backend != "trl":
                raise ConfigError(f"training.{name} is for backend=trl; this package's own loop is one process.")
        if self.optimizer == "muon" and self.mode != "full":
            raise ConfigError("training.optimizer=muon is for mode=full; adapters are trained with adamw.")

    def learning_rate(self, step: int, steps: int, peak: float | None = None) -> float:
        """Return the learning rate of optimiser step `step` (0-based) out of `steps`. Law: a pure function of both.

        Decays reach 0 one step after the last, so that the last step still learns.
        """
        peak = self.lr if peak is None else peak
        if step < self.warmup_steps:
            return peak * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return peak
        if self.schedule == "wsd":
            decay_steps = max(1, round(self.decay_share * steps))
            return peak * min(1.0, (steps - step) / decay_steps)
        progress = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        if self.schedule == "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * progress))
        return peak * (1 - progress)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def fingerprint(self) -> str:
        """Return a hash of everything that decides the weights (how often is logged and saved does not)."""
        deciding = {k: v for k, v in self.to_dict().items() if k not in ("log_every", "save_every")}
        # A training without pairs is the same as before there were any.
        for name in (*PREFERENCE, *VERIFIER, *SPREAD, "keep", "lrs"):
            if getattr(self, name) == getattr(_DEFAULT, name):
                del deciding[name]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


_DEFAULT = Training()
