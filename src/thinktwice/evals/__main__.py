"""`python -m thinktwice.evals run ...`: the harness's own command line, with `--model thinktwice` known to it.

The stock `lm-eval` command knows it as well as soon as `--tasks` names one of our task files by its path.
"""

from lm_eval.__main__ import cli_evaluate  # type: ignore[import-untyped]

from thinktwice.evals import documents  # noqa: F401  importing it registers the model


def main() -> None:
    """Run lm-evaluation-harness's command line."""
    cli_evaluate()


if __name__ == "__main__":
    main()
