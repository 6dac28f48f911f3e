"""The nano bases: language models of a quarter of a million parameters that ship with the package.

`nano` is the checkpoint from before its learning-rate decay: tuning it *is* the decay, so every arm of a comparison
decays from the same place. `nano-annealed` is the same model after its own decay on more of the same data, for solving
without training. `thinktwice pretrain` reproduces both. `nano-wiki` has read the encyclopedia of the `wiki` world, and
knows it in part; like `nano` it has not decayed (`thinktwice pretrain recipes/nano_wiki.yaml`). `nano-critic` went on
from `nano` and learned to say which line of a solution is wrong (`thinktwice pretrain recipes/nano_critic.yaml`).
"""

from pathlib import Path

from thinktwice.errors import ConfigError, nearest

BUNDLED = {"nano-critic": "critic", "nano-wiki": "wiki", "nano": "stable", "nano-annealed": "annealed"}


def resolve(name: str) -> str:
    """Return the directory of a bundled model, or the given path or hub id unchanged.

    Raises:
        ConfigError: neither bundled, nor a directory, nor of the form of a hub id.
    """
    if name in BUNDLED:
        return str(Path(__file__).parent / BUNDLED[name])
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        raise ConfigError(f"model.path={name!r} is a directory without a config.json. Name a saved model's directory.")
    if not path.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise ConfigError(
            f"model.path={name!r} is neither a directory nor a hub id (owner/name).{nearest(name, BUNDLED)}"
        )
    return name
