"""One process a directory. Law: a dead process never blocks a living one."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from thinktwice.errors import RunError
from thinktwice.run import files


def acquire(root: Path) -> IO[str]:
    """Lock the directory until the stream is closed or the process dies; the kernel sees to the latter."""
    path = root / "lock"
    with files.writing(path):
        stream = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.seek(0)
        owner = stream.read().strip() or "unknown"
        stream.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise RunError(f"{root} is in use by process {owner}; wait for it, stop it, or choose another name") from None
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream
