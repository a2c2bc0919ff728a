"""What a page may show: harmless pieces of what would be harmful, each found; ours all pass."""

import pytest
from test_checks import NAME, Book, code

from intriguing.book import escape
from intriguing.book.gates import markup, myst, outputs, prose
from intriguing.book.gates.house import load
from intriguing.book.pages import site

SCRIPT = "<script>/*x*/</script>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'
PICTURE = "data:image/png;base64,iVBORw0KGgo="
PANDAS = """<div>
<style scoped>
    .dataframe tbody tr th:only-of-type { vertical-align: middle; }
    .dataframe > thead th { text-align: right; }
</style>
<table border="1" class="dataframe">
  <thead><tr style="text-align: right;"><th></th><th>n &lt; 3</th></tr></thead>
  <tbody><tr><th>0</th><td>0.5 -> 1</td></tr></tbody>
</table>
</div>"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRIGUING_ROOT", str(tmp_path))
    return Book(tmp_path)


# ---------------------------------------------------------------- HTML


@pytest.mark.parametrize("text", [
    PANDAS, "", "a > b", "<br>", "<br/>", "<b>x</b>", "<td title='a b' colspan=2>x</td>",
    '<a href="https://example.org/a?b=c#d">x</a>', '<a href="../results/02/errors.csv">x</a>',
    '<a href="#here">x</a>', f'<img src="{PICTURE}" alt="x">', "<span style='color: red'>x</span>",
])
def test_html_that_may_be_shown(text):
    assert list(markup.in_html(text)) == []


@pytest.mark.parametrize(("text", "told"), [
    (SCRIPT, "<script>"), ("<SCRIPT >/*x*/</SCRIPT >", "<script>"), ("<script", "no plain HTML"),
    ("<scr<script>ipt>", "no plain HTML"), ("<b onclick='0'>x</b>", "onclick"),
    ("<b/onclick=0>", "no plain HTML"), ("<b\nONMOUSEOVER = 0>", "onmouseover"),
    ('<b class="a" onfocus>', "onfocus"), ("<iframe></iframe>", "<iframe>"),
    ("<object></object>", "<object>"), ("<embed>", "<embed>"), ("<video></video>", "<video>"),
    ("<form></form>", "<form>"), ("<link>", "<link>"), ("<meta>", "<meta>"), ("<base>", "<base>"),
    ("<svg></svg>", "<svg>"), ("<math></math>", "<math>"), ("<template></template>", "<template>"),
    ("<!--><script>/*x*/</script>-->", "no plain HTML"), ("<!-- x -->", "no plain HTML"),
    ("<![CDATA[x]]>", "no plain HTML"), ("<?x?>", "no plain HTML"), ("a < b", "no plain HTML"),
    ('<a href="javascript:0">', "javascript:"), ("<a href=' java\tscript:0'>", "javascript:"),
    ('<a href="&#106;avascript:0">', "javascript:"), ('<a href="vbscript:0">', "vbscript:"),
    ('<a href="data:text/html,x">', "data:"), ('<a href="file:///etc/hosts">', "file:"),
    ('<a href="//example.org">', "neither in the book"), ('<a href="/x">', "neither in the book"),
    ('<a href="../../../x">', "out of the book"), ('<a href="..%2f..%2f..%2fx">', "out of the"),
    ('<img src="https://example.org/x.png">', "loaded from"), ('<img src="x.png">', "loaded from"),
    ('<img src="data:image/svg+xml;base64,AA==">', "loaded from"),
    ('<img srcset="x.png 2x">', "srcset"), ("<td background='x.png'>", "background"),
    ("<td data-bs-toggle='x'>", "data-bs-toggle"), ("<td formaction='x'>", "formaction"),
    ("<td style='background: url(x.png)'>", "url("), ("<td style='width: expression(0)'>", "expr"),
    ("<td style='a: u\\72l(x)'>", "\\"), ("<td style='a: &#117;rl(x)'>", "url("),
    ("<style>@import 'x.css';</style>", "@import"), ("<style>a { b: url(x) }</style>", "url("),
    ("<style>a { b: image-set('x' 1x) }</style>", "image-set("),
    ("<style>@font-face { x: y }</style>", "@font-face"),
])
def test_html_that_may_not(text, told):
    found = list(markup.in_html(text))
    assert found and told in " ".join(found), found


# ---------------------------------------------------------------- SVG


@pytest.mark.parametrize("inner", [
    "<g id='a'><path d='M0 0' style='fill: none; clip-path: url(#p)'/></g>",
    "<defs><style>*{stroke-linejoin: round}</style></defs><use xlink:href='#a' x='1'/>",
    f"<image xlink:href='{PICTURE}'/>", "<text>a &lt; b</text>", "<path clip-path='url(#p)'/>",
])
def test_svg_that_may_be_shown(inner):
    assert list(markup.in_svg(SVG.format(inner))) == []


@pytest.mark.parametrize(("inner", "told"), [
    (SCRIPT, "<script>"), ("<g onload='0'/>", "onload"), ("<foreignObject/>", "<foreignObject>"),
    ("<set attributeName='href'/>", "<set>"), ("<animate/>", "<animate>"),
    ("<a xlink:href='#a'/>", "<a>"), ("<s:script xmlns:s='http://www.w3.org/2000/svg'/>", "script"),
    ("<use href='https://example.org/a.svg#b'/>", "loads"), ("<image href='a.png'/>", "loads"),
    ("<use xlink:href='javascript:0'/>", "loads"), ("<path style='fill: url(a.svg#b)'/>", "url("),
    ("<path fill='url(https://example.org/a)'/>", "url("), ("<style>@import 'a'</style>", "@imp"),
    ("<?xml-stylesheet href='a'?>", "<?xml-stylesheet"), ("<g", "no SVG that can be read"),
])
def test_svg_that_may_not(inner, told):
    found = list(markup.in_svg(SVG.format(inner)))
    assert found and told in " ".join(found), found


def test_an_entity_of_its_own_and_a_public_document_type():
    own = '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/hosts">]>' + SVG.format("<text>&a;</text>")
    assert any("document type" in what for what in markup.in_svg(own))
    public = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">'
    assert list(markup.in_svg(f"<?xml version='1.0'?>{public}{SVG.format('')}")) == []


def test_what_matplotlib_draws_passes(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.imshow([[0, 1], [1, 0]])  # an image within the SVG
    axes.plot([0, 1], [0, 1], marker="o", label="$a^2$")
    axes.fill_between([0, 1], [0, 1], hatch="/", alpha=0.5)
    axes.legend()
    figure.savefig(tmp_path / "x.svg")
    assert list(markup.in_svg((tmp_path / "x.svg").read_text())) == []


# ---------------------------------------------------------------- Markdown


@pytest.mark.parametrize("text", [
    "Plain *words*, $a_{{1}}$ and `{include}`.", "| a | b |\n|---|---|\n| 1<br>2 | 3 |",
    "![A figure](../results/02/hist.png)", "[CSV](../results/02/errors.csv), <https://example.org>",
    "{cite:t}`key` and {eq}`one`", "```{note}\nWords.\n```", "```{math}\n:label: a\nx\n```",
    "```python\nimport os  # {{ x }}\n```", ":::{tip}\n{cite:p}`key`\n:::", "[a](#b)",
])
def test_markdown_that_may_be_shown(text):
    assert myst.wrong(text) == ()


@pytest.mark.parametrize(("text", "told"), [
    ("```{include} ../../data/README.md\n```", "{include}"),
    ("````{literalinclude} /etc/hosts\n````", "{literalinclude}"),
    (":::{include} x\n:::", "{include}"), ("~~~{include} x\n~~~", "{include}"),
    ("- a\n  > ```{raw} html\n  > x\n  > ```", "{raw}"),
    ("```{eval-rst}\n.. include:: x\n```", "{eval-rst}"), ("```{code-cell}\n1\n```", "{code-cell}"),
    ("````{note}\n```{include} x\n```\n````", "{include}"),
    ("::::{admonition} {raw}`x`\n::::", "{raw}"), ("```{csv-table}\n:file: x\n```", "{csv-table}"),
    ("```{figure} x.png\n```", "{figure}"), ("```{glue} x\n```", "{glue}"),
    ("```{list-table}\n:file: ../../../x\n```", "out of the book"), ("{glue}`x`", "{glue}"),
    ("{download}`../../../x`", "out of the book"), ("{download}`words <../../../x>`", "out of"),
    ("[x](../../../x)", "out of the book"), ("[x][y]\n\n[y]: /etc/hosts", "neither in the book"),
    ("![x](../../../x.png)", "out of the book"), ("![x](https://example.org/x.png)", "loaded"),
    ("[x](file:///etc/hosts)", "file:"), (SCRIPT, "<script>"), (f"a {SCRIPT} b", "<script>"),
    ("| a |\n|---|\n| <b onclick='0'>x</b> |", "onclick"), ("<!-- x -->", "no plain HTML"),
    ("{{ env.srcdir }}", "substitution"), ("a {% x %}", "substitution"),
    ("---\nhtml_meta:\n  a: b\n---\nx", "settings of a page"),
    ("$\\href{javascript:0}{x}$", "\\href"), ("$$\n\\style{a: b}{x}\n$$", "\\style"),
])
def test_markdown_that_may_not(text, told):
    found = myst.wrong(text)
    if "file:" in text and not found:  # Markdown itself takes no such link: it shows as words
        assert "link_open" not in {token.type for one in prose.parser().parse(text)
                                   for token in one.children or []}
        return
    assert found and told in " ".join(found), found


def test_prose_of_a_chapter_may_more_but_no_script():
    free = ["```{csv-table}\n:file: ../results/02/errors.csv\n```", "<!-- not measured: 0.5 -->",
            "```{figure} ../_static/x.svg\n```", "```{exercise-start}\n:label: a\n```"]
    assert [myst.wrong(text, chapter=True) for text in free] == [()] * 4
    for text in ("```{csv-table}\n:url: https://example.org\n```", "```{raw} html\n```", SCRIPT,
                 "```{csv-table}\n:file: ../../data/sources.toml\n```", "<!-- --><script>-->"):
        assert myst.wrong(text, chapter=True), text


# ---------------------------------------------------------------- the gate


def shows(book, **data):
    """Let the page show an output; return what the gate says of it."""
    book.page["cells"][4]["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": data}]
    return book.found(outputs.outputs_safe)


def test_kinds_of_outputs(book):
    assert book.found(outputs.outputs_safe) == []
    assert shows(book, **{"text/html": PANDAS.splitlines(True), "text/plain": SCRIPT}) == []
    assert shows(book, **{"image/svg+xml": SVG.format(""), "image/jpeg": "x"}) == []
    for kind in ("application/javascript", "text/javascript", "application/json", "text/latex",
                 "application/vnd.jupyter.widget-view+json", "application/pdf", "video/mp4",
                 "application/papermill.record/text/html"):
        (problem,) = shows(book, **{kind: "/*x*/"})
        assert f"error: book/chapters/{NAME}.ipynb, cell 5" in problem and kind in problem
    for kind, text in (("text/html", SCRIPT), ("image/svg+xml", SVG.format(SCRIPT)),
                       ("text/markdown", SCRIPT)):
        (problem,) = shows(book, **{kind: text})
        assert "<script>" in problem
    book.page["cells"][4]["outputs"] = [{"output_type": "pager", "data": {}}]
    assert "'pager'" in book.found(outputs.outputs_safe)[0]


@pytest.mark.parametrize(("change", "told"), [
    (lambda nb: nb["metadata"].update(mystnb={"execution_mode": "force"}), "metadata 'mystnb'"),
    (lambda nb: nb["metadata"].update(myst={"html_meta": {"a": "b"}}), "metadata 'myst'"),
    (lambda nb: nb["cells"].append({"cell_type": "raw", "source": SCRIPT, "metadata": {
        "format": "text/html"}}), "a raw cell with a format"),
    (lambda nb: nb["cells"].append({"cell_type": "raw", "source": SCRIPT, "metadata": {
        "raw_mimetype": "text/html"}}), "a raw cell with a format"),
    (lambda nb: nb["cells"][3].update(metadata={"mystnb": {"figure": {"caption": SCRIPT}}}),
     "<script>"),
    (lambda nb: nb["cells"][0].update(source=f"# Title\n\n{SCRIPT}\n"), "<script>"),
])
def test_other_ways_onto_a_page(book, change, told):
    change(book.source)
    found = book.found(outputs.outputs_safe)
    assert found and told in found[0] and f"notebooks/{NAME}.ipynb" in found[0]


def test_files_of_results(book):
    folder = book.root / f"book/results/{NAME}"
    (folder / "hist.svg").write_text(SVG.format(SCRIPT), encoding="utf-8")
    (folder / "page.html").write_text("x", encoding="utf-8")
    (folder / "data.csv").symlink_to("/etc/hosts")
    found = book.found(outputs.outputs_safe)
    assert len(found) == 3 and "link to another file" in found[0] and "<script>" in found[1]
    assert "no table, picture or record" in found[2]


def test_a_page_of_any_build_is_refused_before_it_is_rendered(book):
    shows(book, **{"text/html": SCRIPT})
    with pytest.raises(site.SiteError, match=r"(?s)02-lbfgs is not rendered:.*cell .*<script>"):
        site.stage(None, lambda line: None)


def test_a_record_as_python_writes_it(book):
    assert book.found(outputs.records_in_words) == []
    cell = book.page["cells"][4]
    for shown in ({"output_type": "execute_result", "metadata": {}, "data": {
                      "text/plain": "Record(name='a', value=0.5)"}},
                  {"output_type": "stream", "name": "stdout", "text": "x\n[Record(name='a')]"}):
        cell["outputs"] = [shown]
        (problem,) = book.found(outputs.records_in_words)
        assert problem.startswith(f"error: book/chapters/{NAME}.ipynb, cell 5: ")
    cell["outputs"][0] = {"output_type": "execute_result", "metadata": {}, "data": {
        "text/plain": "Record(name='a')", "text/markdown": "In words."}}
    assert book.found(outputs.records_in_words) == []


def test_known_pages_with_raw_records_are_notes_until_they_are_run_again(book, monkeypatch):
    monkeypatch.setattr(outputs, "RAW", (NAME,))
    assert "take it out of RAW" in book.found(outputs.records_in_words)[0]
    book.page["cells"][4]["outputs"] = [{"output_type": "stream", "text": "Record(name='a')"}]
    assert book.found(outputs.records_in_words)[0].startswith("note: ")


# ---------------------------------------------------------------- text of files


@pytest.mark.parametrize("text", [
    SCRIPT, "<img src=x onerror='0'>", "a {raw}`x` b", "![x](https://example.org/x.png)",
    "[x](../../../x)", "[x][y]", "```{include} x", "{{ env }}", "<https://example.org>",
    "a\n\n```{include} x\n```\n", ":::{note}", "&lt;b&gt;", "a\n[y]: /etc/hosts",
])
def test_text_of_a_claim_is_shown_as_it_stands(text):
    """Read by the parser of the book, no token is more than words, and readers see the text."""
    written = escape.escaped(text)
    (start, inline, end) = prose.parser().parse(f"Words: {written}")
    kinds = {token.type for token in inline.children}
    assert kinds <= {"text", "text_special"}, (written, kinds)
    seen = "".join(token.content for token in inline.children)
    assert "\n" not in written and seen == f"Words: {' '.join(text.split())}"


def test_what_claims_use_stays():
    assert escape.escaped("above $0.9$ of *all*, 5% +- [x]") == "above $0.9$ of *all*, 5% +- [x]"


@pytest.mark.parametrize("text", ["a", "a`b", "``", "a\n```b", "`"])
def test_code_holds_any_text(text):
    (inline,) = prose.parser().parse(f"x {escape.code_span(text)}")[1].children[1:]
    assert inline.type == "code_inline" and inline.content == " ".join(text.split())


def test_claims_on_the_scorecard_are_escaped(book):
    from intriguing.book import claims

    book.claim |= {"statement": f"It is {SCRIPT} small.", "unit": "RMS distortion"}
    book.claim["source"]["where"] = "Table 1\n\n```{include} x"
    book.save()
    assert load().unreadable == []
    page = claims.scorecard_markdown(claims.load(), book.root / "book/results")
    assert "<script" not in page and "&lt;script&gt;/*x*/" in page and "{include}" not in page
    book.claim["source"]["cite"] = "a`{raw}`x"
    book.save()
    assert "no key of references.bib" in str(load().unreadable[0])


def test_settings_of_a_page_are_escaped(book):
    book.source["cells"][2]["source"] += f"\nnote = 'a'  # str, {SCRIPT} | x"
    book.page["metadata"]["intriguing"] |= {
        "parameters": {"note": "`b` | <b>"}, "overrides": {"note": "```\n<b>"}}
    book.save()
    site.stage(None, lambda line: None)
    staged = (book.root / f"_build/published/source/book/chapters/{NAME}.ipynb").read_text()
    assert "&lt;script&gt;/*x*/&lt;/script&gt; \\\\| x |" in staged
    assert "`` '`b` \\\\| <b>' ``" in staged  # in code, where a tag is words


def test_code_cells_are_not_looked_at(book):
    book.source["cells"].insert(4, code(f"html = '{SCRIPT}'"))
    assert book.found(outputs.outputs_safe) == []
