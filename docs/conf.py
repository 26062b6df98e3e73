"""The site: `make docs`. Guides are Markdown, the reference is made of docstrings, notebooks are shown executed.

Nothing is fetched, neither to build it nor to read it: equations become MathML, plotly's script is copied.
"""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]


import nvlib  # noqa: E402

project, author, copyright = "nvlib", "The nvlib developers", "2026, the nvlib developers"
version = release = nvlib.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_parts"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"nvlib {version}"
html_show_sphinx = False
html_math_renderer = "mathml"

nb_execution_mode = "off"  # `make reproduce` and nbval do
nb_ipywidgets_js: dict[str, Any] = {}  # no script from elsewhere, there is no widget state
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

suppress_warnings = ["ref.python"]  # `Estimate` in a signature may be either of two
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "__init__, __new__"}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
