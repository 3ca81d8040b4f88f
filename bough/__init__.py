"""Bough: an AI-native developer platform that a team runs itself.

What a program may want from here is light (no server library is imported): `bough.batch` and `bough.Reject` for
a model's code, `bough.direct` for one that asks scikit-learn, `bough.Item` for one that works on a queue, `bough.run`
and `bough.params` for one that trains, `bough.database` for one that keeps rows.
"""

from bough.runtime.later import later as __getattr__  # noqa: F401 - for whoever asks the module
from bough.runtime.service import Reject, batch

__version__ = "0.1.0"
__all__ = ["Item", "Reject", "__version__", "batch", "database", "direct", "params", "run"]
