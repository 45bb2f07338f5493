from collections import Counter

import pytest

from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.splits import check_splits, cut_validation, read_splits, shared_groups
from fdkd_core.errors import DatasetError


def test_reads_aliases_and_says_so() -> None:
    log = ProblemLog()
    splits, lines = read_splits(["train", "Valid", "dev", "TEST", "training"], 5, log)
    assert splits == ["train", "val", "val", "test", "train"]
    assert len(lines) == 4
    assert not log


@pytest.mark.parametrize("bad", ["trian", "", None, 1, "train,test"])
def test_refuses_unknown_splits_by_row(bad: object) -> None:
    log = ProblemLog()
    read_splits(["train", bad, "test"], 3, log)
    assert [(p.code, p.row, p.pointer) for p in log.problems()] == [("invalid_values", 2, "split")]


@pytest.mark.parametrize(
    ("splits", "code"),
    [
        ([], "dataset_too_small"),
        (["train"], "dataset_too_small"),
        (["train", "train", "test"], "dataset_too_small"),
        (["train"] * 10, "missing_split"),
        (["train"] * 9 + ["val"], "missing_split"),
        (["test"] * 9 + ["val"], "missing_split"),
    ],
)
def test_refuses_too_little_data(splits: list[str], code: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_splits(splits)
    assert caught.value.problems[0].code == code


def test_a_missing_validation_split_passes_the_check() -> None:
    check_splits(["train", "train", "train", "test"])


def data(num_rows: int, num_test: int = 20) -> tuple[list[str], list[str], list[str]]:
    ids = [f"row-{n}" for n in range(num_rows)]
    splits = ["train"] * (num_rows - num_test) + ["test"] * num_test
    labels = ["common" if n % 10 else "rare" for n in range(num_rows)]
    return ids, splits, labels


def test_cuts_a_tenth_of_each_class_and_never_from_test() -> None:
    ids, splits, labels = data(520)
    cut, lines = cut_validation(ids, splits, labels, seed=0)
    moved = [row for row in range(520) if cut[row] != splits[row]]
    assert all(splits[row] == "train" and cut[row] == "val" for row in moved)
    assert Counter(labels[row] for row in moved) == {"common": 45, "rare": 5}
    assert "50 of 500" in lines[0]
    assert splits.count("val") == 0  # the argument is not touched


def test_the_cut_depends_on_seed_and_ids_alone() -> None:
    ids, splits, labels = data(520)
    first = dict(zip(ids, cut_validation(ids, splits, labels, seed=1)[0], strict=True))
    again = cut_validation(ids[::-1], splits[::-1], labels[::-1], seed=1)[0]
    assert dict(zip(ids[::-1], again, strict=True)) == first
    other = dict(zip(ids, cut_validation(ids, splits, labels, seed=2)[0], strict=True))
    assert other != first
    # Kept for ever: a resumed or repeated run must cut the same rows.
    assert [name for name, split in first.items() if split == "val"][:3] == GOLDEN


GOLDEN = ["row-1", "row-2", "row-32"]


def test_every_class_gets_a_row_when_it_can_keep_one() -> None:
    ids = [str(n) for n in range(30)]
    labels = ["big"] * 25 + ["two"] * 2 + ["one"] + ["big", "two"]
    splits = ["train"] * 28 + ["test"] * 2
    cut, lines = cut_validation(ids, splits, labels, seed=3)
    assert Counter(labels[row] for row in range(30) if cut[row] == "val") == {"big": 2, "two": 1}
    assert "1 classes have no validation row" in lines[1]


def test_whole_groups_move_together() -> None:
    ids = [str(n) for n in range(400)]
    groups = [f"speaker-{n % 20}" for n in range(400)]
    labels = [str(n // 20 % 4) for n in range(400)]
    splits = ["train"] * 400
    cut, lines = cut_validation(ids, splits, labels, groups, seed=0)
    by_group = {group: {cut[row] for row in range(400) if groups[row] == group} for group in set(groups)}
    assert all(len(found) == 1 for found in by_group.values())
    assert 20 <= cut.count("val") <= 60
    assert "groups" in lines[0]


def test_a_class_of_one_group_stays_in_training() -> None:
    groups = ["g1", "g1", "g2", "g2", "g3", "g3"]
    labels = ["a", "b", "a", "a", "a", "a"]
    cut, _ = cut_validation(list("uvwxyz"), ["train"] * 6, labels, groups, seed=0)
    assert cut[:2] == ["train", "train"]
    assert "val" in cut


def test_one_group_cannot_be_cut() -> None:
    with pytest.raises(DatasetError) as caught:
        cut_validation(list("uvwx"), ["train"] * 4, list("abab"), ["g"] * 4, seed=0)
    assert caught.value.problems[0].code == "dataset_too_small"


def test_one_row_per_class_cannot_be_cut() -> None:
    with pytest.raises(DatasetError):
        cut_validation(list("uv"), ["train"] * 2, list("ab"), seed=0)


def test_an_existing_validation_split_is_kept() -> None:
    splits = ["train", "val", "test"]
    assert cut_validation(list("uvw"), splits, list("aaa"), seed=0) == (splits, [])


def test_names_groups_that_lie_in_two_splits() -> None:
    lines = shared_groups(["s1", "s1", "s2", "s3"], ["train", "test", "test", "val"])
    assert len(lines) == 1
    assert "both train and test" in lines[0]
    assert "s1" in lines[0]


def test_every_class_of_a_set_gives_its_share() -> None:
    """Rows of several classes count for each of them, and rows of none are a class of their own."""
    labels = [("a", "b"), ("a",), ("b", "c"), ()] * 25
    cut, lines = cut_validation([f"r{n}" for n in range(100)], ["train"] * 100, labels, seed=0)
    moved = [label for label, split in zip(labels, cut, strict=True) if split == "val"]
    counts = Counter(name for label in moved for name in label)
    assert 8 <= len(moved) <= 14
    assert all(3 <= counts[name] <= 8 for name in "abc")
    assert () in moved
    assert len(lines) == 1


def test_labels_that_are_all_the_same_are_no_classes() -> None:
    cut, _ = cut_validation([f"r{n}" for n in range(40)], ["train"] * 40, [""] * 40, seed=0)
    assert cut.count("val") == 4
