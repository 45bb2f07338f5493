import os
from pathlib import Path

import numpy as np
import pytest
from bad_decoders import misbehave_as_image
from media_files import png, sound, tone

from fdkd_core.data import decoding
from fdkd_core.data.decoding import DecoderPool, DistinctValues, decode_column
from fdkd_core.errors import DatasetError, StorageError
from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.decoder_process import DecoderProcess


class Column:
    """Values in memory that count how often they are read."""

    name = "picture"

    def __init__(self, values, keys=None):
        self.values = values
        self.keys = keys or list(range(len(values)))
        self.reads = []

    def __len__(self):
        return len(self.values)

    def read(self, row):
        self.reads.append(row)
        if isinstance(self.values[row], RowError):
            raise self.values[row]
        return self.values[row]

    def key(self, row):
        return self.keys[row]

    def file_name(self, row):
        return None


def images(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [png(rng.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(count)]


IMAGE = {"kind": "image", "input_shape": [1, 8, 8], "resize": "bilinear"}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_values_come_in_order_whoever_decodes(workers, monkeypatch):
    monkeypatch.setattr(decoding, "VALUES_PER_WORKER", 10)
    values = images(200)
    data = decode_column(Column(values), IMAGE, workers=workers)
    expected = np.stack([KINDS["image"].decode(raw, IMAGE) for raw in values])
    np.testing.assert_array_equal(data.values[data.index], expected)
    assert data.values.dtype == np.uint8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_value_of_many_rows_is_decoded_once(workers):
    first, second = images(2)
    column = Column([first, second] * 50, ["a", "b"] * 50)
    data = decode_column(column, IMAGE, workers=workers)
    assert data.values.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(data.index, [0, 1] * 50)
    assert set(column.reads) == {0, 1}
    assert len(column.reads) <= 3


def test_training_values_come_first():
    values = images(4)
    column = Column([values[0], values[1], values[2], values[1]], ["a", "b", "c", "b"])
    distinct = DistinctValues(column, [2, 3])
    assert distinct.num_first == 2
    assert distinct.rows == [2, 1, 0]
    data = decode_column(column, IMAGE, workers=0, distinct=distinct)
    np.testing.assert_array_equal(data.index, [2, 1, 0, 1])
    np.testing.assert_array_equal(data.values[2], KINDS["image"].decode(values[0], IMAGE))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_rows_are_reported_together_by_number_from_1_and_column(workers):
    values: list = images(30)
    values[4] = values[4][:50]
    values[7] = RowError("missing_file", "no such file")
    values[20] = b"GIF89a"
    with pytest.raises(DatasetError) as error:
        decode_column(Column(values), IMAGE, workers=workers)
    assert [(found.row, found.code, found.pointer) for found in error.value.problems] == [
        (5, "truncated", "picture"),
        (8, "missing_file", "picture"),
        (21, "unsupported_format", "picture"),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_at_most_ten_bad_rows_and_no_more_work_after_them(workers):
    column = Column([b"GIF89a"] * 3000)
    with pytest.raises(DatasetError) as error:
        decode_column(column, IMAGE, workers=workers)
    assert [found.row for found in error.value.problems] == list(range(1, 11))
    assert len(column.reads) < 1000


def test_a_crashed_decoder_is_a_bad_row_and_the_others_survive(monkeypatch):
    monkeypatch.setattr(decoding, "VALUES_PER_WORKER", 10)
    values = [bytes([value]) for value in range(150)]
    values[3] = values[140] = b"die"
    with pytest.raises(DatasetError) as error:
        decode_column(Column(values), IMAGE, workers=2, decode=misbehave_as_image)
    assert [(found.row, found.code) for found in error.value.problems] == [
        (4, "decoder_crashed"),
        (141, "decoder_crashed"),
    ]


def test_files_are_decoded_in_a_child_and_arrays_here(monkeypatch):
    monkeypatch.setattr(DecoderProcess, "_start", lambda *_: pytest.fail("a child was started"))
    decode_column(Column([np.zeros((8, 8), np.uint8)] * 3), IMAGE)
    decode_column(Column(["a text"] * 3), text_recipe())
    with pytest.raises(pytest.fail.Exception):
        decode_column(Column(images(1)), IMAGE)


def text_recipe():
    return KINDS["text"].resolve({}, [{"text": "a text"}])


def test_large_columns_lie_in_a_file_without_a_name(tmp_path):
    data = decode_column(Column(images(40)), IMAGE, workers=0, cache_dir=tmp_path, in_memory_bytes=1000)
    assert isinstance(data.values, np.memmap)
    assert list(tmp_path.iterdir()) == []
    in_memory = decode_column(Column(images(40)), IMAGE, workers=0)
    assert not isinstance(in_memory.values, np.memmap)
    np.testing.assert_array_equal(data.values, in_memory.values)


def test_no_room_for_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="No space left"):
        decode_column(Column(images(2)), IMAGE, workers=0, cache_dir=tmp_path, in_memory_bytes=1)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_the_end():
    calls = []
    decode_column(Column(images(300)), IMAGE, workers=1, progress=lambda *done: calls.append(done))
    assert calls == [(256, 300), (300, 300)]


def test_columns_share_the_children_and_few_values_start_only_one():
    with DecoderPool(2) as pool:
        for _ in range(2):
            decode_column(Column(images(100)), IMAGE, pool=pool)
        children = {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if is_decoder(path)}
        assert len(children) == 1
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def is_decoder(stat: Path) -> bool:
    """Whether a process is a decoder started by this one."""
    try:
        parent = int(stat.read_text().rpartition(")")[2].split()[1])
        return parent == os.getpid() and b"decoder_process" in (stat.parent / "cmdline").read_bytes()
    except OSError:
        return False


def test_one_child_per_processor_up_to_four():
    assert 1 <= DecoderPool().workers <= 4


def test_audio_from_children_has_the_same_bits():
    raw = [sound(tone(0.2, frequency_hz=200.0 + 10 * index)) for index in range(20)]
    recipe = KINDS["audio"].resolve({}, [KINDS["audio"].inspect(value) for value in raw])
    here = decode_column(Column(raw), recipe, workers=0)
    there = decode_column(Column(raw), recipe, workers=1)
    assert here.values.tobytes() == there.values.tobytes()
