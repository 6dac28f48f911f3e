"""What writers are asked for, and how their replies are read. Law: a reply is data; what cannot be read has a reason.

The seed's three roles: argument first (the answer follows from the steps), answer first (the steps justify an answer
that was blurted out, which is mostly how wrong solutions come about), and a choice between two candidates. The words
are ours. A base model may be asked to go on inside an open JSON string, as the seed asked.

The seed's parser asked that `reply.split('"')` have six pieces, so that any quotation mark inside an argument, an
unquoted number or a remark after the object lost the row, and dropped the minus of an answer. Here the first object is
read as JSON (line breaks inside strings are allowed, numbers keep their digits, what follows is ignored), and where
quotation marks inside a string are not escaped, the fields are found by their names.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from thinktwice.engines.http import Reply
from thinktwice.methods.transplant.data import Candidate
from thinktwice.run.files import digest

Role = Literal["argument_first", "answer_first", "choice"]

_BOTH = """\
{order}

Reply with one JSON object and with nothing around it. Its form:
{form}

The question, as JSON:
{data}"""
_ORDER = {
    "argument_first": "Answer the question below: first argue step by step, then state the answer.",
    "answer_first": "Answer the question below: first state the answer, then argue for it step by step.",
    "choice": "Below are a question and two candidates for its answer. Argue which of them is right, then choose it.",
}
_FORM = {
    "argument_first": '{"argument": "the steps", "answer": "the final answer alone"}',
    "answer_first": '{"answer": "the final answer alone", "argument": "the steps"}',
    "choice": '{"argument": "why one of them is right", "answer_choice": "candidate_1 or candidate_2"}',
}
FIELDS: dict[Role, tuple[str, str]] = {
    "argument_first": ("argument", "answer"),
    "answer_first": ("answer", "argument"),
    "choice": ("argument", "answer_choice"),
}
"""What a reply holds, in the order it is asked for."""


class Unusable(Exception):  # noqa: N818  data, not an error
    """A reply that cannot be kept. `reason` is counted; `detail` says where."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def words_digest() -> str:
    """Return a hash of every word of ours that a writer reads: part of the key of each problem."""
    return digest([_BOTH, _ORDER, _FORM])[:16]


def ask(role: Role, question: str, shown: Sequence[Candidate] = ()) -> str:
    """Return the request of a role; the last line is the data, as JSON."""
    data: dict[str, Any] = {"question": question}
    data |= {f"candidate_{number}": stating(c) for number, c in enumerate(shown, 1)}
    spelled = json.dumps(data, ensure_ascii=False)
    return _BOTH.replace("{order}", _ORDER[role]).replace("{form}", _FORM[role]).replace("{data}", spelled)


def opening(role: Role) -> str:
    """Return how the reply of a base model begins: inside the first field's string."""
    return '{"' + FIELDS[role][0] + '": "'


def ask_base(role: Role, question: str, shown: Sequence[Candidate] = ()) -> str:
    """Return the text that a base model goes on with."""
    return f"{ask(role, question, shown)}\n\nThe reply:\n{opening(role)}"


def stating(candidate: Candidate) -> str:
    """Return a candidate's text with its answer, stated once."""
    if not candidate.answer or candidate.text.rstrip().endswith(candidate.answer):
        return candidate.text
    return f"{candidate.text.rstrip()}\nThe answer is: {candidate.answer}"


def read(role: Role, reply: Reply, begun: str = "") -> dict[str, str]:
    """Return a role's fields; `begun` is what stood before the reply (`opening`).

    Raises:
        Unusable: the reply was cut, is empty, holds no object, or lacks a field.
    """
    if reply.finish_reason == "content_filter":
        raise Unusable("cut by a content filter")
    text = re.sub(r"\A\s*<think>.*?</think>", "", reply.text, count=1, flags=re.DOTALL)
    if not text.strip():
        raise Unusable("an empty reply")
    found = _object(begun + text, FIELDS[role])
    if found is None:
        raise Unusable("cut by the token budget" if reply.finish_reason == "length" else "not one JSON object")
    fields = {}
    for name in FIELDS[role]:
        if name not in found:
            raise Unusable("a field is missing", name)
        value = found[name]
        if not isinstance(value, str) or not value.strip():
            raise Unusable("a field is not a text", name)
        fields[name] = value.strip()
    if role == "choice":
        named = re.fullmatch(r"\W*(?:candidate|solution)?[ _]?([12])\W*", fields["answer_choice"], re.IGNORECASE)
        if named is None:
            raise Unusable("chooses neither candidate", fields["answer_choice"][:60])
        fields["answer_choice"] = named[1]
    return fields


def _object(text: str, names: tuple[str, str]) -> dict[str, Any] | None:
    """Return the first JSON object of a text that has the fields, else what their names enclose."""
    decoder = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # an answer keeps its digits
    first: dict[str, Any] | None = None
    for brace in list(re.finditer(r"\{", text))[:20]:
        try:
            value, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and all(name in value for name in names):
            return value
        first = first or (value if isinstance(value, dict) and any(name in value for name in names) else None)
    one, two = map(re.escape, names)
    loose = re.search(
        rf'\{{\s*"{one}"\s*:\s*"?(?P<one>.*?)"?\s*,\s*"{two}"\s*:\s*"?(?P<two>.*?)"?\s*\}}', text, re.DOTALL
    )
    return first if loose is None else dict(zip(names, (loose["one"], loose["two"]), strict=True))
