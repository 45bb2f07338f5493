import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fdkd_core.data.columns import FileColumn, TextColumn
from fdkd_core.data.limits import Limits
from fdkd_core.data.reading import read_table
from fdkd_core.errors import Problem

Make = Callable[[Mapping[str, bytes]], Path]
ProblemsOf = Callable[..., list[Problem]]
Members = dict[str, bytes]


def with_row(members: Members, row: str) -> Members:
    return {**members, "manifest.csv": members["manifest.csv"] + row.encode() + b"\n"}


def without_column(members: Members, position: int) -> Members:
    rows = [line.split(",") for line in members["manifest.csv"].decode().splitlines()]
    for row in rows:
        del row[position]
    return {**members, "manifest.csv": "\n".join(",".join(row) for row in rows).encode()}


def test_reads_files_and_inline_text(make_folder: Make, members: Members) -> None:
    table = read_table(make_folder(members))
    assert table.ids == list("abcdef")
    assert table.splits == ["train"] * 4 + ["val", "test"]
    assert table.labels.names == ["cat", "dog", "cat", "dog", "cat", "dog"]
    assert table.groups is None
    assert table.warnings == []
    image, caption = table.columns["image"], table.columns["caption"]
    assert isinstance(image, FileColumn)
    assert image.read(2) == b"pixels of c"
    assert image.file_name(2) == "image/c.png"
    assert isinstance(caption, TextColumn)
    assert caption.read(0) == "a cat called a"
    assert caption.file_name(0) is None
    assert len(image) == len(caption) == 6


def test_json_lines_say_the_same(make_folder: Make, members: Members) -> None:
    lines = members.pop("manifest.csv").decode().splitlines()
    names = lines[0].split(",")
    records = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    members["manifest.jsonl"] = "\n".join(json.dumps(record) for record in records).encode()
    table = read_table(make_folder(members))
    assert table.labels.names == ["cat", "dog", "cat", "dog", "cat", "dog"]
    assert table.columns["image"].read(0) == b"pixels of a"


def test_everything_may_be_packed_in_one_folder(make_zip: Make, members: Members) -> None:
    inside = {f"set/{name}": content for name, content in members.items()}
    inside |= {"__MACOSX/set/._manifest.csv": b"", "set/dataset.yaml": b"ignore: [caption]"}
    table = read_table(make_zip(inside))
    assert table.columns["image"].read(0) == b"pixels of a"
    assert list(table.columns) == ["image"]


def test_the_manifest_is_chosen_by_argument_then_description(make_zip: Make, members: Members) -> None:
    members["other.csv"] = members["manifest.csv"].replace(b"e,val", b"E,val")
    assert read_table(make_zip(members), manifest="other.csv").ids[4] == "E"
    members["dataset.yaml"] = b"manifest: other.csv"
    assert read_table(make_zip(members)).ids[4] == "E"
    assert read_table(make_zip(members), manifest="manifest.csv").ids[4] == "e"
    del members["manifest.csv"]
    assert read_table(make_zip(members)).ids[4] == "E"


def test_the_choice_of_manifest_is_part_of_the_identity(make_zip: Make, members: Members) -> None:
    members["other.csv"] = members["manifest.csv"]
    path = make_zip(members)
    assert read_table(path).sha256 != read_table(path, manifest="other.csv").sha256


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("none.csv", "missing_file"),
        ("../x.csv", "unsafe_entry"),
        ("/etc/passwd.csv", "unsafe_entry"),
        ("image/a.png", "unsupported_format"),
    ],
)
def test_refuses_a_manifest_that_cannot_be_one(
    make_zip: Make, members: Members, problems_of: ProblemsOf, name: str, code: str
) -> None:
    assert problems_of(make_zip(members), manifest=name)[0].code == code


def test_refuses_two_manifests_and_none(make_zip: Make, members: Members, problems_of: ProblemsOf) -> None:
    both = {**members, "manifest.jsonl": b"{}"}
    assert problems_of(make_zip(both))[0].code == "invalid_description"
    members["my.csv"] = members.pop("manifest.csv")
    (problem,) = problems_of(make_zip(members))
    assert problem.code == "missing_file"
    assert "my.csv" in problem.detail


def test_refuses_a_huge_manifest(make_folder: Make, members: Members, problems_of: ProblemsOf) -> None:
    problems = problems_of(make_folder(members), limits=Limits(max_manifest_bytes=100))
    assert problems[0].code == "exceeds_limit"


def test_reports_all_bad_rows_at_once(make_folder: Make, members: Members, problems_of: ProblemsOf) -> None:
    rows = [
        "a,train,cat,image/a.png,twice",  # 7: the id of row 1
        "g,train,,image/a.png,no label",  # 8
        "h,trian,cat,image/a.png,misspelt",  # 9
        "i,train,cat,image/none.png,missing",  # 10
        "j,train,cat,../secret,outside",  # 11
        "k,train,cat,image/a.png",  # 12: ragged
        "l,test,cat,,no image",  # 13
        "m,train,3,image/a.png,integer among text",  # 14
        ",train,cat,image/a.png,no id",  # 15
        "n,val,cat,image/a.png, ",  # 16: no text
        "o,train,cat,image,a folder",  # 17
    ]
    problems = problems_of(make_folder(with_row(members, "\n".join(rows))))
    assert [(p.row, p.code, p.pointer) for p in problems] == [
        (7, "duplicate_id", "id"),
        (8, "invalid_label", "label"),
        (9, "invalid_values", "split"),
        (10, "missing_file", "image"),
        (11, "unsafe_entry", "image"),
        (12, "invalid_csv", None),
        (13, "invalid_values", "image"),
        (14, "invalid_label", "label"),
        (15, "invalid_values", "id"),
        (16, "invalid_values", "caption"),
        (17, "missing_file", "image"),
    ]


@pytest.mark.parametrize(
    "cell", ["/etc/passwd", "..", "image/../../x", "image\\a.png", "C:/a.png", "CON.png", "x" * 300 + ".png"]
)
def test_refuses_paths_that_lead_outside(
    make_folder: Make, members: Members, problems_of: ProblemsOf, cell: str
) -> None:
    members["dataset.yaml"] = b"modalities: {image: {kind: image}}"
    problems = problems_of(make_folder(with_row(members, f"g,train,cat,{cell},x")))
    assert [(p.code, p.row) for p in problems] == [("unsafe_entry", 7)]


def test_refuses_links_in_a_folder(
    make_folder: Make, members: Members, problems_of: ProblemsOf, tmp_path: Path
) -> None:
    root = make_folder(members)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "image/c.png").unlink()
    (root / "image/c.png").symlink_to(tmp_path / "secret")
    assert [(p.code, p.row) for p in problems_of(root)] == [("unsafe_entry", 3)]
    (root / "manifest.csv").unlink()
    (root / "manifest.csv").symlink_to(tmp_path / "secret")
    assert problems_of(root)[0].code == "unsafe_entry"
    (root / "manifest.csv").unlink()
    os.mkfifo(root / "manifest.csv")
    assert problems_of(root)[0].code == "unsafe_entry"


def test_paths_are_found_under_dots_blanks_and_other_compositions(
    make_folder: Make, members: Members
) -> None:
    members["image/cafe\u0301.png"] = b"coffee"
    row = "g,train,cat,image/caf\u00e9.png,x\nh,train,cat,./image/a.png,x\ni,train,cat, image/b.png,x"
    table = read_table(make_folder(with_row(members, row)))
    assert [table.columns["image"].read(r) for r in (6, 7, 8)] == [b"coffee", b"pixels of a", b"pixels of b"]


def test_many_rows_may_name_one_file(make_folder: Make, members: Members) -> None:
    image = read_table(make_folder(with_row(members, "g,train,cat,image/a.png,x"))).columns["image"]
    assert image.key(0) == image.key(6) != image.key(1)


def test_a_stated_kind_makes_a_column_one_of_files(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    members["dataset.yaml"] = b"modalities: {caption: {kind: audio, mels: 40}}"
    assert {p.code for p in problems_of(make_folder(members))} == {"missing_file"}


def test_kinds_and_options_are_passed_on(make_folder: Make, members: Members) -> None:
    members["dataset.yaml"] = b"modalities: {image: {kind: depth, max_m: 4.0}, caption: {kind: text}}"
    table = read_table(make_folder(members))
    assert table.kinds == {"image": "depth", "caption": "text"}
    assert table.options == {"image": {"max_m": 4.0}}


def test_a_description_of_missing_columns_is_refused(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    members["dataset.yaml"] = b"{modalities: {sound: {}}, group: speaker}"
    problems = problems_of(make_folder(members))
    assert {(p.code, p.pointer) for p in problems} == {
        ("missing_column", "/modalities/sound"),
        ("missing_column", "/group"),
    }


def test_groups_come_from_the_column_named(make_folder: Make, members: Members) -> None:
    members["dataset.yaml"] = b"group: caption"
    table = read_table(make_folder(members))
    assert table.groups is not None
    assert table.groups[0] == "a cat called a"
    assert list(table.columns) == ["image"]


def test_a_column_called_group_is_taken_and_shared_groups_are_reported(
    make_folder: Make, members: Members
) -> None:
    members["manifest.csv"] = members["manifest.csv"].replace(b"caption", b"group").replace(b"called", b"x")
    same = members["manifest.csv"].replace(b"a cat x a", b"g").replace(b"a dog x f", b"g")
    table = read_table(make_folder({**members, "manifest.csv": same}))
    assert "both train and test" in table.warnings[0]


def test_class_names_apply_to_integer_labels(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    text = members["manifest.csv"].replace(b",cat,", b",0,").replace(b",dog,", b",1,")
    members |= {"manifest.csv": text, "dataset.yaml": b"class_names: [cat, dog]"}
    assert read_table(make_folder(members)).class_names == ["cat", "dog"]
    members["manifest.csv"] += b"g,train,2,image/a.png,x\n"
    assert [(p.code, p.row) for p in problems_of(make_folder(members))] == [("invalid_label", 7)]


def test_ids_may_be_left_out(make_folder: Make, members: Members) -> None:
    table = read_table(make_folder(without_column(members, 0)))
    assert table.ids == ["1", "2", "3", "4", "5", "6"]


def test_without_splits_there_is_no_test(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    assert problems_of(make_folder(without_column(members, 1)))[0].code == "missing_split"


def test_without_labels_there_is_no_task(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    problems = problems_of(make_folder(without_column(members, 2)))
    assert [(p.code, p.pointer) for p in problems] == [("missing_column", "label")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"id,split,label,t\n", "dataset_too_small"),
        (b"id,split,label,t\n1,train,a,x\n", "dataset_too_small"),
        (b"id,split,label\n1,train,a\n2,train,b\n3,train,a\n4,test,b\n", "missing_column"),
        (b"id,split,label,t\n1,train,a,x\n2,train,a,y\n3,val,a,z\n4,test,a,w\n", "dataset_too_small"),
        (b"id,split,label,t\n1,train,a,x\n2,train,b,y\n3,val,a,z\n4,val,b,w\n", "missing_split"),
        (b"id,split,label,t\n1,train,a,x\n2,train,b,y\n3,val,a,z\n4,test,c,w\n", "invalid_label"),
        (b"id,split,label,t\n1,train,-1,x\n2,train,1,y\n3,val,1,z\n4,test,1,w\n", "invalid_label"),
        (b"id,split,label,t,T\n1,train,a,x,\n", "invalid_values"),
        (b"id,split,label,my text\n1,train,a,x\n", "invalid_values"),
        (b"id,split,label,t,t\n1,train,a,x,y\n", "invalid_values"),
    ],
)
def test_refuses_data_that_cannot_be_trained_on(
    make_folder: Make, problems_of: ProblemsOf, content: bytes, code: str
) -> None:
    assert problems_of(make_folder({"manifest.csv": content}))[0].code == code


def test_a_missing_validation_split_is_left_for_later(make_folder: Make, members: Members) -> None:
    members["manifest.csv"] = members["manifest.csv"].replace(b"e,val", b"e,train")
    assert "val" not in read_table(make_folder(members)).splits


def test_a_nameless_column_is_passed_over(make_folder: Make, members: Members) -> None:
    lines = members["manifest.csv"].decode().splitlines()
    numbered = ["," + lines[0]] + [f"{number},{line}" for number, line in enumerate(lines[1:])]
    table = read_table(make_folder({**members, "manifest.csv": "\n".join(numbered).encode()}))
    assert list(table.columns) == ["image", "caption"]
    assert "without a name" in table.warnings[0]


def test_formulas_stay_text(make_folder: Make, members: Members) -> None:
    table = read_table(make_folder(with_row(members, "g,train,cat,image/a.png,=cmd()")))
    assert table.columns["caption"].read(6) == "=cmd()"


def test_an_empty_column_is_said_to_be_empty(
    make_folder: Make, members: Members, problems_of: ProblemsOf
) -> None:
    rows = [line.rsplit(",", 1)[0] + "," for line in members["manifest.csv"].decode().splitlines()]
    rows[0] += "caption"
    problems = problems_of(make_folder({**members, "manifest.csv": "\n".join(rows).encode()}))
    assert {(p.code, p.pointer) for p in problems} == {("invalid_values", "caption")}
    assert [p.row for p in problems] == [None, 5, 6]
