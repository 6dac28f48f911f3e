"""Episodes, written by scripts: what is carried out, what is inserted, what is remembered."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, EngineError
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH
from thinktwice.methods.react.guard import Guard
from thinktwice.methods.react.observation import CUT, Found, show
from thinktwice.methods.react.play import play, step
from thinktwice.methods.react.written import read_episode, render_episode, with_stop
from thinktwice.render import Render
from thinktwice.tools import Passage
from thinktwice.types import Problem, Sampling

QUESTION = Problem("q", "When was the teacher of Ida Marshby born?", "1843")
LONG = Sampling(max_new_tokens=2000)


def written(grammar, *turns):
    """The ids a model would draw: (thought, tool, argument) or ids."""
    return [i for turn in turns for i in (grammar.act(*turn) if isinstance(turn[0], str) else turn)]


def played(grammar, shelf, *turns, sampling=LONG, **options):
    """Play one episode from a script; return it as trace, as episode, and as all visible ids."""
    engine = ScriptedEngine([written(grammar, *turns)], to_text=grammar.render.text)
    (trace,) = play([QUESTION], engine, grammar.render, sampling, grammar=grammar, retriever=shelf, **options)
    ids = (*grammar.prompt(QUESTION.prompt), *(i for s in trace.kept for i in s.token_ids))
    return trace, read_episode(trace, grammar), ids


def test_an_episode(grammar, shelf):
    trace, episode, _ = played(
        grammar,
        shelf,
        ("I need her teacher.", SEARCH, "Ida Marshby"),
        ("That is Hugo Oakham.", OPEN, "Hugo Oakham"),
        ("", ANSWER, "1843"),
    )
    assert trace.stop == "done"
    assert trace.corpus == "shelf"
    kinds = [s.kind for s in trace.steps]
    assert [k for k in kinds if k != "text"] == ["action", "observation", "action", "observation", "answer"]
    assert [s.sampled for s in trace.steps] == [s.kind != "observation" for s in trace.steps]
    assert [s.sources for s in trace.steps if s.kind == "observation"] == [("Ida Marshby",), ("Hugo Oakham",)]
    one, two, three = episode.turns
    assert (one.thought, one.tool, one.argument) == ("I need her teacher.", SEARCH, "Ida Marshby")
    assert one.observation == shelf.pages["Ida Marshby"]
    assert (two.tool, two.observation, two.sources) == (OPEN, "Hugo Oakham was born in 1843.", ("Hugo Oakham",))
    assert (three.tool, three.argument, episode.answer, episode.forced) == (ANSWER, "1843", "1843", False)
    assert sum(turn.tokens for turn in episode.turns) == trace.sampled_tokens
    assert all(turn.error == "" for turn in episode.turns)
    assert shelf.asked == ["Ida Marshby", "Hugo Oakham"]


words = st.text(st.sampled_from('ab Ié.,;:]<>\n"{}1✓'), max_size=12)
calls = st.tuples(words, st.sampled_from([SEARCH, OPEN]), words.filter(str.strip))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, max_size=3), words, words.filter(str.strip), st.booleans())
@pytest.mark.parametrize("name", ["text", "tags", "letters", "template"])
def test_decoding_shows_what_training_shows(name, make_grammar, make_shelf, turns, thought, answer, forced):
    """Law: for one episode, the ids that decoding had before it and those that training learns from are the same."""
    grammar = make_grammar(name)
    last = (grammar.finish(answer),) if forced else ((thought, ANSWER, answer),)
    if forced and not turns:
        return
    trace, episode, ids = played(
        grammar, make_shelf(), *turns, *last, max_turns=len(turns) if forced else 9, observation_tokens=40
    )
    if name != "text":  # whose brackets are rounded when they are written
        assert episode.answer is not None
    assert [turn.tool for turn in episode.turns[:-1]] == [tool for _, tool, _ in turns]
    assert episode.forced == forced
    again = render_episode(episode, grammar)
    learned = tuple(i for s in again for i in s.token_ids)
    assert (*grammar.prompt(QUESTION.prompt), *learned) in (ids, (*ids, grammar.render.end_id))
    stopped = with_stop(trace, grammar)
    assert tuple(i for s in stopped.kept for i in s.token_ids) == learned
    for made in (again, stopped.steps):
        assert made[-1].token_ids[-1] == grammar.render.end_id
        marks = [s.sampled for s in made for _ in s.token_ids]
        assert marks == [s.sampled for s in again for _ in s.token_ids]
    assert not any(s.sampled for s in again if s.kind == "observation")


def test_what_the_last_token_spells_beyond_the_action_is_dropped(make_grammar, shelf):
    grammar = make_grammar("text")
    canonical = grammar.act("Who?", SEARCH, "Ida Marshby")
    pieces = {grammar.render.text((i,)): i for i in grammar.watch}
    assert pieces.keys() >= {"]\n", ")]"}
    for spelled in [spelled for spelled in pieces if spelled[:1] == "]" != spelled]:
        assert grammar.render.text(canonical[-1:]) == "]"
        trace, episode, ids = played(grammar, shelf, (*canonical[:-1], pieces[spelled]), ("So.", ANSWER, "1843"))
        _, _, clean = played(grammar, shelf, canonical, ("So.", ANSWER, "1843"))
        assert ids == clean
        assert [(s.text, s.sampled) for s in trace.steps if not s.kept] == [(spelled, True)]
        assert episode.turns[0].argument == "Ida Marshby"
    film = grammar.surface.encode("Thought: x\nAction: [action: Wikipedia, action_input: Ida Marshby (film")
    trace, episode, _ = played(grammar, shelf, (*film, pieces[")]"]), ("", ANSWER, "1843"))
    assert episode.turns[0].argument == "Ida Marshby (film)"
    assert all(s.kept for s in trace.steps)


def test_hallucinated_observations_are_not_read(make_grammar, shelf):
    """The row stops at the action; what a model would imagine to have seen is never drawn."""
    grammar = make_grammar("text")
    trace, _, _ = played(grammar, shelf, ("Who?", SEARCH, "Ida Marshby"), ("", ANSWER, "x"))
    (seen,) = [s for s in trace.steps if s.kind == "observation"]
    assert not seen.sampled
    tags = make_grammar("tags")
    assert {tags.render.text((i,)) for i in tags.silenced} == {"<observation>", "</observation>"}


UNREADABLE = {
    "text": "Action: [Wikipedia Ida]",
    "tags": None,
    "letters": "Ida</search>",
    "template": None,
    "template in letters": "<tool_call>Ida</tool_call>",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_answered_so_often_and_no_more(name, make_grammar, shelf):
    grammar = make_grammar(name)
    if UNREADABLE[name]:
        bad = grammar.surface.encode(UNREADABLE[name])
    elif name == "tags":
        bad = (*grammar.surface.encode("Ida"), grammar.tokens["</search>"])
    else:
        bad = (grammar.tokens["<tool_call>"], *grammar.surface.encode("Ida"), grammar.tokens["</tool_call>"])
    _, episode, _ = played(grammar, shelf, bad, ("So.", ANSWER, "1843"))
    assert [turn.tool for turn in episode.turns] == ["", ANSWER]
    assert episode.turns[0].error
    assert episode.turns[0].observation.startswith("Error: ")
    assert episode.answer == "1843"
    assert not episode.forced
    _, episode, _ = played(grammar, shelf, bad, bad, grammar.finish("1843"))
    assert [turn.tool for turn in episode.turns] == ["", "", ANSWER]
    assert (episode.answer, episode.forced) == ("1843", True)
    _, episode, _ = played(grammar, shelf, bad, grammar.finish("1843"), repairs=0)
    assert (episode.answer, episode.forced, len(episode.turns)) == ("1843", True, 2)


@pytest.mark.parametrize("name", ["text", "tags", "letters"])
def test_a_model_that_stops_too_early_is_told_and_goes_on(name, make_grammar, shelf):
    grammar = make_grammar(name)
    gave_up = (*grammar.surface.encode("I give up."), grammar.render.end_id)
    trace, episode, ids = played(grammar, shelf, gave_up, (grammar.render.end_id,), grammar.finish("1843"), repairs=1)
    assert grammar.render.end_id not in ids[len(grammar.prompt(QUESTION.prompt)) :]
    assert [turn.tool for turn in episode.turns] == ["", "", ANSWER]
    assert episode.turns[0].thought == "I give up."
    assert episode.turns[1].thought == ""
    assert (episode.answer, episode.forced) == ("1843", True)
    assert [s.kind for s in trace.steps if s.kind == "observation"] == ["observation"] * 2


def test_at_the_limit_the_answer_is_asked_for(grammar, shelf):
    search = ("Look.", SEARCH, "Ida Marshby")
    trace, episode, _ = played(grammar, shelf, search, search, grammar.finish("1843"), max_turns=2)
    assert [turn.tool for turn in episode.turns] == [SEARCH, SEARCH, ANSWER]
    assert (episode.answer, episode.forced, trace.stop) == ("1843", True, "done")
    opening, said = trace.steps[-2:]
    assert (opening.kind, opening.sampled, said.kind, said.sampled) == ("answer", False, "answer", True)
    cut = Sampling(max_new_tokens=len(written(grammar, search)) + 2)
    trace, episode, _ = played(grammar, shelf, search, grammar.finish("1843 and more"), max_turns=1, sampling=cut)
    assert trace.stop == "budget"
    assert episode.answer.startswith("1")  # as far as it was written
    trace, episode, ids = played(grammar, shelf, grammar.finish("1843"), max_turns=0)
    assert (episode.answer, episode.forced, len(episode.turns)) == ("1843", True, 1)
    assert ids[: len(grammar.prompt(QUESTION.prompt))] == grammar.prompt(QUESTION.prompt)
    assert shelf.asked == ["Ida Marshby"] * 2  # once a run


def test_what_cannot_be_carried_out_is_an_observation(make_grammar, shelf):
    grammar = make_grammar("text")
    trace, episode, _ = played(
        grammar,
        shelf,
        ("", "Google", "Ida Marshby"),
        ("", OPEN, "Ida Marshby"),
        ("", SEARCH, ""),
        ("", SEARCH, "nobody"),
        ("", ANSWER, "1843"),
        tools=(SEARCH,),
    )
    shown = [turn.observation for turn in episode.turns]
    assert shown[0] == "Error: there is no tool 'Google'. There is: Wikipedia."
    assert shown[1] == "Error: there is no tool 'open'. There is: Wikipedia."
    assert shown[2] == "Error: nothing stands where the words should be."
    assert shown[3] == "Nothing was found for 'nobody'."
    assert [bool(turn.error) for turn in episode.turns] == [True, True, True, False, False]
    assert trace.stop == "done"
    tags = make_grammar("tags")
    _, episode, _ = played(tags, shelf, ("", OPEN, "Ida"), ("", ANSWER, "x"))
    assert episode.turns[0].observation == "There is no page 'Ida'. There is: Ida Marshby."


def test_a_row_that_is_cut_keeps_its_turns(make_grammar, shelf):
    grammar = make_grammar("tags")
    search = ("Look.", SEARCH, "Ida Marshby")
    for more in (1, 2):
        cut = Sampling(max_new_tokens=len(written(grammar, search)) + more)
        trace, episode, _ = played(grammar, shelf, search, ("And so it goes.", ANSWER, "1843"), sampling=cut)
        assert trace.stop == "budget"
        assert [turn.tool for turn in episode.turns] == [SEARCH]
        assert episode.answer is None


class Broken:
    corpus = "broken"

    def search(self, query, k=3):
        if "Hugo" in query:
            raise EngineError("the server is gone")
        return (Passage("Ida", "Ida."),)

    def open(self, title):
        raise KeyError(title)


@pytest.mark.parametrize("slow", [False, True])
def test_a_tool_that_fails_ends_its_episode_and_no_other(make_grammar, slow):
    grammar = make_grammar("tags")
    scripts = [
        written(grammar, ("x", SEARCH, "Ida"), ("y", SEARCH, "Hugo"), ("", ANSWER, "1")),
        written(grammar, ("x", SEARCH, "Ida"), ("", ANSWER, "2")),
    ]
    problems = [QUESTION, Problem("r", "Who?", "2")]
    traces = play(
        problems, ScriptedEngine(scripts), grammar.render, LONG, grammar=grammar, retriever=Broken(), slow=slow
    )
    assert [trace.stop for trace in traces] == ["error", "done"]
    assert "the server is gone" in traces[0].error
    assert [turn.argument for turn in read_episode(traces[0], grammar).turns] == ["Ida"]
    assert read_episode(traces[1], grammar).answer == "2"
    script = written(grammar, ("x", OPEN, "Ida"))
    if not slow:
        with pytest.raises(KeyError):  # a programmer's error
            play([QUESTION], ScriptedEngine([script]), grammar.render, LONG, grammar=grammar, retriever=Broken())


def test_one_turn_at_a_time(make_grammar, shelf):
    grammar = make_grammar("text")
    pieces = {grammar.render.text((i,)): i for i in grammar.watch}
    act = grammar.act("Who?", SEARCH, "Ida")
    scripts = [
        [*act, 7, 7],
        [*act[:-1], pieces["]\n"]],
        grammar.act("", ANSWER, "x"),
        [*act[:5], grammar.render.end_id],
    ]
    found = step([[1]] * 5, ScriptedEngine([*scripts, act[:9]]), LONG, grammar, [0, 1, 2, 3, 4])
    assert [ids for ids, _ in found[:2]] == [act, act]
    assert [(turn.tool, turn.argument) for _, turn in found] == [(SEARCH, "Ida")] * 2 + [(ANSWER, "x")] + [("", "")] * 2
    assert [bool(turn.error) for _, turn in found] == [False, False, False, True, True]


@pytest.mark.parametrize(
    "wrong", [{"max_turns": -1}, {"repairs": -1}, {"k": 0}, {"observation_tokens": 3}, {"tools": ("google",)}]
)
def test_impossible_numbers_are_refused(make_grammar, shelf, wrong):
    grammar = make_grammar("tags")
    with pytest.raises(ConfigError):
        play([QUESTION], ScriptedEngine([]), grammar.render, LONG, grammar=grammar, retriever=shelf, **wrong)


# -- guards ------------------------------------------------------------------------------------------------------------

IDA, HUGO = ("", SEARCH, "Ida Marshby"), ("", SEARCH, "Hugo Oakham")


def test_guards(grammar, shelf):
    _, free, _ = played(grammar, shelf, IDA, HUGO, IDA, ("", ANSWER, "1843"))
    assert free.queries == ("Ida Marshby", "Hugo Oakham", "Ida Marshby")
    assert free.turns[2].observation == free.turns[0].observation
    _, warned, _ = played(grammar, shelf, IDA, HUGO, IDA, ("", ANSWER, "1843"), guard=Guard("warn"))
    assert warned.turns[2].observation == f"You have searched for this before.\n{free.turns[0].observation}".replace(
        "\n", " " if grammar.observed(grammar.render.text(grammar.observe("a\nb"))) == "a b" else "\n"
    )
    stopped, episode, _ = played(grammar, shelf, IDA, HUGO, IDA, grammar.finish("1843"), guard=Guard("stop"))
    assert (episode.forced, episode.answer, len(episode.queries)) == (True, "1843", 3)
    assert stopped.stop == "done"


def test_a_ban_takes_the_search_back_to_its_query(make_grammar, shelf):
    for name in ("tags", "text", "template"):
        grammar = make_grammar(name)
        again = grammar.act(*IDA)
        read = grammar.read(again)
        other = grammar.act(*HUGO)
        assert read.query == grammar.read(other).query
        script = [*grammar.act(*IDA), *again, *other[read.query :], *grammar.act("", ANSWER, "1843")]
        trace, episode, ids = played(grammar, shelf, script, guard=Guard("ban"))
        assert episode.queries == ("Ida Marshby", "Hugo Oakham")
        assert shelf.asked[-1] == "Hugo Oakham"
        (rewound,) = [s.rewind for s in trace.steps if s.rewind]
        assert rewound.n == len(again) - read.query
        assert rewound.ban == (again[read.query],)
        _, _, clean = played(grammar, shelf, IDA, HUGO, ("", ANSWER, "1843"))
        assert ids == clean
        repeated = [*script[: -len(grammar.act("", ANSWER, "1843"))], *again, *other[read.query :]]
        _, episode, _ = played(
            grammar, shelf, [*repeated, *grammar.act("", ANSWER, "1843")], guard=Guard("ban", most=2)
        )
        assert episode.queries == ("Ida Marshby", "Hugo Oakham", "Hugo Oakham")[: len(episode.queries)]


def test_nothing_new_is_known_after_the_search(make_grammar, shelf):
    grammar = make_grammar("tags")
    asks = (("", SEARCH, "Ida"), ("", SEARCH, "lovely Marshby"))
    guard = Guard("warn", classes=("nothing new",))
    for slow in (False, True):
        _, episode, _ = played(grammar, shelf, *asks, ("", ANSWER, "x"), guard=guard, slow=slow)
        assert episode.turns[1].observation.startswith("You have seen all of this before.\n")
        _, episode, _ = played(
            grammar, shelf, *asks, grammar.finish("x"), guard=Guard("stop", classes=guard.classes), slow=slow
        )
        assert episode.forced


# -- observations ------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["Ida", "Hugo Oakham"]), st.text("ab ✓.!\n", max_size=60)), min_size=1, max_size=4
    ),
    st.integers(8, 60),
    st.sampled_from(["", "You have seen this."]),
)
def test_a_budget_is_never_exceeded(tokenizer_of, pages, budget, note):
    render = Render(tokenizer_of("plain"))
    found = Found(tuple(Passage(*page) for page in pages))
    text, titles = show(found, budget, render, note)
    assert len(render.encode(text)) <= budget
    whole, every = show(found, 10_000, render, note)
    assert every == tuple(title for title, _ in pages)
    assert (CUT in text) == (text != whole)
    assert "\ufffd" not in text
    assert all(title.split()[0][:1] in text for title in titles)


def test_pages_share_a_budget_and_are_cut_after_sentences(tokenizer_of, make_shelf):
    render = Render(tokenizer_of("plain"))
    found = Found(make_shelf().search("Norham Ida Hugo", 3))
    text, titles = show(found, 110, render)
    lines = text.split("\n")
    assert titles == ("Ida Marshby", "Hugo Oakham", "Norham")
    assert lines[1] == "Hugo Oakham was born in 1843."  # what is short stays whole
    assert lines[2].startswith("Norham is a town. ")
    assert lines[2].endswith("town. (cut)")
    named = Found((Passage("A title", "Some text."),))
    assert show(named, 50, render)[0] == "A title: Some text."
