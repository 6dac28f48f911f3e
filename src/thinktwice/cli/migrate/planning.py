"""Every flag of the public planning-token scripts, and what it is here. The documentation's table is made of this.

Sources: github.com/WANGXinyiLinda/planning_tokens (Wang et al. 2024) and its fork
github.com/MingyuJ666/Disentangling-Memory-and-Reasoning (Jin et al. 2025).
"""

from thinktwice.cli.migrate.command import Flag, Script

SCRIPTS: dict[str, Script] = {
    "train": "train",
    "eval": "eval",
    "extract_step_type": "step_type",
    "data_agent": "data_agent",
}
"""How a script's file name begins -> which script it is."""
DATASETS = (
    "gsm8k",
    "aqua",
    "math",
    "svamp",
    "qa",
    "stratgeqa_agent",
    "strategyqa_agent",
    "commonsenseqa_agent",
    "truthfulqa_agent",
)
MODES = ("none", "lora", "prompt-tuning", "lora+prompt-tuning", "prefix-tuning")
BOTH: tuple[Script, ...] = ("train", "eval")
TRAIN: tuple[Script, ...] = ("train",)
EVAL: tuple[Script, ...] = ("eval",)
TYPES: tuple[Script, ...] = ("step_type",)
AGENT: tuple[Script, ...] = ("data_agent",)

_ENVIRONMENT = (
    "keys come from the environment only: leave it out and set HF_TOKEN. Revoke a key that stood in a script."
)

TOKENS = (
    Flag(
        ("add_soft_prompts",),
        BOTH,
        bool,
        False,
        "planning tokens; `False`: `method.extract_step_type_tokens: none`",
    ),
    Flag(
        ("add_hard_prompts",),
        BOTH,
        bool,
        False,
        "`method.tags`",
        "a step begins with its type as text, `[name] `, instead of `Plan: addition`.",
    ),
    Flag(
        ("num_general_prefix_tokens",),
        BOTH,
        int,
        3,
        "`method.num_general_prefix_tokens`; with prefix-tuning `train.prefix_tokens`",
    ),
    Flag(
        ("num_special_prefix_tokens",),
        BOTH,
        int,
        3,
        "`method.num_special_prefix_tokens`; 0: `method.extract_step_type_tokens: general`",
    ),
    Flag(
        ("extract_step_type_tokens",),
        BOTH,
        ("none", "+-*/", "vae", "tf-idf", "k-means", "memory"),
        "none",
        "`method.extract_step_type_tokens`; `none` with planning tokens: `general`",
        "types are fitted in the run, on its training problems; no pickle is read or written.",
    ),
    Flag(
        ("selection_method",),
        TYPES,
        ("tf-idf", "k-means", "vae", "vae-next-step", "vae-contrastive", "balanced-k-means"),
        None,
        "`method.extract_step_type_tokens`",
        "types are fitted in the run, on its training problems; no pickle is read or written.",
        "only plain k-means, SQ-VAE (vae) and tf-idf are built; the papers report the plain ones.",
        ("tf-idf", "k-means", "vae"),
    ),
    Flag(
        ("num_plan_types", "num_types"),
        ("train", "eval", "step_type"),
        int,
        5,
        "`method.num_plan_types`",
    ),
    Flag(("only_at_front",), BOTH, bool, False, "`method.placement: only_at_front`"),
    Flag(("plan_first",), BOTH, bool, False, "`method.placement: plan_first`"),
    Flag(("plan_only",), BOTH, bool, False, "`method.placement: plan_only`"),
    Flag(
        ("use_sparse_attention",),
        BOTH,
        bool,
        False,
        refused="a mask that hides earlier steps from later ones is not built; the papers report no result with it.",
        harmless=(False,),
    ),
    Flag(("use_calculator",), TRAIN, bool, False, differs="train.py never read it."),
    Flag(
        ("use_calculator",),
        EVAL,
        bool,
        False,
        refused="the public calculator knew GPT-2's token ids only; leave it out, the model does its own sums.",
        harmless=(False,),
    ),
    Flag(
        ("embedding_model_name",),
        BOTH,
        str,
        "meta-llama/Llama-2-7b-hf",
        differs="steps are embedded by the recipe's own base model, whatever is named here.",
    ),
)

MODEL = (
    Flag(
        ("model_name_or_path",),
        ("train", "eval", "step_type"),
        str,
        "meta-llama/Llama-2-7b-hf",
        "`model.path`; of eval: the checkpoint, an arm that is not trained",
    ),
    Flag(
        ("base_model_name_or_path",),
        EVAL,
        str,
        "meta-llama/Llama-2-7b-hf",
        differs="a merged checkpoint needs no base: thinktwice export RUN --to DIR, and name DIR.",
    ),
    Flag(
        ("random_initialize",),
        TRAIN,
        bool,
        False,
        differs="it was never read; new rows start from words of the model's vocabulary.",
    ),
    Flag(
        ("parameter_efficient_mode",),
        EVAL,
        MODES,
        "none",
        differs="a checkpoint says itself what it is.",
    ),
    Flag(
        ("parameter_efficient_mode",),
        TRAIN,
        MODES,
        "none",
        "`train.mode`: `full`, `lora`, `prompt-tuning`, `prefix-tuning`; `train.lora_new_rows`",
    ),
    Flag(
        ("lora_module",),
        TRAIN,
        ("mlp", "atten", "both"),
        "mlp",
        "`train.lora_targets`",
        "it counts for every architecture; for GPT-2 the public code ignored it, and `both` gave it no layer at all.",
    ),
    Flag(
        ("int8_training",),
        TRAIN,
        bool,
        False,
        "with LoRA: `train.mode: qlora` and `train.bits: 8`",
        "it needs a GPU and bitsandbytes, and is for LoRA.",
    ),
    Flag(
        ("load_in_16fp",), TRAIN, bool, False, "`train.precision: fp16`", "master weights of full training stay fp32."
    ),
    Flag(
        ("load_in_8bit",),
        EVAL,
        bool,
        False,
        "`model.dtype: bfloat16`",
        "answers are written in 16 bits, which is more exact and needs twice the memory.",
    ),
    Flag(
        ("enable_cpu_offload",),
        EVAL,
        bool,
        False,
        refused="weights are not spread over GPU and CPU; use a smaller model, or model.dtype=bfloat16.",
        harmless=(False,),
    ),
    Flag(("cache_dir",), ("train", "eval", "step_type"), str, None, differs="the hub's cache is where HF_HOME says."),
    Flag(
        ("hf_hub_token", "hub_token"),
        ("train", "eval"),
        str,
        None,
        refused=_ENVIRONMENT,
        harmless=("",),
        secret=True,
    ),
)

DATA = (
    Flag(("dataset",), ("train", "eval", "step_type"), DATASETS, "gsm8k", "`task.name`"),
    Flag(
        ("mode",),
        TRAIN,
        ("supervised", "constant_len"),
        "supervised",
        "`constant_len`: `train.packing`",
        "packed examples do not see each other, and questions are not learned.",
    ),
    Flag(
        ("use_demonstrations",),
        BOTH,
        bool,
        False,
        refused="there are no k-shot prompts here; write demonstrations into model.template, before {question}.",
        harmless=(False,),
    ),
    Flag(("k_shot",), BOTH, int, 4, differs="it only counts with demonstrations."),
    Flag(("demo_selection",), BOTH, str, "uniform", differs="it only counts with demonstrations."),
    Flag(("candidate_size",), BOTH, int, 100, differs="it only counts with demonstrations."),
    Flag(
        ("num_test",),
        BOTH,
        int,
        1000,
        "`evaluation.num_test`; of eval: `evaluation.problems`",
        "drawn without replacement (the public code's 1000 draws from GSM8K are 701 problems), in training from dev.",
    ),
    Flag(("prompt_template",), BOTH, ("alpaca",), None, "`model.template`"),
)

TRAINING = (
    Flag(
        ("model_max_length",),
        TRAIN,
        int,
        512,
        "`train.max_length`, `train.overflow: drop`, `decode.max_new_tokens`",
        "nothing is cut: a longer example is dropped and counted in audit.json; replies have at most 512 tokens.",
    ),
    Flag(("num_train_epochs",), TRAIN, float, 3.0, "`train.epochs`"),
    Flag(("max_steps",), TRAIN, int, -1, "`train.steps`"),
    Flag(
        ("per_device_train_batch_size",),
        TRAIN,
        int,
        8,
        "`train.batch_size`, the rows of a whole step: it times `--gradient_accumulation_steps`",
    ),
    Flag(("gradient_accumulation_steps",), TRAIN, int, 1, "`train.grad_accumulation`, and see above"),
    Flag(("per_device_eval_batch_size",), TRAIN, int, 8, "`decode.batch_size`"),
    Flag(("learning_rate",), TRAIN, float, 5e-5, "`train.lr`"),
    Flag(("weight_decay",), TRAIN, float, 0.0, "`train.weight_decay`"),
    Flag(("adam_beta1",), TRAIN, float, 0.9, "`train.betas`"),
    Flag(("adam_beta2",), TRAIN, float, 0.999, "`train.betas`"),
    Flag(("max_grad_norm",), TRAIN, float, 1.0, "`train.max_grad_norm`"),
    Flag(
        ("lr_scheduler_type",),
        TRAIN,
        ("linear", "cosine", "constant", "constant_with_warmup"),
        "linear",
        "`train.schedule`",
    ),
    Flag(("warmup_steps",), TRAIN, int, 0, "`train.warmup_steps`"),
    Flag(
        ("warmup_ratio",),
        TRAIN,
        float,
        0.0,
        refused="warm-up is counted in steps; give --warmup_steps, the ratio times all steps.",
        harmless=(0.0,),
    ),
    Flag(
        ("optim",),
        TRAIN,
        ("adamw_torch", "adamw_hf", "adamw_torch_fused"),
        "adamw_torch",
        "`train.optimizer: adamw`",
    ),
    Flag(("fp16",), TRAIN, bool, False, "`train.precision: fp16`"),
    Flag(("bf16",), TRAIN, bool, False, "`train.precision: bf16`"),
    Flag(("gradient_checkpointing",), TRAIN, bool, False, "`train.gradient_checkpointing`"),
    Flag(
        ("seed",),
        BOTH,
        int,
        42,
        "`seed`",
        "eval's seed only drew demonstrations; here it seeds sampling too, where there is any.",
    ),
    Flag(
        ("evaluation_strategy", "eval_strategy"),
        TRAIN,
        ("no", "steps", "epoch"),
        "no",
        "`train.eval_every`; `no`: `evaluation.num_test: 0`",
        "answers are scored on dev; the public code chose its epoch on test, here the last weights are kept.",
    ),
    Flag(("eval_steps",), TRAIN, int, 500, "`train.eval_every`, with `--evaluation_strategy steps`"),
    Flag(
        ("save_strategy",),
        TRAIN,
        ("no", "steps", "epoch"),
        "steps",
        "`train.save_every`",
        "checkpoints are for going on after a kill; the two newest are kept.",
    ),
    Flag(("save_steps",), TRAIN, int, 500, "`train.save_every`, with `--save_strategy steps`"),
    Flag(("save_total_limit",), TRAIN, int, None, differs="the two newest checkpoints are kept."),
    Flag(("logging_steps",), TRAIN, int, 500, "`train.log_every`"),
    Flag(("report_to",), TRAIN, str, "none", differs="metrics.jsonl and the run's page have it; nothing is sent out."),
    Flag(
        ("resume",),
        TRAIN,
        bool,
        False,
        refused="the public checkpoints hold pickled modules, which are not read; `thinktwice run` goes on by itself.",
        harmless=(False,),
    ),
    Flag(
        ("output_dir",),
        ("train", "eval", "step_type"),
        str,
        None,
        differs="a run is in runs/NAME; thinktwice run FILE --runs DIR puts it elsewhere.",
    ),
    Flag(
        ("push_to_hub",), TRAIN, bool, False, refused="nothing is uploaded; push the exported model yourself.",
        harmless=(False,),
    ),
    Flag(
        ("fsdp", "deepspeed", "sharded_ddp"),
        TRAIN,
        str,
        "",
        refused="one process trains; for several set train.backend=trl and train.processes.",
        harmless=("",),
    ),
)  # fmt: skip

DECODING = (
    Flag(
        ("decoding_scheme",),
        BOTH,
        str,
        "greedy",
        differs="the public code never read it, and the model's own generation_config decided (chat models sample). "
        "Here decode.temperature=0, greedy.",
    ),
    Flag(("batch_size",), EVAL, int, 16, "`decode.batch_size`"),
    Flag(("max_length",), EVAL, int, 512, "`decode.max_new_tokens`", "it counts the reply alone, not the question."),
)

STEP_TYPES = (
    Flag(("batch_size",), TYPES, int, 8, differs="steps are embedded `decode.batch_size` at a time."),
    Flag(("model_max_length",), TYPES, int, 2048, differs="nothing is cut; what the model cannot read is an error."),
    Flag(
        ("min_frequency", "max_frequency"),
        TYPES,
        float,
        None,
        differs="they were for tf-idf, which takes the words that mark most steps here.",
    ),
    Flag(("train_epoch",), TYPES, int, 10, refused="SQ-VAE is fitted with the published 10 epochs.", harmless=(10,)),
)

LABELLING = (
    Flag(
        ("dataset",),
        AGENT,
        ("StrategyQA", "commonsense_qa", "truthful_qa"),
        "StrategyQA",
        "the task of `thinktwice label`",
        "facts of the knowledge model really go into the steps; a plan that breaks the rules is asked for again.",
    ),
    Flag(
        ("mode",),
        AGENT,
        ("train", "test"),
        "train",
        "`--split` of `thinktwice label`",
        "test problems are not labelled with their answers shown unless you say so; scoring needs no labels.",
    ),
)

FLAGS: tuple[Flag, ...] = (*TOKENS, *MODEL, *DATA, *TRAINING, *DECODING, *STEP_TYPES, *LABELLING)
DEFAULTS: dict[Script, dict[str, int]] = {
    "eval": {"num_general_prefix_tokens": 5, "num_special_prefix_tokens": 1},
    "step_type": {"num_plan_types": 50},
}
"""Where a script's default is another than the flag's."""
