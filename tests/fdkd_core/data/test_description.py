import pytest

from fdkd_core.data.description import Description, parse_description
from fdkd_core.data.limits import DEFAULT
from fdkd_core.errors import DatasetError, Problem

FULL = b"""
manifest: manifest_spk.csv
modalities:
  image: {kind: image, size: [28, 28]}
  audio: {kind: audio, sample_rate: 8000, mel: {bins: 40}}
  caption: {}
class_names: [no, "yes"]
group: speaker
ignore: [notes]
"""


def refused(content: bytes) -> list[Problem]:
    with pytest.raises(DatasetError) as caught:
        parse_description(content)
    return list(caught.value.problems)


def test_reads_everything() -> None:
    found = parse_description(FULL.replace(b"[no,", b'["no",'))
    assert found.manifest == "manifest_spk.csv"
    assert found.kinds() == {"image": "image", "audio": "audio"}
    assert found.options() == {
        "image": {"size": [28, 28]},
        "audio": {"sample_rate": 8000, "mel": {"bins": 40}},
    }
    assert found.class_names == ["no", "yes"]
    assert (found.group, found.ignore) == ("speaker", ["notes"])


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xef\xbb\xbf", b"null"])
def test_an_empty_file_says_nothing(content: bytes) -> None:
    assert parse_description(content) == Description()


@pytest.mark.parametrize(
    ("content", "code", "pointer"),
    [
        (b"modalitys: {}", "unknown_field", "/modalitys"),
        (b"class_names: [no, yes]", "invalid_description", "/class_names/0"),
        (b"class_names: maybe", "invalid_description", "/class_names"),
        (b"modalities: {'a b': {}}", "invalid_description", "/modalities/a b/[key]"),
        (b"modalities: {image: png}", "invalid_description", "/modalities/image"),
        (b"modalities: {image: {kind: 3}}", "invalid_description", "/modalities/image/kind"),
        (b"group: 3", "invalid_description", "/group"),
        (b"ignore: notes", "invalid_description", "/ignore"),
        (b"[1, 2]", "invalid_description", None),
        (b"text", "invalid_description", None),
        (b"a: [", "invalid_description", None),
        (b"group: a\ngroup: b", "invalid_description", None),
        (b"group: \xff", "invalid_description", None),
        (b"group: a\x00", "invalid_description", None),
        (b"modalities: {image: {date: 2024-99-99}}", "invalid_description", None),
    ],
)
def test_refuses_what_it_does_not_know(content: bytes, code: str, pointer: str | None) -> None:
    problem = refused(content)[0]
    assert (problem.code, problem.pointer) == (code, pointer)


@pytest.mark.parametrize(
    "content",
    [
        b"!!python/object/apply:os.system ['touch /tmp/owned']",
        b"group: !!python/name:os.system ''",
        b"group: !custom x",
    ],
)
def test_refuses_tags(content: bytes) -> None:
    assert refused(content)[0].code == "invalid_description"


def test_refuses_anchors_and_with_them_the_billion_laughs() -> None:
    assert "anchors" in refused(b"ignore: &a [x]\nclass_names: *a")[0].detail
    bomb = b"a: &a [x, x]\n" + b"".join(
        b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(ord("b"), ord("z"))
    )
    assert refused(bomb)[0].code == "invalid_description"


def test_refuses_deep_nesting_and_large_files() -> None:
    assert "nested" in refused(b"ignore: " + b"[" * 50_000)[0].detail
    assert refused(b"#" * (DEFAULT.max_description_bytes + 1))[0].code == "exceeds_limit"


def test_values_that_are_not_json_are_refused() -> None:
    assert refused(b"modalities: {image: {size: 2024-01-01}}")[0].code == "invalid_description"
    assert refused(b"modalities: {image: {size: .nan}}")[0].code == "invalid_description"
