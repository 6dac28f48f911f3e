"""Training a verifier: two adapters on one base, an audit before step 1, and a directory that is whole or absent."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.decode.transplant import Role, Verifier
from thinktwice.decode.transplant.saved import ARGUER, CHOOSER, FILE, SavedVerifier
from thinktwice.errors import ConfigError
from thinktwice.train.adapters import BASE_FILE, attach_lora, load_quantised, lora_config
from thinktwice.train.choice_audit import ChoiceAudit, audit_choices
from thinktwice.train.choices import ChoiceSteps, held_out_choices
from thinktwice.train.device import choose_device, choose_precision
from thinktwice.train.loop import Progress, TrainResult, train_loop
from thinktwice.train.processes import Processes
from thinktwice.train.settings import Training
from thinktwice.train.split import ChoiceObjective
from thinktwice.train.vocab import load_model, quiet, save_model
from thinktwice.types import Choice


class Roles:
    """Puts the adapter of a role on the model. Law: what is trained requires a gradient whoever's turn it is.

    (PEFT's `set_adapter` freezes the adapter it switches off, and its gradient, still under way, would be dropped.)
    """

    def __init__(self, model: PeftModel, saved: SavedVerifier) -> None:
        """Take the model with its adapters, none of them a role's yet."""
        self.model, self.saved = model, saved
        self.trained = list(model.peft_config)
        self.role: Role | None = None

    def __call__(self, role: Role) -> None:
        """Switch, if need be."""
        if role == self.role:
            return
        name = self.saved.adapter(role)
        tuner: Any = self.model.base_model
        if name is None:
            tuner.disable_adapter_layers()
        else:
            if self.role is None or self.saved.adapter(self.role) is None:
                tuner.enable_adapter_layers()
            tuner.set_adapter(name)
        self.model.set_requires_grad(self.trained, True)
        self.role = role


def attach_verifier(model: PreTrainedModel, settings: Training, saved: SavedVerifier) -> PeftModel:
    """Give a model the adapters of its roles. Law: they share the base's weights, and none of their own.

    Their first weights depend on the seed and the role, so a chooser starts the same with an arguer and without.
    """
    torch.manual_seed(settings.seed)
    with quiet():
        adapted = attach_lora(model, settings, name=CHOOSER)
        if saved.arguer == "joint":
            torch.manual_seed(settings.seed + 1)
            adapted.add_adapter(ARGUER, lora_config(model, settings))
    adapted.set_requires_grad(list(adapted.peft_config), True)
    return adapted


def load_verifier(
    base_dir: str | Path, settings: Training, moves: bool, pad_id: int = 0
) -> tuple[PeftModel, Verifier, SavedVerifier]:
    """Return the base with fresh adapters, and the verifier over it.

    Args:
        base_dir: a model.
        settings: `mode` must be lora or qlora.
        moves: anything is moved; otherwise there is only a chooser.
        pad_id: stands behind shorter texts.

    Raises:
        ConfigError: another mode; layers that the model does not have.
        ModelError: missing 4-bit support; keys and values of this model cannot be moved.
    """
    if settings.mode not in ("lora", "qlora"):
        raise ConfigError(
            f"training.mode={settings.mode} cannot train a verifier: arguer and chooser are adapters on one base. Set "
            "mode=lora (or qlora)."
        )
    if settings.backend != "loop":
        raise ConfigError("A verifier is trained by this package's own loop; set training.backend=loop.")
    device = choose_device()
    precision = choose_precision(settings, device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    quantised = settings.mode == "qlora"
    base = load_quantised(base_dir, dtype, settings.bits) if quantised else load_model(base_dir, dtype)
    saved = SavedVerifier(
        arguer=settings.arguer if moves else "none",
        layers=settings.transplant_layers,
        parts=settings.transplant_parts,
    )
    model = attach_verifier(base, settings, saved)
    model.to(device)
    options: dict[str, Any] = {"layers": saved.layers, "parts": saved.parts, "pad_id": pad_id}
    return model, Verifier(model, switch=Roles(model, saved), **options), saved


def train_choices(
    choices: Sequence[Choice],
    base_dir: str | Path,
    settings: Training,
    *,
    out_dir: Path | None = None,
    dev: Sequence[Choice] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    base: str = "",
    progress: Progress | None = None,
    on_audit: Callable[[ChoiceAudit], None] | None = None,
) -> tuple[PeftModel, SavedVerifier, TrainResult]:
    """Audit choices and train on them; see `job.fit`, which also saves the result.

    Started by torchrun, several processes share every step: the gradients are summed, so the result is that of one.

    Raises:
        DataError, TrainError: what the audit finds; see `choice_audit`.
    """
    processes = Processes.join()
    pad_id = (tokenizer.pad_token_id if tokenizer is not None else None) or 0
    moves = any(choice.moves for choice in (*choices, *dev))
    model, verifier, saved = load_verifier(base_dir, settings, moves, pad_id)
    facts = audit_choices(choices, verifier, settings)
    dev_facts = audit_choices(dev, verifier, settings) if dev else None
    if out_dir is not None and processes.first:
        facts.write(out_dir, dev_facts)
    if on_audit is not None and processes.first:
        on_audit(facts)
    source = ChoiceSteps(facts.kept, settings, verifier.collate, processes.world)
    held_out = held_out_choices(dev_facts.kept, settings, verifier.collate) if dev_facts else []
    objective = ChoiceObjective(verifier, settings, processes)

    def accuracy(_: nn.Module) -> float:
        return objective.accuracy()  # counted while the dev loss was measured

    result = train_loop(
        model,
        source,
        settings,
        out_dir=out_dir,
        dev=held_out,
        progress=progress,
        base=base,
        evaluate=accuracy if held_out else None,
        objective=objective,
        processes=processes,
    )
    return model, saved, result


def save_verifier(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    saved: SavedVerifier,
    final: Path,
    *,
    base_dir: str,
    fingerprint: str,
    files: dict[str, str] | None = None,
) -> Path:
    """Write the adapters, each in a directory of its own, and what they are used with. Law: whole or not there."""
    record = json.dumps({"base": base_dir, "fingerprint": fingerprint}, indent=1)
    own = {BASE_FILE: record, FILE: json.dumps(asdict(saved), indent=1)}
    return save_model(model, tokenizer, final, files={**(files or {}), **own}, save_embedding_layers=False)
