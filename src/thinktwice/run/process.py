"""Which process works on a run, and whether it still does, told from outside without touching its lock."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

SILENCE = 60.0
"""Seconds without a sign of life after which a process that cannot be asked for is taken for gone."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, named so that no other one is mistaken for it."""

    pid: int
    host: str
    """The machine, its boot and, on Linux, the namespace in which `pid` means something."""
    born: int | None = None
    """When it started, in clock ticks since boot: a process id is used again. None where the system does not say."""

    @classmethod
    def this(cls) -> "Process":
        """Return the process that calls."""
        pid = os.getpid()
        return cls(pid, _host(), _born(pid))

    def lives(self, last_sign: float) -> bool:
        """Say whether it still exists; `last_sign` is when it last wrote something, in seconds since the epoch.

        On the same machine the system is asked. A process on another machine or in another container (a shared disk)
        cannot be asked: it counts as alive while its last sign is at most `SILENCE` old, by that machine's clock.
        """
        if self.host != _host():
            return time.time() - last_sign <= SILENCE
        if self.born is not None:
            return _born(self.pid) == self.born
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # it exists and belongs to somebody else
            pass
        return time.time() - last_sign <= SILENCE  # the id may have been used again


def _born(pid: int) -> int | None:
    """Return when a living process started, in clock ticks since boot; None for a dead one, and where nobody knows."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _host() -> str:
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass
    return " ".join(parts)
