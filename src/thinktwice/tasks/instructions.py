"""Tasks told in words: what a task file of Natural Instructions says, v1 or v2, with everything that people wrote.

A file is one task: a definition, good examples with a reason each, bad ones with what is wrong and how to mend it (v1),
and instances with every output that counts. The reasons and suggestions are human criticism, so nothing is thrown away.
Law: instances that repeat one of their task's own examples, or an input met before in the task, are left out and
counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from thinktwice.errors import DataError
from thinktwice.tasks import passages, reading
from thinktwice.types import Problem

NONE = "-"
"""How v1 writes that there is nothing."""
Part = Literal["definition", "caution", "avoid", "prompt"]
"""What of a task may stand in a prompt before the input."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An example that the people who wrote a task show and explain."""

    input: str
    output: str
    reason: str = ""
    """Why the output is good, or what is wrong with it (v2: "explanation")."""
    suggestion: str = ""
    """How a bad output could be mended (v1)."""


@dataclass(frozen=True)
class Instruction:
    """One task as its file tells it. Law: what v1 writes as "-" is empty here."""

    definition: str
    caution: str = ""
    """"Emphasis & Caution" (v1)."""
    avoid: str = ""
    """"Things to Avoid" (v1)."""
    prompt: str = ""
    """The task in one sentence (v1)."""
    positives: tuple[Shown, ...] = ()
    negatives: tuple[Shown, ...] = ()
    instances: tuple[Problem, ...] = ()
    """`passages.question` gives the input of one, `references` its outputs."""
    name: str = ""
    """The file's name without its ending."""

    def text(self, parts: Sequence[Part] = ("definition",)) -> str:
        """Return what comes before an input; a part that the task does not have is left out."""
        return "\n".join(told for part in parts if (told := str(getattr(self, part))))


@dataclass(frozen=True)
class Collected:
    """What a source of task files held."""

    tasks: tuple[Instruction, ...]
    """The tasks, without their instances."""
    reading: reading.Reading


def read_task(path: Path | str, parts: Sequence[Part] = ("definition",)) -> Instruction:
    """Read a task file of v1 or v2 with everything that people wrote in it.

    Raises:
        DataError: it is no task file, or more than 1 % of its instances are bad.

    Example:
        >>> task = read_task("subtask003_mctaco_question_generation_event_duration.json")  # doctest: +SKIP
        >>> task.negatives[0].reason  # doctest: +SKIP
        'We DO NOT want this question, as the answer is directly mentioned in the text.'
    """
    found = read_files([Path(path)], parts, str(path))
    return replace(found.tasks[0], instances=found.reading.problems)


def read_files(files: Sequence[Path], parts: Sequence[Part], told: str, quarantine: Path | None = None) -> Collected:
    """Read task files as one source; see `collect`."""
    return collect({file.stem: reading.document_of(file) for file in files}, parts, told, quarantine)


def collect(
    documents: Mapping[str, Any], parts: Sequence[Part], told: str, quarantine: Path | None = None
) -> Collected:
    """Read the documents of task files, by name. Law: as `reading.collect`, over the instances of all of them.

    Raises:
        DataError: a document is no task, or more than 1 % of all instances are bad.
    """
    tasks = {name: instruction(name, document) for name, document in documents.items()}
    convert = {name: instances(task, parts) for name, task in tasks.items()}
    found = reading.collect(
        _rows(documents), lambda row: convert[row["task"]](row["instance"]), source=told, quarantine=quarantine
    )
    return Collected(tuple(tasks.values()), found)


def _rows(documents: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for name, document in documents.items():
        yield from ((place, {"task": name, "instance": row}) for place, row in enumerate(document["Instances"], 1))


def instruction(name: str, document: Any) -> Instruction:
    """Return what a task's document says, its instances apart.

    Raises:
        DataError: it has no definition or no instances, or an example has no input or output.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("Instances"), list):
        raise DataError(
            f"{name}: it has no list 'Instances', so it is no task. Leave it out of the directory, or mend it."
        )
    examples = document.get("Examples", document)  # v1 has them one level down
    definition = _text(document.get("Definition"))
    if not definition or not isinstance(examples, Mapping):
        raise DataError(f"{name}: it has no 'Definition', or 'Examples' is no mapping. Mend it, or leave it out.")
    return Instruction(
        definition,
        _text(document.get("Emphasis & Caution")),
        _text(document.get("Things to Avoid")),
        _text(document.get("Prompt")),
        _shown(name, examples.get("Positive Examples")),
        _shown(name, examples.get("Negative Examples")),
        name=name,
    )


def instances(task: Instruction, parts: Sequence[Part]) -> Callable[[Any], Problem]:
    """Return what makes a problem of each instance of a task, in order: it remembers the inputs that it has met."""
    met: dict[str, str] = {reading.plain(s.input): "shown as an example" for s in (*task.positives, *task.negatives)}
    told = task.text(parts)

    def convert(row: Any) -> Problem:
        if not isinstance(row, Mapping):
            raise DataError(f"{task.name}: an instance is no JSON object")
        asked, outputs = reading.text_of(row, "input"), row.get("output")
        outputs = [outputs] if isinstance(outputs, str) else outputs
        if not isinstance(outputs, list) or not all(isinstance(text, str) and text.strip() for text in outputs):
            raise DataError(f"{task.name}: 'output' is no list of texts, or has an empty one")
        answers = tuple(dict.fromkeys(text.strip() for text in outputs))
        if not answers:
            raise DataError(f"{task.name}: 'output' is empty")
        key = reading.plain(asked)
        if key in met:
            raise reading.Omitted(f"its input was {met[key]}")
        met[key] = "met before in its task"
        identity = row.get("id")
        return Problem(
            identity if isinstance(identity, str) and identity else reading.content_id(task.name, asked),
            passages.ask((told,), asked) if told else asked,
            answers[0],
            answers[0],
            context=(told,) if told else (),
            kind=task.name,
            answers=answers if len(answers) > 1 else (),
        )

    return convert


def _shown(name: str, examples: Any) -> tuple[Shown, ...]:
    """Return the examples of a list; of "-", or a list of it, none."""
    listed = examples if isinstance(examples, list) else [examples]
    found = [example for example in listed if example is not None and example != NONE]
    try:
        return tuple(
            Shown(
                reading.text_of(example, "input"),
                reading.text_of(example, "output"),
                _text(example.get("reason", example.get("explanation"))),
                _text(example.get("suggestion")),
            )
            for example in found
        )
    except (AttributeError, DataError) as error:
        raise DataError(f"{name}: an example cannot be read: {error}. Mend it, or remove it.") from None


def _text(value: Any) -> str:
    """Return a text, or the texts of a list one a line; "" for what is not there and for "-"."""
    parts = value if isinstance(value, list) else [value]
    told = "\n".join(part.strip() for part in parts if isinstance(part, str))
    return "" if told == NONE else told
