"""The site: `make docs` builds it of the pages here and of the docstrings.

Docstrings are Markdown, as the pages are: their prose is in single backticks, their
equations and pseudo-code are indented. Autodoc reads them as reStructuredText, so each
is handed to it inside a directive that parses Markdown.
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
from typing import Annotated, get_args, get_origin

import jax
from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import nested_parse_with_titles

jax.Array.__name__ = "Array"  # not by where JAX keeps it: so jaxtyping writes it too

from jaxdistill.cli.settings_help import settings_table  # noqa: E402
from jaxdistill.settings import settings_of  # noqa: E402

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


class Room(SphinxDirective):
    """What a package says of itself, then its modules, a section each."""

    required_arguments = 1

    def run(self):
        (package,) = self.arguments
        room = importlib.import_module(package)
        face = inspect.getsource(room)  # what a room shows to others comes first
        found = [m.name for m in pkgutil.iter_modules(room.__path__) if not m.ispkg]
        lines = [f".. automodule:: {package}", ""]
        for module in sorted(found, key=lambda m: (f".{m} import" not in face, m)):
            name = f"{package}.{module}"
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", ""]
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, package), section)
        return section.children


def as_markdown(app, what, name, obj, options, lines):
    """Put a docstring into the directive, with the table of what it declares."""
    if what in ("function", "class") and (declared := _settings(obj)):
        lines += ["", *settings_table(declared, "").splitlines()]
    lines[:] = [".. markdown::", "", *(f"   {line}" for line in lines), ""]


def plain_types(app, what, name, obj, options, signature, returns):
    """The signature without what settings declare, which the table shows."""
    if what not in ("function", "class") or not _settings(obj):
        return None
    found = inspect.signature(obj)
    parameters = [
        one.replace(annotation=_plain(one.annotation))
        for one in found.parameters.values()
    ]
    plain = found.replace(parameters=parameters)
    shown = {"show_return_annotation": False, "unqualified_typehints": True}
    return stringify_signature(plain, **shown), returns


def _settings(obj):
    try:
        return settings_of(obj)
    except (TypeError, ValueError):
        return {}


def _plain(annotation):
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0]
    return annotation


def skip_bare_fields(app, what, name, obj, skip, options):
    """A record's fields stand in its signature; Python's own words add nothing."""
    return skip or (obj.__doc__ or "").startswith("Alias for field number")


def setup(app):
    app.add_directive("markdown", Markdown)
    app.add_directive("room", Room)
    app.connect("autodoc-process-signature", plain_types)
    app.connect("autodoc-process-docstring", as_markdown)
    app.connect("autodoc-skip-member", skip_bare_fields)
