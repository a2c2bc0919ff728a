"""Which modules of the library a notebook imports itself, found in syntax trees; none is imported.

The walk goes by names, not by files.  Of a package whose `__init__` gathers the names of its
modules, only the modules of the names in use count, so that a new file beside them changes nothing.
It ends at the zoo: what a network is, its key says.  Architectures and methods are found by their
names when the library runs, so no import leads to them; a caller adds those that it knows of.
"""

import ast
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intriguing import paths
from intriguing.chapters import remembered

PACKAGE = "intriguing"
ENDS = ("intriguing.zoo",)  # nothing behind these counts, nor they themselves

Use = tuple[str, str]  # a module, and the name that is used of it; "" for the module as a whole


@dataclass(frozen=True)
class Module:
    """A file of the library: the hash of its code, and what it uses of others.

    defines : the names that it gives a meaning of its own.  gathers : {name: where it comes from}
    of those that it imports at its top.
    """

    file: Path
    digest: str
    uses: tuple[Use, ...]
    defines: frozenset[str]
    gathers: Mapping[str, Use]


def modules(
    trees: Iterable[ast.AST], package: Path | None = None, also: Iterable[str] = ()
) -> dict[str, Module]:
    """Return {name: module} of what syntax trees use of the library, to the end, sorted.

    Parameters
    ----------
    package : the folder of the package; None: the one this file belongs to.
    also : modules that count as well, with what they use.
    """
    base = paths.package() if package is None else Path(package)
    read = functools.cache(lambda name: _read(name, base))  # for this call: files may change
    todo = [(name, "") for name in also]
    for tree in trees:
        nodes = _nodes(tree)
        todo += _settled(_uses(nodes, list(_bound(nodes, "", base)), base), base, read)
    found: dict[str, Module] = {}
    while todo:
        name = todo.pop()[0]
        if name in found or file_of(name, base) is None:
            continue
        found[name] = read(name)
        todo += _settled(found[name].uses, base, read)
    remembered.keep()
    return dict(sorted(found.items()))


def _settled(
    uses: Iterable[Use], base: Path, read: Callable[[str], Module]
) -> Iterator[Use]:
    """Yield each use at the module that gives the name its meaning."""
    for module, name in uses:
        seen = set()
        while (module, name) not in seen and module not in ENDS:
            seen.add((module, name))
            inner = f"{module}.{name}"
            if name and file_of(inner, base) is not None:
                module, name = inner, ""
                continue
            here = read(module) if file_of(module, base) else None
            if here is None or not name or name in here.defines or name not in here.gathers:
                break
            if here.file.name != "__init__.py":
                break  # a module counts as a whole, with all that it imports
            module, name = here.gathers[name]
        if module not in ENDS:
            yield module, name


def file_of(module: str, base: Path) -> Path | None:
    """Return the file of a module of the package, None if there is no such module."""
    head, *rest = module.split(".")
    if head != PACKAGE:
        return None
    stem = os.path.join(base, *rest)  # as text: this is asked for every name that is used
    for file in (os.path.join(stem, "__init__.py"), *([f"{stem}.py"] if rest else ())):
        if os.path.isfile(file):
            return Path(file)
    return None


def _read(name: str, base: Path) -> Module:
    """Return a module of the package, which exists."""
    file = file_of(name, base)
    return _parsed(name, file, file.read_text(encoding="utf-8"), base)


@functools.lru_cache(maxsize=512)  # chapters share most modules
def _parsed(name: str, file: Path, text: str, base: Path) -> Module:
    if base != paths.package():
        return _parse(name, file, text, base)

    def find() -> dict[str, Any]:
        found = _parse(name, file, text, base)
        return {"digest": found.digest, "uses": found.uses, "defines": sorted(found.defines),
                "gathers": dict(found.gathers)}

    row = remembered.module(name, text, base, find)
    return Module(file, row["digest"], tuple(map(tuple, row["uses"])), frozenset(row["defines"]),
                  {alias: tuple(use) for alias, use in row["gathers"].items()})


def _parse(name: str, file: Path, text: str, base: Path) -> Module:
    tree = ast.parse(text)
    here = name if file.name == "__init__.py" else name.rpartition(".")[0]
    nodes = _nodes(tree)
    bound = list(_bound(nodes, here, base))
    uses = tuple(dict.fromkeys(_uses(nodes, bound, base)))
    gathers = {alias: use for alias, use in bound if use[0] != name}
    defines = frozenset(_defined(tree))
    _drop_docstrings(nodes)
    tree.body = [node for node in tree.body if not _is_version(node)]
    return Module(file, digest(tree_text(tree)), uses, defines, gathers)


# ---------------------------------------------------------------- what a tree uses


def _nodes(tree: ast.AST) -> list[ast.AST]:
    """Return a tree's nodes, outer before inner, without the contexts that `ast.walk` has too.

    It takes a third of the time of `ast.walk`, which was most of that of the gates.
    """
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        found.append(node)
        for name in node._fields:
            below = getattr(node, name, None)
            if isinstance(below, list):
                todo += [one for one in below if isinstance(one, ast.AST)]
            elif isinstance(below, ast.AST) and name != "ctx":
                todo.append(below)
    return found


def _bound(nodes: Iterable[ast.AST], here: str, base: Path) -> Iterator[tuple[str, Use]]:
    """Yield (name in a tree, what it stands for) of the imports from the package.

    nodes : of the tree.  here : the package that it belongs to.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    whole = alias.name if alias.asname else PACKAGE
                    yield alias.asname or PACKAGE, (whole, "")
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = here.split(".")
                above = ".".join(above[: len(above) - node.level + 1])
                origin = f"{above}.{origin}" if origin else above
            if origin.split(".")[0] == PACKAGE:
                for alias in node.names:
                    whole = file_of(f"{origin}.{alias.name}", base) is not None
                    use = (f"{origin}.{alias.name}", "") if whole else (origin, alias.name)
                    yield alias.asname or alias.name, use


def _uses(
    nodes: Iterable[ast.AST], bound: Iterable[tuple[str, Use]], base: Path
) -> Iterator[Use]:
    """Yield what a tree uses of the package: names of modules, or modules as a whole."""
    for _, (module, name) in bound:
        if name or not _is_package(module, base):
            yield module, name
    names, inner = dict(bound), set()
    for node in nodes:  # an outer attribute comes before those inside it
        if isinstance(node, ast.Import):  # it runs the module, whatever is used of it
            yield from ((one.name, "") for one in node.names if one.name.startswith(f"{PACKAGE}."))
        elif isinstance(node, ast.Attribute):
            inner.add(id(node.value))
            dotted = [] if id(node) in inner else _dotted(node)
            if dotted and dotted[0] in names:
                yield _followed(names[dotted[0]], dotted[1:], base)
        elif isinstance(node, ast.Name) and node.id in names and id(node) not in inner:
            module, name = names[node.id]
            if not name and module != PACKAGE:  # the package is handed on as a whole
                yield module, ""


def _is_package(module: str, base: Path) -> bool:
    file = file_of(module, base)
    return file is not None and file.name == "__init__.py"


def _dotted(node: ast.Attribute) -> list[str]:
    """Return ["a", "b", "c"] of the expression a.b.c; empty for attributes of anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _followed(use: Use, attributes: list[str], base: Path) -> Use:
    """Return the module that attributes lead to from a module, and the name used of it."""
    module, name = use
    for attribute in attributes:
        if name:
            break
        inner = f"{module}.{attribute}"
        module, name = (inner, "") if file_of(inner, base) is not None else (module, attribute)
    return module, name


def _defined(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module's own statements define."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


# ---------------------------------------------------------------- syntax trees as text


def digest(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def tree_text(node: Any) -> str:
    """Return a syntax tree as text that is the same in every version of Python we run on.

    `ast.dump` differs between versions.
    """
    if isinstance(node, ast.AST):
        parts, constant = [], isinstance(node, ast.Constant)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None:
                if constant:
                    parts.append("value=None")
            elif value != [] and name not in ("ctx", "kind", "type_comment"):
                parts.append(f"{name}={tree_text(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(tree_text, node))}]"
    return repr(node)


def _drop_docstrings(nodes: Iterable[ast.AST]) -> None:
    """Remove the docstrings of a module and of everything in it."""
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(
                first.value.value, str
            ):
                node.body = node.body[1:]


def _is_version(node: ast.stmt) -> bool:
    """Say whether a statement sets `__version__`, which no result depends on."""
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets)
