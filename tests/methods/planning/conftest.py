"""A tokenizer of single characters and answers written by hand: planning without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from thinktwice.methods.planning import Planning
from thinktwice.render import PLAIN, Render
from thinktwice.types import LineVerdict, Problem, Step, Trace

TYPED = Planning(num_general_prefix_tokens=1, num_special_prefix_tokens=2, constrained=True)
END = 127


@dataclass
class Letters:
    """Every ASCII character is a token; the method's tokens follow."""

    tokens: tuple[str, ...]
    eos_token_id: int = END
    chat_template: None = None
    unk_token_id: None = None
    all_special_ids: list[int] = field(default_factory=lambda: [END])

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return {128 + i: SimpleNamespace(special=True, content=t) for i, t in enumerate(self.tokens)}

    def __len__(self) -> int:
        return 128 + len(self.tokens)

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return 128 + self.tokens.index(token) if token in self.tokens else None

    def __call__(self, text: str | list[str], **options: Any) -> Any:
        many = [text] if isinstance(text, str) else text
        ids = [[ord(c) for c in one] for one in many]
        return {"input_ids": ids[0] if isinstance(text, str) else ids}

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        return "".join(self.tokens[i - 128] if i >= 128 else chr(i) for i in ids)


@pytest.fixture
def render() -> Render:
    return Render(Letters(tuple(t.token for t in TYPED.control_tokens)), PLAIN)  # type: ignore[arg-type]


class Spoken:
    """An oracle of lines that say themselves what they are: "m ..." memory, "r ..." reason, "!" wrong, "~" idle."""

    def verdicts(self, problem: Problem, solution: str) -> list[LineVerdict]:
        found = []
        for line in solution.splitlines():
            step = {"m": "memory", "r": "reason", "a": "answer"}.get(line[:1], "")
            wrong = "idle" if "~" in line else f"false {step}" if "!" in line else ""
            found.append(LineVerdict(wrong, step, "~" in line))
            if step == "answer":
                break
        return found


@pytest.fixture
def spoken() -> Spoken:
    return Spoken()


@pytest.fixture
def write(render: Render) -> Callable[..., Trace]:
    """Write an answer: "memory|m a fact" is a line after a block; "|text" one after the prefix alone; "text" bare."""

    def make(problem_id: str, *lines: str, method: Planning = TYPED, stop: Any = "done") -> Trace:
        blocks = method.blocks(render)
        steps = []
        for number, line in enumerate(lines):
            types, found, text = line.rpartition("|")
            if found:
                names = types.split()
                steps.append(Step("plan", "", blocks.prefix, sampled=False))
                steps += [Step("plan", "", blocks.own[name]) for name in names]
            ids = render.encode(text + ("\n" if number < len(lines) - 1 else ""))
            steps.append(Step("text", render.text(ids), ids))
        return Trace(problem_id, tuple(steps), stop)

    return make
