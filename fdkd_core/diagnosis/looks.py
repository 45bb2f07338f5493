"""What the sections are shown of teacher and student: inputs and features, as matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdkd_core.diagnosis.headroom import View
from fdkd_core.diagnosis.networks import Network, outputs_of
from fdkd_core.diagnosis.products import Matrix
from fdkd_core.diagnosis.sample import Rows, Sample
from fdkd_core.diagnosis.tasks import DiagnosedTask
from fdkd_core.diagnosis.views import Components, input_matrix
from fdkd_core.job_run import JobRun
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec.findings import Part
from fdkd_core.spec.measures import MetricName


class Measured(NamedTuple):
    """What similarity is measured between."""

    teacher: Matrix
    """Features, one row for each sample."""
    inputs: Matrix
    """Of the student."""
    features: Matrix
    """Of the student's network."""
    strata: NDArray[np.int64] | None
    """For the null within them."""
    places: int | None = None
    """How many places of maps these are; None where each is a whole sample."""


class Looks:
    """Samples and features as vectors, one for each row.

    Args:
        job: The run.
        sample: Its rows.
        task: What is asked of it.
        columns: Modality of teacher and student.
        networks: Of both.
        seed: Of what is drawn at random.
    """

    def __init__(
        self,
        job: JobRun,
        sample: Sample,
        task: DiagnosedTask,
        columns: dict[Part, str],
        networks: dict[Part, Network],
        seed: int,
    ) -> None:
        self.job, self.sample, self.task, self.networks = job, sample, task, networks
        self.seed = seed
        self._modalities = {part: job.data.modalities[column] for part, column in columns.items()}
        self._components: dict[Part, Components] = {}

    def inputs(self, part: Part, rows: Rows) -> Matrix:
        """Principal components of the inputs, fitted on the rows that are learned from."""
        if part not in self._components:
            self._components[part] = Components(input_matrix(self._modalities[part], self.sample.fit))
        return self._components[part].of(input_matrix(self._modalities[part], rows))

    def features(self, part: Part, rows: Rows) -> Matrix:
        """A vector for each row."""
        return self.outputs(part, rows).features.double().numpy()

    def outputs(self, part: Part, rows: Rows) -> ModelOutput:
        """Vectors of features and logits for each row."""
        return outputs_of(self.networks[part], self.job.data, rows, self.job.device)

    def measured(self) -> Measured:
        """Teacher and student over rows that nobody has learned."""
        rows = self.sample.measured
        return Measured(
            self.features("teacher", rows),
            self.inputs("student", rows),
            self.features("student", rows),
            self.task.within(rows),
        )

    def fitted(self) -> tuple[ModelOutput, NDArray[Any]]:
        """The teacher over the rows that are learned from, and their labels: what a basis is made of."""
        return self.outputs("teacher", self.sample.fit), self.task.labels(self.sample.fit)

    def probed(
        self, part: Part, fitted: Rows, rng: np.random.Generator, metric: MetricName
    ) -> Iterator[tuple[View, NDArray[Any]]]:
        """What linear probes answer about the validation rows, by what they see.

        Args:
            part: Whose modality.
            fitted: Rows that they learn from.
            rng: Of their folds.
            metric: By which they will be judged.
        """
        asked = self.sample.validated
        yield (
            "features",
            self.task.probe(self.features(part, fitted), fitted, self.features(part, asked), rng, metric),
        )
        yield (
            "inputs",
            self.task.probe(self.inputs(part, fitted), fitted, self.inputs(part, asked), rng, metric),
        )
