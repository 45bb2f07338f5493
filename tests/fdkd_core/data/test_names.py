import pytest

from fdkd_core.data.names import collision_key, refusal_of_name, spellings, without_dot


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "image/0001.png",
        "a b/c (1).wav",
        "übung/größe.png",
        "日本/語.png",
        "12:30.wav",
        "console.png",
        "nul_1.png",
        "COM.png",
        "COM10.png",
        "...",
        "a..b/c..",
        "x" * 255,
    ],
)
def test_takes_ordinary_names(name: str) -> None:
    assert refusal_of_name(name, 255) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("C:/x.png", "absolute"),
        ("c:x.png", "absolute"),
        ("..", "leads out"),
        ("../x", "leads out"),
        ("a/../../x", "leads out"),
        ("a/..", "leads out"),
        ("a//b", "empty part"),
        ("a/./b", "empty part"),
        ("a/", "empty part"),
        ("..\\x", "backslash"),
        ("a\\b", "backslash"),
        ("a\0.png", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\u202egnp.exe", "control"),
        ("a\ud800b", "control"),
        ("CON", "device"),
        ("con.png", "device"),
        ("image/NUL.tar.gz", "device"),
        ("Aux/a.png", "device"),
        ("lpt9", "device"),
        ("COM¹.png", "device"),
        ("CON .png", "device"),
        ("CONIN$", "device"),
        ("x" * 256, "256 characters"),
        ("x/" * 2048 + "x", "4097 characters"),
    ],
)
def test_refuses_unsafe_names(name: str, reason: str) -> None:
    assert reason in (refusal_of_name(name, 255) or "")


def test_collision_key_folds_case_and_composition() -> None:
    assert collision_key("Image/A.PNG") == collision_key("image/a.png")
    assert collision_key("caf\u00e9") == collision_key("CAFE\u0301")
    assert collision_key("straße") == collision_key("STRASSE")
    assert collision_key("a") != collision_key("b")


def test_spellings_cover_both_normal_forms() -> None:
    assert "cafe\u0301" in spellings("caf\u00e9")
    assert "caf\u00e9" in spellings("cafe\u0301")
    assert spellings("plain") == ("plain",)


def test_without_dot() -> None:
    assert without_dot("././a/b") == "a/b"
    assert without_dot("../a") == "../a"
    assert without_dot(".hidden") == ".hidden"
