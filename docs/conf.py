"""Sphinx: the documentation site. `sphinx-build -W docs build/docs` builds it, and executes the tutorials."""

import os
import re

import jaxstyle

# Tutorials are executed on the CPU of whatever machine builds the site.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxstyle"
author = "The jaxstyle developers"
release = jaxstyle.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "sphinx_book_theme"
html_title = f"jaxstyle {release}"
html_theme_options = {"show_toc_level": 2}
# Single backticks are code in docstrings, as in Markdown.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_in_temp = True
# They need a GPU or a TPU; tests execute them at a tiny size.
nb_execution_excludepatterns = ["notebooks/*"]
nb_execution_raise_on_error = True
nb_execution_timeout = 600


def setup(app):
    """Link pages of the repository that are not part of the site as downloads, as other files are."""

    def link(_app, _name, source):
        source[0] = re.sub(
            r"\[([^\]]+)\]\((\.\./(?:benchmarks|weights)/[\w/]+\.md)[^)]*\)", r"{download}`\1 <\2>`", source[0]
        )

    app.connect("source-read", link)
