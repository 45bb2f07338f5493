from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from paired_arrays import in_splits, paired_dataset, without_teacher

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.pairing import contradictions, find_leaks, read_contents, repeats
from fdkd_core.spec.findings import LeakFindings, Part

COLUMNS: dict[Part, str] = {"teacher": "teacher", "student": "student"}


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 training, 40 validation and 60 test rows without a fault."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 8)), rng.normal(size=(200, 300)), rng.integers(0, 3, 200)


def dataset(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray) -> PairedDataset:
    return paired_dataset(teacher, student, labels, in_splits(100, 40, 60))


def leaks(data: PairedDataset) -> dict[tuple[str, str, str], LeakFindings]:
    contents = {part: read_contents(data.modalities[name]) for part, name in COLUMNS.items()}
    return {
        (found.first_split, found.second_split, found.part): found
        for found in find_leaks(data, COLUMNS, contents)
    }


def test_good_pairs_have_no_fault() -> None:
    data = dataset(*planted())
    contents = read_contents(data.modalities["teacher"])
    assert leaks(data) == {}
    assert not contents.is_blank.any()
    assert contradictions(contents, np.arange(200), data.labels[:, None]) == 0
    found = repeats("train", contents, read_contents(data.modalities["student"]), data.splits["train"])
    assert (found.teacher_samples, found.student_samples, found.repeated_pairs) == (0, 0, 0)
    assert (found.most_students, found.most_teachers) == (1, 1)


def test_repeats_are_counted_by_side() -> None:
    teacher, student, labels = planted()
    teacher[1] = teacher[2] = teacher[0]  # one teacher sample with three student samples
    student[11] = student[10]  # one student sample with two teacher samples
    teacher[21], student[21] = teacher[20], student[20]  # a whole pair twice
    data = dataset(teacher, student, labels)
    sides = [read_contents(data.modalities[name]) for name in ("teacher", "student")]
    found = repeats("train", sides[0], sides[1], data.splits["train"])
    assert (found.teacher_samples, found.teacher_rows, found.most_students) == (1, 3, 3)
    assert (found.student_samples, found.student_rows, found.most_teachers) == (1, 2, 2)
    assert found.repeated_pairs == 1
    assert found.rows == 100


def test_leaks_are_counted_equal_and_nearly_identical() -> None:
    teacher, student, labels = planted()
    rng = np.random.default_rng(1)
    student[140:145] = student[0:5]  # five test rows that are training rows to the student
    student[150:153] = student[30:33] + 0.005 * rng.normal(size=(3, 300))  # and three that nearly are
    teacher[150], teacher[160] = teacher[30], teacher[5]  # one of them as a whole pair, one teacher alone
    found = leaks(dataset(teacher, student, labels))
    assert set(found) == {("train", "test", part) for part in ("teacher", "student", "pair")}
    by_student = found["train", "test", "student"]
    assert (by_student.equal_rows, by_student.near_rows, by_student.checked_rows) == (5, 3, 60)
    assert by_student.examples[0] == ("row0", "row140")
    assert found["train", "test", "teacher"].equal_rows == 2
    pair = found["train", "test", "pair"]
    assert (pair.equal_rows, pair.near_rows, pair.examples) == (0, 1, [("row30", "row150")])


def test_rows_without_a_label_leak_too() -> None:
    """The student is trained on them."""
    teacher, student, labels = planted()
    data = dataset(teacher, student, labels)
    unlabelled = data.splits["train"][60:]
    splits = {**data.splits, "train": data.splits["train"][:60], "unlabelled": unlabelled}
    student[145] = student[70]
    student[146] = student[10]
    data = replace(dataset(teacher, student, labels), splits=splits)
    found = leaks(data)
    assert set(found) == {("unlabelled", "test", "student"), ("train", "test", "student")}
    assert [leak.equal_rows for leak in found.values()] == [1, 1]
    assert found["unlabelled", "test", "student"].examples == [("row70", "row145")]


def test_two_moments_of_rest_are_not_the_same_recording() -> None:
    """Quiet samples are all close to the mean; each differs from the next by as much as there is of it."""
    teacher, student, labels = planted()
    student -= student[:100].mean(axis=0)
    student[::4] *= 0.005
    assert leaks(dataset(teacher, student, labels)) == {}


def test_blank_samples_and_contradicting_labels_are_found() -> None:
    teacher, student, labels = planted()
    teacher[[3, 150]] = 0.0
    student[8] = student[7]
    labels[7], labels[8] = 0, 1
    student[10] = student[9]
    labels[10] = labels[9]
    data = dataset(teacher, student, labels)
    assert np.flatnonzero(read_contents(data.modalities["teacher"]).is_blank).tolist() == [3, 150]
    known, student_contents = np.arange(140), read_contents(data.modalities["student"])
    assert contradictions(student_contents, known, data.labels[known, None]) == 2
    # What is missing in a blank sample is no label.
    teacher[:20] = 0.0
    blank = read_contents(dataset(teacher, student, labels).modalities["teacher"])
    assert len(set(labels[:20].tolist())) > 1
    assert contradictions(blank, known, data.labels[known, None]) == 0


def test_labels_of_several_numbers_contradict_each_other_from_a_stated_distance_on() -> None:
    teacher, student, labels = planted()
    student[1] = student[2] = student[0]
    student[11] = student[10]
    contents = read_contents(dataset(teacher, student, labels).modalities["student"])
    rows = np.arange(100)
    marks = np.zeros((100, 2))
    marks[1, 1], marks[2, 1] = 0.08, -0.04  # 0.12 apart, though neither is far from the first
    marks[11, 0] = 0.09
    naive = sum(
        any(
            contents.group[i] == contents.group[j] and np.abs(marks[i] - marks[j]).max() > 0.1
            for i in range(3)
            for j in range(3)
        )
        for _ in range(3)
    )
    assert contradictions(contents, rows, marks, 0.1) == naive == 3
    assert contradictions(contents, rows, marks) == 5
    assert contradictions(contents, rows[:0], marks[:0]) == 0


def test_rows_without_a_teacher_have_no_sample_that_could_be_equal() -> None:
    """Their places point nowhere, and not at the sample of the last row."""
    teacher, student, labels = planted()
    teacher[-1] = 0.0
    data = without_teacher(dataset(teacher, student, labels), np.arange(30))
    seen, heard = (read_contents(data.modalities[name]) for name in ("teacher", "student"))
    assert np.flatnonzero(seen.is_blank).tolist() == [199]
    assert not seen.has(np.arange(200))[:30].any()
    assert len(set(seen.group[30:].tolist())) == 170
    known = np.arange(140)
    assert contradictions(seen, known, data.labels[known, None]) == 0
    found = repeats("train", seen, heard, data.splits["train"])
    assert (found.rows, found.teacher_samples, found.most_students, found.repeated_pairs) == (70, 0, 1, 0)
    assert leaks(data) == {}


def test_leaks_of_rows_without_a_teacher_are_those_of_the_student() -> None:
    teacher, student, labels = planted()
    student[140], student[141] = student[5], student[50]
    teacher[140], teacher[141], teacher[142] = teacher[5], teacher[50], teacher[51] + 1e-4
    found = leaks(without_teacher(dataset(teacher, student, labels), np.arange(30)))
    by_part = {part: leak for (_, _, part), leak in found.items()}
    assert [by_part[part].equal_rows for part in ("student", "teacher", "pair")] == [2, 1, 1]
    assert by_part["teacher"].near_rows == 1
    assert by_part["student"].examples == [("row5", "row140"), ("row50", "row141")]
    assert by_part["pair"].examples == [("row50", "row141")]


def test_few_pairs_among_many_rows_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdkd_core.diagnosis.pairing._MAX_ROWS", 100)
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(640, 8)), rng.normal(size=(640, 8))
    teacher[620], student[620] = teacher[333], student[333]
    lacking = np.setdiff1d(np.arange(600), [7, 100, 333, 500, 501])
    data = paired_dataset(teacher, student, np.arange(640) % 3, in_splits(600, 20, 20))
    found = leaks(without_teacher(data, lacking))
    assert found["train", "test", "pair"].examples == [("row333", "row620")]
