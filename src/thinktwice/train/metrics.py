"""One line of metrics a logged step: what happened, how fast, and how long it will take."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Preference:
    """Means over pairs: what direct preference optimisation moved. Log-probabilities are of learned tokens, in nats."""

    margin: float
    """beta x (log-ratio of chosen - log-ratio of rejected): the reward margin, 0 at the start."""
    accuracy: float
    """Share of pairs whose chosen has gained more than its rejected since the start (at step 1, where nothing has moved
    yet, it means nothing)."""
    chosen_logprob: float
    """Sum over chosen's tokens."""
    rejected_logprob: float
    """Sum over rejected's tokens."""
    chosen_change: float
    """Since the start, in nats a token; below 0: the model is unlearning chosen."""
    rejected_change: float
    """Since the start, in nats a token."""
    chosen_mean_logprob: float
    """A token of chosen, in nats."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step, as written to metrics.jsonl and given to the progress callback."""

    step: int
    """Steps taken, this one included."""
    steps: int
    """Steps there are to take."""
    loss: float
    """Weighted mean negative log-likelihood of the step, in nats a token; of pairs: the preference loss, a pair."""
    lr: float
    grad_norm: float
    """Global norm before clipping."""
    tokens: int
    """Tokens trained on so far, padding not counted, seen ones included."""
    tokens_per_second: float
    """Since this process started training."""
    eta_s: float
    """Seconds to the last step at that speed."""
    dev_loss: float | None = None
    """Loss on dev after this step; None where it was not measured."""
    eval_acc: float | None = None
    """Share of dev problems answered right after this step; None where none were answered."""
    eval_slot: float | None = None
    """Of choices: the share of the commonest slot among the verdicts on dev; near 1, the evaluation is a constant's."""
    preference: Preference | None = None
    """Of the step's pairs; None where examples are learned from."""
    dev_preference: Preference | None = None
    """Of the dev pairs after this step; None where it was not measured."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return one flat row of plain JSON values: what is said of pairs stands beside the rest."""
        row = {name: value for name, value in asdict(self).items() if name not in ("preference", "dev_preference")}
        for prefix, found in (("", self.preference), ("dev_", self.dev_preference)):
            row |= {f"{prefix}{name}": value for name, value in asdict(found).items()} if found else {}
        return row


class Metrics:
    """Appends step reports to a JSON-lines file. Law: one line a step, also after a resume."""

    def __init__(self, path: Path | None, after_step: int = 0) -> None:
        self.path = path
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # The killed process may have logged steps that are taken again now, and may have left half a line.
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= after_step]
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(aside, path)

    def write(self, report: StepReport) -> None:
        """Append one line."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(report.to_dict()) + "\n")


def _whole_lines(path: Path) -> list[str]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            if isinstance(json.loads(line).get("step"), int):
                lines.append(line)
        except (ValueError, AttributeError):
            continue
    return lines


PAIR_NAMES = {
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "chosen_logprob": "logps/chosen",
    "rejected_logprob": "logps/rejected",
    "chosen_change": "chosen_change",
    "rejected_change": "rejected_change",
}
"""What TRL's DPOTrainer calls the same numbers in its log."""


def write_trainer_state(metrics: Path, path: Path) -> None:
    """Write what was logged in the form of transformers' `trainer_state.json`, whole or not at all."""
    history: list[dict[str, float | int]] = []
    steps, taken = 0, 0
    for row in map(json.loads, _whole_lines(metrics)):
        steps, taken = row["steps"], row["step"]
        learned = {theirs: row[ours] for ours, theirs in PAIR_NAMES.items() if ours in row}
        history.append(
            {"step": taken, "loss": row["loss"], "learning_rate": row["lr"], "grad_norm": row["grad_norm"], **learned}
        )
        measured = {"eval_loss": row.get("dev_loss"), "eval_acc": row.get("eval_acc")}
        measured["eval_slot"] = row.get("eval_slot")
        measured |= {f"eval_{theirs}": row.get(f"dev_{ours}") for ours, theirs in PAIR_NAMES.items()}
        if known := {name: value for name, value in measured.items() if value is not None}:
            history.append({"step": taken, **known})
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    state = {"global_step": taken, "max_steps": steps, "log_history": history}
    aside.write_text(json.dumps(state, indent=1), encoding="utf-8")
    os.replace(aside, path)


class Clock:
    """Tokens a second and time to go, from the moment it is made."""

    def __init__(self, step: int, tokens: int) -> None:
        self.step, self.tokens, self.start = step, tokens, time.monotonic()

    def read(self, step: int, steps: int, tokens: int) -> tuple[float, float]:
        """Return (tokens per second, seconds to go)."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        done = step - self.step
        return (tokens - self.tokens) / seconds, (steps - step) * seconds / done if done else 0.0
