"""What a published page was made from: hashes of code, parameters and library modules.

Hashes are of syntax trees, so comments and layout do not count, and they are written here in a
form of our own, because `ast.dump` differs between versions of Python.  Notebooks are plain
mappings (the JSON of the file, or nbformat's nodes); nothing here imports Jupyter or torch, or runs
any code.
"""

import ast
import copy
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intriguing import paths

PACKAGE = "intriguing"
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


# ---------------------------------------------------------------- syntax trees as text


def _tree_text(node: Any) -> str:
    """Return a syntax tree as text that is the same in every version of Python we run on."""
    if isinstance(node, ast.AST):
        parts, constant = [], isinstance(node, ast.Constant)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None:
                if constant:
                    parts.append("value=None")
            elif value != [] and name not in ("ctx", "kind", "type_comment"):
                parts.append(f"{name}={_tree_text(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_tree_text, node))}]"
    return repr(node)


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


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Remove the docstrings of a module and of everything in it."""
    for node in (tree, *_statements(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(
                first.value.value, str
            ):
                node.body = node.body[1:]
    return tree


def _statements(node: ast.AST) -> list[ast.AST]:
    """Return all statements below a node, in functions and branches too, without expressions."""
    found: list[ast.AST] = []
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for below in getattr(node, name, ()):
            found += [below, *_statements(below)]
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
            parts.append(tree if isinstance(tree, str) else _tree_text(tree))
    return _digest("\n".join(parts))


def _assigned(text: str) -> Iterator[str]:
    """Yield the names that a parameters cell assigns."""
    tree = _parse(text)
    for node in tree.body if isinstance(tree, ast.Module) else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def params_hash(parameters: Mapping[str, Any]) -> str:
    """Return the hash of parameter values; 1 and 1.0, lists and tuples are the same."""
    return _digest(json.dumps(_canonical(parameters), sort_keys=True, allow_nan=False))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def module_hashes(nb: Mapping[str, Any], package: Path | None = None) -> dict[str, str]:
    """Return {module: hash of its code without docstrings} for what a notebook imports of ours.

    Imports are followed statically, through the package and into functions, from the notebook's
    cells to the end; packages on the way count with their `__init__`.

    Parameters
    ----------
    package : the folder of the package; None: the one this file belongs to.
    """
    return {name: digest for name, (_, digest) in _modules(nb, package).items()}


def module_files(nb: Mapping[str, Any], package: Path | None = None) -> list[Path]:
    """Return the files of the modules that `module_hashes` looks at."""
    return [file for file, _ in _modules(nb, package).values()]


def _modules(nb: Mapping[str, Any], package: Path | None = None) -> dict[str, tuple[Path, str]]:
    """Return {module: (file, hash)} for what a notebook imports of ours, sorted by name."""
    base = paths.package() if package is None else Path(package)
    todo: list[str] = []
    for cell in code_cells(nb):
        tree = _parse(source_of(cell))
        if isinstance(tree, ast.Module):
            todo += _imports(tree, "", base)
    found: dict[str, tuple[Path, str]] = {}
    while todo:
        name = todo.pop()
        file = _file(name, base)
        if name in found or file is None:
            continue
        digest, imports = _module(name, file, file.read_text(encoding="utf-8"), base)
        todo += imports
        found[name] = file, digest
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=512)  # chapters share most modules
def _module(name: str, file: Path, text: str, base: Path) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module's code without docstrings, and what it imports of ours."""
    tree = ast.parse(text)
    here = name if file.name == "__init__.py" else name.rpartition(".")[0]
    imports = tuple(dict.fromkeys(_imports(tree, here, base)))
    tree = _without_docstrings(tree)
    tree.body = [node for node in tree.body if not _is_version(node)]
    return _digest(_tree_text(tree)), imports


def _is_version(node: ast.stmt) -> bool:
    """Say whether a statement sets `__version__`, which no result depends on."""
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets)


def _file(module: str, base: Path) -> Path | None:
    """Return the file of a module of the package, None if there is no such module."""
    head, *rest = module.split(".")
    if head != PACKAGE:
        return None
    stem = os.path.join(base, *rest)  # as text: this is asked for every name that is imported
    for file in (os.path.join(stem, "__init__.py"), *([f"{stem}.py"] if rest else ())):
        if os.path.isfile(file):
            return Path(file)
    return None


def _imports(tree: ast.AST, here: str, base: Path) -> Iterator[str]:
    """Yield the modules of the package that `tree`, in the package `here`, imports."""
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = here.split(".")
                above = ".".join(above[: len(above) - node.level + 1])
                origin = f"{above}.{origin}" if origin else above
            found = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in found:
            parts = name.split(".")
            for stop in range(1, len(parts) + 1):  # importing a.b.c runs a and a.b
                if _file(".".join(parts[:stop]), base) is not None:
                    yield ".".join(parts[:stop])


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
    now, then = module_hashes(source_nb, package), made.get("modules", {})
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
