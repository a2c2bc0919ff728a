"""What a chapter is: its source and parameters, where its pages stand, what they are made from."""

from intriguing.chapters.catalogue import (
    SCALES,
    Chapter,
    Settings,
    check,
    find,
    load_profile,
    names,
    parse_value,
    profiles,
    read,
    resolve,
    settings,
)

__all__ = [
    "SCALES", "Chapter", "Settings", "check", "find", "load_profile", "names", "parse_value",
    "profiles", "read", "resolve", "settings",
]  # fmt: skip
