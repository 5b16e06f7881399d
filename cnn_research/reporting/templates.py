"""The templates of pages: one file of parts, one of the document, one stylesheet, one script that sorts tables; explorer.* is a page of
its own."""

import base64
import functools
import hashlib
from collections.abc import Sequence

import jinja2
from markupsafe import Markup as Markup  # what is put into a template as it is


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader('cnn_research.reporting')
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@functools.cache
def _text(name: str) -> str:
    environment = _environment()
    return environment.loader.get_source(environment, name)[0]


def part(name: str, *values) -> str:
    """The markup that a macro of parts.html makes of its values: texts are escaped, what is `Markup` is put in as it is."""
    return str(getattr(_environment().get_template('parts.html').module, name)(*values))


def document(title: str, lead: str, contents: str, body: str) -> str:
    """A complete page; title is text, the others are markup."""
    given = {name: Markup(markup) for name, markup in {'lead': lead, 'contents': contents, 'body': body}.items()}
    return whole('document.html', 'sort.js', ['style.css'], title=title, **given)


def whole(name: str, script: str, styles: Sequence[str], **values) -> str:
    """A template that is a page, with its script, whose hash its policy holds, and its stylesheets; values as in `part`."""
    text = _text(script)
    own = {'script': Markup(text), 'script_hash': digest(text), 'style': Markup(''.join(map(_text, styles)))}
    return _environment().get_template(name).render(**own, **values)


def digest(script: str) -> str:
    """What a policy calls a script that may run."""
    return 'sha256-' + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
