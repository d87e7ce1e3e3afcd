"""Whether two URLs open the same page.

Equal are: `http` and `https`, host names in any case, a default port and none, a path with and without its last slash,
percent-encodings of the same character, parameters in any order, and any fragment that only scrolls. Parameters that
track where a visitor came from are dropped. A fragment that begins with `!` or `/` is a script's page, so it counts.

Left out: redirects, `www.`, mobile hosts and parameters that happen to change nothing.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pivotrl_cli.verifiers.compare.differences import Category, Difference, value_difference

MAX_CHARACTERS = 100_000
"""Longer ones are compared as they stand."""

_TRACKING = re.compile(r"utm_\w+|mc_[ce]id|_ga|_gl|[gy]clid|dclid|fbclid|msclkid|twclid|[gw]braid|igshid|ref_src")
_PORTS = {"http": "80", "https": "443"}
_SLASH = re.compile("%2f", re.IGNORECASE)
_IS_URL = re.compile(r"\s*https?://", re.IGNORECASE)


def is_url(value: object) -> bool:
    """Whether a value looks like the address of a page."""
    return isinstance(value, str) and _IS_URL.match(value) is not None


def url_difference(expected: str, actual: str) -> Difference | None:
    """Whether two URLs name one page."""
    if expected.strip() == actual.strip() or normal_url(expected) == normal_url(actual):
        return None
    return value_difference(Category.URL_DIFFERENT, expected, actual)


def normal_url(url: str) -> str:
    """One spelling for all URLs of a page; other texts stay as they are.

    >>> normal_url("HTTP://Example.com:80/a/?utm_source=x&b=2&a=1#top")
    '//example.com/a?a=1&b=2'
    """
    url = url.strip()
    if len(url) > MAX_CHARACTERS:
        return url
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1_000)
        kept = sorted((key, value) for key, value in pairs if not _TRACKING.fullmatch(key))
        query = "?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in kept) if kept else ""
        decoded = unquote(_SLASH.sub("%252F", parts.path))  # an encoded slash does not separate
        path = quote(decoded, safe="/:@!$&'()*+,;=-._~").rstrip("/")
    except ValueError:  # no address at all, or one that cannot be encoded
        return url
    route = f"#{parts.fragment}" if parts.fragment[:1] in ("!", "/") else ""
    scheme, host = parts.scheme.lower() or "https", parts.netloc.casefold()
    if scheme in _PORTS:
        host = host.removesuffix(f":{_PORTS[scheme]}").removesuffix(":").removesuffix(".")
    else:
        host = f"{scheme}:{host}"
    return f"//{host}{path}{query}{route}"


IS_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]{1,15}://\S+\s*$", re.IGNORECASE)


def same_address(expected: str, actual: str) -> bool:
    """Whether two URLs are one resource (RFC 3986, section 6): also by scheme, last slash, fragment and tracking."""
    return _normal_address(expected) == _normal_address(actual)


_SCHEME_OPTIONAL = re.compile(
    r"scheme\b.{0,20}(?:left out|optional|omitted)|with or without (?:the )?(?:scheme|https?)", re.I
)


def full_address(text: str, about: str) -> str:
    """An address with its scheme, where the words of the schema allow to leave it out."""
    return f"https://{text.strip()}" if "://" not in text and _SCHEME_OPTIONAL.search(about) else text


def _normal_address(url: str) -> tuple[str, ...]:
    url = url.strip()
    if len(url) > MAX_CHARACTERS:
        return (url,)
    try:
        parts = urlsplit(url)
        pairs = sorted(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1_000), key=lambda pair: pair[0])
        query = [f"{key}={value}" for key, value in pairs]
        user, at, host = parts.netloc.rpartition("@")
        scheme = parts.scheme.lower()
        host = host.casefold().removesuffix(f":{_PORTS.get(scheme, '')}")
        path = unquote(_SLASH.sub("%252F", parts.path))
        return scheme, user + at + host, path or "/", *query, "#" + unquote(parts.fragment)
    except ValueError:
        return (url,)
