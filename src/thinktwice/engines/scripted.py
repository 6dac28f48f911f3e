"""An engine that says what it is told: for tests of everything above, without a model."""

from collections.abc import Callable, Collection, Sequence

from thinktwice.decode.reference import replay
from thinktwice.decode.stops import ToText
from thinktwice.engines.base import LogitsRule
from thinktwice.types import Completion, Control, RowView, Sampling

Script = Sequence[Sequence[int]] | Callable[[Sequence[int]], Sequence[int]]


class ScriptedEngine:
    """Replays scripts through the controls, as a model that draws exactly those tokens would.

    Law: fates, bans, budgets and stops are those of the local engine; a script that runs out ends the row ("done"), one
    that draws a banned id is an error. Logits rules have nothing to act on and are ignored.

        >>> engine = ScriptedEngine([[5, 6, 0, 7, 7]])
        >>> engine.generate([[1]], Sampling(), controls=[UndoRun(0)])[0].kept_ids
        (5, 7)
    """

    def __init__(
        self,
        script: Script,
        *,
        eos_ids: Collection[int] = (),
        to_text: ToText | None = None,
        name: str = "scripted",
    ) -> None:
        """Take the tokens to draw: one list a prompt, in the order of prompts over all calls, or a function of it.

        Rejected draws are part of the script: after an undo run the next token is drawn twice.
        """
        self._script, self._eos_ids, self._to_text, self._name = script, frozenset(eos_ids), to_text, name
        self._next = 0
        self.prompts: list[tuple[int, ...]] = []
        """Every prompt asked so far, for the test to look at."""

    @property
    def name(self) -> str:
        """Its name in records."""
        return self._name

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        keys: Sequence[int] | None = None,
    ) -> list[Completion]:
        """Complete every prompt from its script."""
        return [self._complete(tuple(prompt), sampling, controls) for prompt in prompts]

    def _complete(self, prompt: tuple[int, ...], sampling: Sampling, controls: Sequence[Control]) -> Completion:
        self.prompts.append(prompt)
        if callable(self._script):
            tokens = self._script(prompt)
        elif self._next < len(self._script):
            tokens = self._script[self._next]
            self._next += 1
        else:
            return Completion((), (), (), "error", f"The script has no reply for prompt {len(self.prompts)}.")

        def propose(row: RowView, banned: frozenset[int]) -> tuple[int, float] | str | None:
            if row.sampled == len(tokens):
                return None
            token = tokens[row.sampled]
            if token in banned:
                return f"The script draws {token} at depth {len(row.token_ids)}, where it is banned."
            return token, 0.0

        return replay(propose, prompt, sampling, controls=controls, eos_ids=self._eos_ids, to_text=self._to_text)
