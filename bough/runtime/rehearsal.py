"""What only a first call costs is paid in a quiet moment, before anybody asks.

A replica shares its pages with the zygote that it was forked from until it touches them, and libraries put off work
until they are called: the first call of a model that takes half a millisecond takes four more. So a replica that is
connected and has nothing to do calls its model once. The file of a model is asked with zeros. A class is asked only if
it has a method `warm_up`, which says with what: its `predict` may write somewhere, and nobody has asked yet.
"""

from __future__ import annotations

from bough.runtime.answers import explain
from bough.runtime.models import Model
from bough.runtime.protocols import tensors

QUIET_S = 0.02  # without a request: time enough to tidy up


def rehearse(model: Model) -> None:
    """Calls the model once, if it may. Never raises: what goes wrong is logged, and the replica answers as ever."""
    try:
        if model.tensors is None:
            if callable(warm_up := getattr(model.instance, "warm_up", None)):
                warm_up()
        elif not model.tensors.runs_code:
            model.tensors.infer(tensors.zeros(model.tensors.inputs))
    except Exception as error:  # the user's, or a file that takes no zeros
        explain(0, error)
