"""The commands about chapters: list, run, build, publish, check."""

import argparse
import contextlib
import os
import re
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
    say,
    table,
    working,
)
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
    found = list({chapter.name: chapter for chapter in map(chapters.find, names)}.values())
    check_device(options.device)
    return [chapters.resolve(chapter, options.profile, {
        name: chapters.parse_value(chapter, name, text) for name, text in parameters})
        for chapter in found]


def overview(options: argparse.Namespace) -> int:
    """Print the chapters with what is published and built, or the parameters of one."""
    from intriguing import chapters

    if options.methods:
        return _list_methods()
    if options.chapter:
        return _list_parameters(chapters.find(options.chapter))
    from intriguing.book import pages
    from intriguing.chapters import shelves

    rows = []
    for name in chapters.names():
        shown = [_shown(pages.status(name, shelves.published()))]
        for profile in chapters.profiles():
            state = pages.status(name, shelves.built(profile), profile)
            if state.page is not None:
                shown.append(_shown(state))
        rows.append((name, shown[0] or "no", ", ".join(shown[1:]) or "-",
                     chapters.find(name).title))
    table(("chapter", "published", "in _build", "title"), rows)
    print(f"\nprofiles: {', '.join(chapters.profiles())}")
    return RIGHT


def _shown(state: Any) -> str:
    """Return "cpu 2026-11-21", with the reason if it is stale; "" where there is no page."""
    if state.page is None:
        return ""
    text = f"{state.made.get('profile', '?')} {str(state.made.get('started', ''))[:10]}".strip()
    return f"{text} (stale: {state.reason()})" if state.stale else text


def _list_methods() -> int:
    from intriguing import chapters
    from intriguing.chapters import networks
    from intriguing.methods import method

    used: dict[str, set[str]] = {name: set() for name in method.names()}
    with working():
        for one in chapters.settings("cpu"):
            for spec in networks.with_bases(networks.declared(one, resolved=False)):
                name = spec.options.method.__name__.rpartition(".")[2]
                used[name].add(one.chapter.name.partition("-")[0])
    rows = []
    for name, numbers in used.items():
        here = method.find(name)
        known = dict.fromkeys(network for ours in here.OURS.values() for network in ours)
        rows.append((name, _paper(here.cite), " ".join(sorted(numbers)) or "-", ", ".join(known)))
    table(("method", "paper", "chapters", "networks"), rows)
    return RIGHT


def _paper(key: str) -> str:
    """Return "Madry et al. 2018" for an entry of book/references.bib, "-" without one."""
    from intriguing import paths, textfiles

    text = textfiles.read(paths.book_dir() / "references.bib")
    entry = text.partition(f"{{{key},")[2].partition("\n}")[0] if key else ""
    fields = dict(re.findall(r"^\s*(author|year)\s*=\s*\{(.*)\}", entry, flags=re.MULTILINE))
    if len(fields) < 2:
        return "-"
    first, *others = fields["author"].split(" and ")
    return f"{first.partition(',')[0]}{' et al.' if others else ''} {fields['year']}"


def _list_parameters(chapter: Any) -> int:
    from intriguing import chapters

    scales = {}
    for profile in chapters.profiles():
        with contextlib.suppress(UserError):
            scales[profile] = chapters.resolve(chapter, profile).parameters
    print(f"{chapter.name}: {chapter.title}\n")
    rows = [(name, parameter.expects(), repr(parameter.default),
             *(("" if values[name] == parameter.default else repr(values[name]))
               for values in scales.values()), parameter.comment)
            for name, parameter in chapter.parameters.items() if name != "profile"]
    table(("parameter", "type", "default", *scales, "comment"), rows)
    return RIGHT


def run(options: argparse.Namespace) -> int:
    """Execute chapters onto the shelf of the profile."""
    settings = _settings(options, options.parameter)
    from intriguing.book.run import receipts, runner
    from intriguing.chapters import shelves
    from intriguing.machine import slots

    shelf = shelves.built(options.profile)

    def work(one: Any) -> str:
        name = one.chapter.name
        ran = runner.run(
            one, shelf, stream=sys.stderr, device=options.device,
            done=lambda: options.if_needed and receipts.hold(one),
            seat=lambda: slots.job(options.gpu_memory, device=options.device, say=say))
        page = shelf.page(name)
        return min(str(page), os.path.relpath(page), key=len) if ran else "up to date"

    return _each(settings, work)


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

    if options.profile:
        from intriguing import chapters

        chapters.load_profile(options.profile)
    else:
        _only_with_profile(options)
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


def _only_with_profile(options: argparse.Namespace) -> None:
    """Refuse the options that speak of running where only published pages are rendered.

    Raises
    ------
    UserError : one is given.
    """
    for name in ("jobs", "gpus", "cluster", "dry_run", "pages_only"):
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} goes with --profile: without it, build "
                            "renders what is published and runs nothing")


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
    from intriguing.errors import nearest

    if options.cluster and options.cluster not in driver.clusters():
        hint = nearest(options.cluster, driver.clusters())
        raise UserError(f"no cluster is called {options.cluster!r}: {hint}")
    driver.require()
    how = driver.How(options.jobs, options.gpus or 0, options.cluster, options.device)
    plan = workflow.plan(options.profile)
    if options.dry_run:
        return _say_pending(plan, how)
    _pass_gates_once(plan.folder)
    with working():
        failed = driver.drive(plan, how, sys.stderr)
    if failed:
        raise Failed("\n  ".join(["the book is not complete; the next call goes on from here:",
                                  *failed]))
    print(f"open {plan.folder / workflow.PAGES}")
    return RIGHT


def _say_pending(plan: Any, how: Any) -> int:
    """Print what a build would do and what its profile costs, and run nothing."""
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
    from intriguing.book.run import attest, publish
    from intriguing.machine import slots

    publish.refuse(options.profile, smoke=options.force_smoke, dirty=options.dirty)
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
