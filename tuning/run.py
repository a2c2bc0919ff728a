"""Train again what was tried for a method, and print what was recorded beside what comes now.

    python tuning/run.py szegedy                       lists the rows of szegedy.csv
    python tuning/run.py szegedy --row 4 5             trains two of them
    python tuning/run.py szegedy --all --out again.csv

The zoo trains: it resumes what was interrupted, and has what is done.  Errors and shares of a row
are measured on its held-out images; README.md says what the columns mean.  The record is never
written: measured numbers go to the file that --out names.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from intriguing import data, evaluate, zoo
from intriguing.attacks import transfer
from intriguing.errors import UserError, nearest
from intriguing.records import files
from intriguing.specs import Spec
from intriguing.training.loop import Log

HERE = Path(__file__).resolve().parent
MEASURED = ("train_error", "held_out_error", "robust_share", "clean_share", "seconds")
NAMED = ("row", "network", "dataset", "split", "held_out", "seed")  # of a measured row
STEPS, ATTACKED = 20, 500  # of PGD; how many of the held-out images it attacks
Row = dict[str, str]


def methods() -> list[str]:
    """Return the methods that have a record."""
    return sorted(file.stem for file in HERE.glob("*.csv"))


def read(method: str) -> list[Row]:
    """Return the record of a method, with the number of each row, counted from 1."""
    if method not in methods():
        raise UserError(f"no record of {method!r}: {nearest(method, methods())}")
    with (HERE / f"{method}.csv").open(newline="", encoding="utf-8") as file:
        return [{"row": str(n), **cells} for n, cells in enumerate(csv.DictReader(file), 1)]


def spec(method: str, row: Row) -> Spec:
    """Return the spec of the network of a row; UserError where it is not repeatable."""
    if not row["options"]:
        raise UserError(f"row {row['row']} of {method} cannot be run again: {row['note']}")
    try:
        return zoo.spec(method, row["network"], row["dataset"], split=row["split"],
                        seed=int(row["seed"]), **json.loads(row["options"]))  # fmt: skip
    except (ValueError, TypeError) as error:
        raise UserError(f"row {row['row']} of {method}: {error}") from error


def chosen(method: str, rows: Sequence[Row], numbers: Sequence[int], every: bool) -> list[Row]:
    """Return the rows of these numbers, or every one that is repeatable."""
    if every:
        return [row for row in rows if row["options"]]
    for number in numbers:
        if not 1 <= number <= len(rows):
            raise UserError(f"{method} has rows 1 to {len(rows)}, not {number}")
    return [rows[number - 1] for number in numbers]


def measure(spec: Spec, row: Row, log: Log) -> dict[str, float]:
    """Train the network of a row, if the zoo has it not, and return {column: number}."""
    held = data.load(row["dataset"], row["held_out"])  # before the training, lest it be missing
    model = zoo.get(spec, log=log)
    device, info = next(model.parameters()).device, model.zoo_info
    x, y = held.x.to(device), held.y.to(device)

    def share(x, y) -> float:
        return evaluate.correct(model, x, y).double().mean().item()

    found = {
        "train_error": 100 * info["train_error"],
        "held_out_error": 100 * (1 - share(x, y)),
        "seconds": info["seconds"] + sum(one["seconds"] for one in info["parents"].values()),
    }
    if row.get("radius"):
        x, y = x[:ATTACKED], y[:ATTACKED]
        attacked = transfer.pgd(model, x, y, eps=float(row["radius"]), steps=STEPS)
        found |= {"robust_share": share(attacked.x_adv, y), "clean_share": share(x, y)}
    return found


def shown(row: Row) -> str:
    """Return a line about a row: what is trained, and what was recorded."""
    recorded = "  ".join(f"{name} {row[name]}" for name in MEASURED if row.get(name))
    mark, what = "*" if row["chosen"] else " ", row["options"] or row["note"]
    return f"{row['row']:>3}{mark} {row['network']} seed {row['seed'] or '?'}  {what}  {recorded}"


def compared(row: Row, found: dict[str, float]) -> str:
    """Return a line for each number: recorded beside measured."""
    lines = (f"     {name:<14}  recorded {row.get(name) or '-':<11}  measured {found[name]:.4g}"
             for name in MEASURED if name in found)  # fmt: skip
    return "\n".join(lines)


def write(file: Path, rows: Sequence[dict]) -> None:
    """Write what was measured, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*NAMED, *MEASURED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(file, text.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("method", help=f"one of {', '.join(methods())}")
    parser.add_argument("--row", type=int, nargs="+", default=[], metavar="N", help="these rows")
    parser.add_argument("--all", action="store_true", help="every row that is repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write what is measured to a CSV")
    given = parser.parse_args(arguments)
    try:
        rows = read(given.method)
        if given.out and given.out.resolve().parent == HERE:
            raise UserError(f"{given.out} would stand among the records: choose another folder")
        wanted = [(row, spec(given.method, row))
                  for row in chosen(given.method, rows, given.row, given.all)]  # fmt: skip
        if not wanted:
            print(*map(shown, rows), sep="\n")
        done = []
        for row, one in wanted:
            print(shown(row), flush=True)
            found = measure(one, row, lambda line: print(f"     {line}", file=sys.stderr))
            print(compared(row, found), flush=True)
            done.append({**{name: row[name] for name in NAMED}, **found})
            if given.out:
                write(given.out, done)
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run.py: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
