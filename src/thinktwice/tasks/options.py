"""Multiple-choice options, written into a question and read out of one. Law: what `ask` writes, `find` reads."""

import re
from collections.abc import Sequence

from thinktwice.scoring import choice


def ask(question: str, options: Sequence[str]) -> str:
    """Return a question with its options: the form of the public code, `Answer Choices: (A) ... (B) ...`."""
    return f"{question}\nAnswer Choices: " + " ".join(f"({choice.letter(i)}) {text}" for i, text in enumerate(options))


def find(question: str) -> tuple[str, ...]:
    """Return the options that stand at the end of a question as `(A) ...`, `A. ...` or `A....`; () without any.

    Options are taken in the order of their letters, each from its first place after the one before.
    """
    for shape in (r"(?:^|\s)\({}\)\s*", r"(?:^|\s){}\.\s+", r"(?:^|\s){}\.(?=\S)"):
        opened, ended = [], 0
        for name in choice.LETTERS:
            mark = re.compile(shape.format(name)).search(question, ended)
            if mark is None:
                break
            ended = mark.end()
            opened.append(mark)
        if len(opened) > 1:
            ends = [*(mark.start() for mark in opened[1:]), len(question)]
            return tuple(question[mark.end() : end].strip() for mark, end in zip(opened, ends, strict=True))
    return ()
