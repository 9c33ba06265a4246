"""Whether the AUROC holds within each view, manufacturer or kind of device, or comes from telling these apart."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound

from medtea.audit.learned import auroc_by_patient
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.classification import NO_ANSWER
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference
from medtea.metrics.site import within_site_auroc_of
from medtea.metrics.weighted import auroc_of


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        columns: Of the group's columns those that are asked about; all where none is named.
        fewest: Radiographs of a stratum, below which it is left out; it also needs five of each class.
    """

    columns: tuple[str, ...] = ()
    fewest: int = Bound(20, ge=2)


FEWEST_OF_A_CLASS = 5


class Probe:
    """AUROC less the AUROC within strata of one column, for the column where that is most; 0: the column explains none.

    A drain that stands on the ill alone is the classic (Oakden-Rayner et al., CHIL 2020): the pooled AUROC is high and
    the AUROC among those with a drain, and among those without, is not. Control: the AUROC within strata. Details: the
    difference of every column, and the AUROC of every stratum. Of several columns the largest difference is chosen
    after the fact. Values of columns are not printed if they are free text: a group hands in columns with few values.
    """

    question: ClassVar[str] = "Does the AUROC hold within views, devices and the like?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    cost: ClassVar[float] = 0.0

    def __init__(self, settings: Settings) -> None:
        """Take columns and the least number."""
        self._settings = settings

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The column that explains most of the AUROC."""
        scores = network.of(group)
        found: dict[str, tuple[Estimate, Estimate]] = {}
        details: dict[str, Estimate] = {}
        for column in self._settings.columns or tuple(group.columns):
            values = np.asarray(group.columns.get(column, np.zeros(len(group)))).astype(str)
            strata = [one for one in sorted(set(values)) if self._is_large(group.labels[values == one])]
            if len(strata) < 2:
                continue
            rows = np.flatnonzero(np.isin(values, strata))
            patients = [group.patients[row] for row in rows]
            within = within_site_auroc_of(group.labels[rows], scores[rows], values[rows].tolist())
            pooled = auroc_of(group.labels[rows], scores[rows])
            found[column] = (
                paired_difference(patients, pooled, within, generator=generator),
                bootstrap_by_patient(patients, within, generator=generator),
            )
            details[f"owed to {column}"] = found[column][0]
            for one in strata:
                mine = np.flatnonzero(values == one)
                details[f"AUROC, {column} {one}"] = auroc_by_patient(
                    [group.patients[row] for row in mine], group.labels[mine], scores[mine]
                )
        if not found:
            none = without_interval(NO_ANSWER, n=0, n_patients=0, n_positive=0)
            sentence = f"No column splits {group.name} into two parts large enough to ask {network.name} about."
            return Outcome(none, 0.0, None, sentence, VOID_WHEN)
        most = max(found, key=lambda column: found[column][0].value if found[column][0].answered else -1)
        estimate, control = found[most]
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=f"Within strata of {most} the AUROC of {network.name} at {group.name} is {control.value:.2f}, "
            f"{estimate.value:+.2f} is owed to telling the strata apart.",
            void_when=VOID_WHEN,
            details=details,
        )

    def _is_large(self, labels: Array) -> bool:
        positive = int(labels.sum())
        return len(labels) >= self._settings.fewest and min(positive, len(labels) - positive) >= FEWEST_OF_A_CLASS


VOID_WHEN = "The column stands for how ill patients are, so that its strata differ for good reason."
