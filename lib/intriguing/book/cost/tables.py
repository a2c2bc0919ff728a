"""A plan in words: a table for the terminal, and the tables of the book's page on cost."""

from collections.abc import Iterable, Sequence

from intriguing.book.cost import machine
from intriguing.book.cost.estimate import Plan, Row
from intriguing.book.cost.machine import Span
from intriguing.book.cost.schedule import Job, critical_path, makespan
from intriguing.errors import UserError

DEVICES = (1, 8, 64)
NEARLY = 1.01  # a plan stops scaling where its time is within a hundredth of the longest chain
_CHAPTERS = ("chapter", "networks", "training", "recorded run", "work", "on the CPU", "on a GPU",
             "disk")
_DEVICES = ("GPUs", "time", "efficiency")


def report(plan: Plan) -> str:
    """Return the plan as text for a terminal."""
    return "\n".join([
        f"What the profile {plan.profile} costs from an empty zoo, on one device. The time on the "
        "CPU is that of a", "recorded run times the work; the time on a GPU is arithmetic with "
        "assumptions, not measured:", "from a GPU used well to one used badly (book/cost.md).", "",
        *_columns((_CHAPTERS, *_rows(plan))), "", *_columns((_DEVICES, *_scaling(plan))), "",
        *_remarks(plan)])


def fill(page: str, plan: Plan) -> str:
    """Return a page with its placeholders filled, from `<!-- cost: chapters -->` on.

    Raises
    ------
    UserError : a placeholder is not there, or there twice.
    """
    rows = [(row[0].partition("-")[0], *row[1:]) for row in _rows(plan)]  # "03": narrow cells
    parts = {
        "chapters": _table((_CHAPTERS, *rows)), "devices": _table((_DEVICES, *_scaling(plan))),
        "remarks": "\n".join(f"- {line}" for line in _remarks(plan)),
        "assumptions": _table((("assumption", "used badly", "used well", "why"),
                               *machine.ASSUMED))}
    for name, text in parts.items():
        place = f"<!-- cost: {name} -->"
        if page.count(place) != 1:
            raise UserError(f"the page on cost needs the line {place} once, and has it "
                            f"{page.count(place)} times")
        page = page.replace(place, text)
    return page


def stops(jobs: Sequence[Job]) -> int:
    """Return the smallest number of devices that nearly reach the longest chain of jobs."""
    least = NEARLY * sum(job.seconds for job in critical_path(jobs))
    return next(n for n in range(1, len(jobs) + 1) if makespan(jobs, n) <= least)


def _rows(plan: Plan) -> list[tuple[str, ...]]:
    """Return the cells of the chapters' table, the total last."""
    cpu = [_on_cpu(row, plan.rate) for row in plan.rows]
    known = "all" if not plan.unknown else f"all but {len(plan.unknown)}"
    total = (known, str(sum(row.networks for row in plan.rows)),
             _flops(sum(row.flops for row in plan.rows)), "", "",
             "?" if None in cpu else _time(sum(cpu)), _span(plan.gpu), _bytes(plan.disk))
    return [*(_row(row, plan.rate) for row in plan.rows), total]


def _row(row: Row, rate: float | None) -> tuple[str, ...]:
    """Return the cells of one chapter: its new networks and its run together."""
    run = f"{row.basis.seconds:.0f} s, {row.basis.profile}" if row.basis else row.missing
    if row.basis and not row.basis.device.startswith("cpu"):
        run += " on a GPU"
    seconds = _on_cpu(row, rate)
    return (row.chapter, str(row.networks), _flops(row.flops), run,
            "" if row.ratio is None else f"x {_figures(row.ratio)}",
            "?" if seconds is None else _time(seconds),
            "?" if row.gpu is None else _span(row.training + row.gpu),
            _bytes(row.disk + sum(row.data.values())))


def _on_cpu(row: Row, rate: float | None) -> float | None:
    """Return the seconds of a chapter's run and its new trainings on the CPU."""
    known = row.cpu is not None and (rate is not None or not row.flops)
    return row.cpu + (row.flops / rate if row.flops else 0) if known else None


def _scaling(plan: Plan) -> list[tuple[str, ...]]:
    """Return for each number of devices the time and the efficiency, well to badly used."""
    rows = []
    for devices in DEVICES:
        span = Span(*(makespan(jobs, devices) for jobs in (plan.well, plan.badly)))
        shares = sorted((plan.gpu.well / span.well, plan.gpu.badly / span.badly))
        rows.append((str(devices), _span(span), _ends([f"{s / devices:.0%}" for s in shares])))
    return rows


def _remarks(plan: Plan) -> list[str]:
    """Return what the tables do not say: where scaling stops, and what is left out."""
    chain = critical_path(plan.badly)
    length = Span(*(sum(job.seconds for job in critical_path(jobs))
                    for jobs in (plan.well, plan.badly)))
    most = _ends([str(n) for n in sorted({stops(plan.well), stops(plan.badly)})])
    longest = max(chain, key=lambda job: job.seconds)
    trained = sum(job.name.startswith("train ") for job in plan.well)
    lines = [
        f"{len(plan.well)} jobs: {trained} trainings, {len(plan.well) - trained - 1} chapters and "
        "the pages.",
        f"More than {most} GPUs save nothing: no number of them is faster than the longest chain "
        f"of jobs, {_span(length)}.",
        f"That chain is {', then '.join(_shown(job) for job in chain)}; {_shown(longest)} alone "
        f"is {longest.seconds / length.badly:.0%} of it."]
    if plan.rate is not None:
        lines.append(f"Trainings on the CPU are taken at {plan.rate / 1e9:.0f} GFLOP/s, which the "
                     "recorded ones reached.")
    on_gpu = [row.chapter for row in plan.rows
              if row.basis and not row.basis.device.startswith("cpu")]
    lines.append(f"Recorded on a GPU: {', '.join(on_gpu)}; all other times on one are arithmetic."
                 if on_gpu else
                 "No run on a GPU is on record: every time on one is arithmetic, nothing measured.")
    if plan.unknown:
        why = {row.chapter: row.missing for row in plan.rows}
        listed = ", ".join(f"{name} ({why[name]})" for name in plan.unknown)
        lines.append(f"**Left out**: the runs of {listed} are in no sum, so that all sums are too "
                     "small.")
    lines.append("A network that several chapters need counts for the first of them, a data set "
                 "once in the total.")
    return lines


def _shown(job: Job) -> str:
    """Return the name of a job without the key that tells like ones apart."""
    return job.name.rpartition(" ")[0] if job.name.startswith("train ") else job.name


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with the cells of each column below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows]


def _table(rows: Sequence[Iterable[str]]) -> str:
    """Return a Markdown table whose first row is its head."""
    head, *rest = (list(row) for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest))


def _figures(value: float) -> str:
    """Return two figures of a number, without an exponent."""
    if value >= 10:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _time(*seconds: float) -> str:
    """Return "3.2 to 4.5 h": the ends of a span of time in the unit that fits the larger."""
    size, unit = next((size, unit) for size, unit in ((3600, "h"), (60, "min"), (1, "s"))
                      if max(seconds) >= size or size == 1)
    return f"{_ends([_figures(one / size) for one in seconds])} {unit}"


def _span(span: Span) -> str:
    return _time(span.well, span.badly)


def _ends(ends: Sequence[str]) -> str:
    """Return "a to b", or "a" where both ends look the same."""
    return ends[0] if len(set(ends)) == 1 else " to ".join(ends)


def _flops(flops: float) -> str:
    """Return "21 PFLOP", or "850 TFLOP"."""
    if not flops:
        return "none"
    return f"{_figures(flops / 1e15)} PFLOP" if flops >= 1e15 else f"{_figures(flops / 1e12)} TFLOP"


def _bytes(size: float) -> str:
    return f"{_figures(size / 1e9)} GB" if size >= 1e9 else f"{_figures(size / 1e6)} MB"
