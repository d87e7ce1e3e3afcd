"""Numbers, amounts of money, measures, dates and times in other notations: the same where they are plainly the same.

A text is read whole or not at all. What depends on a country is not read: `03/04/2026`, where both numbers may be a
month, and `1,000` is a thousand in English notation only. `$` is the US dollar.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dateutil import parser as dates

from pivotrl_cli.verifiers.compare.language import lexicon
from pivotrl_cli.verifiers.compare.tables import TABLE

MAX_CHARACTERS = 60
"""Longer texts are not read."""

_SMALL = {word: number for word, number in lexicon("en").numbers.items() if word != "twenty"}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_WORDS = (
    {word: int(i) for word, i in _SMALL.items()} | {word: 10 * i for i, word in enumerate(_TENS, 2)} | {"dozen": 12}
)
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_UNIT = {
    name: (dimension, Fraction(factor))
    for dimension, factor, names in TABLE["quantities"]["units"]
    for name in names.split()
}
_CURRENCY = {name: code for code, names in TABLE["currencies"].items() for name in names.split()}
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:[, _'\u00a0\u202f]\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d{1,3})?|[+-]?\.\d+", re.I)
_PART = re.compile(rf"({_NUMBER.pattern})\s*([^\W\d_]*[°%/a-zA-Z]*)", re.I)


@lru_cache(maxsize=1024)
def quantity(text: str) -> tuple[str, Any] | None:
    """The kind and value of a text that is one number, amount, measure, date or time.

    >>> quantity("1,5oo"), quantity("1.5 kg") == quantity("1500 grams"), quantity("three")
    (None, True, ('number', Fraction(3, 1)))
    """
    text = text.strip().casefold().rstrip(".")
    if not text or len(text) > MAX_CHARACTERS:
        return None
    number = _number(text)
    if number is not None:
        return "number", number
    if text[:3] in _MONTHS and text in (text[:3], "sept", _MONTHS[text[:3]][1]):
        return "month", Fraction(_MONTHS[text[:3]][0])
    return _duration(text) or _money(text) or _measure(text) or moment(text)


_MONTHS = {name[:3]: (i, name) for name, i in lexicon("en").months.items()}
_DURATION = re.compile(r"p(?:(\d+)w)?(?:(\d+)d)?(?:t(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?)?")


def _duration(text: str) -> tuple[str, Any] | None:
    """ISO 8601, without months and years."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return "time", sum(
        (Fraction(int(n or 0) * s) for n, s in zip(found.groups(), (604_800, 86_400, 3_600, 60, 1), strict=True)),
        Fraction(0),
    )


def _number(text: str) -> Fraction | None:
    text = text.replace("\u2212", "-")
    if _NUMBER.fullmatch(text):
        try:
            return Fraction(Decimal(re.sub(r"[, _'\u00a0\u202f]", "", text)))
        except (InvalidOperation, ValueError, OverflowError):
            return None
    words = re.sub(r"[-,]| and ", " ", text.removeprefix("minus ")).split()
    if len(words) > 1 and words[0] in ("a", "an"):
        words[0] = "one"
    total, group = 0, 0
    for i, word in enumerate(words):
        if word in _WORDS:
            if i and words[i - 1] in _SMALL:
                return None  # "two three" is no number
            group += _WORDS[word]
        elif word in _SCALES and i:
            group = max(group, 1) * _SCALES[word]
            if _SCALES[word] > 100:
                total, group = total + group, 0
        else:
            return None
    return Fraction(total + group) * (-1 if text.startswith("minus ") else 1) if words else None


def _split(text: str) -> tuple[Fraction, str] | None:
    """A number and the words beside it."""
    found = _NUMBER.search(text)
    if found:
        number = _number(found[0])
        rest = f"{text[: found.start()].strip()} {text[found.end() :].strip()}".strip()
        return None if number is None else (number, rest)
    head, _, rest = text.rpartition(" ")
    number = _number(head) if head else None
    return None if number is None else (number, rest)


def _money(text: str) -> tuple[str, Any] | None:
    found = _split(text)
    if found is None:
        return None
    number, rest = found
    codes = {_CURRENCY.get(word) for word in rest.replace("us dollars", "usd").split()}
    code = next(iter(codes)) if len(codes) == 1 else None
    return (code, number) if code else None


def _measure(text: str) -> tuple[str, Any] | None:
    text = re.sub(r"\ban?\s+(?=[a-z])", "1 ", text).replace(" and ", " ")
    parts = list(_PART.finditer(text))
    if len(parts) > 1 and "".join(part[0] for part in parts).replace(" ", "") == re.sub(r"[\s,]", "", text):
        found = [(_number(part[1]), part[2]) for part in parts]
    else:
        one = _split(text)
        found = [one] if one else []
    units = [(number, _UNIT.get(unit) or _UNIT.get(unit.removesuffix("s"))) for number, unit in found]
    if not units or any(number is None or unit is None for number, unit in units):
        return None
    dimensions = {unit[0] for _, unit in units if unit}
    if len(dimensions) > 1:
        return None
    return dimensions.pop(), sum(
        (number * unit[1] for number, unit in units if number is not None and unit), Fraction(0)
    )


_AMBIGUOUS = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{2,4})")
_HAS_DATE = re.compile(r"\d")


_DOTTED = re.compile(r"\b\d{1,2}\.\d{1,2}\.\d{4}")


def moment(text: str) -> tuple[str, Any] | None:
    """A date or a time of the day; what the text leaves out stays open, so that `5 March` is not `5 March 2026`."""
    if not _HAS_DATE.search(text) or not re.search(r"[-/.:a-z年月日]", text):
        return None
    text = re.sub(r"(\d{4})年(\d{1,2})月(\d{1,2})日", r"\1-\2-\3", text)
    text = re.sub(
        r"(?<=\d)(st|nd|rd|th)\b|\bof\b|\bo'clock\b|\b(?:mon|tues?|wednes|thurs?|fri|satur|sun)day,?", "", text
    )
    text = re.sub(r"\b([ap])\.m\b\.?", r"\1m", text).strip()
    read = []
    orders = (False, True)
    if re.search(r"\b\d{4}-\d", text):
        orders = (False, False)
    elif _DOTTED.search(text):
        orders = (True, True)
    try:
        for default in (datetime(2000, 1, 1), datetime(2004, 12, 28, 23, 59, 58)):
            for dayfirst in orders:
                read.append(dates.parse(text, default=default, dayfirst=dayfirst))
    except (ValueError, OverflowError, TypeError, IndexError, AttributeError, dates.ParserError):
        return None
    if read[0] != read[1]:
        return None  # the day and the month may be exchanged
    if read[0].tzinfo and read[0] == read[2]:
        return "moment", (read[0].astimezone(UTC).isoformat(),)
    parts = ("year", "month", "day", "hour", "minute", "second")
    known = [[getattr(one, part) for part in parts] for one in (read[0], read[2])]
    return "moment", (*(a if a == b else None for a, b in zip(*known, strict=True)), str(read[0].utcoffset()))


def same_moment(left: Any, right: Any) -> bool:
    """Whether two dates agree; seconds and minutes that one leaves out are zero."""
    if len(left) != len(right) or left[:4] != right[:4] or left[-1] != right[-1]:
        return False
    return all((a or 0) == (b or 0) for a, b in zip(left[4:6], right[4:6], strict=True))


_SIGN_OPTIONAL = re.compile(r"\boptional|with or without|may be left out|omitted", re.I)


def same_quantity(expected: str, actual: str, about: str = "") -> bool | None:
    """Whether two texts are the same amount or date; None where one is neither. `about` may leave a sign out."""
    left, right = quantity(expected), quantity(actual)
    if left is None or right is None:
        return None
    kinds = {left[0], right[0]}
    if len(kinds) == 2 and "number" in kinds:
        if "month" in kinds:
            return bool(left[1] == right[1])
        if _SIGN_OPTIONAL.search(about):
            return bool(left[1] == right[1]) or (
                "percent" in kinds and abs(left[1]) in (abs(right[1]) * 100, abs(right[1]) / 100)
            )
    if left[0] != right[0]:
        return False
    return same_moment(left[1], right[1]) if left[0] == "moment" else bool(left[1] == right[1])
