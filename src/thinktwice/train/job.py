"""One training, from examples to a saved model: audit, attention, backend, and a directory that is whole or absent."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.errors import DataError, TrainError
from thinktwice.resolve import unroll
from thinktwice.train.audit import Audit, audit
from thinktwice.train.batch import ExampleSteps, StreamSteps, fingerprint
from thinktwice.train.choices import choices_fingerprint, is_choices
from thinktwice.train.device import choose_device, choose_precision
from thinktwice.train.loop import Evaluate, Progress, TrainResult, train_loop
from thinktwice.train.metrics import write_trainer_state
from thinktwice.train.objective import check_layout, embedding, layout_problem, unwrap
from thinktwice.train.pair_audit import PairAudit, audit_pairs, with_reference
from thinktwice.train.pairs import PairSteps, held_out_batches, is_pairs, pairs_fingerprint
from thinktwice.train.reference import reference
from thinktwice.train.settings import Training
from thinktwice.train.vocab import (
    adapter_fingerprint,
    base_fingerprint,
    control_token_ids,
    load_model,
    load_tokenizer,
    save_model,
    stored_dtype,
)
from thinktwice.types import Choice, Example, Pair

RECORD = "training.json"
"""In the saved model's directory: settings, data, base and outcome of the training that made it."""
AUDITED = 1000
"""Examples of an endless stream that are audited before step 1; every later one is checked when it is used."""


def fit(
    examples: Sequence[Example] | Sequence[Pair] | Sequence[Choice],
    base_dir: str | Path,
    out_dir: Path,
    settings: Training,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dev: Sequence[Example] | Sequence[Pair] | Sequence[Choice] = (),
    progress: Progress | None = None,
    on_audit: Callable[[Any], None] | None = None,
    evaluate: Evaluate | None = None,
    start: Path | None = None,
) -> Path:
    """Train the model in `base_dir` on examples, pairs or choices and return the result's directory, out_dir / "model".

    Law: audited before step 1 (audit.json, `on_audit`); killed anywhere and called again, it ends with the same
    weights; called after the end, it returns at once; called with other settings or data, it refuses.

    Pairs are learned from by direct preference optimisation (see `preference`), against the weights that training
    starts from: reference.safetensors has what those think of every pair. Choices make a verifier (see `verifier`):
    adapters of an arguer and a chooser over `base_dir`, with `eval_acc` the share of dev choices it gets right.

    Full training saves a plain model directory in the base's dtype; every other mode saves an adapter over `base_dir`.
    Beside it: audit.json, metrics.jsonl, and the same numbers as `trainer_state.json` (`eval_acc` is what `evaluate`
    returned every `eval_every` steps and at the end).

    Args:
        examples: what is learned, all of one sort.
        base_dir: a model.
        out_dir: where everything goes.
        settings: see `Training`.
        tokenizer: default: the base's.
        dev: of the same sort, whose loss is measured.
        progress: called after every step.
        on_audit: called before step 1 with the audit (`Audit`, `PairAudit` or `ChoiceAudit`).
        evaluate: answers dev problems inside the loop.
        start: an adapter over `base_dir` that training goes on from. With mode=full its changes become part of the
            weights; with its own mode (and rank, targets, ...) it is trained further.

    Raises:
        DataError, TrainError: what the audit finds; see `audit`, `audit_pairs`.
        TrainError: a loss that is not finite; `out_dir` belongs to another training.
        ModelError: the model can't be trained this way (attention layout, missing 4-bit support, another adapter).
    """
    if settings.lrs:
        from thinktwice.train.rates import fit_each_rate

        rest: dict[str, Any] = {"progress": progress, "on_audit": on_audit, "tokenizer": tokenizer, "start": start}
        each = partial(fit, examples, base_dir, dev=dev, evaluate=evaluate)
        return fit_each_rate(each, out_dir, settings, bool(dev), **rest)
    final = out_dir / "model"
    base = base_fingerprint(base_dir) if start is None else adapter_fingerprint(base_dir, start)
    pairs, choices = is_pairs(examples), is_choices(examples)
    if dev and (is_pairs(dev), is_choices(dev)) != (pairs, choices):
        raise DataError("The dev set must be of the same sort as the training set: examples, pairs or choices.")
    identity = {
        "settings": settings.to_dict(),
        "fingerprint": settings.fingerprint(),
        "data": hashlib.sha256((_fingerprint(examples) + _fingerprint(dev)).encode()).hexdigest(),
        "base": base,
    }
    if _is_done(final, identity):
        return final
    if settings.processes > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        from thinktwice.train.launch import launch

        if evaluate is not None or tokenizer is not None or on_audit is not None:
            raise TrainError(
                "Several processes answer no dev problems in the loop: set evaluation.num_test=0, or train.processes=1."
            )
        return launch(examples, base_dir, out_dir, settings, dev=dev, progress=progress, start=start)
    tokenizer = tokenizer or load_tokenizer(base_dir)
    if choices:
        if start is not None or evaluate is not None:
            raise TrainError("A verifier starts from its base and answers its own dev choices: no start, no evaluate.")
        from thinktwice.train.verifier import save_verifier, train_choices  # PEFT takes seconds to import

        options: dict[str, Any] = {"tokenizer": tokenizer, "progress": progress, "on_audit": on_audit}
        readers, saved, result = train_choices(
            _choices(examples), base_dir, settings, dev=_choices(dev), out_dir=out_dir, base=base, **options
        )
        if _is_main_process():
            write_trainer_state(out_dir / "metrics.jsonl", out_dir / "trainer_state.json")
            files = {RECORD: json.dumps({**identity, "result": asdict(result)}, indent=1)}
            save_verifier(readers, tokenizer, saved, final, base_dir=str(base_dir), fingerprint=base, files=files)
            shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)
        return final
    model = _load(base_dir, settings, start)
    work = _Work(model, tokenizer, settings, out_dir, base, progress, on_audit, evaluate)
    result = work.learn_pairs(_pairs(examples), _pairs(dev)) if pairs else work.learn(_plain(examples), _plain(dev))
    write_trainer_state(out_dir / "metrics.jsonl", out_dir / "trainer_state.json")
    return _save(model, tokenizer, base_dir, out_dir, settings, {**identity, "result": asdict(result)})


@dataclass(frozen=True)
class _Work:
    """A model, and everything a training of it needs but the data."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    settings: Training
    out_dir: Path
    base: str
    progress: Progress | None
    on_audit: Callable[[Audit | PairAudit], None] | None
    evaluate: Evaluate | None

    def learn(self, examples: Sequence[Example], dev: Sequence[Example]) -> TrainResult:
        """Audit examples and train on them."""
        limits = _limits(self.model, self.settings, self.tokenizer)
        facts = audit(examples, self.settings, **limits)
        dev_facts = audit(dev, self.settings, **limits) if dev else None
        self._tell(facts, dev_facts)
        train, held_out = (_attend(self.model, part.kept if part else (), self.settings) for part in (facts, dev_facts))
        if self.settings.backend == "trl":
            from thinktwice.train.sft import train_trl  # TRL takes seconds to import

            return train_trl(self.model, train, self.settings, self.tokenizer, dev=held_out, **self._options)
        source = ExampleSteps(train, self.settings, self._pad_id)
        return train_loop(self.model, source, self.settings, dev=held_out, **self._options)

    def learn_pairs(self, pairs: Sequence[Pair], dev: Sequence[Pair]) -> TrainResult:
        """Audit pairs, ask the starting weights about them, and train on them."""
        settings = self.settings
        if settings.packing:
            raise TrainError("training.packing is for examples; pairs are padded. Set packing=false for this training.")
        limits = _limits(self.model, settings, self.tokenizer)
        facts = audit_pairs(pairs, settings, **limits)
        dev_facts = audit_pairs(dev, settings, **limits) if dev else None
        held_out = dev_facts.kept if dev_facts else ()
        for part in (facts.kept, held_out):
            _attend_pairs(self.model, part, settings)
        if settings.backend == "trl":
            from thinktwice.train.dpo import join_processes

            join_processes()
        device = choose_device()
        options: dict[str, Any] = {"device": device, "precision": choose_precision(settings, device)}
        known, known_dev = reference(
            self.model, facts.kept, held_out, settings, out_dir=self.out_dir, pad_id=self._pad_id, **options
        )
        self._tell(with_reference(facts, known), with_reference(dev_facts, known_dev) if dev_facts else None)
        if settings.backend == "trl":
            from thinktwice.train.dpo import train_trl_pairs

            return train_trl_pairs(self.model, known, settings, self.tokenizer, dev=known_dev, **self._options)
        batches = held_out_batches(known_dev, settings, self._pad_id)
        source = PairSteps(known, settings, self._pad_id)
        return train_loop(self.model, source, settings, dev=batches, pairs=True, **self._options)

    def _tell(self, facts: Audit | PairAudit, dev_facts: Audit | PairAudit | None) -> None:
        _write_audit(facts, dev_facts, self.out_dir)
        if self.on_audit is not None:
            self.on_audit(facts)

    @property
    def _options(self) -> dict[str, Any]:
        return {"out_dir": self.out_dir, "progress": self.progress, "base": self.base, "evaluate": self.evaluate}

    @property
    def _pad_id(self) -> int:
        return self.tokenizer.pad_token_id or 0


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
    control_tokens: dict[str, int] | None = None,
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
        control_tokens: {token: id} of those that the model has, saved with it.
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
    limits = _limits(model, settings, tokenizer)
    facts = audit(list(islice(examples_from(0), AUDITED)), settings, **limits)
    dev_facts = audit(dev, settings, **limits) if dev else None
    _write_audit(facts, dev_facts, out_dir)
    if on_audit is not None:
        on_audit(facts)
    held_out = dev_facts.kept if dev_facts else ()
    base = identity["base"]
    result = train_loop(model, source, settings, out_dir=out_dir, dev=held_out, progress=progress, base=str(base))
    record = {**identity, "result": asdict(result)}
    return _save(model, tokenizer, None, out_dir, settings, record, control_tokens)


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


def _load(base_dir: str | Path, settings: Training, start: Path | None) -> torch.nn.Module:
    if settings.mode == "full" and start is None:
        return load_model(base_dir)
    from thinktwice.train.start import load_start  # PEFT takes seconds to import

    return load_start(base_dir, settings, start)


def _limits(model: torch.nn.Module, settings: Training, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what an audit must know of the model."""
    return {
        "eos_id": tokenizer.eos_token_id,
        "max_length": model_length(model, settings),
        "vocabulary": len(embedding(model)),
    }


def _write_audit(facts: Audit | PairAudit, dev_facts: Audit | PairAudit | None, out_dir: Path) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    record = {**facts.to_dict(), "dev": dev_facts.to_dict() if dev_facts else None}
    aside = out_dir / f".audit.json.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(aside, out_dir / "audit.json")


def _choices(examples: Sequence[Any]) -> list[Choice]:
    return [example for example in examples if isinstance(example, Choice)]


def _pairs(examples: Sequence[Any]) -> list[Pair]:
    return [example for example in examples if isinstance(example, Pair)]


def _plain(examples: Sequence[Any]) -> list[Example]:
    return [example for example in examples if isinstance(example, Example)]


def _fingerprint(examples: Sequence[Any]) -> str:
    if is_choices(examples):
        return choices_fingerprint(_choices(examples))
    return pairs_fingerprint(_pairs(examples)) if is_pairs(examples) else fingerprint(_plain(examples))


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


def _attend_pairs(model: torch.nn.Module, pairs: Sequence[Pair], settings: Training) -> None:
    """Refuse pairs with an attention layout that this model can't express: a side can't be several sequences."""
    layouts = [side for pair in pairs for side in (pair.chosen, pair.rejected) if side.dead_from is not None]
    if not layouts:
        return
    if settings.attention == "unrolled":
        raise TrainError("training.attention=unrolled is for examples; pairs need attention=layout, or no retractions.")
    check_layout(model, max(len(side.token_ids) for side in layouts))


def _save(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    base_dir: str | Path | None,
    out_dir: Path,
    settings: Training,
    record: dict[str, Any],
    tokens: dict[str, int] | None = None,
) -> Path:
    final = out_dir / "model"
    if not _is_main_process():
        return final
    tokens = control_token_ids(base_dir) if base_dir is not None else tokens or {}
    files = {RECORD: json.dumps(record, indent=1)}
    if settings.mode == "full":
        dtype = unwrap(model).config.dtype if base_dir is None else stored_dtype(base_dir)
        model.to(dtype or torch.float32)
        save_model(model, tokenizer, final, control_tokens=tokens, files=files)
    else:
        from thinktwice.train.adapters import save_adapter

        assert base_dir is not None
        origin = {"base_dir": str(base_dir), "fingerprint": base_fingerprint(base_dir)}
        save_adapter(model, tokenizer, final, **origin, control_tokens=tokens, files=files)
    shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)
    return final
