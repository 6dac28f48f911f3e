"""Whether what a stage left is still what it was. Law: a finished stage is verified, not trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktwice.errors import RunError
from thinktwice.run import files
from thinktwice.run.files import read_json

Manifest = dict[str, Any]
OTHER_INPUTS = "its inputs are not the same as then"


class Seals:
    """The manifests of a run's finished stages, each verified once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._verified: dict[str, Manifest] = {}

    def known(self, name: str) -> bool:
        """Say whether a stage was verified or finished by this process."""
        return name in self._verified

    def trust(self, manifest: Manifest) -> None:
        """Take a stage as verified: this process has just sealed it."""
        self._verified[manifest["stage"]] = manifest

    def forget(self, name: str) -> None:
        """Verify a stage anew the next time."""
        self._verified.pop(name, None)

    def manifest(
        self,
        name: str,
        directory: Path,
        fingerprint: str,
        inputs: Mapping[str, Any] | None,
        traces: Sequence[str],
    ) -> Manifest:
        """Seal a stage's artefacts and trace files."""
        manifest: Manifest = {
            "stage": name,
            "fingerprint": fingerprint,
            "inputs": dict(inputs or {}),
            "files": files.seal(directory),
            "traces": {trace: self._trace(trace) for trace in traces},
        }
        manifest["digest"] = files.digest(manifest)
        return manifest

    def fingerprint(self, inputs: Mapping[str, Any] | None, after: Sequence[str]) -> str:
        """Name what decides a result: its inputs, and the sealed stages it reads.

        Raises:
            RunError: one of those is not finished, or not what it was.
        """
        for name in after:
            why = self.fault(name, None)
            if why is not None:
                raise RunError(f"stage {name} comes first, but {why}; give the same command again")
        return files.digest({"inputs": inputs or {}, "after": {name: self._verified[name]["digest"] for name in after}})

    def fault(self, name: str, fingerprint: str | None) -> str | None:
        """Say why a stage can't be used as it is; None when it can. `fingerprint` None accepts any inputs."""
        directory = self._root / "stages" / name
        manifest = self._verified.get(name)
        if manifest is None:
            if not directory.exists():
                return "it was not finished"
            try:
                manifest = read_json(directory / "manifest.json")
                body = {key: value for key, value in manifest.items() if key != "digest"}
                if files.digest(body) != manifest["digest"]:
                    return "its manifest is damaged"
                why = files.fault(directory, manifest["files"])
            except (RunError, KeyError, TypeError, AttributeError):
                return "its manifest is missing or damaged"
            if why is None:
                changed = [t for t, sha in manifest["traces"].items() if self._trace(t) != sha]
                why = f"traces/{changed[0]}.jsonl has changed since" if changed else None
            if why is not None:
                return why
            self._verified[name] = manifest
        if fingerprint is not None and manifest["fingerprint"] != fingerprint:
            return OTHER_INPUTS
        return None

    def _trace(self, name: str) -> str | None:
        path = self._root / "traces" / f"{name}.jsonl"
        return files.file_digest(path) if path.exists() else None
