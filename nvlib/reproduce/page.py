"""An executed notebook as one HTML page that needs nothing from the network: equations, figures and pictures are in it.

nbconvert's own page leaves equations as LaTeX for a script that it loads from elsewhere. Here they are MathML, which
browsers draw themselves; plotly's script is in the page once; what the template would load is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TEMPLATE = """{%- extends "index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""  # the lab template, without the scripts that it takes from the network
SCRIPT = dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))  # those that fonts for text have; browsers ignore `mathvariant`


def mathml(latex: str, display: str = "inline") -> str:
    """Return an equation as MathML; display: ``inline`` or ``block``."""
    made = convert(latex, display=display).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # HTML knows it
    return re.sub(r'<mi mathvariant="script">(\w)</mi>', lambda m: f"<mi>{SCRIPT.get(m[1], m[1])}</mi>", made)


class Renderer(IPythonRenderer):
    """nbconvert's renderer of Markdown, with MathML for equations."""

    def inline_math(self, body: str) -> str:
        """Draw an equation between dollars."""
        return mathml(body)

    def block_math(self, body: str) -> str:
        """Draw an equation on lines of its own."""
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        """Draw an equation in an environment, e.g. ``align``."""
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def page(book: Any, name: str, root: Path) -> str:
    """Return an executed notebook as one page of HTML.

    Args:
        book: the notebook; plotly's outputs get an HTML form in place, links to pictures become relative to ``root``.
        name: of the notebook, the page's title.
        root: of the project; pictures under it are embedded.
    """
    _draw(book)
    renderer = Renderer(escape=False, embed_images=True, path=str(root))
    exporter = HTMLExporter(
        raw_template=TEMPLATE, embed_images=True, filters={"markdown2html": MarkdownWithMath(renderer=renderer).render}
    )
    made, _ = exporter.from_notebook_node(book, {"metadata": {"name": name, "path": str(root)}})
    return made


def _draw(book: Any) -> None:
    """Give plotly's outputs the HTML form that a page needs, with the script itself once, for use offline.

    Links to pictures, which are relative to notebooks/, become relative to the project.
    """
    from plotly import io

    first = True
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](")
        for output in cell.get("outputs", []):
            spec = output.get("data", {}).get("application/vnd.plotly.v1+json")
            if spec:
                figure = {key: spec[key] for key in ("data", "layout")}
                output.data["text/html"] = io.to_html(figure, include_plotlyjs=first, full_html=False)
                first = False
