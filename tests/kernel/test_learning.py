"""Threads that meet a type for the first time together do not end the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
THREADS = textwrap.dedent("""
    import sys, threading, types
    import msgspec
    from bough.kernel.learning import learn_all

    sys.setswitchinterval(1e-6)
    fields = "".join(f"    f{at}: dict[str, list[int]] = {{}}\\n" for at in range(20))
    source = "from __future__ import annotations\\nimport msgspec\\n" + "".join(
        f"class A{at}(msgspec.Struct):\\n{fields}" + (f"    inner: A{at - 1} | None = None\\n" if at else "")
        for at in range(20)
    )
    for round in range(60):
        module = types.ModuleType(f"bough.made{round}")
        sys.modules[module.__name__] = module
        exec(source, module.__dict__)
        learn_all()
        together = threading.Barrier(6)

        def work():
            together.wait()
            for at in reversed(range(20)):
                msgspec.convert({"f1": {"a": [1]}, "inner": {"inner": {"f3": {}}}}, module.__dict__[f"A{at}"])

        threads = [threading.Thread(target=work) for _ in range(6)]
        [each.start() for each in threads], [each.join() for each in threads]
    print("alive")
""")


def test_types_are_learned_before_threads_meet_them() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]


def test_every_type_of_the_server_is_known_once_it_is_put_together() -> None:
    code = (
        "import tempfile, pathlib, msgspec\nfrom bough.app import Bough\nfrom bough.kernel import learning, platform\n"
    )
    code += "from bough.entrypoints.http.app import build\n"
    code += "bough = Bough(pathlib.Path(tempfile.mkdtemp()), platform.Platform())\nbuild(bough)\nbough.stop()\n"
    code += "print([each for each in learning._below(msgspec.Struct) if each.__module__.startswith('bough.')"
    code += " and each not in learning._known], len(learning._known) > 300)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.stdout == "[] True\n", done.stderr[-2000:]
