"""One training, from examples to a saved model: audit, attention, backend, and a directory that is whole or absent."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.errors import TrainError
from thinktwice.resolve import unroll
from thinktwice.train.audit import Audit, audit
from thinktwice.train.batch import ExampleSteps, StreamSteps, fingerprint
from thinktwice.train.device import choose_device, choose_precision
from thinktwice.train.loop import Evaluate, Progress, train_loop
from thinktwice.train.metrics import write_trainer_state
from thinktwice.train.objective import check_layout, embedding, layout_problem, unwrap
from thinktwice.train.settings import Training
from thinktwice.train.vocab import (
    base_fingerprint,
    control_token_ids,
    load_model,
    load_tokenizer,
    save_model,
    stored_dtype,
)
from thinktwice.types import Example

RECORD = "training.json"
"""In the saved model's directory: settings, data, base and outcome of the training that made it."""
AUDITED = 1000
"""Examples of an endless stream that are audited before step 1; every later one is checked when it is used."""


def fit(
    examples: Sequence[Example],
    base_dir: str | Path,
    out_dir: Path,
    settings: Training,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dev: Sequence[Example] = (),
    progress: Progress | None = None,
    on_audit: Callable[[Audit], None] | None = None,
    evaluate: Evaluate | None = None,
) -> Path:
    """Train the model in `base_dir` on examples and return the directory of the result, `out_dir / "model"`.

    Law: audited before step 1 (audit.json, `on_audit`); killed anywhere and called again, it ends with the same
    weights; called after the end, it returns at once; called with other settings or data, it refuses.

    Full training saves a plain model directory in the base's dtype; every other mode saves an adapter over `base_dir`.
    Beside it: audit.json, metrics.jsonl, and the same numbers as `trainer_state.json` (`eval_acc` is what `evaluate`
    returned every `eval_every` steps and at the end).

    Raises:
        DataError, TrainError: what the audit finds; see `audit`.
        TrainError: a loss that is not finite; `out_dir` belongs to another training.
        ModelError: the model can't be trained this way (attention layout, missing 4-bit support).
    """
    final = out_dir / "model"
    base = base_fingerprint(base_dir)
    data = hashlib.sha256((fingerprint(examples) + fingerprint(dev)).encode()).hexdigest()
    identity = {"settings": settings.to_dict(), "fingerprint": settings.fingerprint(), "data": data, "base": base}
    if _is_done(final, identity):
        return final
    tokenizer = tokenizer or load_tokenizer(base_dir)
    model = _load(base_dir, settings)
    facts = _audit(examples, model, settings, tokenizer, out_dir, dev)
    if on_audit is not None:
        on_audit(facts[0])
    train, held_out = (_attend(model, part.kept if part else (), settings) for part in facts)
    if settings.backend == "trl":
        from thinktwice.train.sft import train_trl  # TRL takes seconds to import

        result = train_trl(
            model,
            train,
            settings,
            tokenizer,
            out_dir=out_dir,
            dev=held_out,
            progress=progress,
            base=base,
            evaluate=evaluate,
        )
    else:
        source = ExampleSteps(train, settings, tokenizer.pad_token_id or 0)
        result = train_loop(
            model, source, settings, out_dir=out_dir, dev=held_out, progress=progress, base=base, evaluate=evaluate
        )
    write_trainer_state(out_dir / "metrics.jsonl", out_dir / "trainer_state.json")
    return _save(model, tokenizer, base_dir, out_dir, settings, {**identity, "result": asdict(result)})


def fit_stream(
    examples_from: Callable[[int], Iterator[Example]],
    model: PreTrainedModel,
    out_dir: Path,
    settings: Training,
    *,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    dev: Sequence[Example] = (),
    progress: Progress | None = None,
    on_audit: Callable[[Audit], None] | None = None,
) -> Path:
    """Train `model` on endless examples, from its present weights, and return `out_dir / "model"`. Law: as `fit`.

    Args:
        examples_from: `examples_from(k)` yields example k, k + 1, ..., the same ones whenever it is asked.
        model: usually randomly initialised; trained in place.
        out_dir: as in `fit`.
        settings: `steps` is required; mode is full, backend is loop.
        name: identifies the stream, for example the world's settings as text.
        tokenizer: saved with the model.
        dev: examples whose loss is measured.
        progress: called after every step.
        on_audit: called with the audit of the first examples.
    """
    if settings.mode != "full" or settings.backend != "loop":
        raise TrainError("Endless data is for training.mode=full and training.backend=loop.")
    final = out_dir / "model"
    start = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        start.update(key.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    data = hashlib.sha256((name + fingerprint(dev)).encode()).hexdigest()
    identity = {
        "settings": settings.to_dict(),
        "fingerprint": settings.fingerprint(),
        "data": data,
        "base": start.hexdigest(),
    }
    if _is_done(final, identity):
        return final
    source = StreamSteps(examples_from, settings, name, tokenizer.pad_token_id or 0)
    facts = _audit(list(islice(examples_from(0), AUDITED)), model, settings, tokenizer, out_dir, dev)
    if on_audit is not None:
        on_audit(facts[0])
    held_out = facts[1].kept if facts[1] else ()
    base = identity["base"]
    result = train_loop(model, source, settings, out_dir=out_dir, dev=held_out, progress=progress, base=str(base))
    return _save(model, tokenizer, None, out_dir, settings, {**identity, "result": asdict(result)})


def model_length(model: torch.nn.Module, settings: Training) -> int:
    """Return the longest sequence allowed: the settings' limit, never above the model's."""
    own = getattr(unwrap(model).config.get_text_config(), "max_position_embeddings", None) or 1 << 20
    return min(own, settings.max_length or own)


def _is_main_process() -> bool:
    """Wait for the other processes, where there are any, and tell whether this one writes the result."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        return torch.distributed.get_rank() == 0
    return True


def _is_done(final: Path, identity: dict[str, Any]) -> bool:
    if not final.exists():
        return False
    try:
        record = json.loads((final / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TrainError(f"{final} exists, but was not made by this training. Use another directory.") from None
    changed = [key for key in ("fingerprint", "data", "base") if record.get(key) != identity[key]]
    if changed:
        old, new = record.get("settings", {}), identity["settings"]
        fields = [f"training.{key}: {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key]]
        what = ", ".join(fields or changed)
        raise TrainError(f"{final} was trained with something else ({what}). Use another directory, or remove it.")
    return True


def _load(base_dir: str | Path, settings: Training) -> torch.nn.Module:
    if settings.mode == "full":
        return load_model(base_dir)
    from thinktwice.train.adapters import attach_learned_prefix, attach_lora, attach_rows, load_quantised

    device = choose_device()
    precision = choose_precision(settings, device)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16 if precision == "bf16" else torch.float16
    quantised = settings.mode == "qlora"
    model = load_quantised(base_dir, dtype, settings.bits) if quantised else load_model(base_dir, dtype)
    torch.manual_seed(settings.seed)  # the adapters' initial weights
    if settings.mode == "prefix-tuning":
        return attach_learned_prefix(model, settings, load_tokenizer(base_dir))
    attach = attach_rows if settings.mode == "prompt-tuning" else attach_lora
    return attach(model, settings, tuple(control_token_ids(base_dir).values()))


def _audit(
    examples: Sequence[Example],
    model: torch.nn.Module,
    settings: Training,
    tokenizer: PreTrainedTokenizerBase,
    out_dir: Path,
    dev: Sequence[Example],
) -> tuple[Audit, Audit | None]:
    limits: dict[str, Any] = {
        "eos_id": tokenizer.eos_token_id,
        "max_length": model_length(model, settings),
        "vocabulary": len(embedding(model)),
    }
    facts = audit(examples, settings, **limits)
    dev_facts = audit(dev, settings, **limits) if dev else None
    out_dir.mkdir(parents=True, exist_ok=True)
    record = {**facts.to_dict(), "dev": dev_facts.to_dict() if dev_facts else None}
    aside = out_dir / f".audit.json.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(aside, out_dir / "audit.json")
    return facts, dev_facts


def _attend(model: torch.nn.Module, examples: Sequence[Example], settings: Training) -> Sequence[Example]:
    """Return the examples in the form this model's attention can express."""
    layouts = any(example.dead_from is not None for example in examples)
    longest = max((len(example.token_ids) for example in examples), default=0)
    if settings.packing:
        longest = max(longest, settings.max_length or 0)
        check_layout(model, longest)  # packed rows are told apart by a layout, too
    if not layouts:
        return examples
    if settings.attention == "layout":
        check_layout(model, longest)
        return examples
    if settings.attention == "auto" and layout_problem(model, longest) is None:
        return examples
    return [part for example in examples for part in unroll(example)]


def _save(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    base_dir: str | Path | None,
    out_dir: Path,
    settings: Training,
    record: dict[str, Any],
) -> Path:
    final = out_dir / "model"
    if not _is_main_process():
        return final
    tokens = control_token_ids(base_dir) if base_dir is not None else {}
    files = {RECORD: json.dumps(record, indent=1)}
    if settings.mode == "full":
        dtype = unwrap(model).config.dtype if base_dir is None else stored_dtype(base_dir)
        model.to(dtype or torch.float32)
        save_model(model, tokenizer, final, control_tokens=tokens, files=files)
    else:
        from thinktwice.train.adapters import save_adapter

        origin = {"base_dir": str(base_dir), "fingerprint": record["base"]}
        save_adapter(model, tokenizer, final, **origin, control_tokens=tokens, files=files)
    shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)
    return final
