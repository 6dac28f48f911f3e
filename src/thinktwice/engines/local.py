"""A Hugging Face model in this process, decoded by the loop that can edit its context."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from thinktwice.decode.cache import check_editable, context_length, vocabulary_size
from thinktwice.decode.loop import Decoder, Event, decode, eos_ids_of
from thinktwice.decode.rows import LogitsRule
from thinktwice.decode.stops import to_text_of
from thinktwice.decode.transplant import Verifier
from thinktwice.engines.fingerprint import fingerprint
from thinktwice.engines.loading import Dtype, load
from thinktwice.engines.verifying import Adapters
from thinktwice.errors import ConfigError, DataError
from thinktwice.types import Choice, Completion, Control, Sampling


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
        adapters: Adapters | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        """Take a loaded model.

        Args:
            model: A causal language model whose context can be edited; put into evaluation mode.
            tokenizer: Its tokenizer.
            batch_size: Rows decoded together.
            max_length: Longest text, prompt included; default: what the model was built for.
            name: Names it in records; default: the model's path and type.
            adapters: Of a saved verifier, for `choose`; without, both readers are the model as it is.
            verifier: What moves states between the readers; default: everything is moved.

        Raises:
            ModelError: if the model's context cannot be edited.
        """
        model.train(False)
        if adapters is None:
            check_editable(model, max_length)
        self.model, self.tokenizer = model, tokenizer
        self._adapters, self._verifier = adapters, verifier
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
            path: A directory (of a model, of an adapter that names its base, or of a verifier: it then chooses with its
                adapters and writes with the base), a hub id, or a bundled model's name.
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
        loaded = load(path, dtype=dtype, device=device, adapter=adapter, revision=revision, attention=attention)
        options: dict[str, Any] = {"adapters": loaded.adapters, "verifier": loaded.verifier}
        return cls(loaded.model, loaded.tokenizer, batch_size=batch_size, max_length=max_length, **options)

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
    def token_logprobs(self, sequences: Sequence[Sequence[int]], temperature: float = 1.0) -> list[list[float]]:
        """Return, for each sequence of T ids, the natural-log probability of ids 1..T-1, each given those before it.

        Of the model as it decodes at `temperature` (above 0): ids that are never drawn have no probability.
        """
        found: list[list[float]] = [[] for _ in sequences]
        for members, ids_BT in self._padded(sequences):
            logits_BTV = self.model(input_ids=ids_BT, use_cache=False).logits.float()
            if self.suppress:
                logits_BTV[..., list(self.suppress)] = float("-inf")
            next_BT1 = ids_BT[:, 1:, None]
            values_BT = (logits_BTV[:, :-1] / temperature).log_softmax(dim=-1).gather(-1, next_BT1).squeeze(-1)
            for index, values in zip(members, values_BT.tolist(), strict=True):
                found[index] = values[: len(sequences[index]) - 1]
        return found

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

    def choose(self, choices: Sequence[Choice]) -> list[tuple[float, ...]]:
        """Return the natural-log probability of each option of each choice, normalised over the choice's options.

        Choices of like length are read together; both orders of one item share what the arguer reads.

        Raises:
            DataError: a choice that contradicts itself, or is too long; rows to move, and no arguer to move them from.
            ModelError: keys and values of this model cannot be moved.
        """
        if self._verifier is None:
            self._verifier = Verifier(self.model, pad_id=self.tokenizer.pad_token_id or 0)
        if self._adapters is None:
            return self._verifier.choose(choices, self.batch_size)
        if self._adapters.saved.arguer == "none" and any(choice.moves for choice in choices):
            raise DataError("This verifier was trained to read the text alone; ask it choices without moves.")
        try:
            return self._verifier.choose(choices, self.batch_size)
        finally:
            self._adapters.rest()

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
