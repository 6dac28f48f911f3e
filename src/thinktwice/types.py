"""The nouns of the house, as frozen dataclasses. Standard library only."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

StepKind = Literal["text", "plan", "error", "undo", "action", "observation", "critique", "answer"]
StopReason = Literal["done", "length", "budget", "error"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its reference answer. Law: `id` is stable across runs and machines."""

    id: str
    """Stable identifier: the source's own id, or a content hash."""
    prompt: str
    """The question as the dataset states it, without any template."""
    answer: str
    """The reference answer, in the form the task's score expects (GSM8K: the number after `####`)."""
    solution: str | None = None
    """A worked solution, one step a line, its last line the final answer; None where the dataset has none."""
    level: int = 0
    """Difficulty, where the dataset knows it (arith: operations; GSM8K: solution steps); 0 where it does not."""
    choices: tuple[str, ...] = ()
    """The options of a multiple-choice question, in order."""
    choice_ids: tuple[tuple[int, ...], ...] = ()
    """The options as the ids they were sampled as, where the model that answers wrote them; none: text is encoded."""
    context: tuple[str, ...] = ()
    """Passages that belong to the question."""
    labels: tuple[str, ...] = ()
    """What kind of step each line of `solution` before the answer line is ("memory", "reason"), where the dataset says;
    as many as there are such lines, or none at all."""
    kind: str = ""
    """What sort of question it is, where the dataset says (HotpotQA: "bridge", "comparison")."""
    support: tuple[str, ...] = ()
    """Titles of the pages that hold what the answer needs, each once, in the order in which they can be found."""
    answers: tuple[str, ...] = ()
    """Every answer that counts as right, `answer` first, where the dataset gives several; none: `answer` alone."""

    @property
    def references(self) -> tuple[str, ...]:
        """What a reply is compared with: at least one answer, `answer` first."""
        return self.answers or (self.answer,)

    @property
    def key(self) -> int:
        """A number made of the id: seeds this problem's random stream whatever batch it lands in."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:7], "big")


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A token a method adds to a model. Law: it is an id; text that merely spells it never becomes it."""

    token: str
    """Its name in the vocabulary, for example "<undo>"."""
    description: str
    """One sentence saying what it does; initialises its embedding."""
    words: tuple[str, ...] = ()
    """Words of like meaning; initialise its embedding."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """Delete the last `n` visible tokens (never into the prompt) and ban token ids at the depth reached."""

    n: int
    ban: tuple[int, ...] = ()
    """Ids that may not be drawn next at that depth while the prefix before it stands: a pure rewind under greedy
    decoding would meet the same state and repeat the same mistake for ever."""
    reject: bool = False
    """Throw away the token just drawn first (it is paid for, but never entered the context). Otherwise the token just
    drawn has entered the context and counts among the `n`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of a trace. Law: steps stand in the order they were written, retracted ones included."""

    kind: StepKind
    """What the stretch is; it decides how a viewer colours it."""
    text: str
    """The decoded text, for people; `token_ids` is the truth."""
    token_ids: tuple[int, ...] = ()
    """The ids exactly as sampled or inserted; never re-encoded."""
    sampled: bool = True
    """True when the model wrote it, False when the decoder inserted it (an observation, a forced token)."""
    kept: bool = True
    """False when it was retracted, and for the control tokens that retracted it."""
    logprobs: tuple[float, ...] = ()
    """Natural-log probability of each token under the distribution it was drawn from, to four decimals; empty where
    nobody knows."""
    rewind: Rewind | None = None
    """What the decoder deleted and banned right after this step's last token: `n` visible tokens went, `ban` could not
    be drawn next."""
    sources: tuple[str, ...] = ()
    """Titles of the documents that an observation shows."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened on one problem, from the end of the prompt on."""

    problem_id: str
    steps: tuple[Step, ...] = ()
    stop: StopReason = "done"
    """done: the model ended; length: out of context; budget: out of sampled tokens; error: see `error`."""
    error: str | None = None
    """One sentence, when `stop` is "error"."""
    corpus: str = ""
    """Hash of the corpus that its observations come from; empty where none was searched."""

    @property
    def kept(self) -> tuple[Step, ...]:
        """The steps that survive."""
        return tuple(step for step in self.steps if step.kept)

    @property
    def reply(self) -> str:
        """The text a user would see: what the steps that survive spell, planning tokens left out."""
        return "".join(step.text for step in self.steps if step.kept and step.kind != "plan")

    @property
    def conclusion(self) -> str:
        """The text that is scored: the reply; where tools were called, the final answer alone.

        So a page that was read never counts as what the model said, and who only searched has said nothing.
        """
        kept = self.kept
        if not any(step.kind in ("action", "observation") for step in kept):
            return self.reply
        return "".join(step.text for step in kept if step.kind == "answer")

    @property
    def sampled_tokens(self) -> int:
        """Tokens the model wrote, retracted ones and control tokens included: the cost of this trace."""
        return sum(len(step.token_ids) for step in self.steps if step.sampled)


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement with its reason. Law: what could not be scored is counted apart, never a silent zero."""

    value: float
    """Usually 0 or 1."""
    answer: str | None = None
    """The answer extracted from the reply; None when none was found."""
    why: str = ""
    """Why the value is what it is, for a person reading one row."""
    scored: bool = True
    """False when the reply could not be judged at all (the trace ended in an error)."""


class Oracle(Protocol):
    """Judges solution text step by step. Only some tasks have one; it never looks at a model."""

    def first_wrong(self, problem: Problem, solution: str) -> tuple[int, str] | None:
        """Return (index of the first wrong line, its kind), or None when every line is right."""
        ...

    def is_viable(self, problem: Problem, text: str) -> bool:
        """Say whether text that may stop in the middle of a line can still be continued to a right solution."""
        ...

    def plausible_errors(self, problem: Problem, text: str) -> Sequence[str]:
        """Return wrong lines that could tempt a writer after `text` (whole right lines)."""
        ...

    def complete(self, problem: Problem, text: str) -> str | None:
        """Continue `text` (whole right lines) to a right solution; None when it cannot be."""
        ...


@dataclass(frozen=True, slots=True)
class LineVerdict:
    """What an oracle says of one line of a solution."""

    wrong: str = ""
    """What is wrong with it, in a few words that many lines share; empty when it is right."""
    step: str = ""
    """What kind of step it is ("memory", "reason", "answer", "+"), right or wrong; empty where it cannot be told."""
    harmless: bool = False
    """True of a wrong line that says nothing false, so that it cannot be why an answer is wrong (it was not needed)."""


@runtime_checkable
class LineOracle(Protocol):
    """An oracle that judges every line, also those after a wrong one. Law: the first wrong line is `first_wrong`'s.

    Each line is judged by the lines above it as they stand: what merely follows from a wrong line is no second mistake.
    """

    def verdicts(self, problem: Problem, solution: str) -> list[LineVerdict]:
        """Return the verdict on every line up to the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Problems by split, and how an answer to one is scored."""

    name: str
    splits: dict[str, Sequence[Problem]]
    """"train", "dev", "test": disjoint by id and by prompt text (checked by `tasks.check_disjoint`)."""
    score: Callable[[Problem, str], Score]
    """Judges a reply's text against the problem."""
    oracle: Oracle | None = None
    """The step oracle, where the task has one."""
    quarantined: int = 0
    """Rows of the source that could not be read; counted in a run's summary."""
    measure: str = "accuracy"
    """What the mean of its scores is called: accuracy where each is 0 or 1, else what grades them ("F1")."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and what is learned at each: the trainer knows nothing else.

    All sequences have length T = len(token_ids). `targets[i]` is the id that the logits at position i should predict
    (so a plain causal example has targets[i] = token_ids[i + 1]); `weights[i]` is how much that prediction counts
    (0 = seen, not learned).  `dead_from[j]` is the index of the first query that no longer sees token j: query i sees
    token j iff j <= i < dead_from[j]. T means "never deleted". `positions` are logical positions.
    """

    token_ids: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[float, ...]
    positions: tuple[int, ...] | None = None
    """Logical positions; None means 0..T-1."""
    dead_from: tuple[int, ...] | None = None
    """Attention layout; None means plain causal."""
    problem_id: str = ""
    """Where it came from, so that a bad batch can be named."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways on from one context, the first the better. Law: both start with the same ids, whose weights are 0."""

    chosen: Example
    rejected: Example
    kind: str = ""
    """What the pair teaches, in a word that many pairs share ("loop", "format"): for counting and for ablations."""

    @property
    def problem_id(self) -> str:
        """Where it came from."""
        return self.chosen.problem_id

    @property
    def context_length(self) -> int:
        """How many ids come before the first that is learned on either side."""
        firsts = (
            next((i for i, weight in enumerate(side.weights) if weight > 0), len(side.token_ids) - 1)
            for side in (self.chosen, self.rejected)
        )
        return min(firsts) + 1


@dataclass(frozen=True, slots=True)
class Move:
    """Rows of an argued text whose keys and values replace rows of the chooser's text."""

    source: int
    """Index into `Choice.argued`."""
    start: int
    """First row there."""
    to: int
    """First row in `Choice.token_ids`."""
    n: int
    """How many."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidate solutions of one question and the prompt that asks which is right, as token ids.

    Both orders of a pair are two of these with one `problem_id` and the same argued texts: batches keep them together.
    """

    argued: tuple[tuple[int, ...], ...]
    """What the arguer reads, one text a candidate; may be empty where nothing is moved."""
    token_ids: tuple[int, ...]
    """What the chooser reads, ending where the identifier comes next."""
    moves: tuple[Move, ...]
    """Rows of the argued texts that replace the chooser's own; empty: it reads the text alone."""
    options: tuple[int, ...]
    """Identifiers, one a candidate (each one token), in the order shown."""
    right: int | None
    """Index into `options`; None when unknown."""
    problem_id: str = ""
    """Where it came from, so that a bad batch can be named."""
    same_text: bool = True
    """The moved rows spell the same ids in both texts, which is checked; False only in controls that move another
    text's states (shuffled, swapped)."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is no limit."""
    max_new_tokens: int = 256
    """Budget of *sampled* tokens a sequence, retracted ones included."""
    stop: tuple[str, ...] = ()
    """Strings that end a sequence, looked for in the visible text."""
    seed: int = 0
    """Row r of a call draws from its own generator, seeded by (seed, its sample key)."""


@dataclass(frozen=True, slots=True)
class Append:
    """Insert tokens after the token just drawn, as if they had been written, without sampling them."""

    token_ids: tuple[int, ...]
    reject: bool = False
    """Throw away the token just drawn first (it is paid for, but never entered the context): its text went too far."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Insert tokens as soon as a tool has them. Law: what is written is what `Append` of those tokens gives.

    Meanwhile the row draws nothing and the others go on. A result that is an exception ends the row with "error".
    """

    result: "Future[tuple[int, ...]]"
    reject: bool = False
    """As in `Append`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the sequence. The token just drawn stays."""


Edit = Rewind | Append | Wait | Stop


@dataclass(frozen=True, slots=True)
class RowView:
    """What a control or a logits rule may know of one sequence while it is being written."""

    token_ids: Sequence[int]
    """The visible ids: the prompt and everything that survives so far, in order."""
    prompt_length: int
    edits: int
    """Rewinds applied to this row so far."""
    sampled: int
    """Tokens drawn for this row so far, retracted and rejected ones included."""
    inserted_to: int = 0
    """Where the last visible insertion ends in `token_ids`; 0 where nothing was inserted."""

    @property
    def begun(self) -> int:
        """Where that begins which was drawn since the prompt or the last insertion."""
        return max(self.prompt_length, self.inserted_to)


class Control(Protocol):
    """A trigger and the edit it causes. Law: pure; the same row and token give the same edit."""

    @property
    def watch(self) -> frozenset[int]:
        """Ids that wake the control: it is asked when the token just drawn, or the visible token before it, is one of
        these. Empty means: asked after every token.
        """
        ...

    def edit(self, row: RowView, drawn: int) -> Edit | None:
        """Return the edit that `drawn` (not yet part of `row.token_ids`) causes, or None.

        A row that is cut (budget, context length, stop string, `Stop`) asks once more, with `drawn` = -1: nothing was
        drawn and nothing will be. Only a `Rewind` has an effect then; it settles what is still open.
        """
        ...


Fate = Literal["kept", "deleted", "control", "rejected", "inserted"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a row wrote after its prompt, in the order it was written; all tuples have one entry a token."""

    token_ids: tuple[int, ...]
    fates: tuple[Fate, ...]
    """kept; deleted (rewound later); control (an undo token that was consumed); rejected (drawn, never entered the
    context); inserted (by `Append` or `Wait`; survives)."""
    logprobs: tuple[float, ...]
    """Natural-log probability of each token under the distribution it was drawn from; 0 for inserted ones."""
    stop: StopReason
    error: str | None = None
    rewinds: tuple[tuple[int, Rewind], ...] = ()
    """(tokens logged by then, what was really deleted and banned), in order."""

    @property
    def kept_ids(self) -> tuple[int, ...]:
        """The ids that survive."""
        return tuple(t for t, fate in zip(self.token_ids, self.fates, strict=True) if fate in ("kept", "inserted"))


@dataclass(frozen=True, slots=True)
class Memory:
    """The most memory that a piece of work held at one moment, in bytes."""

    host: int
    """Main memory of the process (resident, sampled five times a second); on macOS the process's peak until then."""
    device: int | None = None
    """Memory of the accelerator that tensors held; None where there is none."""
