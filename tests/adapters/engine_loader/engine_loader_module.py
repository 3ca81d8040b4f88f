"""Stands in for the loading of models: what a zygote does is told by the model's reference."""

import os
import socket
import sys
import threading
import time
from pathlib import Path


def prepare(spec):
    print(f"preparing {spec.reference} as {spec.preload}")
    if spec.reference == "broken":
        raise ValueError("these weights are not weights")
    if spec.reference == "missing":
        import no_such_package_at_all  # noqa: F401
    if spec.reference == "exits":
        sys.exit("gave up")
    if spec.reference == "dies":
        os.kill(os.getpid(), 11)
    if spec.reference == "talks":
        print("\n".join(f"{number}" for number in range(100_000)))
    if spec.reference == "slow":
        time.sleep(0.3)
    if spec.reference == "threads" and spec.preload == "model":
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    if spec.reference == "numpy":
        import numpy
    if spec.reference == "draws":
        import numpy.random  # noqa: F401
    return {"preload": spec.preload, "loaded_by": os.getpid(), "modules": set(sys.modules)}


def run(prepared, spec, folder):
    print("environment", *sorted(os.environ))
    if spec.model.reference == "labels":
        print(*(f"BOUGH_{name.upper()}=" + os.environ[f"BOUGH_{name.upper()}"] for name in spec.labels), sep="\n")
    print("imported since:", *sorted(set(sys.modules) - prepared["modules"]))
    if spec.model.reference == "draws":
        print("drew", sys.modules["numpy"].random.random())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(folder + "/replica.sock")
    listener.listen()
    Path(folder, ".ready").write_text('{"mode":"item"}')
    Path(folder, ".ready").rename(Path(folder, "ready.json"))
    print(f"serving {spec.unit} {prepared['preload']} loaded by {prepared['loaded_by']}, cwd {Path.cwd()}")
    if spec.model.reference == "throws":
        raise KeyError("predict went away")
    while True:
        peer = listener.accept()[0]
        peer.sendall(f"{spec.unit}/{spec.attempt}".encode())
        peer.close()
