"""Pass a gate so that no file can make it fall: what a gate cannot look at is a problem itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from intriguing.book.gates.house import House, Problem, page, source

Gate = Callable[[House], Iterator[Problem]]


def passed(gate: Gate, house: House) -> list[Problem]:
    """Return what a gate finds, and where it raised, a problem of the file that made it.

    Each file is tried alone.  What the gate finds in all others is found all the same.
    """
    try:
        return list(gate(house))
    except Exception as error:  # any: the books that make a gate fall are those nobody thought of
        first = error
    left, found = house, []
    for name, where in _parts(house):
        alone = _only(house, name)
        try:
            list(gate(alone))
        except Exception as error:  # as above
            found.append(_fell(gate, where, error))
            left = _without(left, name)
    if not found:  # it takes two files to make it raise, or none
        return [_fell(gate, "the book", first)]
    try:
        return [*found, *gate(left)]
    except Exception as error:  # as above
        return [*found, _fell(gate, "the book", error)]


def _fell(gate: Gate, where: str, error: Exception) -> Problem:
    told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return Problem("error", where, f"the gate {gate.__name__} cannot look at it ({told}): restore "
                   "the file, or make it again")


def _parts(house: House) -> Iterator[tuple[str, str]]:
    """Yield (name, where) of each chapter, with all that belongs to it, and of each prose page."""
    names = house.sources.keys() | house.published.keys() | house.runs.keys()
    for name in sorted(names):
        published = name in house.published or name in house.runs
        yield name, f"{source(name)} or {page(name)}" if published else source(name)
    for file in house.pages:
        yield file, f"book/{file}"


def _kept(house: House, keep: Callable[[str], bool]) -> House:
    """Return a house with the chapters and pages whose name is kept."""
    def of(named: dict) -> dict:
        return {name: value for name, value in named.items() if keep(name)}

    return replace(
        house, sources=of(house.sources), published=of(house.published),
        chapters=of(house.chapters), runs=of(house.runs), pages=of(house.pages),
        profiles={profile: of(values) for profile, values in house.profiles.items()},
        claims=[claim for claim in house.claims if keep(claim.chapter)])


def _only(house: House, name: str) -> House:
    return _kept(house, lambda other: other == name)


def _without(house: House, name: str) -> House:
    return _kept(house, lambda other: other != name)
