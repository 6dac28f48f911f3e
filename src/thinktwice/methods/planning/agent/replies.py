"""What models reply -> plans, facts, labels. Law: strict; nothing missing is filled in, nothing unknown passes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktwice.engines.http import Reply
from thinktwice.methods.planning.agent.prompts import LABELS, RAG, REASON, Order

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
_THOUGHT = re.compile(r"\A<think>.*?</think>\s*", re.DOTALL)
_LABELLED = re.compile(r"\[[^\[\]]{1,40}\]\s*:")


class Unusable(Exception):  # noqa: N818  data, not an error
    """A reply, or what was made of it, that cannot be kept. `reason` is counted; `detail` says where."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Planned:
    """A step of a plan."""

    label: str
    """rag or reason."""
    text: str
    """What a reason step derives, or what a rag step asks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A planner's reply."""

    steps: tuple[Planned, ...]
    answer: str

    @property
    def queries(self) -> tuple[str, ...]:
        """What is asked of the knowledge model."""
        return tuple(step.text for step in self.steps if step.label == RAG)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A step as it is stored. Law: `text` is one line and not empty, `label` is rag or reason."""

    label: str
    text: str

    def __str__(self) -> str:
        """Spell it as the agent data does."""
        return f"[{self.label}]: {self.text}"


def read_plan(reply: Reply, order: Order) -> Plan:
    """Read a planner's reply.

    What a rag step says beside its query is not used: the knowledge model's fact is what will stand there.

    Raises:
        Unusable: it is not the JSON asked for, or breaks a rule of `check_labels`.
    """
    data = _object(reply)
    _only(data, ("steps", "answer"), "the plan")
    listed = data.get("steps")
    if not isinstance(listed, list) or not listed:
        raise Unusable("no steps")
    steps = tuple(_planned(number, step) for number, step in enumerate(listed, 1))
    check_labels([step.label for step in steps], order)
    plan = Plan(steps, _text(data, "answer", "the plan"))
    if len(set(plan.queries)) < len(plan.queries):
        raise Unusable("a query stands twice")
    return plan


def _planned(number: int, step: Any) -> Planned:
    where = f"step {number}"
    if not isinstance(step, Mapping):
        raise Unusable("a step is no object", where)
    _only(step, ("name", "requirement", "query", "content"), where)
    label = step.get("requirement")
    if label is None:
        raise Unusable("a step without requirement", where)
    if label not in LABELS:
        raise Unusable("a label outside the set", f"{where}: {str(label)[:60]!r}")
    if label == REASON and step.get("query"):
        raise Unusable("a reason step with a query", where)
    return Planned(str(label), _text(step, "query" if label == RAG else "content", where))


def read_facts(reply: Reply, queries: Sequence[str]) -> dict[str, str]:
    """Read a knowledge model's reply: a fact for every query, and for nothing else.

    Raises:
        Unusable: it is not that.
    """
    data = {_one_line(query): fact for query, fact in _object(reply).items()}
    for query in queries:
        if query not in data:
            raise Unusable("a query without a fact", query[:80])
        if data[query] is None:
            raise Unusable(UNKNOWN, query[:80])
    _only(data, queries, "the facts")
    return {query: _text(data, query, "the facts") for query in queries}


UNKNOWN = "a fact that the knowledge model does not know"


def read_labels(reply: Reply, count: int) -> tuple[str, ...]:
    """Read a labeller's reply: a label for each of `count` steps.

    Raises:
        Unusable: it is not that.
    """
    data = _object(reply)
    _only(data, ("labels",), "the reply")
    labels = data.get("labels")
    if not isinstance(labels, list) or len(labels) != count:
        raise Unusable("not one label a step")
    if any(label not in LABELS for label in labels):
        raise Unusable("a label outside the set")
    return tuple(labels)


def assemble(plan: Plan, facts: Mapping[str, str]) -> tuple[Labelled, ...]:
    """Put the facts where they were asked for: a rag step *is* the knowledge model's fact."""
    steps = tuple(Labelled(step.label, facts[step.text] if step.label == RAG else step.text) for step in plan.steps)
    if len({step.text for step in steps}) < len(steps):
        raise Unusable("a step stands twice")
    return steps


def check_labels(labels: Sequence[str], order: Order) -> None:
    """Refuse a solution without both kinds of steps, or that recalls after the first reason step in memory_first.

    Raises:
        Unusable: saying what is missing.
    """
    for label in labels:
        if label not in LABELS:
            raise Unusable("a label outside the set", label[:60])
    for label in LABELS:
        if label not in labels:
            raise Unusable(f"no {label} step")
    if order == "memory_first" and RAG in labels[labels.index(REASON) :]:
        raise Unusable("a rag step after the first reason step")


def _object(reply: Reply) -> dict[str, Any]:
    """Return the one JSON object that a reply is, bare or in one code fence, after one stretch of thought."""
    if reply.finish_reason == "length":
        raise Unusable("cut by the token budget")
    if reply.finish_reason == "content_filter":
        raise Unusable("cut by a content filter")
    text = _THOUGHT.sub("", reply.text.strip(), count=1)
    if not text:
        raise Unusable("an empty reply")
    fenced = _FENCE.fullmatch(text)
    try:
        data = json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unusable("not one JSON object", str(error)[:120]) from None
    if not isinstance(data, dict):
        raise Unusable("not one JSON object", type(data).__name__)
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a value JSON knows")


def _only(data: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in data:
        if name not in names:
            raise Unusable("a field that was not asked for", f"{where}: {name[:60]!r}")


def _text(data: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text as one line, whole: line breaks become spaces, because a step is a line."""
    value = data.get(name)
    if not isinstance(value, str):
        raise Unusable("a text is missing", f"{where}: {name[:60]!r}")
    text = _one_line(value)
    if not text:
        raise Unusable("an empty text", f"{where}: {name[:60]!r}")
    if _LABELLED.match(text):
        raise Unusable("a text that begins with a label", f"{where}: {text[:60]!r}")
    return text


def _one_line(text: str) -> str:
    """Join white space (line separators of every script included) to single spaces; drop control characters."""
    return "".join(c for c in " ".join(text.split()) if c == " " or c.isprintable())
