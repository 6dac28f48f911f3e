"""A corpus of your own, and a tool of your own, in one file: an agent that searches a folder of notes and does sums.

Each Markdown file is a page: its title is its first heading, and `Also: other name, another` adds redirects. A tool is
anything with `corpus`, `search` and `open`; the one below answers sums by itself and passes all else on.

    python examples/add_a_corpus.py NOTES MODEL "Which is longer, the Aare or the Rhone, and by how much?"
"""

import operator
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from thinktwice import Engine, Problem, Render, Sampling, Trace
from thinktwice.methods.react.grammar import Grammar, build_grammar
from thinktwice.methods.react.play import play
from thinktwice.tools import Passage, Retriever
from thinktwice.tools.build import corpus_of
from thinktwice.tools.documents import Document

SUM = re.compile(r"\s*(-?\d{1,15})\s*([-+*])\s*(-?\d{1,15})\s*")
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def notes(folder: Path) -> Iterator[Document]:
    """Yield a page for each Markdown file."""
    for path in sorted(folder.glob("**/*.md")):
        text = path.read_text(encoding="utf-8")
        heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
        also = re.search(r"^Also: *(.+)$", text, re.MULTILINE)
        names = tuple(name.strip() for name in also[1].split(",")) if also else ()
        yield Document(heading[1].strip() if heading else path.stem, text, redirects=names)


@dataclass(frozen=True)
class Desk:
    """Works out sums, and searches for everything else. Law: the same call gives the same result."""

    pages: Retriever

    @property
    def corpus(self) -> str:
        """Hash of what is searched: another tool over the same pages has another one."""
        return sha256(f"sums {self.pages.corpus}".encode()).hexdigest()

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return the value of a sum, or the k pages that fit best."""
        found = SUM.fullmatch(query)
        if found is None:
            return self.pages.search(query, k)
        value = SIGNS[found[2]](int(found[1]), int(found[3]))
        return (Passage("calculator", f"{found[1]} {found[2]} {found[3]} = {value}"),)

    def open(self, title: str) -> Passage | None:
        """Return a page."""
        return self.pages.open(title)


def ask(questions: Sequence[str], engine: Engine, grammar: Grammar, tool: Retriever) -> list[Trace]:
    """Play an episode for each question, all of them in flight together."""
    problems = [Problem(question, question, "") for question in questions]
    sampling = Sampling(max_new_tokens=400)
    return play(problems, engine, grammar.render, sampling, grammar=grammar, retriever=tool, max_turns=6)


def main(folder: str, model: str, *questions: str) -> None:
    """Answer questions from a folder with a model of the hub or of a directory, and print what it did."""
    from thinktwice import LocalEngine

    engine = LocalEngine.load(model)
    grammar = build_grammar("text", Render(engine.tokenizer), tools=("search",), shots=3)
    for trace in ask(questions, engine, grammar, Desk(corpus_of(notes(Path(folder)), folder))):
        print("".join(step.text for step in trace.kept))


if __name__ == "__main__":
    main(*sys.argv[1:])
