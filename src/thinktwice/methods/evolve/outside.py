"""A critic that is not the model in training: another model in this process, or one behind a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thinktwice.engines.writers import Author, LocalWriter
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve.critics import asked, spell
from thinktwice.methods.evolve.feedback import Feedback, Wording, read
from thinktwice.methods.evolve.prompts import Shot
from thinktwice.methods.evolve.rows import Attempt, Critique
from thinktwice.render import Render
from thinktwice.types import Problem, Sampling

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve


@dataclass(frozen=True)
class Outsider:
    """Writes feedback as text, which is then encoded for the model that learns it (nobody of ours sampled it)."""

    author: Author
    render: Render
    """Of the model that learns the feedback."""
    wording: Wording
    instruction: str = ""
    shots: tuple[Shot, ...] = ()

    def criticise(
        self, problems: Mapping[str, Problem], attempts: Sequence[Attempt], n: int, sampling: Sampling, source: str
    ) -> list[list[Critique]]:
        """Write `n` critiques of each answer; one that fails, or fits nothing that is there, is `unparsed`."""
        author = replace(self.author, sampling=sampling)
        texts = [asked(problems[a.problem_id], a, self.instruction, self.shots) for a in attempts]
        requests = [author.ask(text, m) for text in texts for m in range(n)]
        results = author.writer.chat(requests)
        found = [
            self._read(attempts[i // n], getattr(result, "text", None), source) for i, result in enumerate(results)
        ]
        return [found[i : i + n] for i in range(0, len(found), n)]

    def close(self) -> None:
        """Hang up, where there is a server."""
        getattr(self.author.writer, "close", lambda: None)()

    def _read(self, attempt: Attempt, text: str | None, source: str) -> Critique:
        feedback = read(text or "", source=source)
        if feedback.says_right is None:
            return Critique(attempt.key, feedback, (), ())
        try:
            return spell(_fitting(feedback, self.wording), attempt, self.render, self.wording)
        except DataError:  # it names a line that the answer does not have
            return Critique(attempt.key, replace(feedback, verdict="unparsed"), (), ())


def _fitting(feedback: Feedback, wording: Wording) -> Feedback:
    return feedback if wording == "plain" else replace(feedback, explanation="")


def outside(method: "Evolve", render: Render, work: Path, shots: Sequence[Shot] = ()) -> Outsider:
    """Return the critic that `critic` or `server` names; replies of a server are cached in `work`, none is paid twice.

    Raises:
        ConfigError: neither is named, or the model cannot be loaded.
    """
    if method.server is not None:
        from thinktwice.engines.http import Client

        work.mkdir(parents=True, exist_ok=True)
        author = Author(Client(method.server, work / "replies.sqlite"), method.server.model)
    elif method.critic:
        from thinktwice.engines.local import LocalEngine

        engine = LocalEngine.load(method.critic)
        author = Author(LocalWriter(engine, Render(cast(Any, engine.tokenizer))), method.critic)
    else:
        raise ConfigError("method.source=engine needs method.critic (a model) or method.server.")
    return Outsider(author, render, method.wording, method.instruction, tuple(shots))
