"""What pairs are about to teach, before step 1. Law 2: both sides are whole, every dropped pair is counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from thinktwice.errors import DataError, TrainError
from thinktwice.show import learned_tokens
from thinktwice.train.audit import Decoder, Dropped, Span, by_reason, quantile, span_lines, teaches
from thinktwice.train.pairs import ReferencedPair, check_pair
from thinktwice.train.settings import Training
from thinktwice.types import Pair

UNLIKELY = -3.0
"""Mean log-probability of a token, in nats (one in twenty), below which the model hardly writes a side."""
IDENTICAL = "with both sides the same"
UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True)
class Side:
    """All chosen, or all rejected."""

    length_p5: int
    length_p50: int
    length_p95: int
    length_max: int
    tokens: int
    supervised: int
    """Positions with a weight above 0."""
    supervised_share: float
    end_learned_share: float | None
    """Share of the sides that end with the end token among what is learned; None when there is no end token."""


@dataclass(frozen=True, slots=True)
class ReferenceFacts:
    """How likely the sides are under the weights that training starts from; in nats a learned token."""

    chosen_p5: float
    chosen_p50: float
    chosen_p95: float
    rejected_p5: float
    rejected_p50: float
    rejected_p95: float
    rejected_unlikely_share: float
    """Share of the pairs whose rejected is below UNLIKELY: the model would not write it anyway, so that there is little
    to unlearn."""
    prefers_chosen_share: float
    """Share of the pairs whose chosen is the likelier side (a token) already."""


@dataclass(frozen=True, slots=True)
class PairAudit:
    """The facts of a set of pairs."""

    kept: tuple[Pair, ...]
    """What is trained on."""
    dropped: tuple[Dropped, ...]
    n: int
    """Pairs trained on."""
    kinds: dict[str, int]
    """Pairs by kind."""
    chosen: Side
    rejected: Side
    length_p5: int
    length_p50: int
    length_p95: int
    length_max: int
    max_length: int
    """The longest side allowed, in tokens."""
    tokens: int
    """Of both sides."""
    supervised: int
    supervised_share: float
    end_learned_share: float | None
    """Of chosen."""
    sample_problem_id: str
    sample: tuple[Span, ...]
    """One pair: the context seen, chosen learned, rejected retracted."""
    reference: ReferenceFacts | None = None
    """None until it is measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the pairs themselves; `pairs` says how many there are."""
        facts = {name: value for name, value in asdict(replace(self, kept=())).items() if name != "kept"}
        return {"pairs": self.n, **{k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}}

    def lines(self, tokenizer: Decoder | None = None) -> list[str]:
        """Return the facts as lines of plain text; with a tokenizer, the sample as text instead of ids."""
        kinds = ", ".join(f"{name} {count}" for name, count in self.kinds.items())
        lines = [f"pairs             {self.n} ({len(self.dropped)} dropped): {kinds}"]
        for name, side in (("chosen", self.chosen), ("rejected", self.rejected)):
            ends = "" if side.end_learned_share is None else f"; ends in {side.end_learned_share:.1%}"
            lines.append(
                f"{name:18}5 %: {side.length_p5}, median {side.length_p50}, 95 %: {side.length_p95}, "
                f"longest {side.length_max} tokens; learned {side.supervised} of {side.tokens} "
                f"({side.supervised_share:.1%}){ends}"
            )
        lines.append(f"allowed           {self.max_length} tokens a side; nothing is cut")
        if (known := self.reference) is not None:
            for name in ("chosen", "rejected"):
                low, middle, high = (getattr(known, f"{name}_{q}") for q in ("p5", "p50", "p95"))
                lines.append(
                    f"reference         {name}: median {middle:.2f} nats a token (5 %: {low:.2f}, 95 %: {high:.2f})"
                )
            lines.append(
                f"reference         prefers chosen in {known.prefers_chosen_share:.1%}; would hardly write rejected "
                f"(below {UNLIKELY:g} nats a token) in {known.rejected_unlikely_share:.1%}"
            )
        return [*lines, *by_reason(self.dropped), f"sample            {self.sample_problem_id}",
                *span_lines(self.sample, tokenizer)]  # fmt: skip


def audit_pairs(
    pairs: Sequence[Pair],
    settings: Training,
    *,
    eos_id: int | None,
    max_length: int,
    vocabulary: int | None = None,
) -> PairAudit:
    """Check every pair and gather the facts. Law 2.

    Args:
        pairs: what was mined.
        settings: `overflow` decides what happens to a pair with a side longer than `max_length`.
        eos_id: the token that ends a reply; None when the model has none.
        max_length: what the model can take, or the settings' own lower limit.
        vocabulary: rows of the embedding matrix; ids beyond it are refused.

    Raises:
        DataError: a contradictory or too long pair, one that teaches nothing, an id outside the vocabulary.
        TrainError: no pair is left.
    """
    kept: list[Pair] = []
    dropped: list[Dropped] = []
    for pair in pairs:
        check_pair(pair)
        length = max(len(pair.chosen.token_ids), len(pair.rejected.token_ids))
        highest = max(*pair.chosen.token_ids, *pair.rejected.token_ids)
        if vocabulary is not None and highest >= vocabulary:
            raise DataError(
                f"The pair of problem {pair.problem_id!r} has token id {highest}, the model has {vocabulary} rows. Add "
                "control tokens with prepare_base, and use the base's own tokenizer."
            )
        if pair.chosen == pair.rejected:
            dropped.append(Dropped(pair.problem_id, IDENTICAL, length))
        elif length <= max_length:
            kept.append(pair)
        elif settings.overflow == "drop":
            dropped.append(Dropped(pair.problem_id, f"longer than {max_length} tokens", length))
        else:
            raise DataError(
                f"A side of the pair of problem {pair.problem_id!r} has {length} tokens, {max_length} are allowed. "
                "Nothing is cut: raise training.max_length, set training.overflow=drop, or use a model with a longer "
                "context."
            )
    if not kept:
        reasons = Counter(each.reason for each in dropped)
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.items()) or "there are no pairs"
        raise TrainError(f"There is no pair to train on: {why}.")
    sides = [[pair.chosen for pair in kept], [pair.rejected for pair in kept]]
    chosen, rejected = (_side(examples, eos_id) for examples in sides)
    lengths = sorted(len(example.token_ids) for side in sides for example in side)
    tokens, supervised = chosen.tokens + rejected.tokens, chosen.supervised + rejected.supervised
    return PairAudit(
        kept=tuple(kept),
        dropped=tuple(dropped),
        n=len(kept),
        kinds=dict(Counter(pair.kind or UNNAMED for pair in kept).most_common()),
        chosen=chosen,
        rejected=rejected,
        length_p5=quantile(lengths, 0.05),
        length_p50=quantile(lengths, 0.5),
        length_p95=quantile(lengths, 0.95),
        length_max=lengths[-1],
        max_length=max_length,
        tokens=tokens,
        supervised=supervised,
        supervised_share=supervised / tokens,
        end_learned_share=chosen.end_learned_share,
        sample_problem_id=kept[0].problem_id,
        sample=pair_spans(kept[0]),
    )


def with_reference(facts: PairAudit, known: Sequence[ReferencedPair]) -> PairAudit:
    """Return the facts with what the starting weights think of the pairs."""
    chosen = [each.chosen / sum(each.pair.chosen.weights) for each in known]
    rejected = [each.rejected / sum(each.pair.rejected.weights) for each in known]
    better, worse = sorted(chosen), sorted(rejected)
    found = ReferenceFacts(
        chosen_p5=quantile(better, 0.05),
        chosen_p50=quantile(better, 0.5),
        chosen_p95=quantile(better, 0.95),
        rejected_p5=quantile(worse, 0.05),
        rejected_p50=quantile(worse, 0.5),
        rejected_p95=quantile(worse, 0.95),
        rejected_unlikely_share=sum(value < UNLIKELY for value in rejected) / len(known),
        prefers_chosen_share=sum(a > b for a, b in zip(chosen, rejected, strict=True)) / len(known),
    )
    return replace(facts, reference=found)


def pair_spans(pair: Pair) -> tuple[Span, ...]:
    """Return the pair as coloured spans: the shared context once, then chosen, then rejected."""
    end = pair.context_length
    spans = [Span("seen", pair.chosen.token_ids[:end], learned=False)]
    for side, colour in ((pair.chosen, "learned"), (pair.rejected, "retracted")):
        marks = list(zip(side.token_ids, learned_tokens(side), strict=True))[end:]
        for learned, group in groupby(marks, key=lambda mark: mark[1]):
            ids = tuple(token_id for token_id, _ in group)
            spans.append(Span(colour if learned else "seen", ids, learned and colour == "learned"))  # type: ignore[arg-type]
    return tuple(spans)


def _side(examples: Sequence[Any], eos_id: int | None) -> Side:
    lengths = sorted(len(example.token_ids) for example in examples)
    supervised = sum(weight > 0 for example in examples for weight in example.weights)
    ended = sum(teaches(example, eos_id) for example in examples)
    return Side(
        length_p5=quantile(lengths, 0.05),
        length_p50=quantile(lengths, 0.5),
        length_p95=quantile(lengths, 0.95),
        length_max=lengths[-1],
        tokens=sum(lengths),
        supervised=supervised,
        supervised_share=supervised / sum(lengths),
        end_learned_share=None if eos_id is None else ended / len(examples),
    )
