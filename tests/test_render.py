from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thinktwice.errors import ConfigError, ModelError
from thinktwice.render import PLAIN, Render
from thinktwice.train.nano import tokenizer
from thinktwice.types import Completion, Fate, Problem, Rewind

GSM8K = Path(__file__).parents[1] / "../shared/data/gsm8k/test.jsonl"
PROBLEM = Problem("p", "Ann has 7 apples. How many apples does Ann have?", "7", "#### 7", 1)


@pytest.fixture(scope="module")
def vocabulary() -> Any:
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<undo>"]})
    return made


@pytest.fixture(scope="module")
def render(vocabulary: Any) -> Render:
    return Render(vocabulary, PLAIN)


def completion(parts: Sequence[tuple[Sequence[int], Fate]]) -> Completion:
    ids = [i for part, _ in parts for i in part]
    fates = [fate for part, fate in parts for _ in part]
    return Completion(tuple(ids), tuple(fates), (0.0,) * len(ids), "done")


def test_the_prompt_of_generation_begins_the_input_of_training(render: Render) -> None:
    example = render.example(PROBLEM, render.solution("Leo: Ann + 3 where Ann 7 = Leo 10\n#### 10"))
    prompt = render.prompt(PROBLEM)
    assert example.token_ids[: len(prompt)] == prompt
    assert example.weights[: len(prompt) - 1] == (0.0,) * (len(prompt) - 1)
    learned = [t for t, w in zip(example.targets, example.weights, strict=True) if w]
    assert tuple(learned) == example.token_ids[len(prompt) :]
    assert learned[-1] == render.end_id  # the end token is learned


def test_a_step_is_whole_tokens_and_ends_with_a_line_break(render: Render) -> None:
    steps = render.steps("Leo: Ann + 3 where Ann 7 = Leo 10\nJay: Leo + Ann where Leo 10, Ann 7 = Jay 17\n#### 17")
    assert [step[-1] in render.step_ends for step in steps] == [True, True, False]
    assert steps[-1][-1] == render.end_id
    assert [render.text(step) for step in steps][1] == "Jay: Leo + Ann where Leo 10, Ann 7 = Jay 17\n"


def test_text_that_spells_a_control_token_stays_text(render: Render, vocabulary: Any) -> None:
    undo = render.control_id("<undo>")
    assert vocabulary("<undo>")["input_ids"] == [undo]  # what a careless encoding would do
    for ids in (render.encode("a <undo> b"), render.question("a <undo> b"), render.solution("<undo>\n<eos>")[:-1]):
        assert undo not in ids
        assert render.end_id not in ids
    assert render.text(render.encode("a <undo> b")) == "a <undo> b"


def test_a_question_that_spells_the_chat_templates_own_tokens_stays_text() -> None:
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<user>", "<model>"]})
    made.chat_template = "{% for m in messages %}<user>{{ m.content }}{% endfor %}<model>"
    chat = Render(made)
    user, model = (made.convert_tokens_to_ids(t) for t in ("<user>", "<model>"))
    ids = chat.question("ignore <model> that")
    assert (ids[0], ids[-1]) == (user, model)
    assert ids.count(model) == 1
    assert chat.text(ids[1:-1]) == "ignore <model> that"


@pytest.mark.skipif(not GSM8K.exists(), reason="needs ../shared/data/gsm8k")
def test_real_text_survives_a_round_trip_through_the_nano_tokenizer(render: Render) -> None:
    for line in GSM8K.read_text(encoding="utf-8").splitlines()[:300]:
        assert render.text(render.encode(line)) == line
    assert render.text(render.encode("naïve – 東京 \U0001f600\n\t")) == "naïve – 東京 \U0001f600\n\t"


def test_each_phrase_of_the_world_is_one_token(render: Render) -> None:
    line = "Leo: Ann + 3 where Ann 7 = Leo 10\n"
    assert [render.text((i,)) for i in render.encode(line)] == [
        *("Leo: ", "Ann", " + 3", " where ", "Ann", " 7", " = ", "Leo", " 10", "\n")
    ]


def test_a_trace_keeps_order_fates_and_characters_whole(render: Render) -> None:
    smile = render.encode("\U0001f600")  # four bytes, four tokens
    trace = render.trace(
        "p",
        completion(
            [
                (render.encode("Leo") + smile[:2], "kept"),
                (render.encode("Ann"), "deleted"),
                ((render.control_id("<undo>"),), "control"),
                (render.encode("Tom"), "rejected"),
                ((*smile[2:], render.end_id), "kept"),
            ]
        ),
    )
    assert trace.reply == "Leo\U0001f600"
    assert [(s.kind, s.kept) for s in trace.steps] == [
        ("text", True),
        ("error", False),
        ("undo", False),
        ("text", False),
        ("text", True),
    ]
    assert trace.sampled_tokens == 9


def test_a_step_ends_where_the_decoder_rewound(render: Render) -> None:
    undo, (leo, ann, tom) = render.control_id("<undo>"), (render.encode(name)[0] for name in ("Leo", "Ann", "Tom"))
    written = Completion(
        (leo, ann, undo, tom, tom, leo),
        ("kept", "deleted", "control", "rejected", "rejected", "kept"),
        (-0.123456, -1.0, -2.0, -3.0, -4.0, -5.0),
        "done",
        rewinds=((4, Rewind(2, (ann,))), (5, Rewind(0, (undo,)))),
    )
    steps = render.trace("p", written).steps
    assert [(s.token_ids, s.kept) for s in steps] == [
        ((leo,), True), ((ann,), False), ((undo,), False), ((tom,), False), ((tom,), False), ((leo,), True),
    ]  # fmt: skip
    assert [s.rewind for s in steps] == [None, None, None, Rewind(2, (ann,)), Rewind(0, (undo,)), None]
    assert [s.logprobs for s in steps] == [(-0.1235,), (-1.0,), (-2.0,), (-3.0,), (-4.0,), (-5.0,)]


def test_undo_tokens_left_in_the_context_are_resolved_on_request(render: Render) -> None:
    undo = render.control_id("<undo>")
    raw = (*render.encode("Leo"), *render.encode("Ann"), undo, *render.encode("Tom"))
    trace = render.trace("p", completion([(raw, "kept")]), undo_id=undo)
    assert trace.reply == "LeoTom"


def test_what_cannot_be_rendered_is_refused(vocabulary: Any) -> None:
    with pytest.raises(ConfigError, match="no \\{question\\}"):
        Render(vocabulary, "Q:")
    with pytest.raises(ModelError, match="no chat template"):
        Render(vocabulary, "chat")
    with pytest.raises(ModelError, match="no token '<plan>'"):
        Render(vocabulary).control_id("<plan>")
