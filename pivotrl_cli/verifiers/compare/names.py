"""Names of people and identifiers in another spelling.

Names: case, accents, titles, and `Berg, Anna` for `Anna Berg`; of several people the order is free. Identifiers only
where the schema's words allow another spelling, and only what those words allow or what plainly adds nothing: `#`, a
prefix such as `ORD-`, spaces and hyphens, case, leading zeros.
"""

from __future__ import annotations

import re
import unicodedata

from pivotrl_cli.verifiers.compare.tables import TABLE, wording

_TITLES = frozenset(TABLE["people"]["titles"].split())
_SPECIAL = str.maketrans({"ø": "o", "æ": "ae", "å": "a", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "œ": "oe"})
_TRANSLITERATED = {"ü": "ue", "ö": "oe", "ä": "ae", "å": "aa", "ø": "oe"}


def same_name(expected: str, actual: str) -> bool:
    """One person or several; `Mr` and `Mrs` differ where both sides have a title."""
    left, right = _people(expected), _people(actual)
    if len(left) != len(right):
        return False
    for name, title in left:
        twin = next(
            (other for other in right if name & other[0] and (not title or not other[1] or title == other[1])), None
        )
        if twin is None:
            return False
        right.remove(twin)
    return True


def _people(text: str) -> list[tuple[set[str], str]]:
    parts = [part.strip() for part in re.split(r"[;,\n&]|\band\b|\bund\b|\bet\b|\by\b", text) if part.strip()]
    if len(parts) == 2 and text.count(",") == 1 and len(parts[0].split()) == 1 and ";" not in text:
        parts = [f"{parts[1]} {parts[0]}"]
    return [_person(part) for part in parts]


def _person(text: str) -> tuple[set[str], str]:
    words = text.casefold().replace(".", " ").replace("\u2019", "'").split()
    titles = [word for word in words if word in _TITLES]
    name = " ".join(word for word in words if word not in _TITLES)
    german = "".join(_TRANSLITERATED.get(c, c) for c in unicodedata.normalize("NFC", name))
    return {_bare(name), _bare(german)}, " ".join(titles)


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.translate(_SPECIAL))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).replace("-", " ")


_ALLOWS_CASE, _ALLOWS_MARKS = wording("case"), wording("marks")
_ALLOWS_PREFIX, _ALLOWS_ZEROS = wording("prefix"), wording("zeros")


def same_identifier(expected: str, actual: str, about: str) -> bool:
    """Whether two spellings are one identifier by what the schema's words allow."""
    left, right = expected.strip(), actual.strip()
    if _ALLOWS_CASE.search(about) or _ALLOWS_ZEROS.search(about) or _ALLOWS_PREFIX.search(about):
        left, right = left.casefold(), right.casefold()
    if _ALLOWS_PREFIX.search(about) or _ALLOWS_MARKS.search(about):
        left, right = left.lstrip("# "), right.lstrip("# ")
    if _ALLOWS_MARKS.search(about):
        left, right = (re.sub(r"[\s().\-\u2010\u2013/]", "", side) for side in (left, right))
    if _ALLOWS_ZEROS.search(about):
        left, right = (re.sub(r"(?<!\d)0+(?=\d)", "", side) for side in (left, right))
    if left and left == right:
        return True
    if _ALLOWS_PREFIX.search(about):
        shorter, longer = sorted((left, right), key=len)
        return (
            bool(shorter)
            and re.fullmatch(r"[a-z]+[-_ ]?", longer.removesuffix(shorter)) is not None
            and shorter[0].isdigit()
            and longer.endswith(shorter)
        )
    return False


def same_phone(expected: str, actual: str) -> bool:
    """The same digits, and the same country code where both have one."""
    left, right = (re.sub(r"[\s().\-\u2010\u2013/]", "", re.sub(r"^\s*00", "+", side)) for side in (expected, actual))
    return left == right and re.fullmatch(r"\+?\d{5,20}", left) is not None
