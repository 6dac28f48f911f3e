"""Every flag of the public ELITE code's scripts, and what it is here. The documentation's table is made of this.

The two compose scripts have no flags: what can be changed stands in them, as names. A command line gives it as if it
were a flag: `compose_eval_data.py --limit 20`. iteration_amount, experiment_name and wandb_enabled stand in submit
scripts that the last version's parser refuses; they are read all the same.

Source: github.com/IRLL/LLM_self_improvement at 293d964, and its submit scripts since a6478e1.
"""

from thinktwice.cli.migrate.command import Flag, Script

MAIN: tuple[Script, ...] = ("main",)
SFT: tuple[Script, ...] = ("sft",)
EVAL_DATA: tuple[Script, ...] = ("compose_eval_data",)
SFT_DATA: tuple[Script, ...] = ("compose_sft_dataset",)
BOTH: tuple[Script, ...] = (*MAIN, *SFT)
COMPOSE: tuple[Script, ...] = (*EVAL_DATA, *SFT_DATA)
SCRIPTS: dict[str, Script] = {name: name for name in (*BOTH, *COMPOSE)}
"""How a script's file name begins -> which script it is."""

_UNREAD = "no script read it."
_SCORED = (
    "it is not read; `thinktwice eval RUN --tasks NAME` scores the published set, or the file that `--data` names."
)
_HERE = "a run is in runs/NAME; thinktwice run FILE --runs DIR puts it elsewhere. What it did before is gone on with."

ROUNDS = (
    Flag(
        ("cur_iteration",),
        MAIN,
        int,
        0,
        "`method.rounds`, one more",
        "one run does all rounds and goes on where it was killed (thinktwice run FILE --until-round N ends after one, "
        "for job chains). A round is scored after its own training: theirs scored iteration i without the adapter "
        "that it trained, and the last one never.",
    ),
    Flag(
        ("iteration_amount",),
        MAIN,
        int,
        None,
        "`method.rounds`",
        "the version with this flag showed the standard answer to the critic and trained on that prompt; here nobody "
        "sees it (method.gold_visible: none). It asked for 8 critiques where `--num_return_seq` is left out.",
    ),
    Flag(
        ("num_return_seq",),
        MAIN,
        int,
        5,
        "`method.critiques`",
        "verdicts are counted (method.vote: verdict); --compat takes the text nearest the middle, as theirs, which "
        "counts nothing.",
    ),
    Flag(
        ("contamination",),
        MAIN,
        float,
        0.3,
        refused="three in ten are thrown out in vote=medoid, and none otherwise.",
        harmless=(0.3,),
    ),
)

EXAMPLES = (
    Flag(
        ("enable_prompt_optimization",),
        MAIN,
        bool,
        True,
        "`method.exemplars`: `clustered`, or `human`",
        "examples are adopted only where dev is better with them, and then they are in the prompt; theirs got lost "
        "after iteration 0.",
    ),
    Flag(
        ("clusters",),
        MAIN,
        int,
        2,
        "`method.shots`, with prompt optimisation",
        "one list for the whole run, where theirs had one a task.",
    ),
    Flag(
        ("pos_example_amount",),
        MAIN,
        int,
        2,
        "`method.shots`, without prompt optimisation",
        "they are solved training problems, each with feedback that it is right; a task file's own Positive Examples "
        "are not read into prompts.",
    ),
    Flag(
        ("neg_example_amount",),
        MAIN,
        int,
        0,
        refused="theirs stood in the prompt as right answers; exemplars=clustered shows wrong answers with what is "
        "said of them.",
        harmless=(0,),
    ),
    Flag(
        ("enable_initial_human_examples",),
        MAIN,
        bool,
        True,
        "`False`, without prompt optimisation: `method.exemplars: none`",
        "with prompt optimisation the first round has solved problems as examples all the same.",
    ),
    Flag(
        ("enable_mismatch_initial_human_examples",),
        MAIN,
        bool,
        False,
        "`method.exemplars: mismatched`",
        "their inputs are exchanged in every round; in the version that ran this ablation no example was ever put into "
        "the prompt, but its place holder.",
    ),
)

DATA = (
    Flag(
        ("model_path",),
        BOTH,
        str,
        "/home/qianxi/scratch/laffi/models/7b",
        "`model.path`",
        "it is loaded in 4 bits for training; answers are written in 16, and weights are merged in 16 or 32.",
    ),
    Flag(
        ("base_dataset_path",),
        MAIN,
        str,
        "/home/qianxi/scratch/laffi/datasets/natural_instruction_v1/train",
        "`task.path`: of a directory called train the one above it",
        "beside train must stand test (theirs: eval), or `task.test_tasks` names the tasks to test on.",
    ),
    Flag(
        ("per_task_data_rows",),
        MAIN,
        int,
        10,
        "`method.problems`, times the tasks",
        "so many other problems in each round, of all tasks together; theirs were the first rows of each file, the "
        "same in every iteration.",
    ),
    Flag(("na_ins_evalset_path",), MAIN, str, None, differs="what is tested stands in `task.path`, in test."),
    Flag(("boolq_eval_path",), MAIN, str, None, differs=_SCORED),
    Flag(("transformed_squad_eval_set_path",), BOTH, str, None, differs=_SCORED),
    Flag(("original_squad_eval_set_path",), BOTH, str, None, differs=_SCORED),
    Flag(("gsm8k_testset",), BOTH, str, None, differs=_SCORED),
    Flag(("base_root",), COMPOSE, str, None, "`task.path`", "files are read in the order of their names."),
    Flag(
        ("limit",),
        EVAL_DATA,
        int,
        20,
        "`--rows-per-task`",
        "they are drawn by the seed; theirs were the first of each file, examples of the task among them.",
    ),
    Flag(
        ("limit",),
        SFT_DATA,
        int,
        50,
        "`--rows-per-task`",
        "they are drawn by the seed; theirs were the first of each file, examples of the task among them.",
    ),
    Flag(("output_path",), SFT_DATA, str, "natural_ins_train_50.json", "`--out`, as .jsonl"),
)

EVALUATION = (
    Flag(
        ("baseline_only",),
        BOTH,
        bool,
        False,
        "the arm `base` alone, which is not trained",
        "sft.py scored the base with it; main.py never read it.",
    ),
    Flag(("enable_natural_ins",), MAIN, bool, True, differs="a run's own task is always scored."),
    Flag(("enable_boolq_eval",), MAIN, bool, False, "`thinktwice eval runs/NAME --tasks thinktwice_boolq`"),
    Flag(("enable_squad_eval",), MAIN, bool, False, "`thinktwice eval runs/NAME --tasks thinktwice_squad`"),
    Flag(("enable_gsm8k_eval",), MAIN, bool, False, "`thinktwice eval runs/NAME --tasks thinktwice_gsm8k`"),
    Flag(("eval_inference_batch_size",), MAIN, int, 4, "`decode.batch_size`"),
)

OUTPUT = (
    Flag(
        ("experiment_root_path",),
        BOTH,
        str,
        "/home/qianxi/scratch/laffi/code/results/",
        "its last part: `name`",
        _HERE,
    ),
    Flag(("experiment_name",), MAIN, str, "official", "`name`", _HERE),
    Flag(
        ("wandb_enabled",),
        MAIN,
        bool,
        False,
        "`report_to: [wandb]`",
        "it writes to the disk alone until WANDB_MODE=online; a key is never read from a file.",
    ),
    Flag(("feedback_dataset_path",), MAIN, str, None, differs=_UNREAD),
    Flag(("current_examples_path",), MAIN, str, None, differs=_UNREAD),
    Flag(("adapter_path",), MAIN, str, None, differs=_UNREAD),
    Flag(("boolq_eval_result_path",), MAIN, str, None, differs=_UNREAD),
    Flag(("squad_response_gen_file",), MAIN, str, None, differs=_UNREAD),
    Flag(("squad_eval_result_path",), MAIN, str, None, differs=_UNREAD),
)

FLAGS: tuple[Flag, ...] = (*ROUNDS, *EXAMPLES, *DATA, *EVALUATION, *OUTPUT)
