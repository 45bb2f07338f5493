import csv
import json

import numpy as np
import pytest
from media_files import npy, png, sound

from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import DatasetError, IncompatibleError, ModelFileError

WORDS = [
    "the",
    "a",
    "movie",
    "film",
    "was",
    "is",
    "good",
    "bad",
    "great",
    "awful",
    "acting",
    "plot",
    "boring",
    "brilliant",
]


def make_files(seed: int) -> dict[str, bytes | str]:
    """One row's values of each kind."""
    rng = np.random.default_rng(seed)
    return {
        "image": png(rng.integers(0, 256, (12, 12), dtype=np.uint8)),
        "depth": png(rng.integers(0, 9000, (12, 12), dtype=np.uint16)),
        "audio": sound(0.3 * rng.standard_normal(2000)),
        "text": " ".join(rng.choice(WORDS, 8)),
        "series": npy(rng.standard_normal((20, 3))),
        "vector": npy(rng.standard_normal(5)),
    }


SUFFIX = {"image": ".png", "depth": ".png", "audio": ".wav", "series": ".npy", "vector": ".npy"}


class Folder:
    """A data set on disk: two classes; ids 0 to 15 train, 16 to 19 val, 20 to 25 test."""

    def __init__(
        self, path, columns=("image", "audio"), splits=("train",) * 16 + ("val",) * 4 + ("test",) * 6
    ):
        self.path = path
        self.columns = list(columns)
        self.rows = []
        for number, split in enumerate(splits):
            files = make_files(number)
            row = {"id": f"r{number}", "split": split, "label": f"class{number % 2}"}
            for column in self.columns:
                content = files[column]
                row[column] = content if column == "text" else f"{column}/{number}{SUFFIX[column]}"
                if column != "text":
                    self.write(row[column], content)
            self.rows.append(row)

    def write(self, name: str, content: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def describe(self, text: str) -> None:
        (self.path / "dataset.yaml").write_text(text)

    def load(self, modalities=None, **options):
        with (self.path / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return load_dataset(
            self.path, modalities or self.columns, workers=options.pop("workers", 0), **options
        )


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def problems_of(error) -> list[tuple[int | None, str, str | None]]:
    return [(problem.row, problem.code, problem.pointer) for problem in error.value.problems]


def test_every_kind_from_a_folder(tmp_path):
    data = Folder(tmp_path, make_files(0)).load()
    assert set(data.modalities) == set(make_files(0))
    for name, modality in data.modalities.items():
        assert modality.recipe["kind"] == name
        assert len(modality.index) == 26
        assert modality.values.shape[1:] == tuple(modality.recipe["input_shape"])
    assert data.classes == ["class0", "class1"]
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 16, "val": 4, "test": 6}
    np.testing.assert_array_equal(data.labels, np.arange(26) % 2)


def test_the_report_says_what_was_done(folder):
    report = folder.load().report
    json.dumps(report, allow_nan=False)
    assert report["sha256"] == folder.load().sha256
    assert report["splits"]["test"] == {"rows": 6, "classes": {"class0": 3, "class1": 3}}
    image = report["modalities"]["image"]
    assert image["kind_reason"] == "the files are PNG"
    assert image["input_shape"] == [1, 12, 12]
    assert image["distinct_values"] == 26
    assert image["normalisation"]["channels"] == 1
    assert report["modalities"]["audio"]["rate_hz"] == 8000
    assert report["modalities"]["audio"]["recipe"] == "made from the training split"
    assert report["duplicates"] == []


@pytest.mark.parametrize("column", sorted(make_files(0)))
def test_recipes_come_from_training_rows_alone(tmp_path, column):
    folder = Folder(tmp_path, [column])
    before = folder.load().modalities[column].recipe
    other = {
        "image": png(np.full((40, 30), 255, np.uint8)),
        "depth": png(np.full((40, 30), 60_000, np.uint16)),
        "audio": sound(np.ones(30_000), 16_000),
        "text": "entirely other words " * 50,
        "series": npy(np.full((500, 3), 1e6)),
        "vector": npy(np.full(5, 1e6)),
    }[column]
    for row in (16, 21):
        if column == "text":
            folder.rows[row]["text"] = other
        else:
            folder.write(folder.rows[row][column], other)
    assert folder.load().modalities[column].recipe == before
    if column == "text":
        folder.rows[3]["text"] = other
    else:
        folder.write(folder.rows[3][column], other)
    assert folder.load().modalities[column].recipe != before


def test_options_and_kinds_of_dataset_yaml(folder):
    folder.describe("modalities: {image: {kind: image, size: 16, channels: 3}, audio: {mels: 20}}")
    data = folder.load()
    assert data.modalities["image"].recipe["input_shape"] == [3, 16, 16]
    assert data.modalities["audio"].recipe["mels"] == 20
    assert data.report["modalities"]["image"]["kind_reason"] == "stated in dataset.yaml"
    assert data.report["modalities"]["image"]["options"] == {"size": 16, "channels": 3}


@pytest.mark.parametrize(
    ("description", "code", "pointer"),
    [
        ("{image: {sise: 16}}", "unknown_field", "/modalities/image/sise"),
        ("{image: {size: 1}}", "out_of_range", "/modalities/image/size"),
        ("{image: {kind: picture}}", "not_allowed", "/modalities/image/kind"),
        ("{audio: {fmax_hz: 9000.0}}", "out_of_range", "/modalities/audio/fmax_hz"),
    ],
)
def test_bad_descriptions_point_at_their_field(folder, description, code, pointer):
    folder.describe(f"modalities: {description}")
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert (code, pointer) in {
        (found.code, str(found.pointer)[: len(pointer)]) for found in error.value.problems
    }


def test_a_column_that_is_not_there_is_refused_with_those_that_are(folder):
    with pytest.raises(DatasetError, match="'image', 'audio'") as error:
        folder.load(["image", "sound"])
    assert problems_of(error) == [(None, "missing_column", "sound")]
    for modalities in (["image", "image"],):
        with pytest.raises(DatasetError):
            folder.load(modalities)
    with pytest.raises(DatasetError):
        load_dataset(folder.path, [])


def test_bad_rows_of_all_columns_and_splits_are_reported_at_once(folder):
    folder.write("image/2.png", b"GIF89a")
    folder.write("audio/5.wav", b"RIFF\x00\x00\x00\x00WAVE")
    folder.write("image/22.png", make_files(22)["image"][:60])
    folder.write("audio/17.wav", sound(np.zeros(61 * 8000)))
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert problems_of(error) == [
        (3, "unsupported_format", "image"),
        (6, "truncated", "audio"),
        (18, "audio_too_long", "audio"),
        (23, "truncated", "image"),
    ]


def test_at_most_ten_bad_rows(folder):
    for row in range(26):
        folder.write(f"image/{row}.png", b"GIF89a")
        folder.write(f"audio/{row}.wav", b"RIFF\x00\x00\x00\x00WAVE")
    folder.describe("modalities: {image: {kind: image}, audio: {kind: audio}}")
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert len(error.value.problems) == 10
    assert [row for row, _, _ in problems_of(error)] == sorted(row for row, _, _ in problems_of(error))


@pytest.mark.parametrize("column", ["image", "vector", "text", "series"])
def test_a_constant_column_is_refused(tmp_path, column):
    folder = Folder(tmp_path, [column])
    same = make_files(0)[column]
    for number in range(16):
        if column == "text":
            folder.rows[number]["text"] = same
        else:
            folder.write(folder.rows[number][column], same)
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert problems_of(error) == [(None, "invalid_values", column)]


def test_an_all_nan_column_is_refused(tmp_path):
    folder = Folder(tmp_path, ["vector"])
    for number in range(26):
        folder.write(folder.rows[number]["vector"], npy(np.full(5, np.nan)))
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert {code for _, code, _ in problems_of(error)} == {"invalid_values"}


def test_mixed_shapes_name_the_rows(tmp_path):
    folder = Folder(tmp_path, ["vector"])
    folder.write("vector/4.npy", npy(np.zeros(6)))
    folder.write("vector/23.npy", npy(np.zeros(4)))
    with pytest.raises(DatasetError) as error:
        folder.load()
    assert problems_of(error) == [(5, "incompatible_shape", "vector"), (24, "incompatible_shape", "vector")]


def test_too_few_training_rows(folder):
    assert folder.load(min_train_rows=16)
    with pytest.raises(DatasetError) as error:
        folder.load(min_train_rows=17)
    assert problems_of(error) == [(None, "dataset_too_small", "split")]


def test_a_missing_validation_split_is_cut_from_train_by_seed(tmp_path):
    folder = Folder(tmp_path, ["vector"], ("train",) * 40 + ("test",) * 10)
    data = folder.load(seed=1)
    assert len(data.splits["val"]) > 0
    assert set(data.splits["test"]) == set(range(40, 50))
    assert set(data.splits["val"]) | set(data.splits["train"]) == set(range(40))
    assert any("were cut for it" in line for line in data.report["warnings"])
    np.testing.assert_array_equal(folder.load(seed=1).splits["val"], data.splits["val"])
    assert folder.load(seed=2).splits["val"].tolist() != data.splits["val"].tolist()
    train = data.modalities["vector"].values[data.modalities["vector"].index[data.splits["train"]]]
    np.testing.assert_allclose(data.modalities["vector"].recipe["mean"], train.mean(axis=0, dtype=np.float64))


def test_equal_values_in_two_splits_are_reported(folder):
    folder.write("image/20.png", make_files(3)["image"])
    data = folder.load()
    assert data.report["duplicates"][0]["column"] == "image"
    assert data.report["duplicates"][0]["splits"] == ["train", "test"]
    assert any(
        "1 value is in both train (1 row) and test (1 row)" in line for line in data.report["warnings"]
    )


def test_a_given_recipe_is_used_as_it_is(folder):
    given = folder.load().modalities["image"].recipe
    given = given | {"mean": [0.25], "std": [0.5], "input_shape": [1, 16, 16]}
    data = folder.load(recipes={"image": given})
    assert data.modalities["image"].recipe == given
    assert data.modalities["image"].values.shape[1:] == (1, 16, 16)
    assert data.report["modalities"]["image"]["recipe"] == "given with the model"


def test_a_given_recipe_that_does_not_fit(folder):
    given = folder.load().modalities["image"].recipe
    with pytest.raises(ModelFileError):
        folder.load(recipes={"image": given | {"mean": []}})
    folder.describe("modalities: {image: {kind: depth}}")
    with pytest.raises(IncompatibleError):
        folder.load(recipes={"image": given})
    folder.describe("")
    with pytest.raises(IncompatibleError) as error:
        folder.load(recipes={"audio": given})
    assert "takes image; this column is audio" in str(error.value)


def test_a_given_recipe_for_another_number_of_features(tmp_path):
    folder = Folder(tmp_path, ["vector", "series"])
    for name, words in (("vector", "takes 4 features"), ("series", "of 2 channels")):
        given = folder.load().modalities[name].recipe
        if name == "vector":
            other = given | {"input_shape": [4], "mean": given["mean"][:4], "std": given["std"][:4]}
        else:
            other = given | {"source_channels": 2, "channels": [0], "input_shape": [1, 30]}
            other |= {"mean": given["mean"][:1], "std": given["std"][:1]}
        with pytest.raises(IncompatibleError) as error:
            folder.load(recipes={name: other})
        assert error.value.problems[0].pointer == name
        assert words in str(error.value)


def test_children_and_this_process_give_the_same_bits(folder):
    here, there = folder.load(workers=0), folder.load(workers=2)
    for name in ("image", "audio"):
        assert here.modalities[name].values.tobytes() == there.modalities[name].values.tobytes()
        assert here.modalities[name].recipe == there.modalities[name].recipe


def test_an_npz_of_arrays(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "arrays.npz",
        gyro=rng.standard_normal((30, 50, 3)).astype(np.float16),
        features=rng.standard_normal((30, 8)),
        picture=rng.integers(0, 256, (30, 8, 8), dtype=np.uint8),
        text=np.array([" ".join(rng.choice(WORDS, 5)) for _ in range(30)]),
        label=np.arange(30) % 3,
        split=np.array(["train"] * 20 + ["val"] * 5 + ["test"] * 5),
        id=np.array([f"r{number}" for number in range(30)]),
    )
    data = load_dataset(tmp_path / "arrays.npz", ["gyro", "features", "picture", "text"])
    assert {name: modality.recipe["kind"] for name, modality in data.modalities.items()} == {
        "gyro": "series",
        "features": "vector",
        "picture": "image",
        "text": "text",
    }
    assert data.modalities["gyro"].recipe["input_shape"] == [3, 50]


def test_progress_names_the_column(folder):
    calls = []
    folder.load(progress=lambda *done: calls.append(done))
    assert calls == [("image", 26, 26), ("audio", 26, 26)]


def empty(folder: Folder, column: str, rows) -> Folder:
    for row in rows:
        folder.rows[row][column] = ""
    return folder


def test_training_rows_may_lack_the_teachers_column(folder):
    data = empty(folder, "image", (0, 3, 4)).load(may_lack=["image"])
    assert data.splits["train"].tolist() == list(range(16))
    assert data.training_rows("image").tolist() == [1, 2, *range(5, 16)]
    assert data.training_rows("audio").tolist() == list(range(16))
    report = data.report
    assert report["modalities"]["image"]["training_rows_without"] == 3
    assert report["modalities"]["audio"]["training_rows_without"] == 0
    assert report["modalities"]["image"]["distinct_values"] == 23
    assert "column image: 3 training rows have no value for a teacher to see" in report["warnings"]
    image = data.modalities["image"]
    assert image.has(np.arange(6)).tolist() == [False, True, True, False, False, True]
    with pytest.raises(AssertionError, match="without a value"):
        image.inputs_of(np.array([1, 3]))


def test_the_rows_that_are_there_are_the_same_values(tmp_path):
    for name in ("whole", "partly"):
        (tmp_path / name).mkdir()
    whole = Folder(tmp_path / "whole").load()
    partly = empty(Folder(tmp_path / "partly"), "image", (2, 5)).load(may_lack=["image"])
    rows = np.array([0, 1, 3, 4, *range(6, 26)])
    for name in ("image", "audio"):
        np.testing.assert_array_equal(
            whole.modalities[name].inputs_of(rows), partly.modalities[name].inputs_of(rows)
        )
    assert whole.modalities["audio"].recipe == partly.modalities["audio"].recipe
    assert whole.modalities["image"].recipe["mean"] != partly.modalities["image"].recipe["mean"]
    assert whole.sha256 != partly.sha256


def test_rows_that_lack_the_students_column_are_left_out(folder):
    data = empty(empty(folder, "audio", (1, 2)), "image", (5,)).load(may_lack=["image"])
    assert data.splits["train"].tolist() == [0, *range(3, 16)]
    assert data.training_rows("image").tolist() == [0, 3, 4, *range(6, 16)]
    assert data.report["splits"]["train"]["rows"] == 14
    assert "2 training rows without 'audio' are left out" in data.report["warnings"]


def test_a_class_that_is_left_out_altogether_is_refused(folder):
    with pytest.raises(DatasetError) as caught:
        empty(folder, "audio", range(1, 16, 2)).load(may_lack=["image"])
    assert problems_of(caught) == [(None, "dataset_too_small", "label")]
    assert "class1" in str(caught.value)


def test_every_row_counts_in_a_report_over_all_columns(tmp_path):
    folder = empty(empty(Folder(tmp_path), "audio", (1, 2)), "image", (5,))
    folder.load(may_lack=["image"])  # writes the manifest
    report = load_dataset(tmp_path, None, workers=0).report
    assert report["splits"]["train"]["rows"] == 16
    assert {name: part["training_rows_without"] for name, part in report["modalities"].items()} == {
        "image": 1,
        "audio": 2,
    }


@pytest.mark.parametrize("row", [16, 20])
def test_validation_and_test_rows_must_be_complete(folder, row):
    with pytest.raises(DatasetError) as caught:
        empty(folder, "image", (1, row)).load(may_lack=["image"])
    assert problems_of(caught) == [(row + 1, "invalid_values", "image")]


def test_only_complete_rows_are_cut_for_validation(tmp_path):
    folder = Folder(tmp_path, splits=("train",) * 20 + ("test",) * 6)
    for seed in range(5):
        data = empty(folder, "image", range(4, 20)).load(may_lack=["image"], seed=seed)
        assert set(data.splits["val"].tolist()) <= {0, 1, 2, 3}
        assert len(data.splits["val"])
        assert data.modalities["image"].has(data.splits["val"]).all()


def test_missing_values_are_no_duplicates(tmp_path):
    folder = empty(Folder(tmp_path, ["image", "text"]), "image", (0, 1))
    assert empty(folder, "text", (2, 3)).load(may_lack=["image", "text"]).report["duplicates"] == []
