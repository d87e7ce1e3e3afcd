"""Zip archives as documents: their members are the values at a path, `items("header.json")` or `items("samples",
EACH)`.

Only one member is in memory at a time. An archive that would unpack to something huge is refused before it is unpacked,
by the sizes it declares and by its ratio, and again while a member is read, since the declared sizes may be wrong.

Left out: encrypted archives, and compressions other than deflate, whose unpacking could not be stopped in time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pivotrl_cli.errors import InputError
from pivotrl_cli.readers.document import Parsed, bad_record, parse_record
from pivotrl_cli.readers.parsing import Head
from pivotrl_cli.readers.split import EACH
from pivotrl_cli.rows import Reject, RejectReason

MAGIC = b"PK\x03\x04"
MAX_MEMBER = 256 << 20
"""Maximum bytes that one member may unpack to."""
MAX_TOTAL = 64 << 20
"""Bytes that an archive may unpack to at any ratio."""
MAX_RATIO = 200
"""Maximum bytes unpacked per byte of the archive, above `MAX_TOTAL`; logs of repetitive text reach about 20."""


class ZipDocument:
    """A zip archive."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    @cached_property
    def head(self) -> Head:
        """Names of the members, by which formats are recognised."""
        return Head("zip", dict.fromkeys(member.filename for member in self._members))

    def records(self) -> Iterator[Parsed]:
        return self._read([member for member in self._members if member.filename.endswith(".json")], 1)

    def items(self, *path: str, first: int = 1) -> Iterator[Parsed]:
        """The member at a path, or every member of a folder."""
        return self._read([member for member in self._members if _matches(member.filename, path)], first)

    def keys(self, *path: str) -> list[str]:
        """Names of the members of a folder, or of the archive."""
        return [member.filename for member in self._members if _matches(member.filename, (*path, EACH))]

    @cached_property
    def _members(self) -> list[ZipInfo]:
        try:
            with ZipFile(self.path) as archive:
                return [member for member in archive.infolist() if not member.is_dir()]
        except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise InputError(f"{self.source}: {error}", "the archive is damaged; write or download it again") from error

    def _read(self, members: list[ZipInfo], first: int) -> Iterator[Parsed]:
        total = sum(member.file_size for member in self._members)
        if total > max(MAX_TOTAL, MAX_RATIO * self.path.stat().st_size):
            yield self._too_large(0, f"the archive declares {total:,} bytes, more than {MAX_RATIO} times its own size")
            return
        with ZipFile(self.path) as archive:
            for number, member in enumerate(members, first):
                yield self._member(archive, member, number)

    def _member(self, archive: ZipFile, member: ZipInfo, number: int) -> Parsed:
        if member.file_size > MAX_MEMBER:
            return self._too_large(number, f"{member.filename} declares {member.file_size:,} bytes")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            return bad_record(self.source, number, f"{member.filename}: compression {member.compress_type} is unknown")
        try:
            with archive.open(member) as file:
                data = file.read(MAX_MEMBER + 1)
        except (BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            return bad_record(self.source, number, f"{member.filename} cannot be unpacked: {error}")
        if len(data) > MAX_MEMBER:
            return self._too_large(number, f"{member.filename} unpacks to more than {MAX_MEMBER:,} bytes")
        return parse_record(self.source, number, data)

    def _too_large(self, number: int, detail: str) -> Reject:
        return Reject(source=self.source, line=number, reason=RejectReason.TOO_LARGE, detail=detail)


def _matches(name: str, path: tuple[str, ...]) -> bool:
    parts = name.split("/")
    return len(parts) == len(path) and all(want in (EACH, part) for part, want in zip(parts, path, strict=True))
