"""What the command `intriguing data` needs: list, fetch and verify data sets."""

from pathlib import Path

from intriguing import paths
from intriguing.data import catalog, loading
from intriguing.errors import UserError, nearest


def status() -> list[dict[str, str | int]]:
    """Return one row for each known data set; nothing is downloaded or hashed.

    Returns
    -------
    list of dict : name, title, images ("train 60000, test 10000"), classes, here (where it is; ""
        if any split is not), missing ("", "can be fetched" or "get it by hand").
    """
    rows = []
    for source in catalog.sources().values():
        places = [catalog.locate(source, split) for split in source.splits]
        complete = all(place is not None for place in places)
        otherwise = "can be fetched" if source.torchvision else "get it by hand"
        rows.append(
            {
                "name": source.name,
                "title": source.title,
                "images": ", ".join(f"{split} {n}" for split, n in source.splits.items()),
                "classes": source.classes,
                "here": str(places[0].path) if complete else "",
                "missing": "" if complete else otherwise,
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


def verify(name: str) -> dict[str, str]:
    """Check a known data set afresh: the file's checksum, then every split as it decodes.

    Returns
    -------
    dict : sha256 of the decoded content of each split.

    Raises
    ------
    UserError : the set is not here (nothing is downloaded), or the first thing that is wrong.
    """
    source = _source(name)
    for split in source.splits:
        place = catalog.locate(source, split)
        if place is None:
            folders = " or ".join(str(folder) for folder in paths.data_dirs())
            raise UserError(f"data set {name!r} ({split}) was not found in {folders}: fetch it.")
        if not place.files:
            catalog.check_file(source, place.path, again=True)
    return {split: loading.load(name, split).sha256 for split in source.splits}


def _source(name: str) -> catalog.Source:
    known = catalog.sources()
    if name not in known:
        raise UserError(f"there is no data set {name!r}: {nearest(name, known)}")
    return known[name]
