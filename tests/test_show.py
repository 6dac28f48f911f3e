from rich.console import Console

from thinktwice.show import (
    Piece,
    Transcript,
    example_marks,
    example_pieces,
    pair_pieces,
    printable,
    texts_pieces,
    to_plain,
    to_rich,
    trace_pieces,
)
from thinktwice.types import Example, Pair, Rewind, Step, Trace

TRACE = Trace(
    "p",
    (
        Step("text", "Ann has 3.\n"),
        Step("error", "Ben has [bold]9.\n", kept=False),
        Step("undo", "<undo>", kept=False),
        Step("text", "Ben has 7."),
        Step("observation", " ok", sampled=False),
    ),
)


def letters(ids: object) -> str:
    return "".join(chr(i) for i in ids)  # type: ignore[attr-defined]


def utf8(ids: object) -> str:
    return bytes(ids).decode("utf-8", errors="replace")  # type: ignore[call-overload, no-any-return]


def test_a_trace_without_colour_marks_what_was_taken_back() -> None:
    assert to_plain(trace_pieces(TRACE)) == "Ann has 3.\n[-Ben has [bold]9.-]\nBen has 7. ok"


def test_a_trace_in_colour_strikes_what_was_taken_back_and_obeys_no_markup() -> None:
    text = to_rich(trace_pieces(TRACE))
    assert text.plain == "Ann has 3.\nBen has [bold]9.↶\nBen has 7. ok"
    styled = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styled["↶"] == "red"
    assert styled["Ben has [bold]9."] == "red strike"
    assert styled["Ben has 7."] == "green"
    assert styled[" ok"] == "bright_black"
    console = Console(color_system="standard", force_terminal=True, width=80)
    with console.capture() as captured:
        console.print(text)
    assert "[bold]" in captured.get()
    assert "\x1b[9;31m" in captured.get()


def test_a_retracted_line_without_undo_token_still_ends_its_line() -> None:
    assert to_plain([Piece("a\n", "retracted"), Piece("b", "written")]) == "[-a-]\nb"


def test_text_of_a_model_cannot_steer_the_terminal() -> None:
    pieces = [Piece("a\x1b[2Jb\x9b\x07\tc\n", "written")]
    assert to_plain(pieces) == "a\\x1b[2Jb\\x9b\\x07\tc\n"
    assert "\x1b" not in to_rich(pieces).plain


def test_marks_that_turn_the_writing_round_are_spelled_out_and_letters_are_not() -> None:
    turning = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    for code in (*turning, 0x2028, 0x2029, 0xD800, 0xDFFF, 0x85):
        shown = printable(f"7{chr(code)}3")
        assert chr(code) not in shown
        assert shown.isascii()
        assert (shown[0], shown[-1]) == ("7", "3")
        shown.encode()
    kept = "漢字 é e\u0301 👩\u200d🔬 עברית العربية فارسی\u200cها \t\n"
    assert printable(kept) == kept
    pieces = [Piece("7\u202e31\u2066", "written")]
    assert to_plain(pieces) == to_rich(pieces).plain == "7\\u202e31\\u2066"


def test_a_draw_that_was_thrown_away_at_once_is_not_shown_as_taken_back() -> None:
    steps = (
        Step("error", "Ben", (1,), kept=False),
        Step("undo", "", (9,), kept=False),
        Step("text", "Cal", (2,), kept=False, rewind=Rewind(2, (1,))),
        Step("text", "Ann", (3,)),
        Step("text", "an outvoted sample", (4,), kept=False),
    )
    assert to_plain(trace_pieces(Trace("p", steps))) == "[-Ben-]Ann[-an outvoted sample-]"


def example(text: str, weights: str, dead_from: tuple[int, ...] | None = None) -> Example:
    ids = tuple(map(ord, text))
    return Example(ids, (*ids[1:], 0), tuple(float(w) for w in weights), dead_from=dead_from)


def test_a_token_is_learned_when_the_one_before_it_predicts_it_with_a_weight() -> None:
    plain = example("qqab", "0110")
    assert example_marks(plain) == ["seen", "seen", "learned", "learned"]
    assert to_plain(example_pieces(plain, letters)) == "qq{+ab+}"


def test_in_a_layout_the_one_before_is_the_last_one_that_is_still_seen() -> None:
    # q, then the wrong x (seen by nobody after it), then a, which q must predict: the trunk skips the branch
    layout = Example(tuple(map(ord, "qxa")), (ord("a"), ord("u"), 0), (1.0, 1.0, 0.0), (0, 1, 1), (3, 2, 3))
    assert example_marks(layout) == ["seen", "retracted", "learned"]
    assert to_plain(example_pieces(layout, letters)) == "q[-x-]{+a+}"


def test_a_transcript_follows_the_decoder() -> None:
    transcript = Transcript()
    transcript.on("written", [ord("a")])
    transcript.on("inserted", [ord("i")])
    for c in "xyuu":
        transcript.on("written", [ord(c)])
    transcript.on("deleted", list(map(ord, "xyuu")), control_ids=frozenset([ord("u")]))
    transcript.on("rejected", [ord("r")])
    transcript.on("written", [ord("b")])
    assert [(p.text, p.mark) for p in transcript.pieces(letters)] == [
        ("a", "written"), ("i", "seen"), ("xy", "retracted"), ("uu", "undo"), ("b", "written"),
    ]  # fmt: skip
    transcript.on("deleted", [ord("i"), ord("b")])  # what was deleted before is passed over
    assert to_plain(transcript.pieces(letters)) == "a[-ixy-][-b-]"


def test_an_undo_token_is_a_sign_as_soon_as_it_is_written() -> None:
    transcript, undo = Transcript(), frozenset([ord("u")])
    for c in "abuu":
        transcript.on("written", [ord(c)], control_ids=undo)
    assert to_rich(transcript.pieces(letters)).plain == "ab↶"
    transcript.on("deleted", list(map(ord, "buu")), control_ids=undo)
    assert [(p.text, p.mark) for p in transcript.pieces(letters)] == [
        ("a", "written"), ("b", "retracted"), ("uu", "undo"),
    ]  # fmt: skip
    transcript.on("deleted", list(map(ord, "xa")))  # more than there is
    assert [p.mark for p in transcript.pieces(letters)] == ["retracted", "undo"]


def test_a_character_of_several_tokens_split_by_a_retraction_stays_whole() -> None:
    first, second = "é".encode()
    transcript = Transcript()
    transcript.on("written", [first, ord("x")])
    transcript.on("deleted", [ord("x")])
    transcript.on("written", [second])
    assert "é" in "".join(p.text for p in transcript.pieces(utf8) if p.mark == "written")


def test_a_pair_is_the_context_then_chosen_then_rejected_struck_through() -> None:
    def side(reply: str, seen: str = "") -> Example:
        text = "Q?\n" + reply
        learned = [0.0] * 2 + [0.0 if letter in seen else 1.0 for letter in reply]
        ids = tuple(map(ord, text))
        return Example(ids, (*ids[1:], 0), (*learned, 0.0), problem_id="p")

    pieces = pair_pieces(Pair(side("look up A.", seen="u"), side("look up B."), "loop"), letters)
    assert to_plain(pieces) == "Q?\n{+look +}u{+p A.+}\n[-look up B.-]"
    assert [piece.mark for piece in pieces] == ["seen", "learned", "seen", "learned", "seen", "retracted"]
    assert to_plain(texts_pieces("Q?", "yes\n", "no")) == "Q?\n{+yes\n+}[-no-]"


def test_an_episode_has_each_action_observation_and_answer_on_a_line_of_its_own() -> None:
    steps = (
        Step("text", "Who taught Ida?"),
        Step("action", "<search>"),
        Step("error", "Ida", kept=False),
        Step("undo", "</search>", kept=False),
        Step("action", "Ida Marshby</search>"),
        Step("observation", "<observation>[red]Hugo</observation>", sampled=False),
        Step("answer", "<answer>", sampled=False),
        Step("answer", "Hugo</answer>"),
    )
    pieces = trace_pieces(Trace("q", steps))
    assert to_plain(pieces).split("\n") == [
        "Who taught Ida?",
        "<search>[-Ida-]Ida Marshby</search>",
        "<observation>[red]Hugo</observation>",
        "<answer>Hugo</answer>",
    ]
    assert [p.mark for p in pieces if p.text.strip()] == [
        "written", "action", "retracted", "undo", "action", "observation", "answer", "answer"
    ]  # fmt: skip
    styles = {span.style for span in to_rich(pieces).spans}
    assert {"blue", "cyan", "bold green"} <= {str(style) for style in styles}
