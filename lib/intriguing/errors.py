"""Errors that are meant for the person at the keyboard, not for a debugger."""

from collections.abc import Iterable

MOST = 20  # valid names that a message lists


class UserError(Exception):
    """One clear sentence that names what was wrong and what to do about it.

    The command line prints the message on one line without a traceback.  Bad *function arguments*
    raise ValueError instead; a UserError is about the outside world: files, names, installations.
    """


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> str:
    """Return "did you mean ...?" for a misspelt `name`, or the list of valid names.

    Parameters
    ----------
    name : what was asked for.
    valid : the names that would have been accepted.
    limit : how many suggestions at most.

    Returns
    -------
    str : ``"did you mean a or b?"`` when something is close, else ``"valid names: a, b, c"``
        (the first MOST of them), else ``"there are none"``.
    """
    import difflib  # slow to import, and most commands misspell nothing

    names = sorted({str(v) for v in valid})
    folded = {v.casefold(): v for v in names}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=limit, cutoff=0.6)
    if not close and name:  # a bare prefix or fragment is a frequent way to ask: "02", "lbfgs"
        close = [key for key in folded if str(name).casefold() in key][:limit]
    if close:
        return f"did you mean {' or '.join(folded[key] for key in close)}?"
    shown, more = names[:MOST], len(names) - MOST
    rest = f" and {more} more" if more > 0 else ""
    return f"valid names: {', '.join(shown)}{rest}" if names else "there are none"
