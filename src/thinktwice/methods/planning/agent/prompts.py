"""What the agent asks, word by word. Law: a request is one text, its last line is the data, as JSON.

One text and no system message, because some models have none. The data is JSON on one line, so that nothing a question
says can pass for an instruction of ours without being a quoted string, and a writer that is no model can read it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from thinktwice.run.files import digest
from thinktwice.types import Problem

Order = Literal["interleaved", "memory_first"]
AnswerMode = Literal["shown", "hidden"]

RAG, REASON = "rag", "reason"
LABELS = (RAG, REASON)
"""What StrategyQA's agent data calls a step that recalls a fact and a step that derives something."""

PLANNER = """\
Plan how a careful person comes to the answer of the question below, in small steps of two kinds.

A "rag" step needs one fact about the world that the question does not state. Do not write the fact down: write a query,
a question complete in itself that somebody who sees neither this task nor your other steps can answer in one sentence.
A "reason" step derives something from the question, from the facts that earlier steps asked for, and from earlier
steps. Write its content: one or two whole sentences that stand on their own.

At least one step of each kind. {order}
{answer}
Reply with one JSON object and with nothing around it. Its form:
{{"steps": [{{"name": "a few words", "requirement": "rag", "query": "the question for the fact", "content": ""}}, \
{{"name": "a few words", "requirement": "reason", "query": "", "content": "what is derived"}}], "answer": "{form}"}}

The question, as JSON:
"""
_ORDER: Mapping[Order, str] = {
    "interleaved": "Ask for a fact where the reasoning first needs it.",
    "memory_first": "All rag steps come first; after the first reason step no fact is asked for any more.",
}
_ANSWER: Mapping[AnswerMode, str] = {
    "shown": "The right answer is given. The steps must lead to it as they would if it were not known, and not mention "
    'that it was given; repeat it as "answer".',
    "hidden": 'The answer is not given; find it, and state it as "answer".',
}

KNOWLEDGE = """\
Answer each of the queries below from what you know. Each fact is one whole sentence that can be understood without its
query, and says only what was asked. Where you are not sure, write null instead of a guess.

Reply with one JSON object and with nothing around it: every query, exactly as it stands, with its fact.
Its form: {"the query": "the fact", "another query": null}

The queries, as JSON:
"""

LABELLER = """\
Below are a question and the steps of a solution. Say of each step what kind it is:
"rag" when it states a fact about the world that neither the question nor an earlier step says;
"reason" when it derives, compares, weighs or concludes something from what is already there.

Reply with one JSON object and with nothing around it, one label a step, in their order.
Its form: {"labels": ["rag", "reason"]}

The question and the steps, as JSON:
"""


def prompts_digest() -> str:
    """Return a hash of every word of ours that a model reads: part of the provenance of each row."""
    return digest([PLANNER, _ORDER, _ANSWER, KNOWLEDGE, LABELLER])[:16]


def ask_plan(problem: Problem, order: Order, answer: AnswerMode) -> str:
    """Return the request for a plan; the answer is in it only where it is shown."""
    data: dict[str, Any] = {"question": problem.prompt}
    if problem.context:
        data["passages"] = list(problem.context)
    if answer == "shown":
        data["answer"] = problem.answer
    return PLANNER.format(order=_ORDER[order], answer=_ANSWER[answer], form=_form(problem)) + _line(data)


def ask_facts(queries: Sequence[str]) -> str:
    """Return the request for facts. The knowledge model sees neither question nor plan: it cannot reason ahead."""
    return KNOWLEDGE + _line({"queries": list(queries)})


def ask_labels(question: str, steps: Sequence[str]) -> str:
    """Return the request for the labels of steps."""
    return LABELLER + _line({"question": question, "steps": list(steps)})


def data_of(request: str) -> dict[str, Any]:
    """Return the data of a request: for writers that are no models."""
    found: dict[str, Any] = json.loads(request.rpartition("\n")[2])
    return found


def _form(problem: Problem) -> str:
    if problem.choices:
        return "the letter of the right option"
    return "True or False" if problem.answer in ("True", "False") else "the answer alone"


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)
