"""A run's numbers in an experiment tracker: TensorBoard, Weights & Biases, Trackio, MLflow.

Law: a tracker decides nothing and can never stop a run. It hears what the pipeline's listener hears; which trackers
there are is no part of a run's identity, and metrics.jsonl and summary.json are written whether there are any or not.
Everything stays below the run's directory, without a network or a key, until the environment says otherwise
(WANDB_MODE=online, MLFLOW_TRACKING_URI).
"""

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from thinktwice.engines.http.secret import Secret
from thinktwice.errors import ConfigError
from thinktwice.records import Summary
from thinktwice.run import Progress

log = logging.getLogger(__name__)

PROJECT = "thinktwice"
"""What the runs of this package are filed under, where a tracker has projects or experiments."""
KEYS = ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables whose values must not get into a log with a tracker's error."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """The run that is shown."""

    name: str
    config: Mapping[str, Any]
    """What decides the run; it names environment variables, never what is in them."""
    directory: Path
    """Where a tracker keeps its files, one directory each."""

    @property
    def id(self) -> str:
        """The same whenever the run is gone on with, so that a tracker goes on with it, too."""
        place = f"{self.directory.resolve()}"
        return f"{self.name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


class Tracker(Protocol):
    """Shows numbers somewhere. A series is a stage ("train-backtrack"): each counts its own steps."""

    def start(self, run: Tracked) -> None:
        """Begin, or go on with, a run."""
        ...

    def log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        """Show the numbers of a step."""
        ...

    def finish(self) -> None:
        """Write everything out."""
        ...


class TensorBoard:
    """Event files for `tensorboard --logdir`."""

    def start(self, run: Tracked) -> None:
        """Open an event file."""
        module: Any = import_module("torch.utils.tensorboard")
        self.writer = module.SummaryWriter(log_dir=str(run.directory / "tensorboard"))

    def log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        """Add a scalar for every number."""
        for name, value in numbers.items():
            self.writer.add_scalar(f"{series}/{name}", value, global_step=step)

    def finish(self) -> None:
        """Close the file."""
        self.writer.close()


class WeightsAndBiases:
    """wandb: offline unless WANDB_MODE says otherwise; `wandb sync` sends an offline run later."""

    def start(self, run: Tracked) -> None:
        """Begin a run whose id is always the same; its terminal output is not captured."""
        module: Any = import_module("wandb")
        run.directory.mkdir(parents=True, exist_ok=True)
        self.known: set[str] = set()
        self.run = module.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run.id,
            resume="allow",
            dir=str(run.directory),
            config=dict(run.config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=module.Settings(console="off", silent=True),
        )

    def log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers over a step axis of their own: wandb drops what comes with a smaller step than before."""
        if series not in self.known:
            self.run.define_metric(f"{series}/*", step_metric=f"{series}/step")
            self.known.add(series)
        self.run.log({f"{series}/step": step, **{f"{series}/{name}": value for name, value in numbers.items()}})

    def finish(self) -> None:
        """End the run."""
        self.run.finish()


class Trackio:
    """Trackio: a database in the run's directory; `TRACKIO_DIR=... trackio show` opens it."""

    def start(self, run: Tracked) -> None:
        """Begin, or go on with, a run; no Space, and nothing said on standard output."""
        os.environ.setdefault("TRACKIO_DIR", str((run.directory / "trackio").resolve()))  # read by the import
        module: Any = import_module("trackio")
        with contextlib.redirect_stdout(io.StringIO()):
            self.run = module.init(
                project=PROJECT,
                name=run.id,
                config=dict(run.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers with their step."""
        self.run.log({f"{series}/{name}": value for name, value in numbers.items()}, step=step)

    def finish(self) -> None:
        """End the run."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish()


class MLflow:
    """MLflow: the server of MLFLOW_TRACKING_URI, or a database in the run's directory."""

    def start(self, run: Tracked) -> None:
        """Find the run by its tag, or create it."""
        module: Any = import_module("mlflow.tracking")
        run.directory.mkdir(parents=True, exist_ok=True)
        here = f"sqlite:///{(run.directory / 'mlflow.db').resolve()}"
        self.client = module.MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", here))
        experiment = self.client.get_experiment_by_name(PROJECT)
        place = experiment.experiment_id if experiment is not None else self.client.create_experiment(PROJECT)
        found = self.client.search_runs([place], f"tags.`thinktwice.run` = '{run.id}'")
        begun = found[0] if found else self.client.create_run(place, tags={"thinktwice.run": run.id}, run_name=run.name)
        self.id = begun.info.run_id

    def log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        """Log a metric for every number."""
        for name, value in numbers.items():
            self.client.log_metric(self.id, f"{series}/{name}", value, step=step)

    def finish(self) -> None:
        """Say that the run has ended."""
        self.client.set_terminated(self.id)


TRACKERS: Mapping[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
    "mlflow": MLflow,
}
"""By the name in `report_to`, which is the name of the package, too."""


class Trackers:
    """Several trackers at once. One that fails is told once, and left out from then on."""

    def __init__(self, names: Sequence[str]) -> None:
        """Look for every tracker's package, so that a missing one shows before any work is done.

        Raises:
            ConfigError: a package is missing; the sentence says what to install.
        """
        for name in names:
            if find_spec(name) is None:
                raise ConfigError(
                    f"report_to: {name} is not installed; pip install {name}, or leave it out of report_to."
                )
        self._active: dict[str, Tracker] = {name: TRACKERS[name]() for name in names}

    @contextmanager
    def following(self, run: Tracked) -> Iterator[None]:
        """Show what `listen` and `conclude` are told, until the run ends or fails."""
        for name in list(self._active):
            self._try(name, lambda tracker: tracker.start(run))
        try:
            yield
        finally:
            for name in list(self._active):
                self._try(name, lambda tracker: tracker.finish())

    def listen(self, progress: Progress) -> None:
        """Show the numbers that come with a step of a stage; progress without any is not shown."""
        if progress.numbers and progress.step is not None:
            self._log(progress.stage, progress.step, progress.numbers)

    def conclude(self, summary: Summary) -> None:
        """Show the numbers of a finished run: every arm at every level, the headline, what each stage took."""
        self._log("summary", 0, numbers_of(summary))

    def _log(self, series: str, step: int, numbers: Mapping[str, float]) -> None:
        for name in list(self._active):
            self._try(name, lambda tracker: tracker.log(series, step, numbers))

    def _try(self, name: str, work: Any) -> None:
        try:
            work(self._active[name])
        except Exception as error:  # another package's, or the network's: no reason to lose the run
            said = f"{type(error).__name__}: {error}"
            for variable in KEYS:
                said = Secret(variable, os.environ.get(variable, "")).hide(said)
            log.warning("report_to: %s failed, and the run goes on without it (%s)", name, said)
            del self._active[name]


def numbers_of(summary: Summary) -> dict[str, float]:
    """Return what a finished run came to, flat: name -> number."""
    found: dict[str, float] = {}
    for arm, levels in summary.arms.items():
        for level, cell in levels.items():
            found[f"{arm}/level_{level}/{summary.measure}"] = cell.accuracy
            found[f"{arm}/level_{level}/unscored"] = cell.unscored
            if cell.sampled_tokens is not None:
                found[f"{arm}/level_{level}/sampled_tokens"] = cell.sampled_tokens
    if summary.headline is not None:
        low, high = summary.headline.ci
        found |= {"headline/difference": summary.headline.difference, "headline/low": low, "headline/high": high}
    found |= {f"seconds/{stage}": seconds for stage, seconds in summary.seconds.items()}
    for stage, held in summary.memory.items():
        found[f"memory/{stage}/host"] = held.host
        if held.device is not None:
            found[f"memory/{stage}/device"] = held.device
    return found
