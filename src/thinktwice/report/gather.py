"""Everything the page shows, read from a run directory. Law: what is missing is said to be missing, never made up."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.config import Recipe, parse
from thinktwice.records import Summary, TraceRecord
from thinktwice.report.claims import percent
from thinktwice.run import Run, read_json
from thinktwice.show import Decode, Mark, Piece, laid_out, printable, trace_pieces

SAMPLES = 8
"""Problems whose traces are shown side by side."""


@dataclass(frozen=True)
class Audit:
    """What a training was about to learn, as its audit wrote it down before step 1."""

    facts: tuple[tuple[str, str], ...]
    """(what, value), in words."""
    lengths: tuple[int, ...]
    """5 %, median, 95 %, longest, allowed; in tokens; empty when not written down."""
    sample: tuple[Piece, ...]
    sample_id: str


@dataclass(frozen=True)
class Training:
    """One arm's training."""

    arm: str
    loss: tuple[tuple[float, float], ...]
    """(step, loss)."""
    dev_loss: tuple[tuple[float, float], ...]
    audit: Audit | None


@dataclass(frozen=True)
class Answer:
    """One arm's answer to one problem."""

    arm: str
    right: bool
    answer: str
    why: str
    stop: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Sample:
    """One problem, answered by every arm."""

    key: str
    level: int
    question: str
    reference: str
    kind: str
    """Why it is shown."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Page:
    """The run, ready to be laid out."""

    run: Run
    recipe: Recipe
    summary: Summary | None
    trainings: tuple[Training, ...]
    samples: tuple[Sample, ...]


def gather(run: Run) -> Page:
    """Read a run; every part that isn't there stays empty."""
    recipe = parse(Recipe, run.config, str(run.root / "config.json"))
    saved = run.summary()
    summary = None if saved is None else parse(Summary, saved, str(run.root / "summary.json"))
    decode = _decoder(run)
    arms = [name for name, arm in recipe.arms.items() if arm.trains]
    trainings = tuple(t for name in arms if (t := _training(run, name, decode)) is not None)
    return Page(run, recipe, summary, trainings, tuple(_samples(run, recipe)))


def _decoder(run: Run) -> Decode | None:
    """Return ids -> text by the tokenizer the run started from, or None when it isn't there."""
    path = next((p for s in ("base", *run.stages()) if (p := run.artefact(s, "tokenizer.json")) is not None), None)
    if path is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda token_ids: str(tokenizer.decode(list(token_ids), skip_special_tokens=False))


def _training(run: Run, arm: str, decode: Decode | None) -> Training | None:
    metrics, audit = (run.artefact(f"train-{arm}", file) for file in ("metrics.jsonl", "audit.json"))
    if metrics is None and audit is None:
        return None
    rows = list(_lines(metrics)) if metrics else []
    loss = tuple((float(row["step"]), float(row["loss"])) for row in rows if row.get("loss") is not None)
    dev = tuple((float(row["step"]), float(row["dev_loss"])) for row in rows if row.get("dev_loss") is not None)
    return Training(arm, loss, dev, _audit(read_json(audit), decode) if audit else None)


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed
        if isinstance(row, dict) and "step" in row:
            yield row


def _audit(saved: Mapping[str, Any], decode: Decode | None) -> Audit:
    facts = [("examples", f"{saved['n']:,}")] if "n" in saved else []
    if "tokens" in saved:
        facts.append(("tokens", f"{saved['tokens']:,}"))
    if "supervised" in saved:
        facts.append(("learned", f"{saved['supervised']:,} ({percent(saved['supervised_share'])} of the tokens)"))
    if "end_learned_share" in saved:
        share = saved["end_learned_share"]
        facts.append(("end token learned", "there is none" if share is None else f"in {percent(share)} of examples"))
    if "layout_share" in saved:
        facts.append(("trunk and branches", f"{percent(saved['layout_share'])} of examples"))
    reasons: dict[str, int] = {}
    for dropped in saved.get("dropped", []):
        reasons[dropped["reason"]] = reasons.get(dropped["reason"], 0) + 1
    facts += [("dropped", f"{count:,} {reason}") for reason, count in reasons.items()] or [("dropped", "none")]
    facts.append(("cut short", "none: nothing is ever truncated"))
    keys = ("length_p5", "length_p50", "length_p95", "length_max", "max_length")
    lengths = tuple(int(saved[k]) for k in keys) if all(k in saved for k in keys) else ()
    return Audit(
        tuple(facts),
        lengths,
        tuple(laid_out(list(_spans(saved, decode)))),
        str(saved.get("sample_problem_id", "")),
    )


def _spans(saved: Mapping[str, Any], decode: Decode | None) -> Iterator[Piece]:
    marks: dict[str, Mark] = {"learned": "learned", "seen": "seen", "retracted": "retracted"}
    for span in saved.get("sample", []):
        ids = span["token_ids"]
        yield Piece(decode(ids) if decode else f" {' '.join(map(str, ids))} ", marks.get(span["colour"], "seen"))


def _samples(run: Run, recipe: Recipe) -> Iterator[Sample]:
    """Choose problems at the headline level, by a rule that is stated on the page and flatters no arm.

    In the order of the problems: those only `a` answers, those only `b` answers, those neither does, those both do;
    traces with a retraction first.
    """
    names = [name for name in recipe.arms if name in run.trace_names()]
    rows = {name: run.traces(name).done for name in names}
    if not rows:
        return
    plan = recipe.headline
    a, b = (plan.a, plan.b) if plan and plan.a in rows and plan.b in rows else (names[-1], names[0])
    names = [a, b, *(name for name in names if name not in (a, b))]
    levels = sorted({row["level"] for row in rows[a].values() if "level" in row})
    level = plan.level if plan and plan.level in levels else next(iter(levels[-1:]), None)
    keys = [k for k, row in rows[a].items() if k in rows[b] and row.get("level") == level]

    def right(name: str, key: str) -> bool:
        return bool(rows[name][key]["score"]["value"] == 1)

    def retracts(key: str) -> bool:
        return any(not step["kept"] for step in rows[a][key]["trace"]["steps"])

    kinds = {
        f"only {a} is right": [k for k in keys if right(a, k) and not right(b, k)],
        f"only {b} is right": [k for k in keys if right(b, k) and not right(a, k)],
        "neither is right": [k for k in keys if not right(a, k) and not right(b, k)],
        "both are right": [k for k in keys if right(a, k) and right(b, k)],
    }
    queues = {kind: sorted(found, key=lambda k: not retracts(k)) for kind, found in kinds.items()}
    for place in range(SAMPLES):
        for kind, queue in queues.items():
            if place < len(queue) and place < SAMPLES // 4:
                yield _sample(queue[place], kind, [(name, rows[name]) for name in names if queue[place] in rows[name]])


def _sample(key: str, kind: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Sample:
    records = [parse(TraceRecord, done[key], f"traces/{name}.jsonl") for name, done in rows]
    first = records[0]
    answers = tuple(
        Answer(
            r.arm,
            r.score.value == 1,
            printable(r.score.answer or "none found"),
            printable(r.score.why),
            r.trace.error or r.trace.stop,
            tuple(laid_out(trace_pieces(r.trace))),
        )
        for r in records
    )
    return Sample(key, first.level, printable(first.question), first.reference, kind, answers)
