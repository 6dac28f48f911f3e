"""How a nano base is made: its tokenizer, its shape, its pretraining. `thinktwice pretrain` calls `pretrain`.

The tokenizer is byte-level (any text survives a round trip) with one token for each phrase that its world writes.
Bytes never occur in pretraining; their rows, and the padding rows, are listed in `generation_config.suppress_tokens`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thinktwice.config import Spec, parse
from thinktwice.errors import ConfigError, nearest
from thinktwice.nano import resolve
from thinktwice.render import PLAIN, Render
from thinktwice.train.nano.arith import Arith
from thinktwice.train.nano.criticised import Criticised
from thinktwice.train.nano.wiki import Wiki
from thinktwice.train.nano.world import World
from thinktwice.train.settings import Training

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from thinktwice.train.metrics import StepReport

__all__ = [
    "FAST",
    "SETTLED",
    "WORLDS",
    "Arith",
    "Criticised",
    "Pretraining",
    "Wiki",
    "World",
    "model",
    "pretrain",
    "tokenizer",
    "world",
]

PAD, END = "<pad>", "<eos>"
WORLDS: dict[str, type[World]] = {"arith": Arith, "criticised": Criticised, "wiki": Wiki}


FAST = Training(
    optimizer="muon",
    lr=1e-2,
    embedding_lr=3e-3,
    schedule="constant",
    warmup_steps=100,
    tokens_per_step=6000,
    steps=1400,
    log_every=50,
    save_every=500,
)
SETTLED = replace(FAST, lr=4e-3, embedding_lr=1.2e-3, warmup_steps=0, steps=1400)


ARITH = Spec("arith", {"operations": [1, 4], "irrelevant": [0, 2]})


@dataclass(frozen=True)
class Pretraining:
    """The recipe of the nano base. Law: what the model card says comes from these fields and nothing else."""

    hidden_size: int = 64
    layers: int = 4
    heads: int = 4
    feed_forward: int = 192
    world: Spec = ARITH
    """What it reads: a name of `WORLDS`, and that world's fields."""
    start: str | None = None
    """A bundled base, or a directory, that the first phase goes on from; its shape counts, the fields above do not.
    None: from nothing."""
    phases: tuple[Training, ...] = (FAST, SETTLED)
    """Each at a constant learning rate, each going on from the one before; the last one ends in the stable model."""
    anneal_steps: int = 300
    """Steps of linear decay to zero that make the annealed model; 0 skips it."""
    seed: int = 2
    """Of the shipped base: of three the one with the median gain (docs/results/nano.md)."""


def _byte_alphabet() -> dict[int, str]:
    """Return GPT-2's printable stand-in for each byte, as `tokenizers`' ByteLevel uses it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def world(recipe: Pretraining) -> World:
    """Build the world of a recipe.

    Raises:
        ConfigError: there is no such world, or it has no such field.
    """
    if recipe.world.name not in WORLDS:
        raise ConfigError(f"no nano world is called {recipe.world.name!r}.{nearest(recipe.world.name, WORLDS)}")
    return parse(WORLDS[recipe.world.name], recipe.world.options, "world")


def tokenizer(of: World | None = None) -> "PreTrainedTokenizerFast":
    """Build a nano tokenizer, by default that of `arith`: <pad>, <eos>, 256 bytes, and one token for each phrase."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    of = of or Arith()
    alphabet = _byte_alphabet()
    pieces = [PAD, END, *(alphabet[b] for b in range(256))]
    pieces += [spelled for word in of.words if len(spelled := "".join(alphabet[b] for b in word.encode())) > 1]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    # What is no phrase goes character by character, or "<eos>" as plain text would be found in the vocabulary.
    pattern = rf"{of.pattern}|[\s\S]"
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (PAD, END)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False, model_max_length=512
    )


def model(recipe: Pretraining, vocabulary: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """Build an untrained nano model; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    of = world(recipe)
    torch.manual_seed(recipe.seed)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=of.rows,
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=vocabulary.eos_token_id,
            pad_token_id=vocabulary.pad_token_id,
        )
    )
    written = {vocabulary(word, add_special_tokens=False)["input_ids"][0] for word in of.words}
    keep = written | {vocabulary.eos_token_id}
    made.generation_config.suppress_tokens = [i for i in range(len(vocabulary)) if i not in keep]
    return made


def pretrain(
    recipe: Pretraining, out: Path, *, progress: "Callable[[StepReport], None] | None" = None
) -> tuple[Path, Path | None]:
    """Make the nano base and return its directories, (stable, annealed). Killed and called again, it goes on.

    The annealed model goes on from the stable one with fresh problems while the learning rate falls to zero.
    """
    from transformers import LlamaForCausalLM

    from thinktwice.train import fit_stream, vocab

    of = world(recipe)
    vocabulary = tokenizer(of)
    tokens: dict[str, int] = {}
    first: Path | None = None
    if recipe.start is not None:
        first = out / "start"
        added = getattr(of, "control_tokens", ())
        tokens = vocab.prepare_base(resolve(recipe.start), first, added, seed=recipe.seed)
        vocabulary = cast("PreTrainedTokenizerFast", vocab.load_tokenizer(first))
    render = Render(cast(Any, vocabulary), PLAIN)

    def go_on(start: Path | None, settings: Training, phase: str, seed: int) -> Path:
        return fit_stream(
            lambda at: itertools.islice(of.examples(render, seed), at, None),
            model(recipe, vocabulary) if start is None else LlamaForCausalLM.from_pretrained(start),
            out / phase,
            settings,
            name=f"{of.name} seed {seed}",
            tokenizer=vocabulary,
            progress=progress,
            control_tokens=tokens,
        )

    stable: Path | None = None
    for index, settings in enumerate(recipe.phases):
        # Seeds a million apart: no phase sees the problems of another.
        stable = go_on(stable or first, settings, f"phase-{index}", recipe.seed + index * 1_000_000)
    if stable is None:
        raise ConfigError("phases needs at least one training.")
    if not recipe.anneal_steps:
        return stable, None
    decay = replace(recipe.phases[-1], schedule="linear", warmup_steps=0, steps=recipe.anneal_steps)
    return stable, go_on(stable, decay, "annealed", recipe.seed + len(recipe.phases) * 1_000_000)
