"""What the command `intriguing data` needs: list, fetch and verify data sets."""

from pathlib import Path

from intriguing import paths
from intriguing.data import catalog, loading
from intriguing.errors import UserError, nearest


def status() -> list[dict[str, object]]:
    """Return one row for each known data set.

    Returns
    -------
    list of dict : name, title, splits ("train 60000, test 10000"), classes, state ("here", "can be
        fetched" or "missing"), where (path or ""), licence.  Nothing is downloaded or hashed.
    """
    rows = []
    for source in catalog.sources().values():
        places = [catalog.locate(source, split) for split in source.splits]
        here = places[0]
        state = "here" if all(places) else "can be fetched" if source.torchvision else "missing"
        rows.append(
            {
                "name": source.name,
                "title": source.title,
                "splits": ", ".join(f"{split} {n}" for split, n in source.splits.items()),
                "classes": source.classes,
                "state": state,
                "where": str(here.path) if here else "",
                "licence": source.licence,
            }
        )
    return rows


def fetch(name: str) -> Path:
    """Make sure that a known data set is on this machine, downloading it if possible.

    Returns
    -------
    Path : the container, or the folder that torchvision's files are in.

    Raises
    ------
    UserError : unknown name, no network, no automatic download, or a wrong checksum.
    """
    source = _source(name)
    places = [catalog.acquire(source, split) for split in source.splits]
    if not places[0].files:
        catalog.check_file(source, places[0].path)
    return places[0].path


def verify(name: str) -> list[dict[str, object]]:
    """Check a known data set afresh: the file's checksum, then each split as decoded.

    Returns
    -------
    list of dict : name, what (file name or split), ok, detail.  Nothing is downloaded.
    """
    source = _source(name)
    rows: list[dict[str, object]] = []

    def check(what: str, action) -> None:
        try:
            rows.append({"name": name, "what": what, "ok": True, "detail": action()})
        except UserError as error:
            rows.append({"name": name, "what": what, "ok": False, "detail": str(error)})

    places = {split: catalog.locate(source, split) for split in source.splits}
    first = next(iter(places.values()))
    if first is not None and not first.files:
        check(first.path.name, lambda: catalog.check_file(source, first.path, again=True))
    for split, place in places.items():
        if place is None:
            folders = " or ".join(str(folder) for folder in paths.data_dirs())
            detail = f"not found in {folders}"
            rows.append({"name": name, "what": split, "ok": False, "detail": detail})
        else:
            check(split, lambda split=split: loading.load(name, split).sha256)
    return rows


def _source(name: str) -> catalog.Source:
    known = catalog.sources()
    if name not in known:
        raise UserError(f"there is no data set {name!r}: {nearest(name, known)}")
    return known[name]
