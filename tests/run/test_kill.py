import subprocess
import sys
from pathlib import Path


def test_a_run_killed_before_any_change_of_the_disk_ends_with_the_same_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("toy.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 60  # every change was a place to die
