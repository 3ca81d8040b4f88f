"""What a caller is told to do next. A process answers for one service, so that is named once, by `answering`."""

from __future__ import annotations


class Hints:
    """Until it is told, `service` stands for any."""

    def __init__(self) -> None:
        self.service = "SERVICE"

    @property
    def types(self) -> str:
        return f"GET /v2/models/{self.service} shows the names and types that the service takes"

    @property
    def logs(self) -> str:
        return f"the service's output has the traceback: bough logs {self.service}"


hints = Hints()
