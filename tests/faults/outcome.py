"""What a run found: faults by kind and point, what was lost or came twice, and the RESULT line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scipy.stats import beta


@dataclass(slots=True)
class Outcome:
    """Counts of one run. A fault counts only if it is known to have struck inside its window."""

    confirmed: Counter[str] = field(default_factory=Counter)
    """By kind; faults at a point are counted as `kind at point`."""
    tried: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    rounds: int = 0
    records: int = 0
    redelivered: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)
    failed_rounds: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """All confirmed ones."""
        return self.confirmed.total()

    def report(self, seconds: float) -> list[str]:
        """The lines that are printed."""
        lost = sum(each.startswith("LOST") for each in self.violations)
        twice = sum(each.startswith("TWICE") for each in self.violations)
        lines = [
            f"  {kind:<40} {count:>4} of {self.tried[kind]} tried"
            for kind, count in sorted(self.confirmed.items())
        ]
        lines += [f"  point {point:<34} {count:>4}" for point, count in sorted(self.points.items())]
        ratio = self.survived / self.faults if self.faults else 0.0
        bound = upper_bound(self.faults - self.survived, self.faults)
        lines.append(
            f"{self.rounds} rounds, {self.records} records acknowledged, {self.redelivered} sent again,"
            f" {self.events} events read, in {seconds:.0f} s"
        )
        lines.append(
            f"losses {lost}, duplicates {twice}, other violations {len(self.violations) - lost - twice};"
            f" chance that a fault does harm: at most {bound:.4f} (95 %, Clopper-Pearson)"
        )
        lines.append(f"RESULT faults_survived ratio={ratio:.4f} goal=1.0 better=higher faults={self.faults}")
        return lines


def upper_bound(failures: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of Clopper and Pearson for a probability; without failures about 3 / trials."""
    if trials == 0 or failures >= trials:
        return 1.0
    return float(beta.ppf(confidence, failures + 1, trials - failures))
