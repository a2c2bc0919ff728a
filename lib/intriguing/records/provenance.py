"""Where a result comes from: the commit, the profile, and how both are shown on a page."""

import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yaml import YAMLError

from intriguing import paths
from intriguing.errors import UserError
from intriguing.records import parameters
from intriguing.records.values import load_yaml

# what can change a result; published pages and documentation cannot
_TRACKED = ("lib", "notebooks", "data/sources.toml", "requirements.txt", "pyproject.toml")


class Markdown(str):
    """Markdown text that notebooks display as such."""

    def _repr_markdown_(self) -> str:
        return str(self)


class Card(Markdown):
    """A run card on a notebook's page, which learns at the end how long the run took."""

    _handle: Any = None

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only a notebook calls this

        self._handle = display(_bundle(self), raw=True, display_id=True)

    def update(self, text: str) -> None:
        """Replace what is shown, if it is shown."""
        if self._handle is not None:
            self._handle.update(_bundle(text), raw=True)


def _bundle(text: str) -> dict[str, str]:
    return {"text/markdown": str(text), "text/plain": str(text)}


def duration(seconds: float | None) -> str:
    """Return "42 s", "3 min 05 s" or "2 h 10 min"."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def card(head: Mapping[str, Any]) -> Markdown:
    """Return the run card of a head as one line of Markdown (two when the numbers do not count)."""
    parts = [f"**Profile** {head['profile']}", f"**device** {head['device']}",
             f"**seeds** {_listed(head['seeds'])}", f"**started** {_when(head['started'])}"]
    if head.get("seconds") is not None:
        parts.append(f"**time** {duration(head['seconds'])}")
        if head.get("training_seconds"):
            parts.append(f"**training, counted apart** {duration(head['training_seconds'])}")
    lines = [" | ".join(parts).replace(" | ", " &middot; ")]
    if head["profile"] == "smoke":
        lines.append("**Smoke run: numbers are not comparable with the paper.**")
    if head.get("modified"):
        lines.append("**Parameters differ from the profile: numbers are those of an experiment.**")
    return Markdown("\n\n".join(lines))


def provenance(head: Mapping[str, Any], files: Sequence[str] = ()) -> Markdown:
    """Return a Markdown table of a head; `files` are Markdown links to what was written."""
    revision = "no commit known" if not head["commit"] else f"`{head['commit'][:12]}`"
    changed = ", with uncommitted changes" if head["dirty"] else ""
    rows = {
        "Chapter": head["chapter"],
        "Profile": head["profile"] + (", modified" if head["modified"] else ""),
        "Parameters": ", ".join(f"`{k} = {v!r}`" for k, v in head["parameters"].items()),
        "Seeds": _listed(head["seeds"]),
        "Started": _when(head["started"]),
        "Time": duration(head["seconds"]),
        "Training, counted apart": duration(head["training_seconds"] or None),
        "Device": head["device"],
        "Halved, for want of memory": _halved(head.get("halved", ())),
        "Versions": ", ".join(f"{k} {v}" for k, v in head["versions"].items()),
        "Commit": revision + changed,
        "Checkpoints": "<br>".join(
            f"{name}: sha256 `{sha[:16]}`" for name, sha in head["checkpoints"].items()
        ) or "none",
        "Files": "; ".join(files),
    }
    lines = [f"| {key} | {str(text).replace('|', chr(92) + '|')} |" for key, text in rows.items()
             if text not in ("", "unknown")]
    return Markdown("\n".join(["| provenance | of this run |", "|---|---|", *lines]) + "\n")


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds) or "none"


def _halved(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return "512 to 256 images (twice), 256 to 128 images" for a head's "halved"."""
    times = {1: "", 2: " (twice)"}
    return ", ".join(
        f"{row['before']:,} to {row['after']:,} {row['what']}"
        + times.get(row["times"], f" ({row['times']} times)")
        for row in rows
    )


def _when(started: str) -> str:
    """Return "2026-11-21 20:15 UTC" for an ISO time stamp."""
    return f"{started[:10]} {started[11:16]} UTC"


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: tuples become lists, numpy scalars Python numbers.

    Raises
    ------
    ValueError : NaN, infinities, or anything that is no number, text, list, dict, bool or None.
    """
    if hasattr(value, "item") and not isinstance(value, int | float) and not getattr(
        value, "shape", ()
    ):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a parameter is {value}; records hold finite numbers")
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ValueError(f"a parameter is a {type(value).__name__}; records hold plain literals")


def modified(chapter: str, profile: str, values: Mapping[str, Any]) -> bool:
    """Say whether a parameter differs from the chapter's default or, before that, its profile's.

    A source that cannot be read and a profile that nobody knows vouch for no number.
    """
    file = paths.profiles_dir() / f"{profile}.yml"
    try:
        scale = (load_yaml(file.read_text(encoding="utf-8")) or {}).get(chapter) or {}
        declared = parameters.of_chapter(chapter) or {}  # a run by hand may have no source
    except (OSError, UserError, ValueError, YAMLError, AttributeError):
        return True
    defaults = {name: parameter.default for name, parameter in declared.items()}
    expected = {**defaults, **scale, "profile": profile}
    return any(not _same(values[name], value, declared.get(name))
               for name, value in expected.items() if name in values)


def _same(value: Any, expected: Any, parameter: parameters.Parameter | None) -> bool:
    """Compare a value with its YAML form, in which 1e-3 and 8/255 are text."""
    if parameter is None:  # then the value shows what the parameter takes
        parameter = parameters.Parameter("", value, "", (type(value),))
    try:
        return value == plain(parameter.take(expected))
    except ValueError:
        return False


def commit() -> tuple[str | None, bool | None]:
    """Return (commit, whether what makes results has uncommitted changes); None outside git."""
    root = paths.root()

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True,
                              timeout=30, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *_TRACKED))
    except (OSError, subprocess.SubprocessError):
        return None, None
