"""Fingerprints: what counts as a change of code, parameters, library and prose."""

import copy

import pytest

from intriguing.chapters import fingerprint as fp


def code(text, *tags, **extra):
    return {"cell_type": "code", "source": text, "metadata": {"tags": list(tags)} if tags else {},
            "outputs": [], "execution_count": None, **extra}


def text(source):
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def notebook(*cells):
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


SOURCE = notebook(
    text("# Title"), code("import intriguing.a"),
    code("n = 10  # images\neps = 8/255", "parameters"),
    code("y = f(n)  # measure\nprint(y)"), text("What to notice"))


def edit(number, new, nb=SOURCE):
    changed = copy.deepcopy(nb)
    changed["cells"][number]["source"] = new
    return changed


@pytest.mark.parametrize(("number", "new"), [
    (0, "# Another title"),
    (3, "# a comment\ny = f( n )\n\nprint(y)"),
    (2, "eps = 4/255\nn = 99"),
    (3, ["y = f(n)\n", "print(y)"]),
])
def test_prose_comments_layout_and_parameter_values_are_not_code(number, new):
    assert fp.code_hash(edit(number, new)) == fp.code_hash(SOURCE)


@pytest.mark.parametrize(("number", "new"), [
    (3, "y = f(n + 1)\nprint(y)"), (3, "y = f(n)\nprint(y)\nNone"), (2, "n = 10\nepsilon = 8/255"),
    (1, "import intriguing.b"), (3, "%matplotlib inline\ny = f(n)\nprint(y)"), (3, "y = ("),
])
def test_statements_names_of_parameters_and_magics_are_code(number, new):
    assert fp.code_hash(edit(number, new)) != fp.code_hash(SOURCE)


def test_injected_cells_do_not_count():
    ran = copy.deepcopy(SOURCE)
    ran["cells"].insert(3, code("n = 1000", "injected-parameters"))
    assert fp.code_hash(ran) == fp.code_hash(SOURCE)


def test_the_hash_is_pinned_so_that_no_python_version_makes_the_book_stale():
    nb = notebook(code("def f(x: int = 1, *, y=None) -> str:\n    return f'{x:.2f}' or x[1:, ...]\n"
                       "class A(B):\n    z: float = -1e-3\n"
                       "with open(p) as q:\n    print(*[v async for v in q], sep='')"))
    assert fp.code_hash(nb) == PINNED


PINNED = "df4190cee0b9f6cc9281717f73f920c257cce955db20effd97392231e9725ad2"


def test_parameters_compare_by_value():
    base = fp.params_hash({"a": 1, "b": (1, 2), "c": None})
    assert fp.params_hash({"c": None, "b": [1, 2.0], "a": 1.0}) == base
    assert fp.params_hash({"a": 1, "b": (2, 1), "c": None}) != base
    assert fp.params_hash({"a": True, "b": (1, 2), "c": None}) != base


@pytest.fixture
def package(tmp_path):
    files = {
        "__init__.py": '"""Doc."""\n',
        "a.py": '"""Doc."""\nfrom .sub import deep\n\ndef f():\n    """Doc."""\n    return 1\n',
        "b.py": "def lazy():\n    from intriguing import c\n    return c\n",
        "c.py": "x = 1\n",
        "unused.py": "x = 1\n",
        "sub/__init__.py": "from intriguing.b import lazy\n",
        "sub/deep.py": "from ..c import x\nfrom . import other\nimport json\n",
        "sub/other.py": "import intriguing.sub.deep\n",  # a cycle
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_imports_are_followed_to_the_end(package):
    found = fp.module_hashes(SOURCE, package)
    assert list(found) == [
        "intriguing.a", "intriguing.c", "intriguing.sub.deep", "intriguing.sub.other"]
    assert list(fp.module_hashes(edit(1, "from intriguing import c, nothing"), package)) == [
        "intriguing", "intriguing.c"]


@pytest.mark.parametrize(("cell", "modules"), [
    ("from intriguing import room\nroom.near(1)", ["room.near_"]),
    ("from intriguing import room as r\nf = r.near", ["room.near_"]),
    ("from intriguing.room import near", ["room.near_"]),
    ("from intriguing.room import near as close\nclose()", ["room.near_"]),
    ("from intriguing import room\nroom.deep.thing", ["room.deep"]),
    ("from intriguing import room\nroom.wide()", ["room.wide_", "c"]),
    ("from intriguing import room\nroom.own()", ["room", "room.near_", "room.wide_", "c"]),
    ("from intriguing import room\nuse(room)", ["room", "room.near_", "room.wide_", "c"]),
    ("from intriguing import room\nroom.unheard_of", ["room", "room.near_", "room.wide_", "c"]),
    ("from intriguing import room\ndata.near", []),
    ("import intriguing\nintriguing.room.near()", ["room.near_"]),
    ("from intriguing import zoo\nzoo.get(zoo.spec('a'))\nprint(zoo)", []),
    ("from intriguing.zoo import get\nget()", []),
    ("from intriguing import c, room", ["c"]),
])
def test_of_a_package_only_the_modules_of_the_names_in_use_count(package, cell, modules):
    for name, content in {
        "room/__init__.py": "from intriguing.room.near_ import near\n"
                            "from .wide_ import wide\n\ndef own():\n    return near()\n",
        "room/near_.py": "def near():\n    return 1\n",
        "room/wide_.py": "from intriguing import c, zoo\n\ndef wide():\n    return zoo.get(c.x)\n",
        "room/deep.py": "thing = 1\n",
        "zoo.py": "from intriguing import b, unused\n\ndef get():\n    return b.lazy()\n",
    }.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(content)
    found = fp.module_hashes(edit(1, cell), package)
    assert set(found) == {f"intriguing.{name}" for name in modules}
    # another module in the room, gathered there too, is no news to who does not use it
    (package / "room/new.py").write_text("def new():\n    return 2\n")
    text = (package / "room/__init__.py").read_text()
    (package / "room/__init__.py").write_text("from intriguing.room.new import new\n" + text)
    after = fp.module_hashes(edit(1, cell), package)
    whole = {"intriguing.room", "intriguing.room.new"} if "room" in modules else set()
    assert {name for name in after if after[name] != found.get(name)} == whole


def test_architectures_count_where_networks_have_them(package):
    (package / "models").mkdir()
    (package / "models" / "mlp.py").write_text("from intriguing import c\n\nsizes = c.x\n")
    found = fp.module_hashes(edit(1, "import json"), package, ["intriguing.models.mlp"])
    assert list(found) == ["intriguing.c", "intriguing.models.mlp"]


def test_docstrings_and_comments_of_a_module_do_not_count(package):
    before = fp.module_hashes(SOURCE, package)
    (package / "a.py").write_text(
        '"""Other."""\nfrom .sub import deep  # why\n\n\ndef f():\n    return 1\n')
    assert fp.module_hashes(SOURCE, package) == before
    (package / "c.py").write_text("x = 2\n")
    after = fp.module_hashes(SOURCE, package)
    assert [name for name in after if after[name] != before[name]] == ["intriguing.c"]


def test_a_version_is_no_reason_to_run_again(package):
    init, nb = package / "__init__.py", edit(1, "from intriguing import name")
    text, seen = init.read_text(), []
    for more in ('__version__ = "0.1.0"', '__version__ = "0.2.0"', 'version = "0.2.0"'):
        init.write_text(f'{text}\nname = "a"\n{more}\n')
        seen.append(fp.module_hashes(nb, package))
    assert seen[0] == seen[1] != seen[2]


def test_the_real_package_is_read_without_importing_it():
    found = fp.module_hashes(edit(1, "from intriguing import records\nrun = records.start('a')"))
    assert {"intriguing.records.run", "intriguing.paths"} <= found.keys()
    assert not any(name.startswith(("intriguing.zoo", "intriguing.methods")) for name in found)


PARAMS = {"n": 1000, "eps": 0.1}


def publish(package, source=SOURCE):
    page = copy.deepcopy(source)
    for count, cell in enumerate((c for c in page["cells"] if c["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": f"out {count}"}]
    page["cells"].insert(3, code("n = 1000", "injected-parameters", execution_count=9))
    page["metadata"]["intriguing"] = {
        "code": fp.code_hash(source), "params": fp.params_hash(PARAMS),
        "modules": fp.module_hashes(source, package)}
    return page


def test_a_fresh_page_is_fresh(package):
    found = fp.state(publish(package), SOURCE, PARAMS, package)
    assert found == fp.Freshness(False, False, [], False) and not found.stale


def test_each_kind_of_change_is_told_apart(package):
    page = publish(package)
    changed_code = fp.state(page, edit(3, "y = 2"), PARAMS, package)
    assert changed_code.stale and changed_code.code and not changed_code.parameters
    changed_parameter = fp.state(page, SOURCE, {**PARAMS, "n": 5}, package)
    assert changed_parameter.stale and not changed_parameter.code
    changed_text = fp.state(page, edit(4, "New words"), PARAMS, package)
    assert not changed_text.stale and changed_text.prose
    assert fp.state(page, edit(3, "y = f(n)  # again\nprint(y)"), PARAMS, package).prose
    (package / "c.py").write_text("x = 2\n")
    assert fp.state(page, SOURCE, PARAMS, package) == fp.Freshness(
        False, False, ["intriguing.c"], False)
    assert fp.state(SOURCE, SOURCE, PARAMS, package).stale, "a page without memory is stale"


def test_prose_is_carried_with_the_outputs_and_then_is_fresh(package):
    page, source = publish(package), edit(4, "New words")
    source["cells"][3]["source"] = "# explained\ny = f(n)\nprint(y)"
    source["cells"].insert(1, text("A new paragraph"))
    before = copy.deepcopy((page, source))
    carried = fp.carry_prose(page, source)
    assert (page, source) == before
    assert fp.state(carried, source, PARAMS, package) == fp.Freshness(False, False, [], False)
    kinds = [(c["cell_type"], fp.tags_of(c)) for c in carried["cells"]]
    assert kinds[3:5] == [("code", ["parameters"]), ("code", ["injected-parameters"])]
    measured = carried["cells"][5]
    assert measured["source"].startswith("# explained") and measured["execution_count"] == 3
    assert measured["outputs"][0]["text"] == "out 3"
    with pytest.raises(ValueError, match="execute the chapter again"):
        fp.carry_prose(page, edit(3, "y = 2"))
