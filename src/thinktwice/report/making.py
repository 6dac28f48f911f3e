"""How a run was made: what was about to be learned, how the losses fell, what every stage cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.config import Recipe
from thinktwice.report.claims import percent
from thinktwice.run import Run, read_json
from thinktwice.show import Decode, Mark, Piece, laid_out

Curve = tuple[tuple[float, float], ...]
"""(step, value), in order."""


@dataclass(frozen=True)
class Audit:
    """What a training was about to learn, as its audit wrote it down before step 1."""

    facts: tuple[tuple[str, str], ...]
    """(what, value), in words."""
    share: float | None
    """Share of the tokens that is learned."""
    lengths: tuple[int, ...]
    """5 %, median, 95 %, longest, allowed; in tokens; empty when not written down."""
    sample: tuple[Piece, ...]
    sample_id: str


@dataclass(frozen=True)
class Training:
    """One arm's training."""

    arm: str
    loss: Curve
    dev_loss: Curve
    lr: Curve
    grad_norm: Curve
    tokens: int | None
    """Tokens trained on so far, every pass counted."""
    rate: float | None
    """Tokens a second, as the trainer measured it last."""
    audit: Audit | None
    rates: str = ""
    """The learning rates that were tried, in words; empty where there was one."""


@dataclass(frozen=True)
class StageCost:
    """What a stage took."""

    name: str
    work: str
    """The verb: collect, train, calibrate, solve, ..."""
    arm: str | None
    seconds: float
    memory: int | None
    """The most bytes of main memory it held; None where it was not recorded."""
    device: int | None
    """The most bytes on the accelerator; None where there was none, or it was not recorded."""
    finished: bool


def read_trainings(run: Run, arms: Sequence[str], decode: Decode | None) -> Iterator[Training]:
    """Read the finished trainings; older runs wrote down less."""
    for arm in arms:
        files = ("metrics.jsonl", "audit.json", "rates.json")
        metrics, audit, rates = (run.artefact(f"train-{arm}", file) for file in files)
        if metrics is None and audit is None:
            continue
        rows = list(_lines(metrics)) if metrics else []
        last = rows[-1] if rows else {}
        loss, dev_loss, lr, grad_norm = (_curve(rows, key) for key in ("loss", "dev_loss", "lr", "grad_norm"))
        tokens, rate = last.get("tokens"), last.get("tokens_per_second")
        yield Training(
            arm,
            loss,
            dev_loss,
            lr,
            grad_norm,
            int(tokens) if tokens is not None else None,
            float(rate) if rate is not None else None,
            _audit(read_json(audit), decode) if audit else None,
            _rates(read_json(rates)) if rates else "",
        )


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed
        if isinstance(row, dict) and "step" in row:
            yield row


def _rates(saved: Mapping[str, Any]) -> str:
    """Return what was tried and what it reached: the one that was kept first."""

    def reached(row: Mapping[str, Any]) -> str:
        right = "" if row["accuracy"] is None else f", {percent(row['accuracy'])} right"
        return f"{row['lr']:g} (dev loss {row['dev_loss']:.3f}{right})"

    kept = next(row for row in saved["tried"] if row["lr"] == saved["kept"])
    others = [reached(row) for row in saved["tried"] if row is not kept]
    return f"{reached(kept)} was kept; tried too: {', '.join(others)}"


def _curve(rows: Sequence[Mapping[str, Any]], key: str) -> Curve:
    return tuple((float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None)


def _audit(saved: Mapping[str, Any], decode: Decode | None) -> Audit:
    facts = [("pairs" if "pairs" in saved else "examples", f"{saved['n']:,}")] if "n" in saved else []
    if kinds := saved.get("kinds"):
        facts.append(("kinds of pairs", ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())))
    if "tokens" in saved:
        facts.append(("tokens", f"{saved['tokens']:,}"))
    share = saved.get("supervised_share")
    if "supervised" in saved and share is not None:
        facts.append(("learned", f"{saved['supervised']:,} ({percent(share)} of the tokens)"))
    if "end_learned_share" in saved:
        ends = saved["end_learned_share"]
        facts.append(("end token learned", "there is none" if ends is None else f"in {percent(ends)} of examples"))
    if known := saved.get("reference"):
        facts.append(("start prefers chosen", f"in {percent(known['prefers_chosen_share'])} of pairs"))
        facts.append(("start hardly writes rejected", f"in {percent(known['rejected_unlikely_share'])} of pairs"))
    if saved.get("layout_share"):
        facts.append(("trunk and branches", f"{percent(saved['layout_share'])} of examples"))
    reasons: dict[str, int] = {}
    for dropped in saved.get("dropped", []):
        reasons[dropped["reason"]] = reasons.get(dropped["reason"], 0) + 1
    facts += [("dropped", f"{count:,} {reason}") for reason, count in reasons.items()] or [("dropped", "none")]
    facts.append(("cut short", "none: nothing is ever truncated"))
    keys = ("length_p5", "length_p50", "length_p95", "length_max", "max_length")
    lengths = tuple(int(saved[k]) for k in keys) if all(saved.get(k) is not None for k in keys) else ()
    sample = tuple(laid_out(list(_spans(saved, decode))))
    return Audit(tuple(facts), share, lengths, sample, str(saved.get("sample_problem_id", "")))


def _spans(saved: Mapping[str, Any], decode: Decode | None) -> Iterator[Piece]:
    marks: dict[str, Mark] = {"learned": "learned", "seen": "seen", "retracted": "retracted"}
    for span in saved.get("sample", []):
        ids = span["token_ids"]
        yield Piece(decode(ids) if decode else f" {' '.join(map(str, ids))} ", marks.get(span["colour"], "seen"))


ORDER = ("base", "collect", "train", "calibrate", "solve")
"""The verbs as a run does them, for the eye; others follow."""


def stage_costs(run: Run, recipe: Recipe) -> Iterator[StageCost]:
    """Read what every stage took so far: arm by arm in the recipe's order, what belongs to no arm first."""
    seconds, memory, finished = run.seconds(), run.memory(), run.stages()
    arms = list(recipe.arms)

    def place(name: str) -> tuple[int, int, str]:
        work, _, arm = name.partition("-")
        return (
            arms.index(arm) if arm in arms else -1,
            ORDER.index(work) if work in ORDER else len(ORDER),
            name,
        )

    for name in sorted(seconds, key=place):
        work, _, arm = name.partition("-")
        held = memory.get(name)
        yield StageCost(
            name,
            work,
            arm if arm in arms else None,
            seconds[name],
            held.host if held else None,
            held.device if held else None,
            name in finished,
        )
