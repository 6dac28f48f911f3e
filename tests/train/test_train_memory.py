"""The estimate against what torch really holds: the parts that can be counted are the same to the byte."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from thinktwice.decode.prefix import save_prefix
from thinktwice.errors import ConfigError
from thinktwice.nano import resolve
from thinktwice.train.adapters import attach_lora
from thinktwice.train.device import enable_checkpointing
from thinktwice.train.memory import NF4, Estimate, answering_memory, training_memory
from thinktwice.train.optimizer import build_optimizers
from thinktwice.train.settings import Training
from thinktwice.train.shapes import KNOWN, shapes
from thinktwice.train.start import load_start
from thinktwice.train.vocab import prepare_base
from thinktwice.train.zero import Zero
from thinktwice.types import ControlToken

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TOKENS = (ControlToken("<a>", "a token"), ControlToken("<b>", "another token"))


def llama(layers: int = 2, keys: int = 4) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=keys,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )


def held(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def step(model: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """Take one step, so that gradients and optimiser states exist."""
    optimizers = build_optimizers(model, settings)
    model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False).logits.float().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    return optimizers


@pytest.mark.parametrize("source", ["nano", "random llama"])
@pytest.mark.parametrize(
    "settings",
    [
        Training(precision="fp32"),
        Training(precision="bf16", optimizer="muon"),
        Training(mode="lora", precision="fp32", lora_rank=3),
        Training(mode="lora", precision="bf16", lora_targets=SEVEN),
        Training(mode="lora", precision="bf16", lora_targets=("mlp",), lora_new_rows=False),
        Training(mode="prompt-tuning", precision="bf16"),
    ],
    ids=lambda s: f"{s.mode}-{s.precision}-{s.optimizer}-{s.lora_targets[0]}",
)
def test_what_can_be_counted_is_what_torch_holds(source: str, settings: Training, tmp_path: Path) -> None:
    base = resolve("nano")
    if source != "nano":
        torch.manual_seed(0)
        config = llama(keys=2)
        config.vocab_size = shapes("nano").vocab_size
        base = str(tmp_path / "random")
        LlamaForCausalLM(config).save_pretrained(base)
        AutoTokenizer.from_pretrained(resolve("nano")).save_pretrained(base)
    prepare_base(base, tmp_path / "base", TOKENS)
    model = load_start(tmp_path / "base", settings)
    estimate = training_memory(shapes(str(tmp_path / "base")), settings, new_tokens=len(TOKENS))

    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert estimate.trained == sum(p.numel() for p in trained)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert estimate.parameters == sum(p.numel() for p in plain.parameters())
    assert estimate.part("trained weights") == held(trained)
    assert estimate.part("frozen weights") == held(frozen)

    optimizers = step(model, settings)
    gradients = [p.grad for p in trained if p.grad is not None]
    assert estimate.part("gradients") == held(gradients)
    states = [v for o in optimizers for state in o.state.values() for k, v in state.items() if k != "step"]
    assert estimate.part("optimiser states") == held(states)


def test_a_learned_prefix_is_what_is_trained(tmp_path: Path) -> None:
    settings = Training(mode="prefix-tuning", prefix_tokens=5, precision="fp32")
    prepare_base(resolve("nano"), tmp_path / "base", ())
    model: Any = load_start(tmp_path / "base", settings)
    estimate = training_memory(shapes("nano"), settings)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert estimate.trained == sum(p.numel() for p in trained) > 0
    assert estimate.part("trained weights") == held(trained)
    assert estimate.part("optimiser states") == 2 * held(trained)
    save_prefix(model, tmp_path / "saved")
    (tensors,) = (tmp_path / "saved").glob("*.safetensors")
    assert 0 < tensors.stat().st_size - held(trained) < 2000  # a header, and nothing else


def kept_by_autograd(settings: Training, layers: int, precision: str) -> float:
    """Return the bytes that the backward pass of a random Llama's body waits for, weights and their copies left out."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if settings.mode == "lora" and precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_config(llama(layers), dtype=dtype)
    body = model.base_model
    if settings.mode == "lora":
        attach_lora(model, settings)
    model.train()
    if settings.gradient_checkpointing:
        enable_checkpointing(model)
    matrices = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape[::-1]) for p in model.parameters()}
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known and tuple(tensor.shape) not in matrices:  # autocast's copies are a part of their own
            kept[place] = tensor
        return tensor

    keep = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with keep, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        body(input_ids=torch.randint(0, 64, (3, 40)), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_activations_are_the_tensors_that_autograd_keeps(mode: Any, precision: Any, checkpointing: bool) -> None:
    """Two layers more must cost what the formula says, so that what stands outside the layers cancels out."""
    settings = Training(
        mode=mode,
        precision=precision,
        batch_size=3,
        max_length=40,
        gradient_checkpointing=checkpointing,
    )
    grows = kept_by_autograd(settings, 4, precision) - kept_by_autograd(settings, 2, precision)
    reckoned = [training_memory(llama(layers), settings).part("activations") for layers in (2, 4)]
    assert reckoned[1] - reckoned[0] == pytest.approx(grows, rel=0.02)
    assert grows > 0


def test_keys_and_values_are_what_the_cache_holds() -> None:
    model = LlamaForCausalLM(llama(3, keys=2))
    with torch.no_grad():
        cache: Any = model(input_ids=torch.ones(5, 30, dtype=torch.long), use_cache=True).past_key_values
    estimate = answering_memory(llama(3, keys=2), Training(), rows=5, length=30, dtype="float32")
    assert estimate.part("keys and values") == held(t for layer in cache.layers for t in (layer.keys, layer.values))
    assert estimate.part("weights") == held(model.parameters())
    assert answering_memory(llama(), Training(), rows=5, length=30).part("weights") == 2 * estimate_of(llama())


def estimate_of(config: LlamaConfig) -> int:
    return sum(p.numel() for p in LlamaForCausalLM(config).parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("openlm-research/open_llama_3b", 3_426_473_600),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320),
    ],
)
def test_the_presets_models_have_the_parameters_their_cards_say(name: str, parameters: int) -> None:
    settings = Training(mode="qlora", lora_targets=SEVEN, precision="fp16")
    estimate = training_memory(shapes(name), settings)
    assert estimate.parameters == parameters
    known = KNOWN[name]
    width, inner, layers = (known[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    matrices = layers * (4 * width * width + 3 * width * inner)  # the head stays as it is
    assert estimate.part("quantised weights") == round(matrices * NF4)
    assert estimate.part("other weights") == 4 * (parameters - matrices)
    assert estimate.trained == layers * 16 * (4 * 2 * width + 3 * (width + inner))


def zero_file(place: Path, **section: Any) -> Path:
    place.write_text(json.dumps({"zero_optimization": section}))
    return place


def test_zero_shares_out_what_its_stage_says(tmp_path: Path) -> None:
    settings = Training(mode="full", precision="bf16", batch_size=8, max_length=64)

    def parts(**section: Any) -> Estimate:
        zero = Zero.read(zero_file(tmp_path / "zero.json", **section))
        return training_memory(llama(), settings, processes=4, zero=zero)

    count = estimate_of(llama())
    two, three = parts(stage=2), parts(stage=3)
    assert (two.part("trained weights"), three.part("trained weights")) == (2 * count, 2 * count // 4)
    assert two.part("gradients") == three.part("gradients") == 2 * count // 4
    assert two.part("optimiser states") == 12 * count // 4  # ZeRO's K
    assert parts(stage=1).part("gradients") == 2 * count
    away = parts(stage=3, offload_optimizer={"device": "cpu"}, offload_param={"device": "cpu"})
    assert (away.part("optimiser states"), away.part("trained weights")) == (0, 0)
    assert parts(stage=2, reduce_bucket_size=1000).part("communication") == 2000
    assert two.bytes == sum(part.bytes for part in two.parts)


def test_the_rows_of_one_process_are_its_share_of_a_step() -> None:
    settings = Training(mode="lora", precision="bf16", batch_size=12, grad_accumulation=2, max_length=64)
    one, three = (training_memory(llama(), settings, processes=n).part("activations") for n in (1, 3))
    assert one == 3 * three
    budget = Training(mode="lora", precision="bf16", tokens_per_step=640, max_length=64)
    assert "10 x 64 tokens" in next(p.how for p in training_memory(llama(), budget).parts if p.name == "activations")


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shapes are not known here"):
        shapes("nobody/nothing-7b")
    with pytest.raises(ConfigError, match="there is no file"):
        Zero.read(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"train_batch_size": 3}')
    with pytest.raises(ConfigError, match="is no DeepSpeed configuration"):
        Zero.read(tmp_path / "other.json")
    assert Zero.read(None) == Zero()


def test_nothing_is_allocated_for_thirteen_billion_weights() -> None:
    config = shapes("meta-llama/Llama-2-13b-hf")
    settings = Training(mode="full", precision="bf16", max_length=128, batch_size=1)
    estimate = training_memory(config, settings)
    assert estimate.part("optimiser states") == 2 * 4 * estimate.parameters  # 104 GB: no machine of ours has them
