"""The trained networks that a chapter needs, as its cells tagged `networks` declare them.

These cells name nothing but the chapter's parameters, `zoo` and one another, so that the workflow
can execute them alone, before the chapter runs, and train what is missing in parallel.  During a
run the zoo holds the notebook to them: see `zoo.get`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from intriguing.chapters import shelves
from intriguing.chapters.catalogue import Settings
from intriguing.chapters.fingerprint import code_cells, source_of, tags_of
from intriguing.errors import UserError

if TYPE_CHECKING:
    from intriguing.specs import Spec

TAG = "networks"


def declared(settings: Settings, *, resolved: bool = True) -> tuple["Spec", ...]:
    """Return the specs that a chapter declares with these settings, each once, in order.

    Parameters
    ----------
    resolved : fill in the hashes of the training images; False needs no images.

    Raises
    ------
    UserError : such a cell raises when it is executed without the rest of the notebook.
    """
    name = settings.chapter.name
    cells = [cell for cell in code_cells(shelves.load(settings.chapter.source))
             if TAG in tags_of(cell)]
    if not cells:
        return ()
    from intriguing import zoo  # and with it torch: only where a chapter has networks

    known = {"zoo": zoo, **settings.parameters}
    after = dict(known)
    for cell in cells:
        try:
            exec(compile(source_of(cell), f"{name}, cell tagged {TAG}", "exec"), after)
        except (Exception, SystemExit) as error:  # the latter would end the whole command, with 0
            raise UserError(
                f"a cell tagged {TAG!r} of {name} raised {type(error).__name__}: {error}; it may "
                "use the chapter's parameters, zoo and other such cells, and nothing else"
            ) from error
    after.pop("__builtins__", None)
    specs = _specs(value for key, value in after.items() if key not in known)
    return tuple(dict.fromkeys(zoo.resolve(spec) if resolved else spec for spec in specs))


def with_bases(specs: Iterable["Spec"]) -> tuple["Spec", ...]:
    """Return the specs and, before each, the networks that it is built on."""
    from intriguing import zoo

    found: list[Spec] = []
    for spec in specs:
        found += [*with_bases(zoo.parents(spec).values()), spec]
    return tuple(dict.fromkeys(found))


def _specs(values: Iterable[Any]) -> Iterator["Spec"]:
    """Yield the specs in values nested in mappings, lists, tuples and sets."""
    from intriguing.specs import Spec

    for value in values:
        if isinstance(value, Spec):
            yield value
        elif isinstance(value, Mapping):
            yield from _specs(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            yield from _specs(value)
