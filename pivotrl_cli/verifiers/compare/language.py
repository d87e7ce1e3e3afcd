"""The words of a text that carry content, per language: what `words.toml` says, stemmed by Snowball.

The language is that of the script, or in Latin script the one with the most function words. Words are cut by the
default word boundaries of Unicode (the WORD flag of `regex`, UAX 29); Chinese and Japanese, which have no spaces, are
cut into characters after the spellings and fillers of `words.toml`.
"""

from __future__ import annotations

import tomllib
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import regex
import snowballstemmer

_STEMMERS = {"en": "english", "de": "german", "fr": "french", "es": "spanish", "ar": "arabic"}
_OTHER = {"ru": "russian", "el": "greek"}
_CHUNK = regex.compile(
    r"[#@$€£]?[+-]?\d+(?:[.,:/-]\d+)*%?|[\p{L}\p{M}\p{N}_]+(?:[-.@'][\p{L}\p{M}\p{N}_]+)*|\p{Emoji_Presentation}"
)
_ENDS = regex.compile(r"(?<!\b(?:mr|mrs|ms|dr|prof|mme|sr|sra|st|no|hr|fr))\.|[!?…。\uff01\uff1f؟:\n]", regex.I)
_LINK = regex.compile(
    r"\s*(?:[,،;/&+]|\b(?:and|or|und|oder|et|ou|y|o|و|أو|او)\b)+(?:\s|[,،;/&+]|\b(?:and|or|und|oder|et|ou|y|an?|the|der|die|das|la|le|el)\b)*",
    regex.I,
)
_HAN, _KANA = regex.compile(r"\p{Han}"), regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_CONTRACTIONS = [
    (regex.compile(r"\bwon't\b"), "will not"),
    (regex.compile(r"\bcan't\b|\bcannot\b"), "can not"),
    (regex.compile(r"n't\b"), " not"),
    (regex.compile(r"'(?:s|re|ll|ve|d|m)\b"), ""),
]
_PERCENT = regex.compile(r"%|\b(?:percent|per cent|prozent|pour cent|por ciento|بالمئة|بالمائة)\b", regex.I)
_CJK_NUMERALS = str.maketrans("一二三四五六七八九〇零", "12345678900")


class Lexicon(NamedTuple):
    """One language's lists; groups are keyed by stem."""

    function: frozenset[str]
    negation: frozenset[str]
    roles: frozenset[str]
    links: frozenset[str]
    spelled: dict[str, str]
    same: dict[str, str]
    opposites: frozenset[str]
    numbers: dict[str, str]
    months: dict[str, int]
    phrases: tuple[tuple[regex.Pattern[str], str], ...]


class Token(NamedTuple):
    """A content word: its key for comparison, the role word before it, and how it is written."""

    key: str
    role: str
    is_name: bool
    is_listed: bool
    """Whether only a comma or a conjunction stands between it and the word before."""


@cache
def _lists() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=16_384)
def _stem(word: str, language: str) -> str:
    if language == "ar":
        word = _arabic(word)
    algorithm = _STEMMERS.get(language) or _OTHER.get(language)
    return str(snowballstemmer.stemmer(algorithm).stemWord(word)) if algorithm else word


def _arabic(word: str) -> str:
    word = regex.sub(r"[\p{Mn}ـ]", "", word).translate(str.maketrans("أإآىة", "ااايه"))
    return str(regex.sub(r"^(?:و|ف)?(?:ال|لل|بال|وال|كال)(?=..)", "", word))


@cache
def lexicon(language: str) -> Lexicon:
    found = _lists().get(language, {})

    def split(key: str) -> list[str]:
        return [_arabic(w) if language == "ar" else w for w in found.get(key, "").split()]

    same: dict[str, str] = {}
    for group in found.get("same", []):
        stems = [_stem(word, language) for word in group.split()]
        for stem in stems:
            same.setdefault(stem, same.get(stems[0], stems[0]))
    pairs = [word for pair in found.get("opposites", []) for word in pair.split()]
    return Lexicon(
        frozenset(split("function")),
        frozenset(split("negation")),
        frozenset(split("roles")),
        frozenset(split("links")),
        found.get("spelled", {}),
        same,
        frozenset(_stem(word, language) for word in pairs),
        {word: str(i) for i, word in enumerate(split("numbers"))},
        {word: i for i, word in enumerate(split("months"), 1)},
        tuple(
            (regex.compile(rf"\b{regex.escape(phrase)}(?!\w)", regex.I), by)
            for phrase, by in found.get("phrases", {}).items()
        ),
    )


def language_of(*texts: str) -> str:
    """One of `words.toml`, or `""`; both texts together decide."""
    text = " ".join(side[:4_000] for side in texts)
    if _KANA.search(text):
        return "ja"
    if _HAN.search(text):
        return "zh"
    if regex.search(r"\p{Arabic}", text):
        return "ar"
    if regex.search(r"\p{Cyrillic}", text):
        return "ru"
    if regex.search(r"\p{Greek}", text):
        return "el"
    words = [word.casefold() for word in _CHUNK.findall(text)]
    scores = {
        name: sum(any(w in known for known in lexicon(name)[:3]) or w in lexicon(name).numbers for w in words)
        for name in ("en", "de", "fr", "es")
    }
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] else "en"


def plain(text: str) -> str:
    """Compatible characters, straight quotes, no emphasis marks."""
    text = unicodedata.normalize("NFKC", text).translate(str.maketrans("\u2019\u2018`\u00b4“”„«»", "''''" + '"' * 5))
    text = _PERCENT.sub(" percent ", regex.sub(r"\bNo\.\s*(?=#?\d)", "", text, flags=regex.I))
    text = "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)
    return str(
        regex.sub(
            r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)|^\s*(?:\d{1,3}[.)]|[-*•])\s+|^#+ ", "", text, flags=regex.M
        )
    )


def content(text: str, language: str) -> tuple[list[Token], int]:
    """The content words in order, and how many negations stand among them."""
    words = lexicon(language)
    raw = plain(text)
    tokens: list[Token] = []
    negations, role, starts = 0, "", True
    end = last = 0
    for pattern, by in (*words.phrases, *(_CONTRACTIONS if language == "en" else ())):
        raw = pattern.sub(by, raw)
    for found in _CHUNK.finditer(raw):
        starts = starts or _ENDS.search(raw, end, found.start()) is not None
        if _ENDS.search(raw, end, found.start()):
            role = ""
        end = found.end()
        written = found[0]
        word = written.casefold().removesuffix("'s")
        if language == "ar":
            word = _arabic(word)
        is_name = written[:1].isupper() and not starts
        starts = False
        if word in words.negation:
            negations += 1
            continue
        if word in words.roles:
            role = words.spelled.get(word, word)
            continue
        if word in words.months and (written[0].isupper() or language != "en"):
            pass
        elif word in words.function and not (is_name and language == "de" and len(word) > 4):
            continue
        is_listed = _LINK.fullmatch(raw, last, found.start()) is not None
        tokens.append(Token(_key(word, language, words), role, is_name or any(c.isdigit() for c in word), is_listed))
        role, last = "", found.end()
    return tokens, negations


def _key(word: str, language: str, words: Lexicon) -> str:
    if word in words.numbers:
        return words.numbers[word]
    if word[-1:].isdigit() or word[:1] in "#@$€£+-0123456789":
        number = word.lstrip("#").rstrip("%") if "%" not in word else word
        bare = number.lstrip("$€£")
        if regex.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", bare):
            bare = bare.replace(",", "")
        if regex.fullmatch(r"\d+\.\d+", bare):
            bare = bare.rstrip("0").rstrip(".")
        return str(regex.sub(r"(?<=\d)(?:st|nd|rd|th|er|e)$", "", bare))
    if word in words.months:
        return f"month{words.months[word]}"
    stem = _stem(word.replace("-", ""), language)
    return words.same.get(stem, stem)


# --- scripts without spaces


@cache
def _spellings(language: str) -> tuple[list[tuple[str, str]], list[str], list[str], str]:
    found = _lists()[language]
    pairs = [(word, group.split()[0]) for group in found["replace"] for word in group.split()[1:]]
    longest = sorted(pairs, key=lambda pair: -len(pair[0]))
    filler = sorted(found["function"].split(), key=len, reverse=True)
    negation = sorted(found["negation"].split(), key=len, reverse=True)
    return longest, filler, negation, found["links"].replace(" ", "")


def characters(text: str, language: str) -> tuple[str, int]:
    """The characters that carry content, in order, and how many negations stand among them."""
    longest, filler, negation, links = _spellings(language)
    text = regex.sub(r"[\s]+", "", plain(text).casefold())
    text = regex.sub(r"(?<=\d)(?:,)(?=\d{3})", "", text).translate(_CJK_NUMERALS)
    text = text.replace("両", "2").replace("十", "10") if not regex.search(r"\d十|十\d", text) else text
    for word, first in longest:
        text = text.replace(word, f"\0{first}\0") if word not in first else text
    negations = 0
    for word in negation:
        negations += text.count(word)
        text = text.replace(word, "|")
    for word in filler:
        text = text.replace(word, "")
    if language == "ja":
        text = regex.sub(r"\p{Hiragana}", "", text)
    text = regex.sub(rf"[{links}]", "&", text)
    return str(regex.sub(r"[^\p{L}\p{N}&.%]|(?<!\d)\.|\.(?!\d)", "", text)), negations


_PARTICLES = {"から": "from", "より": "from", "まで": "to", "へ": "to", "に": "to", "を": "object"}
_MARKED = regex.compile(r"([\p{Han}\p{Katakana}\p{N}ーA-Za-z]+)(から|より|まで|へ|に|を)")


def particles(text: str) -> list[tuple[str, str]]:
    """Japanese words with the particle that says their role, sorted; only those that tell a way from its reverse."""
    found = [(word, _PARTICLES[particle]) for word, particle in _MARKED.findall(plain(text))]
    return sorted((word, role) for word, role in found if role == "from")
