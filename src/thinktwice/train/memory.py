"""How much memory a training and its answering need on every GPU, before anything is loaded.

Law: what can be counted is counted, by the code that trains: the model is built on torch's meta device, which holds
shapes and no numbers, adapters are attached to it, and its optimisers are made. Weights, gradients, optimiser states
and adapters are therefore those of the training itself; activations are the tensors that autograd keeps, by formula.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from thinktwice.train.adapters import attach_lora, attach_rows
from thinktwice.train.objective import HEAD_CHUNK, output_head, unwrap
from thinktwice.train.optimizer import Muon, build_optimizers
from thinktwice.train.settings import Training
from thinktwice.train.shapes import feed_forward_of, width_of
from thinktwice.train.zero import Zero

CONTEXT = 1 << 30
"""What a CUDA context, its libraries' workspaces and the allocator's rounding take, in bytes: assumed, not computed."""
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)
"""Bytes a weight in NF4 with double quantisation: 4 bits, an 8-bit scale a block of 64 weights, and an fp32 scale for
256 of those scales (QLoRA, Dettmers et al., 2023, section 3)."""
ITEM = {"fp32": 4, "bf16": 2, "fp16": 2, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by precision and by dtype."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that takes memory."""

    name: str
    bytes: int
    """On one GPU."""
    how: str
    """How it was reckoned, for people."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one GPU must hold at the worst moment."""

    parameters: int
    """Of the model, adapters left out."""
    trained: int
    """Of all parameters, those with a gradient; 0 where nothing is trained."""
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """All parts together."""
        return sum(part.bytes for part in self.parts)

    def part(self, name: str) -> int:
        """Return the bytes of a part; 0 where there is none."""
        return sum(part.bytes for part in self.parts if part.name == name)


def training_memory(
    config: PreTrainedConfig,
    settings: Training,
    *,
    processes: int = 1,
    zero: Zero | None = None,
    new_tokens: int = 0,
    length: int | None = None,
) -> Estimate:
    """Return what training takes on one GPU, at the end of the forward pass of the longest rows.

    Args:
        config: the model's shapes.
        settings: as the trainer gets them; precision "auto" is taken for bf16.
        processes: GPUs that train together, each with its share of a step's rows.
        zero: what is shared out among them.
        new_tokens: control tokens, whose rows are trained beside an adapter (the rows stand in `config` already).
        length: the longest row, in tokens; default: `max_length`, or what the model takes.

    Examples are counted: a pair is two rows, and a verifier with a joint arguer has two adapters.
    """
    zero = zero or Zero()
    precision = "bf16" if settings.precision == "auto" else settings.precision
    item = ITEM[precision]
    model, parameters = _build(config, settings, precision, new_tokens)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    trained = [p for p in model.parameters() if p.requires_grad]
    prefix = _prefix(config, settings) if settings.mode == "prefix-tuning" else 0
    learned = sum(p.numel() for p in trained) + prefix
    learned_bytes = sum(p.numel() * p.element_size() for p in trained) + prefix * 4
    parts = [*_weights(model, settings, frozen, zero, processes, item)]
    states = sum(_states(model, settings)) if trained else 2 * 4 * prefix
    over = "" if processes == 1 or not zero.stage else f", over {processes} GPUs"
    if zero.stage:
        # DeepSpeed trains a copy in the precision of the arithmetic and keeps fp32 masters beside the moments.
        masters, gradients = learned * 4 + learned * 8, learned * item
        share = processes if zero.stage >= 3 else 1
        held = 0 if zero.offload_parameters else _shared(learned * item, share)
        parts.append(Part("trained weights", held, f"{learned:,} x {item} bytes{over if share > 1 else ''}"))
        parts.append(Part("gradients", _shared(gradients, processes if zero.stage >= 2 else 1),
                          f"{learned:,} x {item} bytes{over if zero.stage >= 2 else ''}"))  # fmt: skip
        optimiser = 0 if zero.offload_optimizer else _shared(masters, processes)
        where = ", in the host's memory" if zero.offload_optimizer else over
        parts.append(Part("optimiser states", optimiser, f"fp32 masters and two moments: 12 bytes a weight{where}"))
        bucket = min(zero.bucket, learned) * item
        parts.append(Part("communication", bucket, f"a bucket of {min(zero.bucket, learned):,} gradients"))
    else:
        parts.append(Part("trained weights", learned_bytes, f"{learned:,}, fp32"))
        parts.append(Part("gradients", learned_bytes, "one a trained weight"))
        parts.append(Part("optimiser states", states, f"{settings.optimizer}'s moments, one or two a trained weight"))
        if processes > 1:
            parts.append(Part("communication", learned_bytes, "buckets that gradients are averaged in, all together"))
        if settings.mode == "full" and item < 4:
            cast = sum(m.weight.numel() * item for m in _linear(model))
            parts.append(Part("16-bit copies", cast, "autocast keeps one of each matrix until the backward pass"))
    rows, tokens = _micro_batch(config, settings, processes, length)
    parts += _activations(model, config, settings, rows, tokens, item, bool(zero.stage))
    parts.append(Part("context", CONTEXT, "CUDA, its libraries, the allocator's rounding: assumed"))
    return Estimate(parameters, learned, tuple(parts))


def answering_memory(
    config: PreTrainedConfig,
    settings: Training,
    *,
    rows: int,
    length: int,
    dtype: str = "bfloat16",
    new_tokens: int = 0,
) -> Estimate:
    """Return what writing answers takes on one GPU: nothing is quantised, whatever it was trained over.

    Args:
        config: the model's shapes.
        settings: what was trained; decides which adapter lies over the base.
        rows: decoded together.
        length: of the longest text, prompt included, in tokens.
        dtype: of the weights; "auto" is taken for the 16 bits that models are published in.
        new_tokens: control tokens, whose rows are saved with an adapter.
    """
    item = ITEM.get(dtype, 2)
    model, parameters = _build(config, settings, "fp32", new_tokens)
    adapter = 0 if settings.mode == "full" else sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = config.get_text_config()
    keys = width_of(text, "num_key_value_heads")
    cache = 2 * text.num_hidden_layers * keys * item * rows * length
    reading = rows * length * 3 * feed_forward_of(text) * item
    parts = (
        Part("weights", parameters * item, f"{parameters:,} x {item} bytes"),
        Part("adapter", adapter * item, f"{adapter:,} x {item} bytes"),
        Part("keys and values", cache,
             f"2 x {text.num_hidden_layers} layers x {keys} x {item} bytes x {rows} x {length} tokens"),
        Part("activations", reading, f"one layer that reads {rows} x {length} tokens"),
        Part("logits", rows * text.vocab_size * 4, "of the newest token, fp32"),
        Part("context", CONTEXT, "CUDA, its libraries, the allocator's rounding: assumed"),
    )  # fmt: skip
    return Estimate(parameters, 0, parts)


def _build(config: PreTrainedConfig, settings: Training, precision: str, new_tokens: int) -> tuple[nn.Module, int]:
    """Return the model that is trained, without numbers, and how many parameters it had before adapters."""
    full = settings.mode == "full" or precision == "fp32"
    dtype = torch.float32 if full else torch.bfloat16 if precision == "bf16" else torch.float16
    with torch.device("meta"):
        model = cast(Any, AutoModelForCausalLM).from_config(config, dtype=dtype)
    parameters = sum(p.numel() for p in model.parameters())
    new_ids = tuple(range(new_tokens))  # which ones does not matter to their number
    if settings.mode in ("lora", "qlora"):
        return attach_lora(model, settings, new_ids), parameters
    if settings.mode == "prompt-tuning":
        return attach_rows(model, settings, new_ids), parameters
    if settings.mode == "prefix-tuning":
        model.requires_grad_(False)
    return model, parameters


def _weights(
    model: nn.Module, settings: Training, frozen: list[nn.Parameter], zero: Zero, processes: int, item: int
) -> Iterator[Part]:
    """Yield what the base takes that is not trained."""
    share = processes if zero.stage >= 3 else 1
    if settings.mode == "qlora":
        head = output_head(model)
        inside = {id(m.weight): m for m in _linear(model) if m is not head and not m.weight.requires_grad}
        packed = sum(p.numel() for p in frozen if id(p) in inside)
        rows = sum(m.out_features for m in inside.values())
        size = packed * NF4 if settings.bits == 4 else packed + 4 * rows  # LLM.int8: an fp32 scale a row
        name = "NF4" if settings.bits == 4 else "int8"
        yield Part("quantised weights", round(size), f"{packed:,} in {name}, {size / max(1, packed):.3f} bytes each")
        # PEFT makes everything else fp32 (`prepare_model_for_kbit_training`); DeepSpeed casts it back.
        rest = sum(p.numel() for p in frozen if id(p) not in inside)
        width = item if zero.stage else 4
        yield Part("other weights", rest * width, f"{rest:,} (embeddings, head, norms) x {width} bytes")
        if inside:
            largest = max(m.weight.numel() for m in inside.values())
            yield Part("one matrix, unpacked", largest * item, f"{largest:,} x {item} bytes, while it is multiplied")
    elif frozen:
        count = sum(p.numel() for p in frozen)
        size = 0 if zero.offload_parameters else sum(p.numel() * p.element_size() for p in frozen)
        over = f", over {processes} GPUs" if share > 1 else ""
        yield Part("frozen weights", _shared(size, share), f"{count:,}{over}")


def _states(model: nn.Module, settings: Training) -> Iterator[int]:
    """Yield the bytes that the optimisers keep of every trained weight."""
    for optimizer in build_optimizers(model, settings):
        moments = 1 if isinstance(optimizer, Muon) else 2
        for group in optimizer.param_groups:
            yield sum(moments * p.numel() * p.element_size() for p in group["params"])


def _prefix(config: PreTrainedConfig, settings: Training) -> int:
    text = config.get_text_config()
    return 2 * int(text.num_hidden_layers) * width_of(text, "num_key_value_heads") * settings.prefix_tokens


def _micro_batch(config: PreTrainedConfig, settings: Training, processes: int, length: int | None) -> tuple[int, int]:
    """Return (rows, tokens of each) that one process sees at once, the longest ones."""
    own = getattr(config.get_text_config(), "max_position_embeddings", None) or 2048
    longest = min(length or settings.max_length or own, own)
    parts = settings.grad_accumulation * processes
    whole = settings.batch_size if settings.tokens_per_step is None else max(1, settings.tokens_per_step // longest)
    return -(-whole // parts), longest


def _activations(
    model: nn.Module, config: PreTrainedConfig, settings: Training, rows: int, length: int, item: int, cast: bool
) -> Iterator[Part]:
    """Yield what autograd keeps of one micro-batch: checked against what it does keep in a Llama, tensor by tensor.

    In every layer: both norms' inputs in fp32; queries, keys, values and what attention returns; the three inner
    tensors of a gated feed-forward; and the input of every matrix that is trained or has an adapter. With gradient
    checkpointing: the input of every layer, and one layer in full. (Korthikanti et al., 2022, count a GPT's the same
    way, with attention weights, which SDPA never stores.)
    """
    text = config.get_text_config()
    layers, tokens, width = int(text.num_hidden_layers), rows * length, int(text.hidden_size)
    full = settings.mode == "full"
    residual = item if cast or (not full and settings.mode != "qlora") else 4  # embeddings decide it
    heads = int(text.num_attention_heads)
    queries, keys = width_of(text, "num_attention_heads"), width_of(text, "num_key_value_heads")
    norms = 2 * width * (4 + (residual if full else 0)) + 8
    attention = (2 * queries + 2 * keys) * item + 4 * heads
    inner = 3 * feed_forward_of(text) * item
    inputs, extra = (sum(column) / layers for column in zip(*_kept_inputs(model, settings, item), strict=True))
    if item == 4 and not (settings.lora_dropout and not full):
        # Autocast and dropout copy what a matrix reads; without either, matrices that read one thing keep it once.
        inputs = min(inputs, (2 * width + queries + feed_forward_of(text)) * item)
    if full or item == 4:
        inputs = max(0.0, inputs - queries * item)  # so is what attention returns, which the matrix after it reads
    layer = tokens * (norms + attention + inner + inputs + extra)
    if settings.gradient_checkpointing:
        size, how = tokens * width * residual * layers + layer, f"inputs of {layers} layers, and one of them in full"
    else:
        size, how = layer * layers, f"{layers} layers"
    yield Part("activations", round(size), f"{how}, {rows} x {length} tokens")
    logits = min(tokens * int(text.vocab_size), HEAD_CHUNK)
    yield Part("logits", logits * (item + 12), "with an fp32 copy, log-probabilities and a gradient; at most a chunk")


def _kept_inputs(model: nn.Module, settings: Training, item: int) -> Iterator[tuple[float, float]]:
    """Yield (bytes a token of a matrix's input, bytes of what its adapter adds) for each one that needs them."""
    yield 0.0, 0.0
    head = output_head(model)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            mask = cast(Any, module).in_features if settings.lora_dropout else 0
            yield float(cast(Any, module).in_features * item), mask + settings.lora_rank * item
        elif isinstance(module, nn.Linear) and module is not head and settings.mode == "full":
            yield module.in_features * item, 0.0


def _linear(model: nn.Module) -> list[nn.Linear]:
    """Return the matrices of the model itself, not those of adapters."""
    inner = unwrap(model)
    return [m for name, m in inner.named_modules() if isinstance(m, nn.Linear) and ".lora_" not in name]


def _shared(size: int, processes: int) -> int:
    return -(-size // processes)
