"""Published ReAct traces, read as episodes: what other agents did is measured by the same tables as what ours do.

Three formats: FireAct's trace file (`hotpotqa_dev_…json`, an agent's answers with their stored EM and F1), FireAct's
training rows (`gpt_format` messages, written by GPT-4), and Araft's trajectories. None of them says which pages an
observation shows, so `Turn.sources` stays empty, and none counts tokens.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.errors import DataError
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode, Turn
from thinktwice.tasks import reading
from thinktwice.types import Problem

_FIELD = re.compile(r"^(Thought|Action|Observation)(?: \d+)?:[ \t]*", re.MULTILINE)
_FIREACT = re.compile(r"(\w+)\[(.*?)\]?", re.DOTALL)
_ARAFT = re.compile(r"\[action: (\w+), action_input: (.*?)\]?", re.DOTALL)
_TOOLS = {"search": SEARCH, "finish": ANSWER, "Wikipedia": SEARCH, "Answer": ANSWER}
_FAILED = "generated an exception"


@dataclass(frozen=True, slots=True)
class Released:
    """One published episode."""

    problem: Problem
    """Its question and, where it is told, the reference answer."""
    episode: Episode
    prediction: str | None = None
    """The answer as the publisher stored it, None where they did not."""
    em: float | None = None
    """The publisher's own exact match, None where they did not store it."""
    f1: float | None = None


def fireact_traces(path: Path | str) -> list[Released]:
    """Read FireAct's trace file: {place in the dev file: {traj, gt, pred, em, f1}}.

    Questions that the agent never finished are not in such a file.

    Raises:
        DataError: it is no such file.
    """
    rows = _document(Path(path))
    found = []
    for place, row in rows.items():
        text = str(row.get("traj", ""))
        asked, mark, told = text.partition("### Response:\n")
        question = asked.partition("### Instruction:\n")[2].strip()
        if not mark or not question:
            raise DataError(f"{path}: row {place} has no 'traj' with an instruction and a response.")
        problem = Problem(f"hotpotqa-dev-{place}", question, str(row["gt"]))
        found.append(
            Released(
                problem,
                _episode(problem.id, told, _FIREACT),
                None if row.get("pred") is None else str(row["pred"]),
                float(row["em"]),
                float(row["f1"]),
            )
        )
    return found


def fireact_rows(path: Path | str) -> list[Released]:
    """Read FireAct's training rows: {messages: [question, thought and action, observation, …]}, all rewarded.

    The reference answer is not in them; the answer given, which was rewarded, stands for it.

    Raises:
        DataError: it is no such file.
    """
    found = []
    for number, row in _rows(Path(path)):
        messages = row.get("messages")
        if not isinstance(messages, list) or len(messages) < 2:
            raise DataError(f"{path}, line {number}: no list of messages.")
        question, *said = [str(message.get("content", "")) for message in messages]
        name = reading.content_id("fireact", question)
        episode = _episode(name, "\n".join(said), _FIREACT)
        found.append(Released(Problem(name, question, episode.answer or ""), episode))
    return found


def araft_trajectories(path: Path | str) -> list[Released]:
    """Read Araft's trajectories: {id, question, label, prediction, f1_score, trajectory} a line.

    Raises:
        DataError: it is no such file.
    """
    found = []
    for number, row in _rows(Path(path)):
        try:
            problem = Problem(str(row["id"]), str(row["question"]), str(row["label"]))
            episode = _episode(problem.id, str(row["trajectory"]), _ARAFT)
            found.append(Released(problem, episode, str(row["prediction"]), None, float(row["f1_score"])))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: not a trajectory of araft ({error!r}).") from None
    return found


def _episode(name: str, text: str, action: re.Pattern[str]) -> Episode:
    turns = tuple(_turns(text, action))
    answer = next((turn.argument for turn in reversed(turns) if turn.tool == ANSWER), None)
    return Episode(name, turns, answer)


def _turns(text: str, action: re.Pattern[str]) -> Iterator[Turn]:
    """Yield a turn for each action; thoughts before one belong to it."""
    places = [*_FIELD.finditer(text)]
    ends = [mark.start() for mark in places[1:]] + [len(text)]
    thought, pending = "", None
    for mark, end in zip(places, ends, strict=True):
        said = text[mark.end() : end].strip()
        if mark[1] == "Thought":
            if pending is not None:
                yield pending()
                pending = None
            thought = said
        elif mark[1] == "Action":
            if pending is not None:
                yield pending()
            pending, thought = _acting(thought, said, action), ""
        elif pending is not None:
            yield pending(said)
            pending = None
    if pending is not None:
        yield pending()


def _acting(thought: str, said: str, action: re.Pattern[str]) -> Callable[..., Turn]:
    """Return what makes a turn of its observation."""
    found = action.fullmatch(said)
    tool, argument = found.groups() if found else ("", said)

    def turn(observation: str = "") -> Turn:
        failed = "no action could be read" if found is None else ""
        if _FAILED in observation:
            failed = observation
        return Turn(thought, _TOOLS.get(tool, tool), argument.strip(), observation, error=failed)

    return turn


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, row in reading.rows_of(path):
        if isinstance(row, reading.BadRow):
            raise DataError(f"{path}, line {number}: {row.reason}.")
        yield number, row


def _document(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no trace file of FireAct ({error}).") from None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise DataError(f"{path} is no trace file of FireAct: it should be one JSON object of rows by place.")
    return rows
