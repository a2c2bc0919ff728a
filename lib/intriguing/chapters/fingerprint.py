"""What a published page was made from: hashes of code, parameters and library modules.

Hashes are of syntax trees, so comments and layout do not count.  Notebooks are plain mappings (the
JSON of the file, or nbformat's nodes); nothing here imports Jupyter or torch, or runs any code.
"""

import ast
import copy
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intriguing.chapters import imports

PARAMETERS, INJECTED = "parameters", "injected-parameters"


@dataclass(frozen=True)
class Freshness:
    """What changed since a page was made: True, or a module in the list, means changed.

    `modules` names the library modules whose code differs, or that came or went.
    """

    code: bool
    parameters: bool
    modules: list[str] = field(default_factory=list)
    prose: bool = False

    @property
    def stale(self) -> bool:
        """Whether the page must be executed again: its code or its parameters changed."""
        return self.code or self.parameters


# ---------------------------------------------------------------- notebooks as mappings


def source_of(cell: Mapping[str, Any]) -> str:
    """Return the text of a cell, which JSON may hold as a list of lines."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def tags_of(cell: Mapping[str, Any]) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.get("metadata", {}).get("tags", []))


def code_cells(nb: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the code cells of a notebook, without those that papermill injected."""
    return [c for c in nb["cells"] if c.get("cell_type") == "code" and INJECTED not in tags_of(c)]


def _parse(text: str) -> ast.Module | str:
    """Return the tree of a cell, IPython lines (%, !) at its end; broken code stays text."""
    lines = text.splitlines()
    magic = [line.strip() for line in lines if line.lstrip().startswith(("%", "!"))]
    try:
        tree = ast.parse("\n".join(x for x in lines if not x.lstrip().startswith(("%", "!"))))
    except SyntaxError:
        return text
    tree.body += [ast.Expr(ast.Constant(line)) for line in magic]
    return tree


# ---------------------------------------------------------------- hashes


def code_hash(nb: Mapping[str, Any]) -> str:
    """Return the hash of a notebook's code: all cells, of the parameters cell only the names."""
    return _code_hash(tuple((source_of(cell), PARAMETERS in tags_of(cell))
                            for cell in code_cells(nb)))


@functools.lru_cache(maxsize=128)  # a page that is fresh has the code of its source
def _code_hash(cells: tuple[tuple[str, bool], ...]) -> str:
    """Return the hash of cells, given as (text, whether it is the parameters cell)."""
    parts = []
    for text, parameters in cells:
        if parameters:
            parts.append("parameters:" + ",".join(sorted(_assigned(text))))
        elif text.strip():
            tree = _parse(text)
            parts.append(tree if isinstance(tree, str) else imports.tree_text(tree))
    return imports.digest("\n".join(parts))


def _assigned(text: str) -> Iterator[str]:
    """Yield the names that a parameters cell assigns."""
    tree = _parse(text)
    for node in tree.body if isinstance(tree, ast.Module) else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def params_hash(parameters: Mapping[str, Any]) -> str:
    """Return the hash of parameter values; 1 and 1.0, lists and tuples are the same."""
    return imports.digest(json.dumps(_canonical(parameters), sort_keys=True, allow_nan=False))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def module_hashes(
    nb: Mapping[str, Any], package: Path | None = None, families: Iterable[str] = ()
) -> dict[str, str]:
    """Return {module: hash of its code without docstrings} for what a notebook imports itself.

    Imports are followed statically, by the names in use, and end at the zoo; see `imports`.

    Parameters
    ----------
    package : the folder of the package; None: the one this file belongs to.
    families : the modules of the architectures of the chapter's networks.
    """
    found = imports.modules(_trees(nb), package, families)
    return {name: module.digest for name, module in found.items()}


def module_files(nb: Mapping[str, Any], families: Iterable[str] = ()) -> list[Path]:
    """Return the files of the modules that `module_hashes` looks at."""
    return [module.file for module in imports.modules(_trees(nb), also=families).values()]


def _trees(nb: Mapping[str, Any]) -> list[ast.Module]:
    """Return the syntax tree of a notebook's code, as one: names bound in a cell hold in all."""
    parsed = [_parse(source_of(cell)) for cell in code_cells(nb)]
    body = [node for tree in parsed if isinstance(tree, ast.Module) for node in tree.body]
    return [ast.Module(body, [])]


# ---------------------------------------------------------------- comparing page and source


def state(
    published_nb: Mapping[str, Any],
    source_nb: Mapping[str, Any],
    profile_params: Mapping[str, Any],
    package: Path | None = None,
) -> Freshness:
    """Compare a published page with its source, its profile and the library as they are now.

    Parameters
    ----------
    profile_params : all parameters that a run at the page's profile would get now.
    package : see :func:`module_hashes`.

    A page that remembers nothing counts as stale.
    """
    made = published_nb.get("metadata", {}).get("intriguing", {})
    now, then = module_hashes(source_nb, package, made.get("families", ())), made.get("modules", {})
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    code = made.get("code") != code_hash(source_nb)
    return Freshness(
        code=code,
        parameters=made.get("params") != params_hash(profile_params),
        modules=changed,
        prose=_prose(published_nb) != _prose(source_nb),
    )


def _prose(nb: Mapping[str, Any]) -> list[tuple]:
    """Return all of a notebook that shows and is not output: text, comments, captions, tags."""
    shown = []
    for cell in nb["cells"]:
        if INJECTED in tags_of(cell):
            continue
        metadata = {k: v for k, v in cell.get("metadata", {}).items()
                    if k not in ("papermill", "execution") and v not in ([], {})}
        shown.append((cell.get("cell_type"), source_of(cell), json.dumps(metadata, sort_keys=True)))
    return shown


def carry_prose(published_nb: Mapping[str, Any], source_nb: Mapping[str, Any]) -> Any:
    """Return the source's text, comments and captions with the published page's outputs.

    Neither argument changes.  What papermill injected keeps its place behind the parameters.

    Raises
    ------
    ValueError : the code of the two differs; the chapter must be executed again.
    """
    if code_hash(published_nb) != code_hash(source_nb):
        raise ValueError("the code changed since the page was made: execute the chapter again")
    result = copy.copy(published_nb)
    for key in result.keys() - {"cells"}:
        result[key] = copy.deepcopy(result[key])
    outputs = iter(c for c in code_cells(published_nb) if source_of(c).strip())
    injected = [c for c in published_nb["cells"] if INJECTED in tags_of(c)]
    cells = []
    for cell in copy.deepcopy(source_nb)["cells"]:
        if cell.get("cell_type") == "code" and source_of(cell).strip():
            made = next(outputs)
            cell["outputs"] = copy.deepcopy(made.get("outputs", []))
            cell["execution_count"] = made.get("execution_count")
        cells.append(cell)
        if PARAMETERS in tags_of(cell):
            cells += copy.deepcopy(injected)
    result["cells"] = cells
    return result
