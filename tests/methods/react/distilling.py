"""Distils forty questions, two at a time, and notes every one that is asked. Run, and killed, by test_distil.py."""

import sys
from pathlib import Path

from thinktwice.methods.react import distil
from thinktwice.methods.react.episode import ANSWER, SEARCH, Episode, Turn
from thinktwice.methods.react.filters import Filters
from thinktwice.methods.react.store import Key, Store
from thinktwice.types import Problem, Step, Trace


class Noting:
    """Answers every third question wrong."""

    def key(self, problem: Problem, sample: int) -> Key:
        return Key(problem.id, "policy", "corpus", "prompt", "decoding", sample)

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        return (0,)

    def play(self, problems, sample):
        with Path(sys.argv[2]).open("a") as log:
            log.write("".join(f"{p.id}\n" for p in problems))
        said = ["wrong" if int(p.answer) % 3 == 0 else p.answer for p in problems]
        return [Trace(p.id, (Step("answer", text, (1,)),)) for p, text in zip(problems, said, strict=True)]

    def read(self, trace: Trace) -> Episode:
        said = trace.steps[0].text
        return Episode(trace.problem_id, (Turn("", SEARCH, "x", said, ("x",)), Turn("", ANSWER, said)), said)


if __name__ == "__main__":
    distil.CHUNK = 2
    questions = [Problem(f"p{i}", f"What is {i}?", str(i)) for i in range(40)]
    with Store(Path(sys.argv[1])) as store:
        found = distil.distil(
            questions,
            Noting(),
            store,
            Filters(),
            listener=lambda s: print("chunk", s.kept, flush=True),
        )
        print(found.summary)
