"""Labels by rules, without a model: for the embedded run, as a baseline, and as a cheap second opinion.

A line that opens with a connective, concludes, weighs, compares or calculates is `reason`; any other line states a fact
that has to be known, and is `rag`. The words were chosen on the labels of StrategyQA's training data, written by GPT-4o
and noisy, and two more for how the wiki world compares. Agreement, without steps that have no text or another label
(measured by `tests/methods/planning/test_agent_rules.py`):

    labels                                   steps   accuracy   Cohen's kappa   always "reason"
    StrategyQA_train_clean (chosen here)      7468     84.7 %           0.694            51.6 %
    StrategyQA_test_clean                     3220     84.1 %           0.681            52.6 %
    truthful_qa_train_clean_CC                3426     81.3 %           0.608            65.9 %
    wiki, true labels                         8530    100.0 %           1.000            40.8 %

The last row says only that the rules know that world's phrases. Counting instead which words of a line are new, as the
definition of a fact suggests, does worse (training data: 72.7 % at best, kappa 0.46) and adds nothing beside the cues
(84.8 %), so it is not done. One label in six differs from GPT-4o's: labels to build and test with, not to publish with.
"""

import json
import re
from collections.abc import Sequence

from thinktwice.engines.http import Reply, Request, Result
from thinktwice.methods.planning.agent.prompts import RAG, REASON, Order, data_of
from thinktwice.types import Problem

VERSION = 1
"""Counts changes of the rules: labels under other rules are others."""

_OPENS = re.compile(
    r"(?:so|therefore|thus|hence|consequently|accordingly|since|because|given|based on|considering|consider|if|to \w+|"
    r"comparing|compare|compared|although|even|while|in conclusion|overall|ultimately|as a result|both|let|first|"
    r"this (?:means|implies|suggests|indicates)|that means|it follows|it is (?:likely|unlikely|possible|reasonable)|"
    r"it is clear|we|determine|evaluate|assess|analy[sz]e|by \w+ing|from (?:the|this)|combining|of .* and .* the)\b",
    re.IGNORECASE,
)
_SAYS = re.compile(
    r"\b(?:therefore|thus|hence|consequently|conclude[ds]?|conclusion|deduced?|infer(?:red)?|question|whether|"
    r"reasonable|unlikely|likely|it follows|which means|this means|implies|implying|suggests that|would|could|might|"
    r"should|must have|need to|cannot|because|are (?:the same|different))\b",
    re.IGNORECASE,
)
_CALCULATES = re.compile(r"\d\s*[+*×÷]\s*\d|\d\s+[-−/]\s+\d|=|<<")
"""A hyphen or a slash between digits is more often a span of years or a date than a calculation."""
_QUERY = "Which fact is this: "


def label_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the label of each line, rag or reason.

    Example:
        >>> label_lines(["Iwo Jima was a battle of 1945.", "So it was fought in World War II."])
        ('rag', 'reason')
    """
    return tuple(REASON if _derives(line.strip()) else RAG for line in lines)


def _derives(line: str) -> bool:
    return bool(_OPENS.match(line) or _SAYS.search(line) or _CALCULATES.search(line))


class RuleWriter:
    """Answers every role of the agent from the solutions that problems already have. Law: it invents nothing.

    As planner it gives the lines of the problem's solution with their labels, the facts as queries; as knowledge model
    it gives those facts back; as labeller it labels. So the offline run passes through the same strict reading. A
    problem without a solution gets a plan without steps.
    """

    def __init__(self, problems: Sequence[Problem], order: Order = "interleaved") -> None:
        self._problems = {problem.prompt: problem for problem in problems}
        self._order = order

    def chat(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request."""
        return [self._answer(data_of(str(request.prompt))) for request in requests]

    def _answer(self, data: dict[str, object]) -> Result:
        if "queries" in data:
            queries = data["queries"]
            assert isinstance(queries, list)
            return _reply({query: query.removeprefix(_QUERY) for query in queries})
        if "steps" in data:
            steps = data["steps"]
            assert isinstance(steps, list)
            return _reply({"labels": label_lines(steps)})
        problem = self._problems.get(str(data["question"]))
        lines = [line for line in (problem.solution or "").splitlines() if line.strip()] if problem else []
        labelled = [*zip(label_lines(lines[:-1]), lines[:-1], strict=True)]
        if self._order == "memory_first":
            labelled.sort(key=lambda pair: pair[0] == REASON)  # stable: facts first, each kind in its order
        plan = [
            {"name": "line", "requirement": label, "query": f"{_QUERY}{line}" if label == RAG else "",
             "content": "" if label == RAG else line}
            for label, line in labelled
        ]  # fmt: skip
        return _reply({"steps": plan, "answer": problem.answer if problem else ""})


class LabelWriter:
    """Labels steps as the dataset does that they come from; elsewhere it has no answer. For comparison only."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._labels = {problem.prompt: _labels_of(problem) for problem in problems}

    def chat(self, requests: Sequence[Request]) -> list[Result]:
        """Answer each request for labels."""
        asked = [data_of(str(request.prompt)) for request in requests]
        known = [self._labels.get(str(data.get("question")), {}) for data in asked]
        return [
            _reply({"labels": [labels[step] for step in data["steps"] if step in labels]})
            for data, labels in zip(asked, known, strict=True)
        ]


def _labels_of(problem: Problem) -> dict[str, str]:
    lines = (problem.solution or "").splitlines()[:-1]
    pairs = zip(lines, problem.labels, strict=True) if problem.labels else ()
    return {" ".join(line.split()): RAG if label == "memory" else label for line, label in pairs}


def _reply(data: object) -> Reply:
    return Reply(json.dumps(data, ensure_ascii=False), "stop", model="rules")
