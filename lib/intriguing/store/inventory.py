"""What is in the store: every network with its state, checked; and the way to be rid of one."""

from intriguing import paths
from intriguing.errors import UserError
from intriguing.store import checkpoints, sidecar
from intriguing.store.sidecar import DamagedError

REMEDY = "trained again when asked for; `intriguing zoo remove {key}` deletes it"
_SHOWN = ("key", "label", "train_error", "test_error", "seconds", "bytes")


def listed() -> tuple[dict, ...]:
    """Return a row for each network of the store, by label, the damaged ones last.

    Rows have "key", "label", "train_error", "test_error", "seconds", "bytes", "device" and
    "damage": "" for a sound network, else what is wrong and what to do, and all numbers are None.
    """
    rows = []
    for key in checkpoints.known():
        found, damage = _read(key)
        if found is not None:
            row = {name: found[name] for name in _SHOWN}
            rows.append(row | {"device": found["environment"]["device"], "damage": ""})
        elif damage:
            rows.append(dict.fromkeys((*_SHOWN, "device")) | {
                "key": key, "label": "", "damage": f"{damage}; {REMEDY.format(key=key[:12])}"})
    return tuple(sorted(rows, key=lambda row: (bool(row["damage"]), row["label"], row["key"])))


def verify() -> tuple[dict, ...]:
    """Check every file of the store: rows with "key", "label", "state" and "detail".

    The state is "ok", "damaged" (checksum, unreadable, a file missing), or "unfinished".  A sound
    network whose sidecar is older than the checksum of sidecars gets it, and "detail" says so: that
    nobody changed its numbers before that day is taken on trust.
    """
    rows = []
    for key in checkpoints.known():
        found, damage = _read(key)
        row = {"key": key, "label": "", "state": "ok", "detail": ""}
        if damage:
            row |= {"state": "damaged", "detail": damage}
        elif found is None:
            row |= {"state": "unfinished", "detail": "interrupted; resumes when asked for"}
        else:
            row["label"] = found["label"]
            if sidecar.SEAL not in found:
                row["detail"] = _complete(key)
        rows.append(row)
    return tuple(rows)


def remove(key: str) -> str:
    """Delete one network's files, named by its key or an unambiguous beginning of it.

    Returns the whole key.

    Raises
    ------
    UserError : no network or several begin so, or it is being trained right now.
    """
    matches = [known for known in checkpoints.known() if key and known.startswith(key)]
    if len(matches) != 1:
        found = f"{len(matches)} networks" if matches else "no network"
        raise UserError(f"{found} in {paths.zoo_dir()} with a key that begins with {key!r}")

    def give_up() -> None:
        raise UserError(f"{matches[0][:12]} is being trained by another process: not removed")

    with checkpoints.locked(matches[0], waiting=give_up):
        checkpoints.delete(matches[0])
    return matches[0]


def _read(key: str) -> tuple[dict | None, str]:
    """Return the sidecar of a sound network, None without one, and what is damaged, "" if nothing.
    """
    try:
        found = checkpoints.read(key)
    except (DamagedError, UserError) as error:
        return None, str(error)
    return (None if found is None else found[0]), ""


def _complete(key: str) -> str:
    """Write the checksum of a sidecar that has none; return what was done, in words."""
    def give_up() -> None:
        raise UserError("another process uses it")

    try:
        with checkpoints.locked(key, waiting=give_up):
            found = checkpoints.read(key)
            if found is not None:
                checkpoints.seal(key, found[0])
    except (DamagedError, UserError, OSError) as error:
        return f"its sidecar has no checksum yet, and got none: {error}"
    return "its sidecar had no checksum: it has one from today"
