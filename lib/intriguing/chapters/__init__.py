"""What a chapter is: its source and parameters, where its pages stand, what they are made from."""

from intriguing.chapters.catalogue import (
    SCALES,
    Chapter,
    Settings,
    check,
    load_profile,
    parse_value,
    profiles,
    read,
    resolve,
)
from intriguing.chapters.finding import find, names, settings, strays

__all__ = [
    "SCALES", "Chapter", "Settings", "check", "find", "load_profile", "names", "parse_value",
    "profiles", "read", "resolve", "settings", "strays",
]  # fmt: skip
