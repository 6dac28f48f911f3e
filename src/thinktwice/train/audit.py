"""What is about to be learned, before step 1. Law 2: nothing is cut, dropped or left unlearned in silence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, Protocol, TypeVar, cast

from thinktwice.errors import DataError, TrainError
from thinktwice.show import example_marks, learned_tokens
from thinktwice.train.batch import check_example
from thinktwice.train.settings import Training
from thinktwice.types import Example

Number = TypeVar("Number", int, float)
Colour = Literal["learned", "seen", "retracted"]


class Decoder(Protocol):
    """What is used of a tokenizer, to show an example."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example that is not trained on."""

    problem_id: str
    reason: str
    length: int


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring tokens of one colour."""

    colour: Colour
    """learned (green): its prediction counts; seen (grey); retracted (red): later tokens no longer see it."""
    token_ids: tuple[int, ...]
    learned: bool
    """Also for retracted tokens: does their prediction count?"""


@dataclass(frozen=True, slots=True)
class Audit:
    """The facts of a training set."""

    kept: tuple[Example, ...]
    """What is trained on."""
    dropped: tuple[Dropped, ...]
    n: int
    """Examples trained on."""
    length_p5: int
    length_p50: int
    length_p95: int
    length_max: int
    max_length: int
    """The longest example allowed, in tokens."""
    tokens: int
    supervised: int
    """Positions with a weight above 0."""
    supervised_share: float
    """Of the tokens."""
    end_learned_share: float | None
    """Share of the examples that teach the end token; None when there is no end token."""
    layout_share: float
    """Share of the examples with an attention layout."""
    sample_problem_id: str
    sample: tuple[Span, ...]
    """One example, coloured."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the examples themselves."""
        facts = {k: v for k, v in asdict(self).items() if k != "kept"}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}

    def lines(self, tokenizer: Decoder | None = None) -> list[str]:
        """Return the facts as lines of plain text; with a tokenizer, the sample as text instead of ids."""
        end = "no end token" if self.end_learned_share is None else f"{self.end_learned_share:.1%} of the examples"
        lines = [
            f"examples          {self.n} ({len(self.dropped)} dropped)",
            f"length            5 %: {self.length_p5}, median {self.length_p50}, 95 %: {self.length_p95}, "
            f"longest {self.length_max} of {self.max_length} tokens allowed; nothing is cut",
            f"tokens            {self.tokens}, learned {self.supervised} ({self.supervised_share:.1%})",
            f"end token learned {end}",
        ]
        sample = [f"sample            {self.sample_problem_id}", *span_lines(self.sample, tokenizer)]
        return [*lines, *by_reason(self.dropped), *sample]


def by_reason(dropped: Sequence[Dropped]) -> list[str]:
    """Return a line for every reason: how many were dropped, and the first few."""
    lines = []
    for reason, group in groupby(sorted(dropped, key=lambda d: d.reason), key=lambda d: d.reason):
        names = [each.problem_id for each in group]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        lines.append(f"dropped           {len(names)} {reason}: {shown}")
    return lines


def span_lines(spans: Sequence[Span], tokenizer: Decoder | None) -> list[str]:
    """Return a line for every span, as text where there is a tokenizer, as ids where there is none."""
    lines = []
    for span in spans:
        shown = " ".join(map(str, span.token_ids))
        if tokenizer is not None:
            shown = repr(tokenizer.decode(list(span.token_ids), skip_special_tokens=False))
        also = " (learned)" if span.colour == "retracted" and span.learned else ""
        lines.append(f"  {span.colour + also:20}{shown}")
    return lines


def audit(
    examples: Sequence[Example],
    settings: Training,
    *,
    eos_id: int | None,
    max_length: int,
    vocabulary: int | None = None,
) -> Audit:
    """Check every example and gather the facts. Law 2.

    Args:
        examples: what was collected.
        settings: `overflow` decides what happens to an example longer than `max_length`.
        eos_id: the token that ends a reply; None when the model has none.
        max_length: what the model can take, or the settings' own lower limit.
        vocabulary: rows of the embedding matrix; ids beyond it are refused.

    Raises:
        DataError: a contradictory or too long example, one that teaches nothing, an id outside the vocabulary.
        TrainError: nothing is left, or the end token is never learned.
    """
    kept: list[Example] = []
    dropped: list[Dropped] = []
    for example in examples:
        check_example(example)
        length = len(example.token_ids)
        if vocabulary is not None and max(example.token_ids) >= vocabulary:
            raise DataError(
                f"Example of problem {example.problem_id!r} has token id {max(example.token_ids)}, the model has "
                f"{vocabulary} rows. Add control tokens with prepare_base, and use the base's own tokenizer."
            )
        if not any(weight > 0 for weight in example.weights):
            raise DataError(f"Example of problem {example.problem_id!r} teaches nothing: every weight is 0.")
        if length <= max_length:
            kept.append(example)
        elif settings.overflow == "drop":
            dropped.append(Dropped(example.problem_id, f"longer than {max_length} tokens", length))
        else:
            raise DataError(
                f"Example of problem {example.problem_id!r} has {length} tokens, {max_length} are allowed. Nothing is "
                "cut: raise training.max_length, set training.overflow=drop, or use a model with a longer context."
            )
    if not kept:
        why = f"all {len(dropped)} are longer than {max_length} tokens" if dropped else "there are no examples"
        raise TrainError(f"There is nothing to train on: {why}.")
    ended = sum(teaches(example, eos_id) for example in kept)
    if eos_id is not None and not ended:
        raise TrainError(
            f"No example teaches the end token (id {eos_id}): the model would never stop. End every reply with it and "
            "give its prediction a weight."
        )
    lengths = sorted(len(example.token_ids) for example in kept)
    tokens = sum(lengths)
    supervised = sum(weight > 0 for example in kept for weight in example.weights)
    sample = next((example for example in kept if example.dead_from is not None), kept[0])
    return Audit(
        kept=tuple(kept),
        dropped=tuple(dropped),
        n=len(kept),
        length_p5=quantile(lengths, 0.05),
        length_p50=quantile(lengths, 0.5),
        length_p95=quantile(lengths, 0.95),
        length_max=lengths[-1],
        max_length=max_length,
        tokens=tokens,
        supervised=supervised,
        supervised_share=supervised / tokens,
        end_learned_share=None if eos_id is None else ended / len(kept),
        layout_share=sum(example.dead_from is not None for example in kept) / len(kept),
        sample_problem_id=sample.problem_id,
        sample=colour(sample),
    )


def colour(example: Example) -> tuple[Span, ...]:
    """Return the example as coloured spans, as `show.example_marks` colours it."""
    spans, start = [], 0
    marks = zip(example_marks(example), learned_tokens(example), strict=True)
    for (name, learned), group in groupby(marks):
        size = len(list(group))
        spans.append(Span(cast(Colour, name), example.token_ids[start : start + size], learned))
        start += size
    return tuple(spans)


def teaches(example: Example, token_id: int | None) -> bool:
    """Say whether predicting a token is among what an example teaches."""
    return any(w > 0 and target == token_id for w, target in zip(example.weights, example.targets, strict=True))


def quantile(ordered: Sequence[Number], share: float) -> Number:
    """Return the value below which that share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
