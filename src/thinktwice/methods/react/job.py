"""One distillation as a command line or a file gives it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from thinktwice.config import merge, parse
from thinktwice.errors import ConfigError
from thinktwice.methods.react import React

DEFAULTS: dict[str, Any] = {"grammar": "text", "temperature": 0.8}
"""A teacher is prompted, not trained, so actions are letters; and above temperature 0, so that samples differ."""


@dataclass(frozen=True)
class Job:
    """Who answers which questions, and what is kept.

    YAML:
        task: {path: data/hotpotqa}
        model: meta-llama/Llama-2-70b-chat-hf
        method: {corpus: data/hotpotqa.sqlite, max_turns: 5, filters: {f1_threshold: 0.7}}
    """

    task: dict[str, Any] = field(default_factory=dict)
    """Options of the task."""
    model: str | None = None
    """The teacher: on this machine (a directory, a bundled name or a hub id), or with `endpoint` the name by which the
    server knows it; null: the scripted teacher."""
    endpoint: str | None = None
    """Address of a server (OpenAI's API, with token ids) that runs the model; finer settings: method.teacher."""
    tokenizer: str | None = None
    """Whose tokens are counted and sent; null: the model's."""
    dtype: str = "auto"
    """The number format of a model on this machine."""
    method: dict[str, Any] = field(default_factory=dict)
    """Options of the method `react`: how episodes go, and which are kept."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.endpoint is not None and self.model is None:
            raise ConfigError("say which model the server runs: --model NAME")
        if self.react.objective != "sft":
            raise ConfigError("distil writes episodes to learn from; preferences are made by a recipe, with start:.")

    @cached_property
    def react(self) -> React:
        """The method, with the teacher that this job names."""
        teacher: dict[str, Any] = {}
        if self.endpoint is not None:
            teacher = {"teacher": {"model": self.model, "base_url": self.endpoint}}
        elif self.model is not None and "teacher" not in self.method:
            teacher = {"teacher": "model"}
        return parse(React, merge(merge(DEFAULTS, self.method), teacher), "method")
