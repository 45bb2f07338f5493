"""Whether a given model can read a column, told from the reports on both: no torch, no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fdkd_core.errors import Problem
from fdkd_core.spec.tasks import SegmentationSpec, TaskSpec

Report = Mapping[str, Any]
"""On a column of a dataset, or on a model."""

_MAX_SIDE = 1024
"""Pixels of a side that a folder of the hub may ask for."""


def input_mismatch(column: Report, model: Report) -> str | None:
    """Why a model's preprocessing cannot read a column, or None.

    Pictures and sounds are brought to the model's size; maps, the number of features of a vector and of
    channels of a series are what they are.

    Args:
        column: `kind`, `input_shape` and, of a series, `source_channels` of the column as it is.
        model: The same of the model, its kind under `modality_kind`.
    """
    if column["kind"] != model["modality_kind"]:
        return f"the model takes {model['modality_kind']}; this column is {column['kind']}"
    if column["kind"] == "map" and list(column["input_shape"]) != list(model["input_shape"]):
        return (
            f"the model takes maps of {list(model['input_shape'])}; this column has {column['input_shape']}"
        )
    if column["kind"] == "vector" and list(column["input_shape"]) != list(model["input_shape"]):
        return (
            f"the model takes {model['input_shape'][0]} features; this column has {column['input_shape'][0]}"
        )
    if column["kind"] == "series" and column.get("source_channels") != model.get("source_channels"):
        return (
            f"the model takes series of {model.get('source_channels')} channels; "
            f"this column has {column.get('source_channels')}"
        )
    return None


def cut_problems(task: TaskSpec, column: Report, reader: Report, pointer: str) -> list[Problem]:
    """Why a preprocessing that cuts pictures cannot serve a segmentation: masks show all; `incompatible`.

    Args:
        task: Of the job.
        column: Of the dataset's report: `proportions`, which reports of earlier releases lack. Then it is
            found out when the job starts.
        reader: What reads it: the report on a model, or on the column itself.
        pointer: Where the model stands in the spec.
    """
    edge, proportions = reader.get("shortest_edge"), column.get("proportions")
    if not isinstance(task, SegmentationSpec) or edge is None or proportions is None:
        return []
    height, width = reader["input_shape"][1:]
    for share in proportions:
        scaled = edge * max(1.0, 1.0 / share), edge * max(1.0, share)
        if any(abs(side - kept) > 1.0 for side, kept in zip(scaled, (height, width), strict=True)):
            detail = (
                f"the model sees {height} x {width} in the middle of pictures whose shorter side is {edge}, "
                f"which is {width / height:.3g} times as wide as high. Masks show all of a picture; here one "
                f"is {share:.3g} times as wide as high{_whole_cut(edge, proportions)}"
            )
            return [Problem("incompatible", detail, pointer)]
    return []


def _whole_cut(edge: int, proportions: Sequence[float]) -> str:
    """What a folder of the hub would have to say so that nothing of pictures of one shape is cut off."""
    sizes = [(round(edge * max(1.0, 1.0 / share)), round(edge * max(1.0, share))) for share in proportions]
    if len(set(sizes)) > 1 or max(sizes[0]) > _MAX_SIDE:
        return ". No cut shows all of each; a `size` of height and width, without `do_center_crop`, would"
    return f"; a `crop_size` of {sizes[0][0]} x {sizes[0][1]} in preprocessor_config.json would show all"


def another_reading(column: Report, model: Report) -> bool:
    """Whether a column is read by another model already, whose preprocessing is not this one's.

    Args:
        column: The report on it, or in its place that on the model whose preprocessing it goes through.
        model: On another model. Reports of earlier releases do not tell, nor do those on files without any
            preprocessing: then it is found out when the job starts.
    """
    found = [report.get("preprocessing_sha256") for report in (column, model)]
    return None not in found and found[0] != found[1]
