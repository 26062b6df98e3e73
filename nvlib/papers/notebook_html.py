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
{%- block html_head_css -%}<style>
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
math munderover > :nth-child(3) { padding-bottom: .2em; }
</style>{%- endblock -%}
"""  # the lab template without the scripts that it takes from the network; a sum's limit does not lie on the sum
SCRIPT = dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))  # those that fonts for text have; browsers ignore `mathvariant`
PRIME = "&#x0203[23];"  # as a superscript it is small twice over, unless the reader has a font for equations


def mathml(latex: str, display: str = "inline") -> str:
    """Return an equation as MathML; display: ``inline`` or ``block``."""
    made = convert(latex, display=display).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # HTML knows it
    made = re.sub(r'<mi mathvariant="script">(\w)</mi>', lambda m: f"<mi>{SCRIPT.get(m[1], m[1])}</mi>", made)
    made = re.sub(rf"<msup>(<mi>\w</mi>)<mi>({PRIME})</mi></msup>", r"<mrow>\1<mo>\2</mo></mrow>", made)
    base, index = r"(<mi>\w</mi>)", r"(<m[in]>\w</m[in]>)"
    return re.sub(
        rf"<msubsup>{base}{index}<mi>({PRIME})</mi></msubsup>", r"<msub><mrow>\1<mo>\3</mo></mrow>\2</msub>", made
    )


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
