"""A DeepSpeed configuration, as far as this package must understand it. No torch here: a dry run reads it, too."""

import json
from dataclasses import dataclass
from pathlib import Path

from thinktwice.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Zero:
    """What a DeepSpeed configuration says about memory."""

    stage: int = 0
    """1: optimiser states are shared out; 2: gradients, too; 3: weights, too (ZeRO, Rajbhandari et al., 2020)."""
    offload_optimizer: bool = False
    """Optimiser states are in the host's memory."""
    offload_parameters: bool = False
    """Weights are in the host's memory."""
    bucket: int = 500_000_000
    """Gradients reduced at once, in elements (`reduce_bucket_size`; DeepSpeed's default)."""

    @classmethod
    def read(cls, path: str | Path | None) -> "Zero":
        """Read a DeepSpeed configuration; None is none.

        Raises:
            ConfigError: there is no such file, or it is no such configuration.
        """
        if path is None:
            return cls()
        try:
            section = json.loads(Path(path).read_text(encoding="utf-8"))["zero_optimization"]
            bucket = section.get("reduce_bucket_size", cls().bucket)
            return cls(
                int(section["stage"]),
                section.get("offload_optimizer", {}).get("device", "none") != "none",
                section.get("offload_param", {}).get("device", "none") != "none",
                int(bucket) if bucket != "auto" else cls().bucket,
            )
        except OSError:
            raise ConfigError(f"train.deepspeed: there is no file {path}.") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"train.deepspeed: {path} is no DeepSpeed configuration with zero_optimization.stage ({error!r})."
            ) from None
