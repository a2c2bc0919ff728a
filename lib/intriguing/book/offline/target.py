"""The machine that a wheelhouse is for: which wheels fit it, which conditions hold there."""

import itertools
import re
from dataclasses import dataclass
from functools import cached_property

from packaging import tags
from packaging.requirements import Requirement

from intriguing.errors import UserError

_LEGACY = {(2, 17): "2014", (2, 12): "2010", (2, 5): "1"}
_OLDEST = {"x86_64": 5, "i686": 5}  # the first glibc with manylinux wheels; 2.17 for the others


@dataclass(frozen=True)
class Target:
    """The machine that wheels are for.

    python : CPython's version, "3.12" or "3.12.1"; without the last number, any is meant.
    platform : a tag such as "manylinux_2_28_x86_64": glibc 2.28 or newer.
    """

    python: str
    platform: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d+(\.\d+)?", self.python):
            raise UserError(f"{self.python!r} is not a Python version: write it as 3.12")
        if not self.platforms:
            raise UserError(
                f"{self.platform!r} is not a platform: use manylinux_2_28_x86_64 for Linux with "
                "glibc 2.28 (`ldd --version` there says which) or newer, manylinux_2_28_aarch64, "
                "or macosx_14_0_arm64")

    @property
    def minor(self) -> str:
        """The version without its last number, "3.12"."""
        return ".".join(self.python.split(".")[:2])

    @property
    def newest(self) -> str:
        """The version that packages are asked about: the newest 3.12 where any is meant."""
        return self.python if self.python != self.minor else f"{self.minor}.99"

    @property
    def _parts(self) -> tuple[str, int, int, str]:
        """Return ("manylinux", 2, 28, "x86_64")."""
        text = self.platform
        for (major, minor), year in _LEGACY.items():
            text = re.sub(rf"^manylinux{year}_", f"manylinux_{major}_{minor}_", text)
        found = re.fullmatch(r"(manylinux|macosx)_(\d+)_(\d+)_(x86_64|i686|\w+64\w*)", text)
        return (found[1], int(found[2]), int(found[3]), found[4]) if found else ("", 0, 0, "")

    @cached_property
    def platforms(self) -> list[str]:
        """Platform tags that run there, newest first; pip compares them letter by letter."""
        kind, major, minor, machine = self._parts
        if kind == "macosx":
            return list(tags.mac_platforms((major, minor), machine))
        if kind != "manylinux" or major != 2:
            return []
        found = []
        for glibc in range(minor, _OLDEST.get(machine, 17) - 1, -1):
            found.append(f"manylinux_2_{glibc}_{machine}")
            if (2, glibc) in _LEGACY:
                found.append(f"manylinux{_LEGACY[2, glibc]}_{machine}")
        return [*found, f"linux_{machine}"] if found else []

    @cached_property
    def tags(self) -> frozenset[tags.Tag]:
        """The wheel tags that can be installed there."""
        version = tuple(map(int, self.minor.split(".")))
        interpreter = f"cp{version[0]}{version[1]}"
        return frozenset(itertools.chain(
            tags.cpython_tags(version, abis=[interpreter], platforms=self.platforms),
            tags.compatible_tags(version, interpreter, self.platforms)))

    def asks(self, requirement: Requirement, extra: str = "") -> bool:
        """Say whether a requirement's condition holds there, for the oldest or newest 3.12."""
        oldest = self.python if self.python != self.minor else f"{self.minor}.0"
        return requirement.marker is None or any(
            requirement.marker.evaluate({**self._environment(full), "extra": extra})
            for full in {oldest, self.newest})

    def _environment(self, full: str) -> dict[str, str]:
        kind, *_, machine = self._parts
        system, name = ("Darwin", "darwin") if kind == "macosx" else ("Linux", "linux")
        return {"implementation_name": "cpython", "implementation_version": full,
                "os_name": "posix", "platform_machine": machine, "platform_release": "",
                "platform_python_implementation": "CPython", "platform_system": system,
                "platform_version": "", "python_full_version": full,
                "python_version": self.minor, "sys_platform": name}
