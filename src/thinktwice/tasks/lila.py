"""The arithmetic and algebra subsets of Lila (Mishra et al. 2022), from the hub or from their sources' own files.

SVAMP, AddSub, SingleOp, MultiArith, ASDiv, SingleEq and SimulEq, mostly used to ask whether what was learned on another
task carries over. They state an answer and no worked solution; SVAMP's equation, where it is given, is a solution of
one step.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.scoring import compat, numeric
from thinktwice.tasks import reading, steps
from thinktwice.types import Problem, Score, Task

HUB = "allenai/lila"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one source writes a row."""

    question: tuple[str, ...]
    """Fields that make the question, joined by a space."""
    answer: str


SHAPES = (
    Shape(("Body", "Question"), "Answer"),  # SVAMP.json, ASDiv.xml
    Shape(("sQuestion",), "lSolutions"),  # MAWPS: AddSub, MultiArith, SingleEq
    Shape(("original_text",), "ans"),  # MWPToolkit: alg514
    Shape(("input",), "output_answer"),  # allenai/lila
    Shape(("Input",), "Output Answer"),  # Lila's own files
    Shape(("input",), "target"),  # PAL's copies
    Shape(("question",), "result"),  # MU-NLPC/Calc-*
    Shape(("question",), "final_ans"),  # ChilleD/MultiArith
    Shape(("question",), "answer"),
)

SUBSETS = {
    "svamp": "svamp_structured",
    "addsub": "addsub",
    "singleop": "singleop",
    "multiarith": "multiarith",
    "asdiv": "asdiv",
    "singleeq": "singleq",
    "simuleq": "simuleq",
}
"""Our name -> the configuration of `allenai/lila` on the hub."""

_FILES = {"train": ("train*",), "dev": ("dev*", "valid*"), "test": ("test*",)}
_HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def lila(
    subset: str,
    path: str | None = None,
    *,
    train: int = 0,
    dev: int = 0,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """Load a subset of Lila's math problems. Law: a file without splits is test, but for what `train` and `dev` carve.

    Args:
        subset: svamp, addsub, singleop, multiarith, asdiv, singleeq or simuleq.
        path: a file (JSON, JSON lines, XML), a directory with train/dev|valid/test files, or None for the hub.
        train: how many problems of a single file become the train split.
        dev: how many problems of a single file become the dev split.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        compat: score as the public planning-token code does, see `scoring.compat`; it finds only "The answer is: N".

    Raises:
        ConfigError: an unknown subset, or train/dev counts for a source that has its own splits.
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    if subset not in SUBSETS:
        raise ConfigError(f"no Lila subset is called {subset!r}.{nearest(subset, SUBSETS)}")
    convert, judge = partial(problem, subset=subset), partial(score, compatible=True) if compat else score

    def aside(name: str) -> Path | None:
        return Path(quarantine) / f"{subset}-{name}.jsonl" if quarantine else None

    splits: dict[str, Sequence[Problem]] = {}
    if path is not None and not Path(path).is_dir():
        whole = reading.read(path, convert, quarantine=aside("test"))
        rest, splits["dev"] = reading.carve(whole.problems, dev, f"{subset}-dev")
        splits["test"], splits["train"] = reading.carve(rest, train, f"{subset}-train")
        return Task(subset, splits, judge, quarantined=len(whole.quarantined))
    if train or dev:
        raise ConfigError(f"{subset}: train= and dev= split a single file; {path or HUB} has its own splits.")
    bad = 0
    for name, patterns in _FILES.items():
        if path is None:
            rows = reading.rows_of_hub(HUB, SUBSETS[subset], _HUB_SPLITS[name], revision)
            found = reading.collect(rows, convert, source=f"{HUB}:{name}", quarantine=aside(name))
            splits[name], bad = found.problems, bad + len(found.quarantined)
            continue
        files = sorted(file for pattern in patterns for file in Path(path).glob(pattern) if ".json" in file.name)
        if len(files) > 1 or (name == "test" and not files):
            names = ", ".join(file.name for file in files) or "none"
            raise DataError(f"{path} should hold one {name} file, has {names}. Give the path of a file.")
        splits[name] = ()
        if files:
            found = reading.read(files[0], convert, quarantine=aside(name))
            splits[name], bad = found.problems, bad + len(found.quarantined)
    return Task(subset, splits, judge, quarantined=bad)


def problem(row: Mapping[str, Any], *, subset: str) -> Problem:
    """Convert a row of any known shape.

    Raises:
        DataError: no known shape, or a field is missing.
        Omitted: the answer is not made of numbers (ASDiv asks for names, ratios and times, too).
    """
    shape = next((s for s in SHAPES if s.answer in row and all(part in row for part in s.question)), None)
    if shape is None:
        raise DataError(f"fields {sorted(row)} are of no known source")
    body, *question = (reading.text_of(row, part) for part in shape.question)
    ended = body if body.endswith((".", "?", "!")) or not question else body + "."  # SVAMP leaves out full stops
    prompt = " ".join([ended, *question])
    answer, equation = _answer(row[shape.answer]), row.get("Equation")
    solution = (
        steps.solution([steps.one_line(equation)], answer) if isinstance(equation, str) and equation.strip() else None
    )
    return Problem(reading.content_id(subset, prompt), prompt, answer, solution)


def _answer(value: Any) -> str:
    """Write an answer of any source as a reference for `numeric`."""
    if isinstance(value, list):
        parts = [str(part) for part in value]
    elif isinstance(value, str):
        parts = [re.sub(r"\([^()]*\)", "", part).strip() for part in value.split(";")]  # ASDiv: 9 (apples); 2 (pears)
    else:
        parts = [] if value is None or isinstance(value, bool) else [str(value)]
    if not parts or not all(parts):
        raise DataError(f"the answer is {value!r}")
    numbers = [_rational(part) for part in parts]
    if None in numbers:
        raise reading.Omitted("its answer is not a number")
    return "; ".join(dict.fromkeys(numeric.write(number) for number in numbers if number is not None))


def _rational(text: str) -> Fraction | None:
    """Read one number. A double's digits are taken for the small fraction that the source divided out.

    AddSub says 0.6666666666666666 for 2/3: exactly that double, so 2/3 is what was meant. A number that an annotator
    rounded (83.333333) stays as it is: which number was meant is not ours to guess.
    """
    value = numeric.number(text)
    if value is None or len(text.strip("-0.").replace(".", "")) < 15:
        return value
    simple = value.limit_denominator(1000)
    return simple if float(simple) == float(value) else value


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last answer it states (strict); an equation system needs all its unknowns, in any order."""
    if compatible:
        return compat.number(f"Question: {problem.prompt}\n {reply}", problem.answer, trim_zeros=True)
    return numeric.score(reply, problem.answer)


svamp = partial(lila, "svamp")
addsub = partial(lila, "addsub")
singleop = partial(lila, "singleop")
multiarith = partial(lila, "multiarith")
asdiv = partial(lila, "asdiv")
singleeq = partial(lila, "singleeq")
simuleq = partial(lila, "simuleq")
