"""An episode told step by step, for those who read traces. Law: what is said of a step is what was done with it."""

from thinktwice.methods.react.episode import ANSWER, SEARCH
from thinktwice.methods.react.grammar import Grammar
from thinktwice.methods.react.guard import WARNINGS, Guard
from thinktwice.methods.react.loops import judge, repeated
from thinktwice.methods.react.metrics import judge as judge_episode
from thinktwice.methods.react.written import read_episode
from thinktwice.records import Note
from thinktwice.types import Problem, Trace

UNREAD = "no action"
"""What a turn is called in which no action could be read."""
REFUSED, FORCED, BANNED, WARNED, ERROR = "not carried out", "asked for", "taken back by the guard", "warned", "error"
"""Marks; those of searches are also `loops.CLASSES`."""


def explain(problem: Problem, trace: Trace, grammar: Grammar, guard: Guard) -> tuple[str, tuple[Note, ...]]:
    """Return why an episode's answer is wrong (one of `taxonomy.FAILURES`, "" where it is right), and notes.

    There is a note on the step in which each action ends, on observations that are errors or warnings, on searches that
    the guard took back, and on the answer.
    """
    episode = read_episode(trace, grammar)
    turns = episode.turns
    notes: list[Note] = []
    standing: list[int] = []  # ids of this turn that were not taken back
    doomed: list[int] = []  # and those that were, until what took them back
    acted: int | None = None  # the step in which its action, or what should be one, ends
    answered: int | None = None
    done = 0
    for index, step in enumerate(trace.steps):
        if step.kind == "observation" and step.kept:
            turn = turns[done]
            mark = REFUSED if turn.error else judge(turns[:done], turn) if turn.tool == SEARCH else ""
            if acted is not None:
                notes.append(Note(acted, turn.tool or UNREAD, turn.argument, mark))
            warned = guard.mode in ("warn", "ban") and turn.observation.startswith(tuple(WARNINGS.values()))
            if turn.error or (warned and mark):
                notes.append(Note(index, "observation", mark=ERROR if turn.error else WARNED))
            done, standing, acted = done + 1, [], None
        elif step.kind == "answer" and step.kept:
            answered = index  # what was asked for begins with words that the model did not write
        elif step.kept:
            acted = index
            standing += step.token_ids
        else:
            doomed += step.token_ids
            if step.rewind is None:
                continue
            found, doomed = grammar.read((*standing, *doomed)), []
            if found is not None and found.tool == SEARCH and repeated(turns[:done], found.argument):
                notes.append(Note(index, SEARCH, found.argument, BANNED))
    if answered is not None:
        notes.append(Note(answered, ANSWER, episode.answer or "", FORCED if episode.forced else ""))
    return judge_episode(problem, episode, stop=trace.stop).failure, tuple(notes)
