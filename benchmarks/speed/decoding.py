"""Loading a data set of files with one and more decoder processes.

    python benchmarks/speed/decoding.py DATA [--manifest NAME] [--column image --column audio]
        [--workers 1 --workers 2] [--rounds 6]

Each round loads the whole data set once with every number of children, in an order that changes from round to round;
the first load, which fills the page cache, is not counted. Writes decoding.csv and decoding.md below `--out`. With
other work on the machine the figures say little: the load average is kept beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from figures import SECTIONS, Row, ratio_rows, tables, time_rows, write_csv
from machine import describe_machine, load_average
from timing import interleave

from fdkd_core.data.dataset import load_dataset

SECTIONS.append(("Loading", ["load_time", "ratio_to_fewest"]))


def write_report(out: Path, rows: list[Row], about: str, machine: dict[str, str]) -> str:
    """Writes both files; returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "decoding.csv", rows)
    body = tables(rows)
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    (out / "decoding.md").write_text(f"# Speed of loading\n\n{about}\n\n{body}\n\n## Machine\n\n{facts}\n")
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--manifest")
    parser.add_argument(
        "--column", action="append", help="modality to load; repeat for several (default: all)"
    )
    parser.add_argument(
        "--workers", action="append", type=int, help="children; repeat for several (default: 1 and 2)"
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.rounds < 1 or min(options.workers or [1]) < 0:
        parser.error("--rounds must be at least 1 and --workers at least 0")

    def load(workers: int) -> dict[str, Any]:
        return load_dataset(options.data, options.column, manifest=options.manifest, workers=workers).report

    machine = describe_machine(torch.device("cpu")) | {"load average before": load_average()}
    report = load(1)
    counts = sorted(options.workers or [1, 2])
    names = {f"{count} worker{'s' if count != 1 else ''}": count for count in counts}
    actions = {name: lambda count=count: load(count) for name, count in names.items()}
    taken = interleave(actions, rounds=options.rounds, repeats=1, warmup=0, device=torch.device("cpu"))
    machine["load average after"] = load_average()
    rows = [*time_rows("load_time", taken), *ratio_rows("ratio_to_fewest", taken, next(iter(names)))]
    columns = ", ".join(f"{name} ({found['kind']})" for name, found in report["modalities"].items())
    about = (
        f"{options.data.name}, {report['rows']} rows, columns {columns}. Figures are medians with first to third "
        f"quartile over {options.rounds} loads, in turn; the ratio compares loads within a round."
    )
    print("\n" + write_report(options.out, rows, about, machine))
    for name, value in machine.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
