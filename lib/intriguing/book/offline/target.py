"""The machine that a wheelhouse is for, and its name among those that uv knows."""

import re
from dataclasses import dataclass

from intriguing.errors import UserError

_GLIBC = (17, 28, *range(31, 41))  # the 2.x that uv has platforms for
_APPLE = {"arm64": "aarch64", "x86_64": "x86_64"}


@dataclass(frozen=True)
class Target:
    """The machine that wheels are for.

    python : CPython's version, "3.12" or "3.12.1"; without the last number, the newest is meant.
    platform : a tag such as "manylinux_2_28_x86_64": glibc 2.28 or newer.
    """

    python: str
    platform: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d+(\.\d+)?", self.python):
            raise UserError(f"{self.python!r} is not a Python version: write it as 3.12")
        if not self.triple:
            raise UserError(
                f"{self.platform!r} is not a platform: use manylinux_2_28_x86_64 for Linux with "
                "glibc 2.28 (`ldd --version` there says which; 2.17 at least) or newer, "
                "manylinux_2_28_aarch64, or macosx_14_0_arm64")

    @property
    def minor(self) -> str:
        """The version without its last number, "3.12"."""
        return ".".join(self.python.split(".")[:2])

    @property
    def newest(self) -> str:
        """The version that packages are asked about.

        uv takes 3.12 for 3.12.0, and so refuses what needs 3.12.1: the newest is what nodes have.
        """
        return self.python if self.python != self.minor else f"{self.minor}.99"

    @property
    def triple(self) -> str:
        """uv's name of the platform, "x86_64-manylinux_2_28"; "" where it knows none.

        It does not know every glibc: of those that are not newer than the target's, the newest.
        """
        tag = self.platform.replace("manylinux2014_", "manylinux_2_17_")
        if found := re.fullmatch(r"manylinux_2_(\d+)_(x86_64|aarch64)", tag):
            older = [glibc for glibc in _GLIBC if glibc <= int(found[1])]
            return f"{found[2]}-manylinux_2_{older[-1]}" if older else ""
        found = re.fullmatch(r"macosx_\d+_\d+_(x86_64|arm64)", tag)
        return f"{_APPLE[found[1]]}-apple-darwin" if found else ""

    @property
    def variables(self) -> dict[str, str]:
        """Variables that uv reads beside that name: the oldest macOS that will do."""
        found = re.match(r"macosx_(\d+)_(\d+)_", self.platform)
        return {"MACOSX_DEPLOYMENT_TARGET": f"{found[1]}.{found[2]}"} if found else {}
