"""The directory of tokens: file format, builder, reader, delta, screen, intersection."""

from contactsync.directory.build import build
from contactsync.directory.format import DataFile, DirectoryInfo, Values, slot_bits_for, truncate
from contactsync.directory.match import match
from contactsync.directory.ranges import RangeMatch, RangeReader
from contactsync.directory.reader import Directory, open_directory

__all__ = [
    "DataFile",
    "Directory",
    "DirectoryInfo",
    "RangeMatch",
    "RangeReader",
    "Values",
    "build",
    "match",
    "open_directory",
    "slot_bits_for",
    "truncate",
]
