"""A whole training side by side with the same one written with torchdistill: how much faster is ours?

    python benchmarks/speed/whole_run.py [--threads 2] [--epochs 5] [--rounds 2] [--out benchmarks/speed/results]

To be run in an environment of its own that has torchdistill (1.1.5) and torchvision beside `fdkd[core]`, since
torchvision for CPUs breaks other packages:

    python -m venv other && other/bin/pip install torch==2.13.0 torchvision==0.28.0 torchdistill && other/bin/pip install -e '.[core]'

Both train the same network of the registry (ResNet-18, large stem) on the same made-up rows with FD-CMKD's terms
and SGD. What differs is the loop: torchdistill runs the teacher in every step and loads with a DataLoader; ours
asks the teacher once per row and makes the next batch beside the step. Ours includes computing the teacher's
outputs and the validation at each epoch's end. The two take turns; ratios are taken within a round. Two pairs: a
teacher of the student's size, and one of twice its width (four times its cost).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import torch

# On a machine without a GPU the compiled half of torchvision does not load; its Python half asks for two schemas.
_SCHEMAS = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
for _name in ("nms", "qnms"):
    _SCHEMAS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]

from authors_step import Heads, loss_terms  # noqa: E402
from machine import describe_machine, load_average  # noqa: E402
from our_run import of_width, ours  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.data import Dataset, RandomSampler, SequentialSampler  # noqa: E402
from torchdistill.core.distillation import DistillationBox  # noqa: E402
from workload import CLASSES, Workload  # noqa: E402

from fdkd_core.data.batches import clean_inputs  # noqa: E402

LR, MOMENTUM = 0.01, 0.9


class Pairs(Dataset[Any]):
    """Rows of both modalities, normalised when they are asked for, as a user of torchdistill writes it."""

    def __init__(self, workload: Workload) -> None:
        data = workload.data
        self.rows, self.labels = data.splits["train"], data.labels
        self.image, self.audio = data.modalities["image"], data.modalities["audio"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        chosen = self.rows[place : place + 1]
        image, audio = (torch.from_numpy(clean_inputs(m, chosen)[0]) for m in (self.image, self.audio))
        return (image, audio), int(self.labels[chosen[0]])


class View(nn.Module):
    """A network that takes its modality out of a batch of pairs."""

    def __init__(self, net: nn.Module, place: int) -> None:
        super().__init__()
        self.net, self.place = net, place

    def forward(self, pair: Any) -> Any:
        """What the network says of its modality."""
        return self.net(pair[self.place])


class Student(View):
    """With what is trained beside it."""

    def __init__(self, net: Any, teacher_dim: int) -> None:
        super().__init__(net, 1)
        dim = net.feature_dim
        self.projector = nn.Identity() if dim == teacher_dim else nn.Linear(dim, teacher_dim)
        self.heads = Heads(teacher_dim, CLASSES)


class Terms(nn.Module):
    """The loss as a term of torchdistill's weighted sum."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.owner = [student]  # in a list, or its parameters would be counted twice

    def forward(self, student_io: Any, teacher_io: Any, targets: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Everything: the task, the distances, the classifiers."""
        student = self.owner[0]
        features, logits = student_io["."]["output"]
        terms = loss_terms(student.projector(features), teacher_io["."]["output"][0], targets, student.heads)
        return functional.cross_entropy(logits, targets) + sum(terms.values())


def box(workload: Workload, student_width: int, workers: int) -> DistillationBox:
    """The training as torchdistill has it: teacher and student in torch's default layout."""
    teacher = workload.model("image", channels_last=False)
    student = Student(
        of_width(workload, student_width).model("audio", channels_last=False), teacher.feature_dim
    )
    loader = {"num_workers": workers, "batch_size": workload.batch_size, "drop_last": True}
    config = {
        "num_epochs": 1,
        "train_data_loader": {"dataset_id": "train", "requires_supp": True, "sampler": {"class_or_func": RandomSampler}, "kwargs": loader},
        "val_data_loader": {"dataset_id": None, "sampler": {"class_or_func": SequentialSampler}, "kwargs": loader},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": LR, "momentum": MOMENTUM}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"fd_cmkd": {"criterion": Terms(student), "weight": 1.0}}}},
    }  # fmt: skip
    return DistillationBox(
        View(teacher, 0), student, {"train": Pairs(workload)}, config, workload.device, None, False, 1
    )


def theirs(workload: Workload, student_width: int, epochs: int, workers: int) -> float:
    """Seconds of their loop, as its examples write it."""
    made = box(workload, student_width, workers)
    started = time.perf_counter()
    for epoch in range(epochs):
        made.pre_epoch_process(epoch=epoch)
        for sample_batch, targets, supp_dict in made.train_data_loader:
            made.pre_forward_process()
            loss = made.forward_process(sample_batch, targets, supp_dict)
            made.post_forward_process(loss=loss)
            loss.item()  # which their examples log
        made.post_epoch_process()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", type=int, default=8, help="of an epoch")
    parser.add_argument("--width", type=int, default=64, help="of the teacher")
    parser.add_argument("--workers", type=int, default=1, help="of their DataLoader")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    workload = Workload(given.width, 64, given.batches, torch.device("cpu"))
    assert workload.data.report == {}  # made now, not in the first round
    rows = []
    for student_width in (given.width, given.width // 2):
        for number in range(given.rounds):
            took: dict[str, float] = {}
            for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                if name == "ours":
                    took[name] = ours(workload, student_width, given.epochs)
                else:
                    took[name] = theirs(workload, student_width, given.epochs, given.workers)
            rows.append({"student_width": student_width, "round": number, **{k: f"{v:.2f}" for k, v in took.items()},
                         "ratio": f"{took['theirs'] / took['ours']:.2f}"})  # fmt: skip
            print(rows[-1], flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "whole_run.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        "# A whole training beside torchdistill",
        "",
        "| teacher width | student width | ours s | torchdistill s | ratio (median of rounds) |",
        "|---:|---:|---:|---:|---:|",
    ]
    for width in dict.fromkeys(row["student_width"] for row in rows):
        of = [row for row in rows if row["student_width"] == width]
        figure = {
            name: statistics.median(float(str(row[name])) for row in of)
            for name in ("ours", "theirs", "ratio")
        }
        lines.append(
            f"| {given.width} | {width} | {figure['ours']:.1f} | {figure['theirs']:.1f} | {figure['ratio']:.2f} |"
        )
    machine = describe_machine(workload.device) | {"load average": load_average()}
    lines += [
        "",
        f"- {given.epochs} epochs of {given.batches} batches of 64, 64x64, {given.rounds} rounds, their DataLoader with {given.workers} worker(s)",
        *(f"- {k}: {v}" for k, v in machine.items()),
    ]
    (given.out / "whole_run.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
