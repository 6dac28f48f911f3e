"""A Hugging Face model in this process, decoded by the loop that can edit its context."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.decode.cache import check_editable, context_length, vocabulary_size
from thinktwice.decode.loop import Decoder, Event, decode, eos_ids_of
from thinktwice.decode.prefix import has_prefix, load_prefix
from thinktwice.decode.rows import LogitsRule
from thinktwice.decode.stops import to_text_of
from thinktwice.engines.fingerprint import fingerprint
from thinktwice.errors import ConfigError, DataError, ModelError
from thinktwice.nano import BUNDLED, resolve
from thinktwice.types import Completion, Control, Sampling

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class LocalEngine:
    """Token ids in, token ids out, from a model on this machine.

    Law: order and length are preserved; ids that spell nothing (unused or padded vocabulary rows) are never drawn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 64,
        max_length: int | None = None,
        name: str | None = None,
    ) -> None:
        """Take a loaded model.

        Args:
            model: A causal language model whose context can be edited; put into evaluation mode.
            tokenizer: Its tokenizer.
            batch_size: Rows decoded together.
            max_length: Longest text, prompt included; default: what the model was built for.
            name: Names it in records; default: the model's path and type.

        Raises:
            ModelError: if the model's context cannot be edited.
        """
        model.train(False)
        check_editable(model, max_length)
        self.model, self.tokenizer = model, tokenizer
        self.batch_size, self.max_length = batch_size, max_length
        self.text = to_text_of(tokenizer)
        """Decodes ids: special tokens left out, spaces as they are."""
        self._name = name or f"{model.config.name_or_path or type(model).__name__} ({model.dtype})".replace(
            "torch.", ""
        )
        self.eos_ids: tuple[int, ...] = tuple(eos_ids_of(model.generation_config))
        """Ids that end a reply: those of the generation config, and the tokenizer's."""
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in self.eos_ids:
            self.eos_ids += (int(tokenizer.eos_token_id),)
        config = model.generation_config
        forbidden = (getattr(config, "suppress_tokens", None) or []) if config is not None else []
        spelled = set(tokenizer.get_vocab().values())
        self.suppress = tuple(sorted({*forbidden, *(i for i in range(vocabulary_size(model)) if i not in spelled)}))
        """Ids that are never drawn."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        adapter: str | Path | None = None,
        batch_size: int = 64,
        max_length: int | None = None,
        revision: str | None = None,
        attention: str = "auto",
    ) -> "LocalEngine":
        """Load a model directory or a hub id. Law: safetensors only, and no code from the checkpoint is run.

        Args:
            path: A directory (of a model, or of an adapter that names its base), a hub id, or a bundled model's name.
            dtype: auto is the checkpoint's own on a GPU and float32 on a CPU.
            device: "cpu", "cuda", "cuda:1", ...; auto is a GPU if there is one.
            adapter: Directory of a PEFT adapter to put on the model.
            batch_size: Rows decoded together.
            max_length: Longest text, prompt included.
            revision: Of a hub id.
            attention: "sdpa" or "eager"; auto is what the model supports.

        Raises:
            ModelError: nothing there, not loadable, or a model whose context cannot be edited.
        """
        path = resolve(str(path)) if str(path) in BUNDLED else path
        if adapter is None and (Path(path) / "adapter_config.json").is_file():
            path, adapter = _base_of(Path(path)), path
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto" and device == "cpu":
            dtype = "float32"
        words = None if attention == "auto" else attention
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, revision=revision, attn_implementation=words
            )
            tokenizer = AutoTokenizer.from_pretrained(adapter if _has_tokenizer(adapter) else path, revision=revision)
            if has_prefix(adapter):
                load_prefix(model, str(adapter))
            elif adapter is not None:
                model.load_adapter(str(adapter))
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"No model could be loaded from {str(path)!r}: {reason} Give a directory with config.json and "
                "safetensors weights, or a hub id that this machine can reach (HF_HUB_OFFLINE unset, network up)."
            ) from error
        return cls(model.to(device), tokenizer, batch_size=batch_size, max_length=max_length)

    @property
    def name(self) -> str:
        """The model and its number format, for records."""
        return self._name

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        keys: Sequence[int] | None = None,
        listener: Callable[[Event], None] | None = None,
    ) -> list[Completion]:
        """Complete every prompt; events name a prompt by its index.

        Prompts of like length are read together, the longest first.
        """
        if keys is not None and len(keys) != len(prompts):
            raise ConfigError(f"{len(keys)} keys for {len(prompts)} prompts; give one key a prompt, or none.")
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))

        def listen(event: Event) -> None:
            if listener is not None:
                listener(replace(event, row=order[event.row]))

        completions = decode(
            self.model,
            [prompts[index] for index in order],
            sampling,
            controls=controls,
            rules=rules,
            keys=[index if keys is None else keys[index] for index in order],
            batch_size=self.batch_size,
            eos_ids=self.eos_ids,
            suppress=self.suppress,
            max_length=self.max_length,
            to_text=self.text,
            listener=None if listener is None else listen,
        )
        restored = dict(zip(order, completions, strict=True))
        return [restored[index] for index in range(len(prompts))]

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        controls: Sequence[Control] = (),
        rules: Sequence[LogitsRule] = (),
        key: int = 0,
    ) -> Iterator[Event]:
        """Complete one prompt and yield what happens as it happens; the last event is "stopped"."""
        events: list[Event] = []
        decoder = Decoder(
            self.model,
            sampling,
            controls=controls,
            rules=rules,
            batch_size=1,
            eos_ids=self.eos_ids,
            suppress=self.suppress,
            max_length=self.max_length,
            to_text=self.text,
            listener=events.append,
        )
        decoder.add(prompt, key=key)
        more = True
        while more:
            more = decoder.step()
            yield from events
            events.clear()

    def token_probabilities(self, sequences: Sequence[Sequence[int]], token_id: int) -> list[list[float]]:
        """Return, after each token of each sequence, the probability that `token_id` comes next."""
        return self._after_each(
            sequences, lambda logits_BTV: logits_BTV[..., token_id].sub(logits_BTV.logsumexp(dim=-1)).exp()
        )

    def token_margins(self, sequences: Sequence[Sequence[int]], token_id: int) -> list[list[float]]:
        """Return, after each token of each sequence, the logit of `token_id` less the largest other logit.

        Greedy decoding with a bias b on the token draws it exactly where margin + b > 0.
        """

        def margin(logits_BTV: Tensor) -> Tensor:
            own_BT = logits_BTV[..., token_id].clone()
            logits_BTV[..., token_id] = float("-inf")
            return own_BT - logits_BTV.max(dim=-1).values

        return self._after_each(sequences, margin)

    @torch.inference_mode()
    def token_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Return, for each sequence of T ids, the last layer's states (T, H), after the final norm, in float32.

        Raises:
            DataError: a sequence is longer than the model reads; nothing is cut.
        """
        limit = self.max_length or context_length(self.model) or 2**31
        longest = max(map(len, sequences), default=0)
        if longest > limit:
            raise DataError(f"a text has {longest} tokens and the model reads {limit}; leave out longer ones.")
        width = self.model.config.get_text_config().hidden_size
        found: list[NDArray[np.float32]] = [np.zeros((0, width), np.float32) for _ in sequences]
        for members, ids_BT in self._padded(sequences):
            states_BTH = self.model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state.float().cpu()
            for index, states_TH in zip(members, states_BTH, strict=True):
                found[index] = states_TH[: len(sequences[index])].numpy()
        return found

    def fingerprint(self, token_ids: Sequence[int]) -> str:
        """Return what `token_states` depends on, as one line: see `engines.fingerprint`."""
        return fingerprint(self.model, token_ids)

    @torch.inference_mode()
    def _after_each(self, sequences: Sequence[Sequence[int]], measure: Callable[[Tensor], Tensor]) -> list[list[float]]:
        """Read sequences as they are, many at a time, and measure the logits after each of their tokens."""
        found: list[list[float]] = [[] for _ in sequences]
        for members, ids_BT in self._padded(sequences):
            logits_BTV = self.model(input_ids=ids_BT, use_cache=False).logits.float()
            if self.suppress:
                logits_BTV[..., list(self.suppress)] = float("-inf")
            for index, values in zip(members, measure(logits_BTV).tolist(), strict=True):
                found[index] = values[: len(sequences[index])]
        return found

    def _padded(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Yield batches of the sequences that are not empty, the longest first: their indices, their ids (B, T)."""
        order = [index for index in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])) if sequences[index]]
        for start in range(0, len(order), self.batch_size):
            members = order[start : start + self.batch_size]
            longest = len(sequences[members[0]])
            # Padding stands on the right, where causal attention cannot see it from the text.
            rows = [[*sequences[index], *[0] * (longest - len(sequences[index]))] for index in members]
            yield members, torch.tensor(rows, device=self.model.device)


def _base_of(adapter: Path) -> str:
    """Return the path or id of the model an adapter was trained over."""
    for file, field in (("base.json", "base"), ("adapter_config.json", "base_model_name_or_path")):
        if (adapter / file).is_file():
            base = json.loads((adapter / file).read_text(encoding="utf-8")).get(field)
            if base:
                return str(base)
    raise ModelError(f"The adapter in {str(adapter)!r} does not name its base; load the base with adapter={adapter}.")


def _has_tokenizer(adapter: str | Path | None) -> bool:
    return adapter is not None and (Path(adapter) / "tokenizer_config.json").is_file()
