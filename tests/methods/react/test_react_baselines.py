from thinktwice.methods.react.baselines import closed_book_prompt, one_shot_prompt
from thinktwice.tasks.worlds.wiki import Encyclopedia, hops
from thinktwice.tools import Passage
from thinktwice.tools.corpus import open_corpus
from thinktwice.types import Problem


class Shelf:
    """Two passages, whatever is asked."""

    corpus = "shelf"

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        return (Passage("Ada", "Ada was born in 1843.\n"), Passage("Film (1954)", "It was loud."))[:k] if query else ()

    def open(self, title: str) -> Passage | None:
        return None


def test_the_passages_stand_before_the_question() -> None:
    problem = Problem("p", "When was Ada born?", "1843")
    assert (
        one_shot_prompt(problem, Shelf(), 2) == "Ada was born in 1843.\nFilm (1954): It was loud.\nWhen was Ada born?"
    )
    assert one_shot_prompt(problem, Shelf(), 1) == "Ada was born in 1843.\nWhen was Ada born?"
    assert closed_book_prompt(problem) == "When was Ada born?"
    assert one_shot_prompt(Problem("p", "", ""), Shelf()) == ""


def test_one_search_of_the_real_corpus_answers_one_hop_and_hardly_ever_two() -> None:
    corpus, world = open_corpus("wiki"), Encyclopedia()
    for level, least, most in ((1, 0.95, 1.0), (2, 0.0, 0.5)):
        drawn = [p for p, _ in zip(hops.problems(world, 0, (level, level), "test"), range(60), strict=False)]
        bridges = [p for p in drawn if p.kind == "bridge"]
        shown = [hops.chain(p)[-1].statement in one_shot_prompt(p, corpus, 3) for p in bridges]
        assert least <= sum(shown) / len(shown) <= most, level
