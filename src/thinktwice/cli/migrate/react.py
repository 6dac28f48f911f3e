"""Every flag of the public ReAct trainer's scripts, and what it is here. The documentation's table is made of this.

Source: github.com/FDeRubeis/araft at 5133a21 (Llama-2-7B, SFT and then DPO on HotpotQA), the six files of scripts/.
"""

from thinktwice.cli.migrate.command import Flag, Script

GENERATE: tuple[Script, ...] = ("traj_generator",)
CONVERT: tuple[Script, ...] = ("traj_to_SFT_converter", "traj_to_DPO_converter")
SFT: tuple[Script, ...] = ("sft_trainer",)
DPO: tuple[Script, ...] = ("dpo_trainer",)
TRAIN: tuple[Script, ...] = (*SFT, *DPO)
EVALUATE: tuple[Script, ...] = ("evaluator_hotpot",)
AGENT: tuple[Script, ...] = (*GENERATE, *EVALUATE)
SCRIPTS: dict[str, Script] = {name: name for name in (*GENERATE, *CONVERT, *TRAIN, *EVALUATE)}
"""How a script's file name begins -> which script it is."""

_TOKEN = "keys come from the environment only: leave it out and set the variable that teacher.api_key_env names."
_PUSH = "nothing is uploaded; push the exported model yourself (thinktwice export)."
_ROWS = "rows are made by the run, of the episodes that it collects; a table of theirs is not read."
_RUN = "a run is in runs/NAME; thinktwice run FILE --runs DIR puts it elsewhere."

MODEL = (
    Flag(
        ("model",),
        GENERATE,
        str,
        None,
        "`model`, with `endpoint`",
        "the server is a local one that takes token ids (vLLM); temperature 0.8 is LangChain's default, which the "
        "public code neither set nor wrote down, and top_p and typical_p are left at 1.",
        place=True,
    ),
    Flag(
        ("model",),
        CONVERT,
        str,
        None,
        differs="the template of Llama-2-chat is written by its rule, without its tokenizer; no other model's is.",
        place=True,
    ),
    Flag(("model",), SFT, str, None, "`model.path`", place=True),
    Flag(
        ("model",),
        EVALUATE,
        str,
        None,
        "`model.path`, with an arm that is not trained",
        "an adapter's directory is read together with the base that it names.",
        place=True,
    ),
    Flag(("base_model",), DPO, str, None, "`model.path`", place=True),
    Flag(
        ("adapter",),
        DPO,
        str,
        None,
        "arm `sft`, from which arm `dpo` starts",
        "the run trains its own, on the same episodes; their adapter is not read.",
        place=True,
    ),
    Flag(
        ("subfolder",),
        EVALUATE,
        str,
        None,
        "the end of `model.path`",
        "an adapter in a folder of a repository on the hub must be on the disk.",
    ),
    Flag(("hf-token",), GENERATE, str, None, refused=_TOKEN, harmless=("",), secret=True),
    Flag(
        ("bnb-config",),
        EVALUATE,
        str,
        None,
        refused="answers are written in model.dtype, which is more exact than 4 bits and needs more memory.",
        harmless=("config/evaluator_hotpot_bnb.json",),
    ),
)

DATA = (
    Flag(
        ("dataset",),
        AGENT,
        str,
        None,
        "`task.path`",
        "questions stand in the order of the hash of their ids, so that any first n are a sample.",
        place=True,
    ),
    Flag(("dataset",), CONVERT, str, None, "the argument of `thinktwice export-pairs`", place=True),
    Flag(("dataset",), TRAIN, str, None, differs=_ROWS, place=True),
    Flag(
        ("samples",),
        SFT,
        int,
        None,
        "`method.work.quantity`; with `--compat` `train.steps`, a quarter",
        "so many episodes; theirs were rows, one for each step of an episode.",
    ),
    Flag(
        ("samples",),
        DPO,
        int,
        None,
        "`arms.dpo.train.steps`, a quarter",
        "as many pairs as theirs, in a seeded order; the learning rate falls to 0 at the last.",
    ),
    Flag(
        ("samples",),
        EVALUATE,
        int,
        None,
        "`task.per_level`, `evaluation.levels`",
        "levels are asked evenly, a level of 0 not at all; questions that were trained on are refused.",
        words=3,
    ),
    Flag(
        ("start",),
        GENERATE,
        int,
        0,
        "`method.work.start`",
        "it counts questions in the order of the hash of their ids, not the rows of the file.",
    ),
    Flag(("stop",), GENERATE, int, None, "`method.work.stop`", "see `--start`."),
    Flag(("traj-qty",), GENERATE, int, None, "`method.work.quantity`"),
    Flag(
        ("templates-dir",),
        AGENT,
        str,
        None,
        refused="prompts are the grammar's, with its own three worked examples (method.teacher_shots, method.shots); "
        "leave it out.",
        harmless=("config/prompt_templates",),
    ),
    Flag(("templates-dir",), CONVERT, str, "config/prompt_templates", "`--templates-dir`"),
)

EPISODES = (
    Flag(
        ("agent-max-iter",),
        AGENT,
        int,
        5,
        "`method.max_turns`",
        "at the limit the answer is asked for; theirs counted the answer as one and threw the episode away.",
    ),
    Flag(
        ("agent-verbose",),
        AGENT,
        bool,
        False,
        differs="every episode is kept, step by step; thinktwice show and the report show them.",
        words=0,
    ),
    Flag(
        ("f1-threshold",),
        GENERATE,
        float,
        1.0,
        "`method.filters.f1_threshold`",
        "an episode must also show where its answer comes from, not loop, and parse; `--compat` asks for the F1 alone.",
    ),
    Flag(("f1-threshold",), EVALUATE, float, 1.0, differs="the public code never read it."),
)

OUTPUT = (
    Flag(("output-dir",), GENERATE, str, "output/trajectories", "`--out`", "a second run goes on.", short="o"),
    Flag(("output-dir",), (*TRAIN, *EVALUATE), str, None, differs=_RUN, short="o"),
    Flag(
        ("outfile",),
        CONVERT,
        str,
        "output",
        "its directory is `--out`",
        "both tables are written, sft.csv and dpo.csv.",
        short="o",
    ),
    Flag(
        ("config",),
        TRAIN,
        str,
        None,
        refused="the published settings are written into the recipe; change them there, or by key=value.",
        harmless=("config/SFT_trainer.json", "config/DPO_trainer.json"),
        short="c",
    ),
    Flag(("push-to-hub",), TRAIN, bool, False, refused=_PUSH, harmless=(False,), words=0),
)

FLAGS: tuple[Flag, ...] = (*MODEL, *DATA, *EPISODES, *OUTPUT)
