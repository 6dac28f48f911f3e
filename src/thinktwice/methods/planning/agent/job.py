"""The settings of a labelling as a file or a command line gives them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from thinktwice.engines.http import Endpoint
from thinktwice.errors import ConfigError
from thinktwice.methods.planning.agent.labelling import Labelling
from thinktwice.types import Sampling


@dataclass(frozen=True)
class Job:
    """Who labels what, and how. Law: exactly one of `planner`, `local` and `offline` writes the plans.

    YAML:
        task: {path: data/strategyqa}
        planner: {model: gpt-4o}
        knowledge: {model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1", api_key_env: LOCAL_KEY}
        labelling: {answer: hidden, samples: 4}
    """

    task: dict[str, Any] = field(default_factory=dict)
    """Options of the task."""
    planner: Endpoint | None = None
    """The server that plans."""
    knowledge: Endpoint | None = None
    """The server that states facts; null: whoever plans."""
    second: Endpoint | Literal["rules", "labels"] | None = None
    """Who labels the kept steps once more; how far the two agree is stored with the data. A server, the offline rules,
    or the labels that the dataset itself gives its steps (with offline: a measure of the rules)."""
    local: str | None = None
    """A model on this machine that plans (and states facts): a directory, a bundled name or a hub id."""
    offline: bool = False
    """The rules label the worked solutions that the problems have; no model, no network."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, max_new_tokens=2048))
    """How models are asked; above temperature 0, so that asking again can help."""
    labelling: Labelling = field(default_factory=Labelling)

    def __post_init__(self) -> None:
        chosen = [name for name in ("planner", "local", "offline") if getattr(self, name)]
        if not chosen:
            raise ConfigError(
                "nobody is there to label: name a server with planner.model=NAME (and planner.base_url=URL), a model "
                "on this machine with local=DIRECTORY, or label by rules with --offline."
            )
        if len(chosen) > 1:
            raise ConfigError(f"{' and '.join(chosen)} would both plan; keep one of them.")
        if self.offline and self.knowledge:
            raise ConfigError("offline labels what the solutions say already; take knowledge out.")
        if self.offline and self.second == "rules":
            raise ConfigError("second=rules would compare the offline rules with themselves; set second=labels.")
