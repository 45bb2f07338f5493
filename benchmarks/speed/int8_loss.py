"""What eight-bit weights cost each architecture once it is trained: accuracy, size, time.

    python benchmarks/speed/int8_loss.py [--epochs 6] [--only conv2d] [--out benchmarks/speed/results]

Every architecture of the registry, those of transformers with sizes that a CPU trains in seconds, learns made-up
rows (`int8_data.py`) by a `train` job of the core, export included. Whether an int8 file was kept, and why not,
is the job's own verdict, on its validation split; the test figures are computed here from the same files. One
thread throughout. Figures of accuracy are reproducible, those of time are not.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from int8_data import SIDE, write_rows, write_scenes, write_waves
from machine import describe_machine, load_average
from numpy.typing import NDArray

from fdkd_core.bundle.onnx_int8 import quantise_dynamic, quantise_static
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.finalisation import MAX_CALIBRATION_ROWS
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import (
    ClassificationSpec,
    MultilabelSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
    load_spec,
)
from fdkd_core.spec.export_result import OnnxFile
from fdkd_core.spec.figures import figure
from fdkd_core.spec.result import RunResult
from fdkd_core.spec.tasks import TaskKind, TaskSpec
from fdkd_core.tasks import task_of

ENCODER = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
ADAMW = {"name": "adamw", "lr": 2e-3}


@dataclass(frozen=True)
class Case:
    """What an architecture is trained on, and how."""

    column: str
    sizes: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None
    """None for the default."""
    times_epochs: int = 1
    task: TaskKind = "classification"
    architecture: str | None = None
    """None if it is what the case is called."""
    side: int = SIDE
    """Of pictures, in pixels."""


CASES = {
    "mlp": Case("vector"),
    "conv1d": Case("series"),
    "conv2d": Case("image"),
    "resnet18": Case("image", {"width": 16}),
    "text_transformer": Case("text", optimizer=ADAMW),
    "mobilenet_v2": Case("image", {"depth_multiplier": 0.35}, ADAMW, times_epochs=6),
    "resnet": Case("image", {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1]}),
    "convnext": Case("image", {"patch_size": 2, "hidden_sizes": [24, 48], "depths": [2, 2]}, ADAMW),
    "vit": Case("image", {**ENCODER, "patch_size": 4}, ADAMW),
    "ast": Case("image", {**ENCODER, "patch_size": 8, "frequency_stride": 4, "time_stride": 4}, ADAMW),
    "wav2vec2": Case(
        "series",
        {
            **ENCODER, "conv_dim": [24, 32], "conv_stride": [5, 4], "conv_kernel": [11, 5],
            "classifier_proj_size": 48, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
        },
        ADAMW,
    ),
    "bert": Case("text", ENCODER, ADAMW),
    "distilbert": Case("text", {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96}, ADAMW),
    "conv2d_fpn": Case("colour", {"width": 16}, task="segmentation", times_epochs=2),
    "segformer": Case(
        "colour",
        {
            "hidden_sizes": [16, 32], "depths": [1, 1], "num_attention_heads": [1, 2], "patch_sizes": [7, 3],
            "strides": [2, 2], "sr_ratios": [2, 1], "mlp_ratios": [2, 2], "decoder_hidden_size": 48,
        },
        ADAMW, times_epochs=3, task="segmentation",
    ),
    "mobilenet_v2_deeplab": Case("colour", {}, ADAMW, times_epochs=4, task="segmentation", side=64),
    "conv1d, multilabel": Case("series", task="multilabel", architecture="conv1d", times_epochs=2),
    "conv1d, regression": Case("series", task="regression", architecture="conv1d", times_epochs=6),
    "conv1d, retrieval": Case("series", task="retrieval", architecture="conv1d", times_epochs=2),
}  # fmt: skip
"""By architecture, then other tasks."""
TASKS: dict[TaskKind, TaskSpec] = {
    "classification": ClassificationSpec(), "multilabel": MultilabelSpec(), "regression": RegressionSpec(),
    "retrieval": RetrievalSpec(), "segmentation": SegmentationSpec(),
}  # fmt: skip


def write_data(path: Path, case: Case) -> None:
    """The made-up rows of a case."""
    if case.task == "classification":
        write_rows(path)
    elif case.task == "segmentation":
        write_scenes(path, case.side)
    else:
        write_waves(path, case.task)


def train(name: str, data: Path, out: Path, epochs: int) -> RunResult:
    """A `train` job with its export."""
    case = CASES[name]
    training: dict[str, Any] = {"epochs": case.times_epochs * epochs, "batch_size": 32}
    spec = load_spec(
        {
            "kind": "train",
            "dataset": "int8",
            "task": {"kind": case.task},
            "student": {
                "modality": case.column,
                "architecture": {"name": case.architecture or name, **case.sizes},
            },
            "training": training | ({"optimizer": case.optimizer} if case.optimizer else {}),
            "export": {"latency_s": 1.0},
        }
    )
    result = run(spec, data, out, options=RunOptions(device="cpu", threads=1))
    assert isinstance(result, RunResult)
    return result


def test_figures(name: str, folder: Path, data: PairedDataset) -> dict[str, float]:
    """The task's figure on the test split of float32 and of both int8 files, made as the job made them."""
    modality, test = data.modalities[CASES[name].column], data.splits["test"]
    fp32_file = (folder / "model.onnx").read_bytes()
    rows = data.splits["train"]
    chosen = rows[np.linspace(0, len(rows) - 1, MAX_CALIBRATION_ROWS).astype(np.int64)]
    has_units = CASES[name].task == "regression"
    makers: dict[str, Callable[[], bytes]] = {
        "fp32": lambda: fp32_file,
        "dynamic": lambda: quantise_dynamic(fp32_file, but_last=has_units),
        "static": lambda: quantise_static(fp32_file, clean_inputs(modality, chosen), but_last=has_units),
    }
    found = {}
    for scheme, make in makers.items():
        try:
            session = OnnxSession(make(), threads=1)
            found[scheme] = _figure(session, clean_inputs(modality, test), data)
        except Exception as error:  # the job says of what class; here a figure is missing
            print(f"{name} {scheme}: {type(error).__name__}")
    return found


def _figure(session: OnnxSession, inputs: NDArray[Any], data: PairedDataset) -> float:
    task, labels = task_of(data), data.labels[data.splits["test"]]
    parts = np.array_split(np.arange(len(inputs)), 10)
    answers = [task.answers(session(np.ascontiguousarray(inputs[part])), labels[part]) for part in parts]
    found = task.metrics(task.on_own_scale(np.concatenate(answers)), labels)
    return figure(found, task.facts.main.name)


def rows_of(name: str, result: RunResult, folder: Path, data: PairedDataset) -> list[dict[str, Any]]:
    """A row for float32 and one for each scheme that could be tried."""
    assert result.export is not None
    figures = test_figures(name, folder, data)
    parity = json.loads((folder / "manifest.json").read_text())["onnx"]
    files: dict[str, OnnxFile] = {"fp32": result.export.fp32}
    files |= {file.scheme: file for file in result.export.int8}
    rows = []
    for scheme, file in files.items():
        kept = next((made for made in result.export.int8 if made.scheme == scheme), None)
        assert file.latency is not None
        rows.append(
            {
                "architecture": name,
                "column": CASES[name].column,
                "parameters": result.student.parameters,
                "scheme": scheme,
                "metric": file.metric,
                "test": f"{figures[scheme]:.4f}" if scheme in figures else "",
                "val": f"{file.val:.4f}",
                "size_bytes": file.size_bytes,
                "ms_1": _milliseconds(file, 1),
                "ms_32": _milliseconds(file, 32),
                "kept": "" if kept is None else "yes" if kept.kept else "no",
                "reason": "" if kept is None else kept.reason,
                "parity": json.dumps(parity) if scheme == "fp32" else "",
            }
        )
    return rows


def _milliseconds(file: OnnxFile, batch_size: int) -> str:
    found = file.latency.median_ms(batch_size) if file.latency else None
    return "" if found is None else f"{found:.3f}"


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each architecture and scheme."""
    lines = [
        "| architecture (column) | parameters | scheme | test figure | points lost | KiB | ms for 1 / 32 | kept | largest logit difference to torch |",
        "|---|---:|---|---:|---:|---:|---:|---|---:|",
    ]
    for row in rows:
        is_first = row["scheme"] == "fp32"
        first = next(r for r in rows if r["architecture"] == row["architecture"] and r["scheme"] == "fp32")
        lost = 100 * (float(first["test"]) - float(row["test"] or "nan"))
        parity = json.loads(row["parity"]) if row["parity"] else {}
        cells = [
            f"{row['architecture']} ({row['column']})" if is_first else "",
            f"{int(row['parameters']):,}" if is_first else "",
            row["scheme"],
            f"{100 * float(row['test'] or 'nan'):.1f}",
            "" if is_first else f"{lost:+.1f}",
            f"{int(row['size_bytes']) / 1024:.0f}",
            f"{row['ms_1']} / {row['ms_32']}",
            row["kept"] if row["kept"] != "no" else row["reason"].partition(":")[0].lower(),
            f"{parity['max_abs_difference']:.1e}" if parity else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = kept_rows(given.out, given.only)
    with tempfile.TemporaryDirectory() as holder:
        for name in given.only:
            out, task = Path(holder) / name, CASES[name].task
            path = Path(holder) / f"{task}-{CASES[name].side}.npz"
            if not path.exists():
                write_data(path, CASES[name])
            data = load_dataset(path, [CASES[name].column], task=TASKS[task], seed=0)
            result = train(name, path, out, given.epochs)
            rows += rows_of(name, result, out / "student", data)
            print(
                "\n".join(table([row for row in rows if row["architecture"] == name]).splitlines()[2:]),
                flush=True,
            )
            write(given.out, rows, given.epochs)  # what is there if it is ended early


def longer(epochs: int) -> str:
    """Which architectures had more."""
    return "; ".join(f"{n} {c.times_epochs * epochs}" for n, c in CASES.items() if c.times_epochs > 1)


def kept_rows(out: Path, only: list[str]) -> list[dict[str, Any]]:
    """Of an earlier run, those of architectures that this one leaves out."""
    try:
        with (out / "int8_loss.csv").open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["architecture"] not in only]
    except FileNotFoundError:
        return []


def write(out: Path, rows: list[dict[str, Any]], epochs: int) -> None:
    """Both files."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "int8_loss.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    machine = describe_machine(torch.device("cpu")) | {"load average": load_average()}
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    (out / "int8_loss.md").write_text(
        "# What int8 costs each architecture, trained\n\n"
        f"{epochs} epochs ({longer(epochs)}) on made-up rows of six classes (`int8_data.py`); accuracy in % of 600 test rows, "
        "of segmentation mIoU of 200 scenes of three classes (of DeepLab twice as wide and high), of the other tasks mean average precision, 100 R² and recall@1; "
        "points that int8 loses against float32 (a standard error of the difference is about half a point), "
        "medians in onnxruntime on one thread. Kept is the job's verdict on the validation split.\n\n"
        f"{table(rows)}\n\n{facts}\n"
    )


if __name__ == "__main__":
    main()
