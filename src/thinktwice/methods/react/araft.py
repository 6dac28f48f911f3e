"""Araft's tables, byte for byte: trajectories in, SFT and DPO rows out. No tokenizer is needed.

Source: FDeRubeis/araft at 5133a21 (Llama-2-7B ReAct on HotpotQA). Llama-2's chat template is written here by its rule:
`<s>[INST] <<SYS>>`, the system text, `<</SYS>>`, the user's text, `[/INST]`, the reply, `</s>`. The template strips a
message; araft keeps a message's last line break by a placeholder, however many there were.

Its pair rule: the rejected step is the one before, and a constant sentence at the first (`FIRST_REJECTED`).
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Episode
from thinktwice.run import files

FIRST_REJECTED = "Sure! Here are the steps for answering the question:"
"""What a first step is preferred to: a lesson about form, not about loops."""
END = "</s>"
_OBSERVATION = re.compile(r"(Observation:.*?\n)")
_ACTION = re.compile(r"Action: \[action: (Wikipedia|Answer), action_input: (.*)\]")


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One kept episode, as araft's generator writes it."""

    index: int
    """Its row in the dataset."""
    id: str
    question: str
    label: str
    prediction: str
    f1_score: float
    trajectory: str
    """Steps and observations, as text."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that cannot be used."""

    line: int
    """Counted from 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Templates:
    """The two prompts."""

    system: str
    human: str

    @classmethod
    def load(cls, directory: Path) -> "Templates":
        """Read `system.txt` and `human.txt`; ConfigError when they are not there."""
        try:
            texts = [(directory / f"{name}.txt").read_text(encoding="utf-8") for name in ("system", "human")]
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no {error.filename}; name the directory of system.txt and human.txt with --templates-dir"
            ) from None
        for place in ("{input}", "{agent_scratchpad}"):
            if place not in texts[1]:
                raise ConfigError(f"{directory / 'human.txt'} has no {place}; it is where that text goes")
        return cls(*texts)

    def prompt(self, question: str, scratchpad: str) -> str:
        """Return Llama-2's whole prompt for the next step."""
        parts = {"{input}": question, "{agent_scratchpad}": scratchpad}  # in one pass: a question may spell a field
        human = re.sub(r"\{input\}|\{agent_scratchpad\}", lambda found: parts[found[0]], self.human)
        return f"<s>[INST] <<SYS>>\n{_ended(self.system)}\n<</SYS>>\n\n{_ended(human).rstrip(' ')} [/INST]"


def _ended(message: str) -> str:
    """Keep one of the line breaks that a message ends with."""
    return re.sub(r"\n+\Z", "\n", message)


def read_trajectories(path: Path) -> tuple[list[Trajectory], list[Malformed]]:
    """Read JSON Lines; a row that cannot be used is named with its reason, and left out.

    Raises:
        DataError: there is no such file, or it is not text.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise DataError(f"{path} is no text file of trajectories, one JSON object a line") from None
    read: list[Trajectory] = []
    malformed: list[Malformed] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            found = _read(line)
            if isinstance(found, str):
                malformed.append(Malformed(number, found))
            else:
                read.append(found)
    return read, malformed


def _read(line: str) -> Trajectory | str:
    try:
        row = json.loads(line)
    except ValueError:
        return "not JSON"
    if not isinstance(row, dict):
        return "not a JSON object"
    for field in ("question", "trajectory"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            return f"no {field}"
    for number, (step, _) in enumerate(split(row["trajectory"]), 1):
        if not _ACTION.search(step):
            return f"step {number} has no action"
    texts = {name: str(row.get(name, "")) for name in ("id", "label", "prediction")}
    index, score = row.get("index", -1), row.get("f1_score", 0.0)
    if not isinstance(index, int) or not isinstance(score, int | float):
        return "index or f1_score is no number"
    return Trajectory(
        index, texts["id"], row["question"], texts["label"], texts["prediction"], score, row["trajectory"]
    )


def split(trajectory: str) -> list[tuple[str, str]]:
    """Split a trajectory into (step, observation), with their line breaks; the last step has no observation."""
    parts = _OBSERVATION.split(trajectory)
    return list(zip(parts[::2], [*parts[1::2], ""], strict=True))


def read_action(text: str) -> tuple[str, str] | None:
    """Return (action, input) of a step, the first that its regular expression finds."""
    found = _ACTION.search(text)
    return (found[1], found[2]) if found else None


def spell(episode: Episode) -> str:
    """Write an episode as a trajectory, whatever grammar it was played in; a turn without an action is left out.

    Araft has one tool, so opening a page is spelled as searching for it.
    """
    text = ""
    for turn in episode.turns:
        if turn.tool:
            name = {ANSWER: "Answer", SEARCH: "Wikipedia", OPEN: "Wikipedia"}.get(turn.tool, turn.tool)
            text += f"Thought: {_flat(turn.thought)}\nAction: [action: {name}, action_input: {_flat(turn.argument)}]\n"
            # "Observation:" parts a trajectory wherever it stands, so that a page must not say it.
            seen = _flat(turn.observation).replace("Observation:", "Observation -")
            text += "" if turn.tool == ANSWER else f"Observation: {seen}\n"
    return text


def _flat(text: str) -> str:
    return " ".join(text.split())


def sft_rows(trajectory: Trajectory, templates: Templates) -> list[tuple[str, str]]:
    """Return (prompt, completion), one for each action; their sum is the row `text` of araft's SFT table."""
    rows, scratchpad = [], ""
    for step, observation in split(trajectory.trajectory):
        rows.append((templates.prompt(trajectory.question, scratchpad), step + END))
        scratchpad += step + observation
    return rows


def dpo_rows(trajectory: Trajectory, templates: Templates) -> list[tuple[str, str, str]]:
    """Return (prompt, chosen, rejected), one for each action."""
    rows = sft_rows(trajectory, templates)
    before = [FIRST_REJECTED + END, *(completion for _, completion in rows)]
    return [(*row, rejected) for row, rejected in zip(rows, before, strict=False)]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a CSV file as araft writes it: a bare header, every field quoted, quotes doubled."""
    stream = io.StringIO()
    stream.write(",".join(columns) + "\n")
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def write_tables(trajectories: Sequence[Trajectory], templates: Templates, out: Path) -> dict[Path, int]:
    """Write `sft.csv` and `dpo.csv` and return how many rows each has. Law: nothing that is there is overwritten.

    Raises:
        ConfigError: one of them is there already.
    """
    sft = [(prompt + completion,) for t in trajectories for prompt, completion in sft_rows(t, templates)]
    dpo = [row for t in trajectories for row in dpo_rows(t, templates)]
    tables: dict[Path, tuple[tuple[str, ...], Sequence[Sequence[str]]]]
    tables = {out / "sft.csv": (("text",), sft), out / "dpo.csv": (("prompt", "chosen", "rejected"), dpo)}
    for path in tables:
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another --out, or move it away")
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for path, (columns, rows) in tables.items():
        files.write_text(path, table(columns, rows))
    return {path: len(rows) for path, (_, rows) in tables.items()}
