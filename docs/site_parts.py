"""What Sphinx does not have: equations without a network, figures in committed notebooks, links into the checkout."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import plotly
from docutils import nodes
from plotly import io
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from nvlib.papers.notebook_html import mathml

HERE = Path(__file__).parent
ROOT = HERE.parent
SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
INDEX = """# Notebooks

What a paper says, what came out, and an independent check of it, a notebook a paper. Those that `make reproduce` has
made here are shown with their figures; of the others the text that is committed with them.

"""


def notebooks(app: Sphinx) -> None:
    """Copy notebooks into the sources, executed ones where there are, with an HTML form of plotly's figures."""
    target = Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    (target / "index.md").write_text(INDEX + "\n".join(["```{toctree}", ":maxdepth: 1", *names, "```", ""]))
    for name in names:
        made = sorted((ROOT / "results" / "notebooks").glob(f"{name}-*.ipynb"), key=lambda path: path.stat().st_mtime)
        book = nbformat.read(made[-1] if made else ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in book.cells:
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"\]\((?:\.\./)+docs/", "](../", cell.source)
            for output in cell.get("outputs", []):
                spec = output.get("data", {}).pop("application/vnd.plotly.v1+json", None)
                if spec:
                    figure = {key: spec[key] for key in ("data", "layout")}
                    output.data["text/html"] = io.to_html(figure, include_plotlyjs=False, full_html=False)
        nbformat.write(book, target / f"{name}.ipynb")
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SCRIPT, static / SCRIPT.name)


def links(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links of a page into the checkout find their page of the site, or name the file."""
    up = "../" * name.count("/")
    text = re.sub(r"\]\((?:\.\./)+(notebooks/\w+)\.ipynb\)", rf"]({up}\1.ipynb)", source[0])
    source[0] = text


def script(app: Sphinx, name: str, template: str, context: dict, tree: nodes.document | None) -> None:
    """Load plotly's script on pages of notebooks alone."""
    if name.startswith("notebooks/"):
        app.add_js_file(SCRIPT.name, priority=1)


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write an equation in a line."""
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on a line of its own."""
    self.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def docstring(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Let docstrings be read as they are meant: a module's indented lines are tables and equations, |w| is a size."""
    made, literal = [], False
    for i, line in enumerate(lines):
        indented = kind == "module" and line.startswith("    ")
        if indented and not literal and i and not lines[i - 1].strip():
            made += [".. code-block:: text", ""]
            literal = True
        elif indented and not literal:  # right below a line of text
            made += ["", ".. code-block:: text", ""]
            literal = True
        elif literal and line.strip() and not indented:
            made += [""] if made[-1].strip() else []
            literal = False
        made.append(line if literal else "".join(_escaped(line)))
    lines[:] = made


def _escaped(line: str) -> Iterator[str]:
    """Yield a line's parts, signs of size outside backticks escaped."""
    for i, part in enumerate(re.split(r"(`[^`]*`)", line)):
        yield part if i % 2 else part.replace("|", r"\|")


def setup(app: Sphinx) -> dict[str, bool]:
    """Join them to Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("builder-inited", notebooks)
    app.connect("source-read", links)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon
    app.connect("html-page-context", script)
    return {"parallel_read_safe": True}
