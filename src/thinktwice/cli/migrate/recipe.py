"""The public planning-token scripts' command lines as recipes. Law: what is not the same is said in a note."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktwice.cli.migrate.command import Migrated, Script, read_flags, script_words, told
from thinktwice.cli.migrate.planning import DEFAULTS, FLAGS, SCRIPTS
from thinktwice.errors import ConfigError

QUESTION = "Question: {question}\n"
ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nSolve the following problem step by step"
    "{asked}.\n\n### Input:\n{{question}}\n\n### Response:\n"
)
REPLY = 512
"""The public code writes so many new tokens at most."""


@dataclass(frozen=True)
class Dataset:
    """What the public code calls a dataset."""

    task: Mapping[str, Any]
    train: int
    """Training problems, those that become dev left out; approximate where some have no solution."""
    test: int
    asked: str = ""
    """What its Alpaca prompt asks for."""


_STRATEGY = {"name": "strategyqa_agent"}
_LINES = {"answer_line": "The answer is: {answer}"}
_CHOOSE = ", and choose the best answer from the given choices"
DATASETS = {
    "gsm8k": Dataset(
        {"name": "gsm8k", **_LINES, "calculator_annotations": True}, 6973, 1319, ", and give a numerical answer"
    ),
    "aqua": Dataset({"name": "aqua"}, 97467, 254, _CHOOSE),
    "math": Dataset({"name": "math"}, 7000, 5000, ", and give the exact answer"),
    "svamp": Dataset({"name": "svamp"}, 700, 300, ", and give a numerical answer"),
    "qa": Dataset({"name": "strategyqa"}, 1403, 687),
    "stratgeqa_agent": Dataset(_STRATEGY, 1403, 687),
    "strategyqa_agent": Dataset(_STRATEGY, 1403, 687),
    "commonsenseqa_agent": Dataset({"name": "commonsenseqa_agent"}, 9241, 1221, _CHOOSE),
    "truthfulqa_agent": Dataset({"name": "truthfulqa_agent"}, 572, 164, _CHOOSE),
}
LABELLED = {
    "StrategyQA": ("strategyqa", {}),
    "commonsense_qa": ("commonsenseqa", {}),
    "truthful_qa": ("truthfulqa", {"train": 653, "dev": 0}),  # the public code's first 80 % of 817
}
"""The data agent's name of a dataset -> our task and its options."""


def migrate_planning(
    words: Sequence[str], *, data: str | None = None, compat: bool = False, controls: bool = True
) -> Migrated:
    """Translate a command line of train.py, eval.py, extract_step_type.py or data_agent.py.

    Args:
        words: the command line, or a shell file that holds it.
        data: the dataset's directory, for `task.path`.
        compat: score as the public code does.
        controls: add the arms that tell meaning from filler.

    Raises:
        ConfigError: what cannot be had, in one sentence.
    """
    script, file, rest = script_words(words, SCRIPTS)
    given = read_flags(rest, FLAGS, script)
    defaults = {f.names[0]: f.default for f in FLAGS if script in f.scripts} | DEFAULTS.get(script, {})
    values = {**defaults, **given}
    notes = told(given, FLAGS, script)
    if script == "data_agent":
        return _labelling(file, values, notes, data)
    return _Translation(script, values, given, notes, data, compat, controls).recipe()


def _labelling(file: str, values: Mapping[str, Any], notes: list[str], data: str | None) -> Migrated:
    name, options = LABELLED[values["dataset"]]
    strict = "modify" in file
    job = {
        "task": {**options, **({"path": data} if data else {})},
        "planner": {"model": "gpt-4o"},
        "labelling": {
            "order": "memory_first" if "order" in file else "interleaved",
            "answer": "shown",
            "attempts": 20 if strict else 5,
        },
    }
    notes.append(
        "the planner is gpt-4o, as published; planner.base_url names another server, knowledge.model another model."
    )
    split = values["mode"]
    command = f"thinktwice label {name} --config FILE --split {split} --out {values['dataset']}_{split}_clean.json"
    return Migrated(job, command, tuple(notes))


@dataclass(frozen=True)
class _Translation:
    script: Script
    values: Mapping[str, Any]
    """Every flag's, defaults filled in."""
    given: Mapping[str, Any]
    notes: list[str]
    data: str | None
    compat: bool
    controls: bool

    def recipe(self) -> Migrated:
        v = self.values
        dataset = DATASETS[v["dataset"]]
        method, arms, headline = self._method()
        evaluation: dict[str, Any] = {"problems": dataset.test}
        model = {"path": v["model_name_or_path"], "template": self._template(dataset)}
        tree: dict[str, Any] = {
            "name": self._name(method),
            "task": self._task(dataset),
            "model": model,
            "method": method,
        }
        if self.script == "eval":
            evaluation["problems"] = min(v["num_test"], dataset.test)
            if v["load_in_8bit"]:
                model["dtype"] = "bfloat16"
            decode = {"max_new_tokens": v["max_length"], "batch_size": v["batch_size"]}
            self.notes.append(
                "eval.py's checkpoint cannot be read (pickled modules); of a run of ours, every arm is scored on test "
                "already, and another recipe scores it after `thinktwice export RUN --to DIR` with model.path=DIR."
            )
        else:
            decode = {"max_new_tokens": REPLY}
        if self.script == "train":
            decode = {
                "max_new_tokens": min(REPLY, v["model_max_length"]),
                "batch_size": v["per_device_eval_batch_size"],
            }
            tree["train"] = self._training(dataset)
            if v["evaluation_strategy"] != "no":
                evaluation["num_test"] = v["num_test"]
        tree |= {"decode": decode, "evaluation": evaluation, "arms": arms}
        if headline:
            tree["headline"] = headline
        if "seed" in v:
            tree["seed"] = v["seed"]
        command = "thinktwice run FILE"
        if self.script == "step_type":
            command = f"thinktwice train FILE --arm {list(arms)[-1]}"
            self.notes.append("the types are fitted first and saved in stages/collect-ARM/fitted.")
        return Migrated(tree, command, tuple(self.notes))

    def _name(self, method: Mapping[str, Any]) -> str:
        kind = {"+-*/": "operators"}.get(method["extract_step_type_tokens"], method["extract_step_type_tokens"])
        return f"{self.values['dataset']}-{kind}-{self.script}"

    def _task(self, dataset: Dataset) -> dict[str, Any]:
        task = dict(dataset.task)
        if self.data:
            task["path"] = self.data
        elif task["name"].endswith("_agent"):
            self.notes.append("the labelled data is on no hub: set task.path to its directory (or give --data DIR).")
        return {**task, "compat": True} if self.compat else task

    def _template(self, dataset: Dataset) -> str:
        return ALPACA.format(asked=dataset.asked) if self.values.get("prompt_template") == "alpaca" else QUESTION

    # -- the method and its arms ---------------------------------------------------------------------------------------

    def _method(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
        v = self.values
        kind = v["selection_method"] if self.script == "step_type" else v["extract_step_type_tokens"]
        soft, hard = v.get("add_soft_prompts", True), v.get("add_hard_prompts", False)
        if soft and hard:
            raise ConfigError("--add_soft_prompts and --add_hard_prompts exclude each other; keep one of them.")
        if not soft and not hard:
            kind = "none"
        general, special = v.get("num_general_prefix_tokens", 3), v.get("num_special_prefix_tokens", 3)
        if kind is None:
            raise ConfigError("--selection_method names what is fitted: k-means, vae or tf-idf.")
        if soft and kind == "none":
            kind = "general"
            self.notes.append(
                "--extract_step_type_tokens none: one block for every step and for the answer, of as many tokens; the "
                "public code gave the answer a block of its own."
            )
        elif soft and special == 0 and kind != "none":
            kind = "general"
            self.notes.append("--num_special_prefix_tokens 0: a block without a type; none are inferred.")
        placement = self._placement()
        if placement == "only_at_front" and kind != "none" and not hard:
            kind, special = "general", 0  # the prefix alone, once
        method = {
            "name": "planning",
            "extract_step_type_tokens": kind,
            "num_general_prefix_tokens": general,
            "num_special_prefix_tokens": special,
            "placement": placement,
        }
        if kind in ("k-means", "vae", "tf-idf"):
            method["num_plan_types"] = v["num_plan_types"]
        if hard:
            method["tags"] = True
            if kind in ("none", "general"):
                raise ConfigError("--add_hard_prompts writes types as text; name them with --extract_step_type_tokens.")
        return method, *self._arms(kind, hard, placement)

    def _placement(self) -> str:
        v = self.values
        chosen = [name for name in ("only_at_front", "plan_first", "plan_only") if v.get(name)]
        if len(chosen) > 1:
            raise ConfigError(f"{' and '.join(f'--{name}' for name in chosen)} exclude each other; keep one of them.")
        return chosen[0] if chosen else "every_step"

    def _arms(self, kind: str, hard: bool, placement: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        own = "text_tags" if hard else {"none": "none", "general": "untyped"}.get(kind, "typed")
        if self.script == "eval":
            return {own: {"trained": False}}, None
        if not self.controls or own == "none":
            return {own: {}}, None
        without: dict[str, Any] = {"method": {"extract_step_type_tokens": "none"}}
        if placement == "plan_only":
            without["method"]["placement"] = "every_step"
        if hard:
            without["method"]["tags"] = False
        if self.values.get("parameter_efficient_mode") == "prompt-tuning":
            without = {"trained": False, **without}  # there is no row to train
        arms: dict[str, Any] = {"none": without}
        if own == "typed":
            arms["untyped"] = {"method": {"extract_step_type_tokens": "general"}}
            arms["shuffled"] = {"method": {"shuffled": True}}
        arms[own] = {}
        added = ", ".join(name for name in arms if name != own)
        self.notes.append(f"control arms were added ({added}); --no-controls leaves them out.")
        return arms, {"a": own, "b": "untyped" if own == "typed" else "none", "level": 0}

    # -- training ------------------------------------------------------------------------------------------------------

    def _training(self, dataset: Dataset) -> dict[str, Any]:
        v = self.values
        if v["num_train_epochs"] % 1:
            raise ConfigError(f"--num_train_epochs {v['num_train_epochs']}: passes are whole here; use --max_steps.")
        if v["fp16"] and v["bf16"]:
            raise ConfigError("--fp16 and --bf16 exclude each other; keep one of them.")
        rows = v["per_device_train_batch_size"] * v["gradient_accumulation_steps"]
        a_pass = max(1, math.ceil(dataset.train / rows))
        steps = v["max_steps"] if v["max_steps"] > 0 else a_pass * int(v["num_train_epochs"])
        schedule = {"constant_with_warmup": "constant"}.get(v["lr_scheduler_type"], v["lr_scheduler_type"])
        warmup = 0 if v["lr_scheduler_type"] == "constant" else v["warmup_steps"]
        if warmup >= steps:
            self.notes.append(
                f"--warmup_steps {warmup}: the training has about {steps} steps, so that the learning rate never "
                "reaches its peak."
            )
        often = {"no": 0, "epoch": a_pass}
        half = "fp16" if v["fp16"] or v["load_in_16fp"] else "bf16" if v["bf16"] else "fp32"
        train = {
            **self._mode(),
            "epochs": int(v["num_train_epochs"]),
            **({"steps": v["max_steps"]} if v["max_steps"] > 0 else {}),
            "batch_size": rows,
            "grad_accumulation": v["gradient_accumulation_steps"],
            "lr": v["learning_rate"],
            "weight_decay": v["weight_decay"],
            "betas": [v["adam_beta1"], v["adam_beta2"]],
            "max_grad_norm": v["max_grad_norm"],
            "schedule": schedule,
            "warmup_steps": warmup,
            "optimizer": "adamw",
            "precision": half,
            "max_length": v["model_max_length"],
            "overflow": "drop",
            "eval_every": often.get(v["evaluation_strategy"], v["eval_steps"]),
            "save_every": often.get(v["save_strategy"], v["save_steps"]),
            "log_every": v["logging_steps"],
            "gradient_checkpointing": v["gradient_checkpointing"],
        }
        if v["mode"] == "constant_len":
            train["packing"] = True
        if v["evaluation_strategy"] == "epoch":
            self.notes.append(
                f"--evaluation_strategy epoch: every {a_pass} steps, one pass over about {dataset.train} problems."
            )
        return train

    def _mode(self) -> dict[str, Any]:
        v = self.values
        mode, soft, int8 = v["parameter_efficient_mode"], v["add_soft_prompts"], v["int8_training"]
        if mode == "prompt-tuning":
            if not soft:
                raise ConfigError(
                    "--parameter_efficient_mode prompt-tuning trains planning tokens; add_soft_prompts is off."
                )
            if v["only_at_front"]:
                self.notes.append(
                    "--only_at_front with prompt-tuning: the prefix tokens' own rows, not PEFT's virtual tokens."
                )
        if mode == "prefix-tuning":
            self.notes.append(
                "prefix-tuning trains keys and values alone: planning tokens, where there are any, stay as initialised."
            )
        if int8 and "lora" not in mode:
            raise ConfigError(
                "--int8_training is for LoRA; a quantised weight cannot be trained. Use lora+prompt-tuning."
            )
        if mode in ("none", "prompt-tuning"):
            return {"mode": {"none": "full"}.get(mode, mode)}
        if mode == "prefix-tuning":
            return {"mode": mode, "prefix_tokens": v["num_general_prefix_tokens"]}
        if mode == "lora" and soft:
            self.notes.append(
                "--parameter_efficient_mode lora leaves the planning tokens' rows as initialised; lora+prompt-tuning "
                "trains them."
            )
        targets = ["mlp", "atten"] if v["lora_module"] == "both" else [v["lora_module"]]
        lora = {"lora_rank": 16, "lora_alpha": 16, "lora_dropout": 0.05, "lora_targets": targets}
        kind = {"mode": "qlora", "bits": 8} if int8 else {"mode": "lora"}
        return {**kind, **lora, "lora_new_rows": mode == "lora+prompt-tuning"}
