"""How risky is this credit? A scikit-learn model that also says what its answer rests on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skops.io
from application import COLUMNS, FIELDS, Application, encode

import bough

# A bad credit that is granted costs five times as much as a good one that is refused (the data set's cost matrix), so
# granting pays while the risk is below 1 / (1 + 5).
HIGHEST_RISK = 1 / 6
REASONS = 3


@dataclass(frozen=True)
class Decision:
    risk: float  # probability that the credit turns out bad
    approved: bool
    reasons: list[str]  # what raises the risk most above that of an average applicant, strongest first


class CreditRisk:
    def load(self) -> None:
        self.model = skops.io.load(Path(__file__).with_name("model.skops"))
        scaler, regression = self.model[0], self.model[-1]
        self.centre = scaler.mean_
        self.weight = regression.coef_[0] / scaler.scale_
        owner = [FIELDS.index(field) for field, _ in COLUMNS]
        self.by_field = np.eye(len(FIELDS))[owner]  # columns of one field are one reason

    @bough.batch(max_size=64)
    def predict(self, applications: list[Application]) -> list[Decision]:
        rows = encode(applications)
        risks = self.model.predict_proba(rows)[:, 1]
        raised = ((rows - self.centre) * self.weight) @ self.by_field
        return [self._decide(*each) for each in zip(applications, risks.tolist(), raised, strict=True)]

    def _decide(self, application: Application, risk: float, raised: np.ndarray) -> Decision:
        strongest = [FIELDS[index] for index in np.argsort(-raised)[:REASONS] if raised[index] > 0]
        return Decision(
            risk=round(risk, 4),
            approved=risk < HIGHEST_RISK,
            reasons=[f"{field}: {getattr(application, field)}" for field in strongest],
        )
