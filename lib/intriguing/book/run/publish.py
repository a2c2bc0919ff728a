"""Move a chapter into the book: reuse a run that still holds, carry prose, or execute it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from intriguing.book import pages
from intriguing.book.run import kernel, receipts, runner
from intriguing.chapters import Settings, placing, shelves
from intriguing.errors import UserError
from intriguing.records import provenance


def refuse(profile: str, *, smoke: bool, dirty: bool) -> None:
    """Refuse to publish what nobody could repeat or compare.

    Raises
    ------
    UserError : a smoke run (unless `smoke`), or a tree with uncommitted changes or no commit at all
        (unless `dirty`).
    """
    if profile == "smoke" and not smoke:
        raise UserError("a smoke run is not published, its numbers are not comparable: choose "
                        "another profile, or insist with --force-smoke")
    commit, changed = provenance.commit()
    if dirty or (commit and not changed):
        return
    what = "the working tree has uncommitted changes" if commit else \
        "this is not a git checkout, so the pages could not name a commit"
    raise UserError(f"{what}: commit first, or insist with --dirty")


def publish(
    settings: Settings, *, force: bool, stream: TextIO, device: str | None,
    seat: Callable[[], AbstractContextManager] = nullcontext,
) -> str:
    """Put a chapter into `book/` at the cost that it takes; return what was done, in words.

    A published page whose code and parameters still hold, and whose results are those of its run,
    only gets the source's prose.  A run of the same profile in `_build` that holds in everything,
    library included, and was made from a clean commit is copied.  Else the chapter is executed.

    Parameters are those of `runner.run`; `force` executes the chapter in any case.

    Raises
    ------
    RunError : the chapter failed; the published page stays as it was.
    """
    name, profile = settings.chapter.name, settings.profile
    if not force and not settings.overrides:
        state = pages.status(name, shelves.published(), profile)
        wrong = placing.differences(state.made, shelves.published().results / name)
        for what in wrong[:3]:
            print(f"{name}: published results: {what}", file=stream, flush=True)
        if not state.stale and not wrong and state.made.get("profile") == profile:
            return _carry(state)
        with runner.turn(settings, stream):
            ready = pages.status(name, shelves.built(profile), profile)
            if receipts.hold(settings) and ready.made.get("dirty") is False:
                page = pages.carried(ready)
                with kernel.uninterrupted():
                    results = shelves.built(profile).results / name
                    placing.place(page, results, shelves.published(), name)
                return f"taken from the run of {ready.made['started'][:10]} in _build/{profile}"
    runner.run(settings, shelves.published(), stream=stream, device=device, seat=seat)
    return "executed"


def _carry(state: pages.Status) -> str:
    """Write the source's prose into the published page, if it differs."""
    if not state.prose:
        return "up to date, nothing to do"
    with kernel.uninterrupted():
        placing.rewrite(pages.carried(state), shelves.published(), state.chapter)
    return "code and parameters unchanged: prose carried over, nothing executed"
