"""Every constant of the seed's two scripts, and what it is here. The documentation's table is made of this.

The scripts have no flags: what can be changed stands in them, as names (SUBBATCH_SZ) and as arguments of calls (lr). A
command line gives it as if it were a flag: `main.py --lr 1e-4`.

Source: github.com/MMacDougall06/cot-correctness-detection-test at 03580f1, main.py and datagen-main.py.
"""

from thinktwice.cli.migrate.command import Flag, Script

MAIN: tuple[Script, ...] = ("main",)
DATAGEN: tuple[Script, ...] = ("datagen-main",)
SCRIPTS: dict[str, Script] = {"main": "main", "datagen-main": "datagen-main"}
"""How a script's file name begins -> which script it is."""

_SEED = "one seed decides data, order, dropout and adapters; theirs seeded NumPy, torch and random apart, all with 1."
_IDENTIFIERS = (
    "identifiers are looked up in the model's own vocabulary, and each must be one token; nothing is to be set."
)

MODEL = (
    Flag(
        ("base_model",),
        MAIN,
        str,
        "decapoda-research/llama-7b-hf",
        "`model.path`",
        "that checkpoint is gone from the hub; name another copy of LLaMA-7B, or any causal language model.",
    ),
    Flag(
        ("adapter",),
        MAIN,
        str,
        "tloen/alpaca-lora-7b",
        refused="training begins from fresh adapters, one of the arguer and one of the chooser; the seed put one "
        "adapter on one base twice, so that both were the same. Merge alpaca-lora into the base first, and name that.",
        harmless=("", "none"),
    ),
    Flag(("tokenizer",), MAIN, str, "huggyllama/llama-7b", differs="the model's own tokenizer is used."),
    Flag(("load_in_8bit",), MAIN, bool, True, "`train.mode: qlora`, `train.bits: 8`"),
    Flag(("load_in_4bit",), MAIN, bool, False, "`train.mode: qlora`, `train.bits: 4`"),
    Flag(("torch_dtype",), MAIN, ("bfloat16", "float16", "float32"), "bfloat16", "`model.dtype`"),
    Flag(
        ("lora_rank",), MAIN, int, 16, "`train.lora_rank`", "each of two adapters has it; of a tied one there is one."
    ),
    Flag(("lora_alpha",), MAIN, int, 16, "`train.lora_alpha`"),
    Flag(
        ("lora_dropout",),
        MAIN,
        float,
        0.05,
        "`train.lora_dropout`",
        "it is off when the verifier answers; theirs stayed on.",
    ),
    Flag(
        ("target_modules",),
        MAIN,
        str,
        "q_proj,k_proj,v_proj,o_proj",
        "`train.lora_targets`",
        "words with commas between.",
    ),
)

TRAINING = (
    Flag(("lr",), MAIN, float, 3e-4, "`train.lr`"),
    Flag(("beta1",), MAIN, float, 0.9, "`train.betas`, the first"),
    Flag(("beta2",), MAIN, float, 0.999, "`train.betas`, the second"),
    Flag(
        ("eps",),
        MAIN,
        float,
        1e-16,
        differs="AdamW's own 1e-8 is used: with 1e-16 a weight whose gradient is rounding error takes whole steps.",
    ),
    Flag(("weight_decay",), MAIN, float, 0.0, "`train.weight_decay`"),
    Flag(
        ("BATCH_SZ",),
        MAIN,
        int,
        128,
        "`train.batch_size`, twice",
        "it counts pairs, ours counts choices: each pair is there in both orders. The loss is the mean of a step, "
        "where theirs was the sum of its sub-batches' means; AdamW takes no notice.",
    ),
    Flag(
        ("SUBBATCH_SZ",),
        MAIN,
        int,
        2,
        "`train.grad_accumulation`: `BATCH_SZ` / `SUBBATCH_SZ`",
        "a sub-batch that does not fit into memory stops the training; theirs was skipped.",
    ),
    Flag(
        ("TEST_INTERVAL",),
        MAIN,
        int,
        64,
        "`train.eval_every`, in optimiser steps",
        "on dev: the weights are chosen there, and test is read once. Theirs read test after every step, and its best "
        "was reported.",
    ),
    Flag(
        ("TEST_BATCH_SZ",), MAIN, int, 64, "`decode.batch_size`", "rates are over pairs; theirs were means of batches."
    ),
    Flag(
        ("epochs",),
        MAIN,
        int,
        None,
        "`train.epochs`",
        "theirs ran until it was stopped, after about 193 steps (10 epochs); left out, it is 10.",
    ),
    Flag(("seed",), MAIN, int, 1, "`seed`", _SEED),
)

DATA = (
    Flag(
        ("INPUT_DIR",),
        MAIN,
        str,
        "data",
        "`method.posing.file`: dataset.csv in it",
        "of a directory called masked every identifier is masked (method.argument=masked); `--compat` masks the chosen "
        "one's alone, as the seed did. The masked file itself was never published.",
    ),
    Flag(
        ("test_size",),
        MAIN,
        float,
        0.1,
        refused="the seed's test rows are these: datasets' train_test_split(test_size=0.1, seed=1); a tenth of the "
        "other questions is dev.",
        harmless=(0.1,),
    ),
    Flag(
        ("split_seed",),
        MAIN,
        int,
        1,
        refused="the seed's test rows are these; make items of your own (thinktwice argue) for other splits.",
        harmless=(1,),
    ),
    Flag(("ONE_TOKEN_ID",), MAIN, int, 29896, differs=_IDENTIFIERS),
    Flag(("TWO_TOKEN_ID",), MAIN, int, 29906, differs=_IDENTIFIERS),
    Flag(
        ("fence_token",),
        MAIN,
        str,
        "[SEP]",
        differs="nothing is fenced: a candidate is encoded once, and its ids stand in both texts.",
    ),
)

GENERATION = (
    Flag(("model",), DATAGEN, str, "text-davinci-003", "`writer.model`", "that model is gone; name one that there is."),
    Flag(("temperature",), DATAGEN, float, 0.0, "`sampling.temperature`"),
    Flag(("top_p",), DATAGEN, float, 1.0, "`sampling.top_p`"),
    Flag(("max_tokens",), DATAGEN, int, 512, "`sampling.max_new_tokens`"),
    Flag(("frequency_penalty",), DATAGEN, float, 0.0, refused="it is not offered.", harmless=(0.0,)),
    Flag(("presence_penalty",), DATAGEN, float, 0.0, refused="it is not offered.", harmless=(0.0,)),
    Flag(("n",), DATAGEN, int, 1, refused="each role is asked once; arguing.mode=sample draws several.", harmless=(1,)),
    Flag(("best_of",), DATAGEN, int, 1, refused="it is not offered.", harmless=(1,)),
    Flag(
        ("api_key",),
        DATAGEN,
        str,
        None,
        refused="keys come from the environment only: leave it out and set the variable that writer.api_key_env names.",
        harmless=("",),
        secret=True,
    ),
    Flag(
        ("DATASET_NAMES",),
        DATAGEN,
        str,
        None,
        "the argument of `thinktwice argue`",
        "names with commas between, with or without .json; their Lila mixture was GSM8K for four fifths.",
    ),
    Flag(("cache_dir",), DATAGEN, str, None, differs="tasks are read from the files that tasks.NAME.path names."),
    Flag(("shuffle_seed",), DATAGEN, int, 1, differs="problems stand in the order of their file; none are drawn."),
    Flag(("OUTPUT_DIR",), DATAGEN, str, "data/unmasked/", "the directory of `--out`"),
    Flag(("OUTPUT_FILE",), DATAGEN, str, "dataset.csv", "the name of `--out`, as .jsonl"),
    Flag(("LOG_INTERVAL",), DATAGEN, int, 1, differs="the counts are shown after every batch."),
)

FLAGS: tuple[Flag, ...] = (*MODEL, *TRAINING, *DATA, *GENERATION)
