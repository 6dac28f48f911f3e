"""Prompts that the harness has already rendered, as token ids. Law: text that spells a control token stays text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thinktwice.errors import ModelError
from thinktwice.render import Render, Tokenizer
from thinktwice.types import Problem

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Rendered(Render):
    """A `Render` whose problems are whole prompts: the harness has put in template, examples and instructions.

    A chat prompt reaches the model as a string in which special tokens are spelled out. Which of them the template
    wrote, and which merely stood in a question, only its rendering knows: so its ids are made there and kept here.
    """

    chats: dict[str, Ids] = field(default_factory=dict)
    """Rendered chat prompt -> its ids."""

    def prompt(self, problem: Problem) -> Ids:
        """Return the ids of a whole prompt.

        Raises:
            ModelError: a chat prompt that this process did not render.
        """
        known = self.chats.get(problem.prompt)
        if known is not None:
            return known
        if self.tokenizer.chat_template and problem.prompt.startswith(_special_texts(self.tokenizer)):
            raise ModelError(
                "a chat prompt that was rendered elsewhere begins with a special token, so its ids are not known. "
                "Run without --cache_requests."
            )
        return self.encode(problem.prompt, special=True)

    def chat(self, messages: Sequence[Mapping[str, str]], *, answer_next: bool = True) -> str:
        """Render messages with the tokenizer's template, remember the ids, and return the text.

        White space at the ends of a message is not part of it. `answer_next=False` leaves the last message open.

        Raises:
            ModelError: the tokenizer has no chat template, or one that rewrites messages.
        """
        if not self.tokenizer.chat_template:
            raise ModelError("this tokenizer has no chat template. Run without --apply_chat_template.")
        contents = [message["content"].strip() for message in messages]
        marks = [f"\x00{index}\x00" for index in range(len(messages))]
        text, frame = (
            str(
                self.tokenizer.apply_chat_template(
                    [{**message, "content": part} for message, part in zip(messages, parts, strict=True)],
                    tokenize=False,
                    add_generation_prompt=answer_next,
                    continue_final_message=not answer_next,
                )
            )
            for parts in (contents, marks)
        )
        ids: list[int] = []
        spelled = ""
        for mark, content in zip(marks, contents, strict=True):
            before, _, frame = frame.partition(mark)
            ids += (*self._special(before), *self.encode(content))
            spelled += before + content
        if spelled + frame != text:
            raise ModelError(
                "this model's chat template rewrites messages, so its ids cannot be known. Run without it."
            )
        self.chats[text] = (*ids, *self._special(frame))
        return text

    def _special(self, text: str) -> Ids:
        if not text:
            return ()
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"])


def _special_texts(tokenizer: Tokenizer) -> tuple[str, ...]:
    return tuple(tokenizer.decode([i], skip_special_tokens=False) for i in tokenizer.all_special_ids)
