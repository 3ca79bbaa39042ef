"""The site: `make docs` builds it of the pages here and of the docstrings.

Docstrings are Markdown, as the pages are: their prose is in single backticks, their
equations and pseudo-code are indented. Autodoc reads them as reStructuredText, so each
is handed to it inside a directive that parses Markdown.
"""

import importlib.metadata

import jax
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.docutils import SphinxDirective

jax.Array.__name__ = "Array"  # not by where JAX keeps it: so jaxtyping writes it too

project = "jaxdistill"
release = importlib.metadata.version("jaxdistill")
copyright = "the jaxdistill authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_nb"]
html_theme = "furo"
html_title = "jaxdistill"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
highlight_language = "none"  # an equation, a command or pseudo-code, unless said

myst_heading_anchors = 3  # links to sections, as code hosts have them
nb_execution_in_temp = True  # where its pictures may lie
nb_execution_raise_on_error = True
nb_render_markdown_format = "myst"  # tables, too
nb_output_stderr = "remove"  # what a compiler says of a busy machine
nb_execution_timeout = 600  # seconds a cell, on a machine that is busy

add_module_names = False  # the heading has them
autodoc_default_options = {"members": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # `SGD`, not its functions and their addresses
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80


class Markdown(SphinxDirective):
    """Content that is Markdown in the midst of reStructuredText."""

    has_content = True

    def run(self):
        document = new_document(self.env.docname, self.state.document.settings)
        MystParser().parse("\n".join(self.content), document)
        return document.children


def as_markdown(app, what, name, obj, options, lines):
    """Put a docstring into the directive."""
    lines[:] = [".. markdown::", "", *(f"   {line}" for line in lines), ""]


def skip_bare_fields(app, what, name, obj, skip, options):
    """A record's fields stand in its signature; Python's own words add nothing."""
    return skip or (obj.__doc__ or "").startswith("Alias for field number")


def setup(app):
    app.add_directive("markdown", Markdown)
    app.connect("autodoc-process-docstring", as_markdown)
    app.connect("autodoc-skip-member", skip_bare_fields)
