"""What units find of Bough: a copy that needs nothing that is not in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from bough.adapters.engine.local_runtime import stage_runtime


def test_what_a_program_reports_with_is_there_whole(tmp_path: Path) -> None:
    runtime = stage_runtime(tmp_path)
    paths = [str(runtime), str(Path(msgspec.__file__).parent.parent)]
    program = f"import sys; sys.path[:0] = {paths}; import bough.client.reporting as found; print(found.__file__)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(runtime))
