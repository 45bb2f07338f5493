"""Which member names are taken from an archive or a manifest.

Nothing is ever extracted, so a bad name could not escape from anywhere. They are refused all the same: such
a name is either an attack or an accident, and other programs will extract the same archive.
"""

from __future__ import annotations

import re
import unicodedata

# Control characters, halves of surrogate pairs, line separators and bidirectional overrides.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
# On Windows these open a device whatever their folder and suffix.
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9\u00b9\u00b2\u00b3]|LPT[0-9\u00b9\u00b2\u00b3])",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]+)?(?:/[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]+)?)*", re.ASCII
)


def refusal_of_name(name: str, max_name_chars: int) -> str | None:
    """Says why a member name is unsafe.

    Args:
        name: A path as an archive or a manifest gives it, without a leading `./`.
        max_name_chars: Longest name allowed.

    Returns:
        The reason as the end of a sentence ("is absolute"), or None when the name is fine.
    """
    if len(name) > max_name_chars:
        return f"is {len(name)} characters long; at most {max_name_chars} are allowed"
    if _PLAIN.fullmatch(name):  # nearly every name of a real data set; four-letter parts may be devices
        return None
    if not name:
        return "is empty"
    if _UNPRINTABLE.search(name):
        return "contains a control character"
    if "\\" in name:
        return "contains a backslash; write folders with /"
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    for part in name.split("/"):
        if part == "..":
            return "leads out of the data set (..)"
        if part in ("", "."):
            return "has an empty part"
        if _DEVICE.fullmatch(part.split(".", 1)[0].rstrip(" ")):
            return "is the name of a Windows device"
    return None


def without_dot(name: str) -> str:
    """The name without the leading `./` that tar and shell completion put there."""
    while name.startswith("./"):
        name = name[2:]
    return name


def collision_key(name: str) -> str:
    """Equal for names that a case-insensitive or normalising file system cannot hold both of."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)


def spellings(name: str) -> tuple[str, ...]:
    """The ways one name may be stored: macOS decomposes accents, everything else does not."""
    if name.isascii():
        return (name,)
    return (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
