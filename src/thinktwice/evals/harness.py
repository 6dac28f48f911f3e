"""Our models as a model of lm-evaluation-harness: `--model thinktwice`.

Replies are written by a method's own `solve`, so the harness measures exactly what a run measures: same prompts in
ids, same controls, same random streams.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import utils as lm_eval_utils  # type: ignore[import-untyped]
from lm_eval.api.instance import Instance  # type: ignore[import-untyped]
from lm_eval.api.model import LM  # type: ignore[import-untyped]
from lm_eval.api.registry import register_model  # type: ignore[import-untyped]

from thinktwice.config import to_dict
from thinktwice.engines.base import Engine
from thinktwice.errors import ConfigError, ModelError, nearest
from thinktwice.evals import cache
from thinktwice.evals.prompts import Rendered
from thinktwice.evals.reply import Reply
from thinktwice.methods import Solver, build_method
from thinktwice.tasks.reading import content_id
from thinktwice.types import Problem, Sampling, Trace

log = logging.getLogger(__name__)

CHUNK = 256
"""Replies written between two writes to the cache: what a kill can cost."""
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_KNOWN = {*_LENGTHS, "until", "do_sample", "temperature", "top_p", "top_k", "seed"}


@register_model("thinktwice")
class ThinkTwiceLM(LM):  # type: ignore[misc]
    """An engine and a method, behind the harness's interface. Law: what a reply retracted is never in its text.

    Model arguments on the command line: `pretrained` (a directory, hub id or "nano"), `method` ("backtrack" where the
    model has the undo token, else "baseline"), any option of that method (`context=keep`, `bias=1.5`), `dtype`,
    `device`, `batch_size`, `adapter`, `cache` (a file), `max_new_tokens`.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        solver: Solver,
        *,
        cache_path: Path | str | None = None,
        max_new_tokens: int = 512,
    ) -> None:
        """Wrap live objects; `max_new_tokens` is for tasks that do not say how long a reply may be."""
        super().__init__()
        self.engine = engine
        self.tokenizer = tokenizer
        self.solver = solver
        self.max_new_tokens = max_new_tokens
        self.render = Rendered(tokenizer, template="{question}")
        self.cache = None if cache_path is None else cache.ReplyCache(Path(cache_path))
        self._likelihood: Any = None

    # -- construction --------------------------------------------------------------------------------------------------

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "ThinkTwiceLM":
        """Build from `key=value,key=value`."""
        return cls.create_from_arg_obj(lm_eval_utils.simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "ThinkTwiceLM":
        """Build from model arguments and the harness's own `batch_size`, `max_batch_size` and `device`.

        Raises:
            ConfigError: `pretrained` is missing, or an argument is neither ours nor the method's.
        """
        from thinktwice import nano
        from thinktwice.engines.local import LocalEngine

        given = {
            k: v for k, v in (additional_config or {}).items() if v is not None and k != "max_batch_size"
        } | arg_dict
        if "pretrained" not in given:
            raise ConfigError(
                f"--model_args lacks pretrained=DIRECTORY. Given: {', '.join(sorted(arg_dict)) or 'none'}."
            )
        path = nano.resolve(str(given.pop("pretrained")))
        batch = given.pop("batch_size", 64)
        if not str(batch).isdigit() and not str(batch).startswith("auto"):
            raise ConfigError(f"batch_size={batch!r} is neither a number nor 'auto'.")
        engine = LocalEngine.load(
            path,
            dtype=given.pop("dtype", "float32"),
            device=_device(given.pop("device", "auto"), asked="device" in arg_dict),
            adapter=given.pop("adapter", None),
            batch_size=int(batch) if str(batch).isdigit() else 64,
        )
        length, stored = int(given.pop("max_new_tokens", 512)), given.pop("cache", None)
        known = engine.tokenizer.get_vocab()
        name = str(given.pop("method", "backtrack" if "<undo>" in known else "baseline"))
        return cls(engine, engine.tokenizer, build_method(name, given), cache_path=stored, max_new_tokens=length)

    # -- generation ----------------------------------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Reply]:
        """Answer requests, grouped by their generation options. Law: order and length are kept.

        Stop strings are looked for in the visible text, so one inside a retracted stretch stops nothing, and one that
        a retraction brings together does. The reply ends before the stop string.
        """
        replies: list[Reply | None] = [None] * len(requests)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[json.dumps(request.args[1], sort_keys=True)].append(index)
        fingerprint = self.fingerprint() if self.cache else {}
        for options, members in groups.items():
            sampling = self.sampling(json.loads(options))
            problems = self._problems([requests[index] for index in members])
            for index, trace in zip(members, self._traces(problems, sampling, fingerprint), strict=True):
                replies[index] = Reply(_before(trace.reply, sampling.stop), trace)
        return [reply for reply in replies if reply is not None]

    def _problems(self, requests: Sequence[Instance]) -> list[Problem]:
        """Return requests as problems; a repeated one gets a random stream of its own."""
        seen: Counter[str] = Counter()
        problems = []
        for request in requests:
            context, document = request.args[0], request.doc
            known = document.get("id") if isinstance(document, Mapping) else None
            identity = str(known or content_id("request", context))
            repeat = seen[identity + context]
            seen[identity + context] += 1
            problems.append(Problem(f"{identity}/{repeat}" if repeat else identity, context, ""))
        return problems

    def _traces(self, problems: Sequence[Problem], sampling: Sampling, fingerprint: Mapping[str, Any]) -> list[Trace]:
        keys = [
            cache.key(**fingerprint, sampling=to_dict(sampling), prompt=list(self.render.prompt(p)), stream=p.key)
            if self.cache
            else p.id
            for p in problems
        ]
        done = self.cache.find(keys) if self.cache else {}
        if done:
            log.info("%d of %d replies are known from %s", len(done), len(keys), self.cache and self.cache.path)
        left = [index for index, name in enumerate(keys) if name not in done]
        for start in range(0, len(left), CHUNK):
            chunk = left[start : start + CHUNK]
            traces = self.solver.solve([problems[i] for i in chunk], self.engine, self.render, sampling)
            fresh = dict(zip((keys[i] for i in chunk), traces, strict=True))
            if self.cache:
                self.cache.add(fresh)
            done |= fresh
            log.info("%d of %d replies written", min(start + CHUNK, len(left)), len(left))
        return [done[name] for name in keys]

    def sampling(self, options: Mapping[str, Any]) -> Sampling:
        """Return a task's `generation_kwargs` as our sampling.

        Raises:
            ConfigError: an option that this engine does not have; it is not left out in silence.
        """
        for name in options:
            if name not in _KNOWN:
                raise ConfigError(f"generation option {name!r} is not supported.{nearest(name, _KNOWN)}")
        until = options.get("until") or []
        temperature = options.get("temperature")
        if options.get("do_sample") is False:
            temperature = 0.0
        elif temperature is None:
            temperature = 1.0 if options.get("do_sample") else 0.0
        return Sampling(
            temperature=float(temperature),
            top_p=float(options.get("top_p", 1.0)),
            top_k=int(options.get("top_k", 0)),
            max_new_tokens=int(next((options[n] for n in _LENGTHS if options.get(n) is not None), self.max_new_tokens)),
            stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
            seed=int(options.get("seed", 0)),
        )

    # -- identity ------------------------------------------------------------------------------------------------------

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides a reply besides its request, hashed anew each time: live weights may have been trained.

        Raises:
            ModelError: the engine's weights are not here to be hashed.
        """
        model = getattr(self.engine, "model", None)
        if model is None:
            raise ModelError(f"{self.engine.name} has no local weights to identify, so its replies cannot be cached.")
        return {
            "weights": weights_digest(model),
            "tokenizer": tokenizer_digest(self.tokenizer),
            "solver": [type(self.solver).__qualname__, to_dict(self.solver)],
            "engine": [sorted(getattr(self.engine, part, ())) for part in ("eos_ids", "suppress")]
            + [getattr(self.engine, "max_length", None)],
            "code": cache.code(),
        }

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness writes beside its results."""
        return {"engine": self.engine.name, "method": [type(self.solver).__name__, to_dict(self.solver)]}

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse the harness's own cache.

        Raises:
            ConfigError: always, when `--use_cache` is on.
        """
        if getattr(cache_hook, "dbdict", None) is not None:
            raise ConfigError(
                "--use_cache would serve one model's answers to another (lm-evaluation-harness#4063). "
                "Use --model_args cache=FILE instead."
            )
        super().set_cache_hook(cache_hook)

    # -- chat ----------------------------------------------------------------------------------------------------------

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer and its template by content; the harness keys its prompt cache with it."""
        return f"thinktwice-{tokenizer_digest(self.tokenizer)[:16]}"

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return the template's source, for the record."""
        return str(self.tokenizer.chat_template or "") if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation; its exact ids are remembered."""
        return self.render.chat(chat_history, answer_next=add_generation_prompt)

    # -- likelihoods ---------------------------------------------------------------------------------------------------

    @property
    def likelihood(self) -> Any:
        """The harness's own model class around the same weights: nothing is retracted while a text is only read."""
        if self._likelihood is None:
            from lm_eval.models.huggingface import HFLM  # type: ignore[import-untyped]

            model = getattr(self.engine, "model", None)
            if model is None:
                raise ModelError(f"{self.engine.name} cannot score given texts; run tasks that generate.")
            size = int(getattr(self.engine, "batch_size", 1))
            self._likelihood = HFLM(pretrained=model, tokenizer=self.tokenizer, batch_size=size)
        return self._likelihood

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score given continuations with the plain model."""
        return self.likelihood.loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts with the plain model."""
        return self.likelihood.loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]


def _device(name: str, *, asked: bool) -> str:
    """Return the device; the command line's default of cuda:0 is no demand where there is no GPU."""
    import torch

    if name.startswith("cuda") and not asked and not torch.cuda.is_available():
        log.warning("no GPU here: %s becomes cpu", name)
        return "cpu"
    return name


def _before(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the stop strings."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def weights_digest(model: Any) -> str:
    """Return a hash of a model's weights, buffers left out, and of the configuration that runs them."""
    import torch

    total = hashlib.sha256()
    settings = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    adapters = {name: part.to_dict() for name, part in getattr(model, "peft_config", {}).items()}
    total.update(json.dumps([settings, adapters, str(model.dtype)], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(memoryview(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return total.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a hash of a tokenizer: its whole fast form (or its vocabulary), special tokens and template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    body = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    extra = json.dumps([tokenizer.special_tokens_map, tokenizer.chat_template], sort_keys=True, default=str)
    return hashlib.sha256((body + extra).encode()).hexdigest()
