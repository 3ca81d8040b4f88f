from dataclasses import dataclass

import bough


@dataclass
class Visitor:
    name: str
    visits: int = 1


class Greeter:
    def load(self) -> None:
        """Runs once, before replicas are forked."""
        self.words = {1: "Welcome", 2: "Welcome back"}

    @bough.batch(max_size=64)
    def predict(self, visitors: list[Visitor]) -> list[str]:
        """Many requests, one call: one answer for each visitor."""
        return [f"{self.words.get(each.visits, 'Good to see you again')}, {each.name}" for each in visitors]
