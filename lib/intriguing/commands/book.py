"""The commands about chapters: run, build, publish, check."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from intriguing.commands.common import (
    FAILED,
    RIGHT,
    Failed,
    check_device,
    complain,
    refuse_unread,
    say,
    working,
)
from intriguing.commands.listing import name_strays
from intriguing.errors import UserError


def _settings(options: argparse.Namespace, parameters: Iterable[Sequence[str]] = ()) -> list:
    """Return the checked settings of all chapters that the command names, before anything runs.

    Raises
    ------
    UserError : unknown chapter, profile, parameter or device, or a value of a wrong type.
    """
    from intriguing import chapters

    chapters.load_profile(options.profile)
    names = chapters.names() if "all" in options.chapter else options.chapter
    if "all" in options.chapter:
        name_strays()
    found = list({chapter.handle: chapter for chapter in map(chapters.find, names)}.values())
    check_device(options.device)
    return [chapters.resolve(chapter, options.profile, {
        name: chapters.parse_value(chapter, name, text) for name, text in parameters})
        for chapter in found]


def run(options: argparse.Namespace) -> int:
    """Execute chapters onto the shelf of the profile."""
    settings = _settings(options, options.parameter)
    from intriguing.book.run import receipts, runner
    from intriguing.chapters import shelves
    from intriguing.machine import slots

    for one in settings:
        if one.chapter.foreign and options.if_needed:
            raise UserError(f"--if-needed goes with chapters of the book, and {one.chapter.source} "
                            "is none: leave it out")
    _mend(shelves.built(options.profile))

    def work(one: Any) -> str:
        name, handle = one.chapter.name, one.chapter.handle
        shelf = shelves.built(options.profile)
        if one.chapter.foreign:
            shelf = shelves.coursework(options.profile, handle)
            say(f"{name}: {one.chapter.source}, no chapter of this book: its page and results get "
                "a place of their own")
            _mend(shelf)
        ran = runner.run(
            one, shelf, stream=sys.stderr, device=options.device,
            done=lambda: options.if_needed and receipts.hold(one),
            seat=lambda: slots.job(options.gpu_memory, device=options.device, say=say))
        page = shelf.page(name)
        return min(str(page), os.path.relpath(page), key=len) if ran else "up to date"

    return _each(settings, work)


def _mend(*places: Any) -> None:
    """Put right what killed commands left half done on shelves, and say what it was."""
    from intriguing.chapters import placing

    with working():
        for shelf in places:
            for line in placing.mend(shelf):
                say(line)


def _each(settings: list, work: Callable[[Any], str]) -> int:
    """Do `work` for every chapter; a failed one does not keep the others from running."""
    failed = []
    for one in settings:
        try:
            with working():
                print(f"{one.chapter.name}: {work(one)}", flush=True)
        except Failed as error:
            failed.append(one.chapter.name)
            complain(str(error), FAILED)
    if len(failed) > 1:
        complain(f"{len(failed)} of {len(settings)} chapters failed: {', '.join(failed)}", FAILED)
    return FAILED if failed else RIGHT


def build(options: argparse.Namespace) -> int:
    """Pass the gates, bring networks and chapters up to date, and render the pages."""
    if options.pages_only and options.dry_run:
        raise UserError("--pages-only renders and --dry-run does nothing: choose one")
    if options.profile and not options.pages_only:
        return _drive(options)
    from intriguing import paths
    from intriguing.book.build import sources
    from intriguing.book.build.workflow import RENDERED
    from intriguing.book.pages import site
    from intriguing.chapters import shelves

    if options.profile:
        from intriguing import chapters

        refuse_unread(options, ("jobs", "gpus", "cluster", "device"),
                      "is for jobs, and --pages-only has none")
        chapters.load_profile(options.profile)
    else:
        refuse_unread(options, ("jobs", "gpus", "cluster", "device", "dry_run", "pages_only"),
                      "goes with --profile: without it, build renders what is published and runs "
                      "no chapter")
        _mend(shelves.published())
        _pass_gates()
    site.require()
    with working():
        before = sources.saved()
        page = site.build(options.profile, say)
        while options.pages_only and sources.saved() != before:
            say("something was saved meanwhile: rendering again")  # else the pages would lack it
            before = sources.saved()
            page = site.build(options.profile, say)
    if options.pages_only:
        (paths.build_dir(options.profile) / RENDERED).touch()
    else:
        print(f"open {page}")
    return RIGHT


def _pass_gates() -> None:
    if _gates(strict=False) != RIGHT:
        raise Failed("nothing was built, because a gate failed")


def _pass_gates_once(folder: Path) -> None:
    """Pass the gates unless they have passed since anything they look at was saved."""
    from intriguing.book.build import sources

    passed, now = folder / "gates", repr(sorted(sources.saved()))
    if not passed.is_file() or passed.read_text(encoding="utf-8") != now:
        _pass_gates()
        folder.mkdir(parents=True, exist_ok=True)
        passed.write_text(now, encoding="utf-8")


def _drive(options: argparse.Namespace) -> int:
    """Let the workflow make what is missing or stale at a profile, its pages last."""
    check_device(options.device, here=not options.cluster)
    from intriguing.book.build import driver, workflow
    from intriguing.chapters import shelves
    from intriguing.errors import nearest

    if options.cluster and options.cluster not in driver.clusters():
        hint = nearest(options.cluster, driver.clusters())
        raise UserError(f"no cluster is called {options.cluster!r}: {hint}")
    driver.require()
    how = driver.How(options.jobs, options.gpus or 0, options.cluster, options.device)
    plan = workflow.plan(options.profile)
    if options.dry_run:
        return _say_pending(plan, how)
    _mend(shelves.published(), shelves.built(options.profile))
    _pass_gates_once(plan.folder)
    with working():
        failed = driver.drive(plan, how, sys.stderr)
    if failed:
        raise Failed("\n  ".join(["the book is not complete; the next call goes on from here:",
                                  *failed]))
    print(f"open {plan.folder / workflow.PAGES}")
    return RIGHT


def _say_pending(plan: Any, how: Any) -> int:
    """Print what a build would do and what its profile costs; run no chapter, train no network."""
    from intriguing.book import cost
    from intriguing.book.build import driver

    words = {"train": lambda key: f"train {plan.label(key)}", "chapter": lambda name: f"run {name}",
             "pages": lambda _: "render the pages"}
    try:
        pending = [words[rule](which) for rule, which in driver.pending(plan, how)]
        print("\n".join(pending) if pending else "nothing to do: everything is up to date")
    except UserError as error:  # data that are not here, say: the cost can be told without them
        print(f"what would run is not known: {error}")
    print(f"\n{cost.tell(plan.profile)}")
    return RIGHT


def publish(options: argparse.Namespace) -> int:
    """Put chapters into the book."""
    settings = _settings(options)
    if options.attest:
        refuse_unread(options, ("force", "device"), "is for a run, and --attest runs at smoke, on "
                      "the CPU")
    from intriguing.book.run import attest, publish
    from intriguing.chapters import shelves
    from intriguing.machine import slots

    for one in settings:
        if one.chapter.foreign:
            raise UserError(f"{one.chapter.source} is not published: it is no chapter of this book")
    publish.refuse(options.profile, smoke=options.force_smoke, dirty=options.dirty)
    _mend(shelves.published(), shelves.built(options.profile))
    if options.attest:
        return _each(settings, lambda one: attest.attest(one, say))
    return _each(settings, lambda one: publish.publish(
        one, force=options.force, stream=sys.stderr, device=options.device,
        seat=lambda: slots.job(device=options.device, say=say)))


def check(options: argparse.Namespace) -> int:
    """Pass the gates and say what they found."""
    return _gates(options.strict, quiet=False)


def _gates(strict: bool, quiet: bool = True) -> int:
    """Run the gates and print their problems; quiet leaves notes and success out."""
    from intriguing import paths
    from intriguing.book.gates import checks

    problems = checks.run_checks(paths.root(), strict=strict)
    shown = [problem for problem in problems if not (quiet and problem.level == "note")]
    for problem in shown:
        print(f"{problem.level}: {problem.where}: {problem.what}",
              file=sys.stderr if quiet else sys.stdout)
    errors = sum(problem.level == "error" for problem in problems)
    if not quiet:
        print(f"{errors} errors, {len(problems) - errors} remarks" if problems else
              "all gates passed")
    return FAILED if errors else RIGHT
