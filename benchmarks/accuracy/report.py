"""From the rows of `tables.py` to results/*.md: means over seeds, paired differences, ranks, sign tests.

    python benchmarks/accuracy/report.py [results/] [--only TABLE] [--note TEXT]

Reads methods.csv, ablation.csv, controls.csv, few-labels.csv, splits.csv, long.csv, again.csv, more-seeds.csv, as-wide.csv, as-wide-long.csv and auto.csv, as
far as they are there.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from splits_report import splits_parts

from fdkd_core.versions import library_versions

CONTROL, TEACHER = "none", "teacher"
OURS = ("fd_cmkd", "fd_cmkd balanced", "fd_cmkd adapted", "fd_cmkd calm")
"""FD-CMKD, and what were candidates for its default (docs/decisions/0037, 0038)."""
FEATURE_METHODS = ("feature_mse", "pkd", "rkd", "crd", *OURS)
TITLES = {
    "methods": "Table 1: every method, tuned with the same budget",
    "ablation": "Table 2: what the parts of FD-CMKD give",
    "controls": "Table 3: FD-CMKD with teachers that know less than they seem",
    "few-labels": "Table 4: a tenth of the labels; the other pairs are taught by the teacher alone",
    "splits": "Table 5: several divisions of the subjects, each with a teacher and a tuning of its own",
    "long": "Table 6: three times the epochs of Table 1",
    "again": "Table 7: the directions of Table 1 again, a trial taken only beyond noise",
    "more-seeds": "Table 8: Table 7 with twenty seeds",
    "as-wide": "Table 9: students as wide as their teachers",
    "as-wide-long": "Table 10: students as wide as their teachers, three times the epochs",
}
RANKED = ("methods", "few-labels", "long", "again", "more-seeds", "as-wide", "as-wide-long")
"""Tables that compare methods."""
BESIDE_AUTO = ("methods", "few-labels", "long")
"""Those in which `auto` stands too."""

POOLED = ("methods", "splits", "long", "again")
"""Those in which FD-CMKD as it is by default stands beside the control, feature MSE and PKD."""

Runs = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Test figure in % by direction, method and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=Path(__file__).parent / "results")
    parser.add_argument("--note", action="append", default=[], help="a line for the end; repeat for several")
    parser.add_argument("--only", choices=TITLES, help="the table to write; default: all that are there")
    parser.add_argument("--pooled", action="store_true", help="print FD-CMKD against others over all tables")
    given = parser.parse_args()
    tables = {name: _read(given.results / f"{name}.csv") for name in (*TITLES, "auto")}
    if given.pooled:
        print(pooled([_runs(tables[name]) for name in POOLED]))
        return
    control = {
        direction: arms[CONTROL] for direction, arms in _runs(tables["methods"]).items() if CONTROL in arms
    }
    for name, title in TITLES.items():
        rows = tables[name]
        if not rows or given.only not in (None, name):
            continue
        if name == "splits":
            parts = [f"# {title}", *splits_parts(_runs(rows), _teachers(rows))]
            _write(given.results / f"{name}.md", [*parts, _origin(name, rows, [], given.note)])
            continue
        there = {row["direction"] for row in rows}
        auto = [row for row in tables["auto"] if row["direction"] in there]
        runs = _runs(rows + (auto if name in BESIDE_AUTO else []))
        for direction, arms in runs.items():
            if CONTROL not in arms:
                arms[CONTROL] = control[direction]
        parts = [f"# {title}", _explanation(), _table(runs, rows)]
        if name in RANKED:
            parts += [
                _ranks(runs),
                _targets(runs, _teachers(rows), is_main=name != "few-labels"),
            ]
        parts.append(_origin(name, rows, auto if name in BESIDE_AUTO else [], given.note))
        _write(given.results / f"{name}.md", parts)


def _write(path: Path, parts: list[str]) -> None:
    path.write_text("\n\n".join(part for part in parts if part) + "\n")
    print(path.read_text())


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _runs(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, dict[int, float]]]:
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["method"] != TEACHER:
            found[row["direction"]][row["method"]][int(row["seed"])] = 100 * float(row["test_metric"])
    return found


def _teachers(rows: Iterable[Mapping[str, str]]) -> dict[str, float]:
    return {row["direction"]: 100 * float(row["test_metric"]) for row in rows if row["method"] == TEACHER}


def _mean(seeds: Mapping[int, float]) -> float:
    return float(np.mean(list(seeds.values())))


def _gains(seeds: Mapping[int, float], control: Mapping[int, float]) -> NDArray[np.float64]:
    """Differences by seed, over the seeds that both have."""
    return np.array([seeds[seed] - control[seed] for seed in sorted(set(seeds) & set(control))])


def _half_width(values: NDArray[np.float64]) -> float:
    """Half of the 95 % interval of the mean, by Student's t."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def _interval(values: NDArray[np.float64], *, sign: bool = False) -> str:
    mean = f"{values.mean():+.1f}" if sign else f"{values.mean():.1f}"
    return f"{mean} ± {_half_width(values):.1f}" if len(values) > 1 else mean


def _explanation() -> str:
    return (
        "Test figure in %, mean over seeds ± half of the 95 % interval (Student's t), and in brackets the difference\n"
        f"to `{CONTROL}`, the same student without a teacher, tuned with as many trials, paired by seed. **Bold**: the\n"
        "interval of the difference does not hold 0. Of as many differences as there are here, one in twenty would\n"
        "do so by chance alone. The figure is accuracy for avdigits, macro-F1 for the others (unbalanced classes)."
    )


def _table(runs: Runs, rows: Iterable[Mapping[str, str]]) -> str:
    teachers = _teachers(rows)
    methods = list(dict.fromkeys(method for arms in runs.values() for method in arms))
    lines = [
        "| | " + " | ".join(runs) + " | mean difference |",
        "|---|" + "---:|" * (len(runs) + 1),
    ]
    if teachers:
        lines.append(
            "| teacher | " + " | ".join(f"{teachers[d]:.1f}" if d in teachers else "" for d in runs) + " | |"
        )
    for method in methods:
        cells, gains = [], []
        for arms in runs.values():
            if method not in arms:
                cells.append("-")
                continue
            values = np.array(list(arms[method].values()))
            if method == CONTROL:
                cells.append(_interval(values))
                continue
            gained = _gains(arms[method], arms[CONTROL])
            text = f"{values.mean():.1f} ({_interval(gained, sign=True)})"
            is_clear = len(gained) > 1 and abs(gained.mean()) > _half_width(gained)
            cells.append(f"**{text}**" if is_clear else text)
            gains.append(gained.mean())
        mean = f"{np.mean(gains):+.2f} over {len(gains)}" if gains else ""
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {mean} |")
    return "\n".join(lines)


def _ranks(runs: Runs) -> str:
    """Mean rank over the directions that every method has, and sign tests against the control."""
    methods = list(dict.fromkeys(method for arms in runs.values() for method in arms))
    whole = [m for m in methods if all(m in arms for arms in runs.values())]
    ranks = np.array(
        [stats.rankdata([-_mean(arms[method]) for method in whole]) for arms in runs.values()]
    ).mean(axis=0)
    lines = [
        "## Over directions",
        "",
        "Mean rank among the methods that fit every direction (1 is best), on how many directions the mean is above",
        f"that of `{CONTROL}`, of `feature_mse` and of `pkd`, and the two-sided sign test against `{CONTROL}`. With 8",
        "directions a sign test falls below 0.05 only at 8 of 8; directions share subjects and speakers, so that they are",
        "not independent, and the p-values flatter.",
        "",
        "| method | mean rank | above none | p | above feature_mse | above pkd |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for method, rank in sorted(zip(whole, ranks, strict=True), key=lambda pair: pair[1]):
        cells = []
        for other in (CONTROL, "feature_mse", "pkd"):
            if method == other or other not in whole:
                cells += ["-", "-"] if other == CONTROL else ["-"]
                continue
            gains = [_mean(arms[method]) - _mean(arms[other]) for arms in runs.values()]
            wins, fights = sum(g > 0 for g in gains), sum(g != 0 for g in gains)
            cells.append(f"{wins} of {len(gains)}")
            if other == CONTROL:
                cells.append(f"{stats.binomtest(wins, fights).pvalue:.2f}" if fights else "-")
        lines.append(f"| {method} | {rank:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _targets(runs: Runs, teachers: Mapping[str, float], *, is_main: bool) -> str:
    """What was aimed at, and what was reached; of FD-CMKD for the tables of all methods alone."""
    lines = ["## Targets", ""]
    for arm in dict.fromkeys(arm for arms in runs.values() for arm in arms if arm.startswith("auto")):
        lines += _targets_of_auto(arm, {d: arms for d, arms in runs.items() if arm in arms}, teachers)
    ours = [name for name in OURS if all(name in arms for arms in runs.values())]
    for name in ours if is_main else ():
        lines += _targets_of_ours(name, runs)
    return "\n".join(lines) if len(lines) > 2 else ""


def pooled(tables: Sequence[Runs]) -> str:
    """FD-CMKD by default against others, over every direction of every table; a row for each other.

    The standard error is that of the mean over directions and tables, which share recordings, so that it flatters.
    """
    lines = ["| FD-CMKD less | ahead | mean | sign test |", "|---|---:|---:|---:|"]
    for other in (CONTROL, "feature_mse", "pkd"):
        gaps = [
            _mean(arms[OURS[0]]) - _mean(arms[other])
            for runs in tables for arms in runs.values() if OURS[0] in arms and other in arms
        ]  # fmt: skip
        wins = sum(gap > 0 for gap in gaps)
        error = float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5
        p_value = stats.binomtest(wins, len(gaps)).pvalue
        lines.append(
            f"| {other} | {wins} of {len(gaps)} | {np.mean(gaps):+.2f} ± {error:.2f} | {p_value:.2f} |"
        )
    return "\n".join(lines)


def _targets_of_ours(name: str, runs: Runs) -> list[str]:
    """Of FD-CMKD, or of what was a candidate for its default."""
    missed = [
        direction
        for direction, arms in runs.items()
        if any(_mean(arms[m]) > _mean(arms[CONTROL]) for m in FEATURE_METHODS if m in arms)
        and _mean(arms[name]) <= _mean(arms[CONTROL])
    ]
    who = "FD-CMKD" if name == OURS[0] else f"FD-CMKD {name.removeprefix(OURS[0]).strip()}"
    where = f": {', '.join(missed)}" if missed else ""
    lines = [
        f"- {who} is not above the control on {len(missed)} directions where some feature method is{where} (asked: 0)"
    ]
    for other in ("feature_mse", "pkd"):
        wins = [_mean(arms[name]) > _mean(arms[other]) for arms in runs.values() if other in arms]
        if wins:
            lines.append(f"- {who} is above {other} on {sum(wins)} of {len(wins)} (asked: 6 of 8)")
    return lines


def _targets_of_auto(arm: str, chosen: Runs, teachers: Mapping[str, float]) -> list[str]:
    """Of a search with its own settings, over the directions on which it ran."""
    gains = {d: _gains(arms[arm], arms[CONTROL]) for d, arms in chosen.items()}
    worse = [d for d, g in gains.items() if g.mean() + _half_width(g) < 0]
    near = []
    for direction, arms in chosen.items():
        best = max((m for m in arms if not m.startswith("auto")), key=lambda m: _mean(arms[m]))
        gap = _gains(arms[arm], arms[best])
        if gap.mean() + _half_width(gap) >= 0:
            near.append(direction)
    stronger = [d for d, arms in chosen.items() if teachers[d] > _mean(arms[CONTROL])]
    uplift = f"{np.mean([gains[d].mean() for d in stronger]):+.1f}" if stronger else "-"
    return [
        f"- `{arm}` below the tuned control beyond its interval on {len(worse)} of {len(chosen)} directions"
        + (f" ({', '.join(worse)})" if worse else "") + " (asked: 0)",
        f"- `{arm}` best, or within the interval of its difference to the best, on {len(near)} of {len(chosen)} (asked: 7 of 8)",
        f"- mean uplift of `{arm}` where the teacher is the stronger modality: {uplift} points over "
        f"{len(stronger)} directions (asked: +3.1)",
    ]  # fmt: skip


def _origin(name: str, rows: list[dict[str, str]], auto: list[dict[str, str]], notes: list[str]) -> str:
    auto = [
        *auto,
        *(row for row in rows if row["method"].startswith("auto")),
    ]  # Tables 7 and 8 have them in their own files
    rows = [row for row in rows if row not in auto]
    trials = sorted({int(row["trials"]) for row in rows if row["method"] != TEACHER})
    seeds = sorted({int(row["seed"]) for row in rows if row["method"] != TEACHER})
    seconds = sum(float(row["seconds"]) for row in rows)
    chosen = [
        f"{row['direction']}{row['method'].removeprefix('auto')}: {json.loads(row['weights'])['chosen']}"
        for row in auto
        if row["seed"] == "1"
    ]
    versions = ", ".join(f"{library} {version}" for library, version in library_versions().items())
    lines = [
        "## How it was made",
        "",
        f"- `python benchmarks/accuracy/tables.py --data DIR --table {name} --trials {trials[-1]} --seeds {len(seeds)}`",
        f"- {_processor()}, {platform.system()} {platform.machine()}; one thread per training; {datetime.datetime.now(datetime.UTC).date()}",
        f"- {versions}",
        f"- trials {trials}, seeds {seeds}; the final runs took {seconds / 60:.0f} minutes of one core together",
        "- tuning: the first trial is the method with everything at its default, the others are the points of a scrambled",
        "  Halton sequence over learning rate (0.01 to 0.5, the same rates for every method), one factor for the weights",
        "  (0.1 to 10) and the method's own parameters; judged on validation with seed 0; the test split was read once per",
        "  final run",
        "- intervals are over splits, each the mean of its seeds"
        if name == "splits"
        else "- intervals are over seeds of the student alone: one teacher, one split",
    ]
    if chosen:
        lines.append("- what `auto` chose: " + "; ".join(chosen))
    return "\n".join([*lines, *(f"- {note}" for note in notes)])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
