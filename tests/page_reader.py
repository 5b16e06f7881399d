"""HTML as a browser would have it, for the tests of pages and tables: well formed, and what a reader sees of it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

EVIL = '<script>alert("1 & 2")</script>'
VOID = {'meta', 'link', 'img', 'br', 'hr', 'input'}


class Reader(HTMLParser):
    """Fails on a tag that is not closed in order; gathers tags, addresses, table cells and the text that a reader sees."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.addresses, self.cells, self.text = [], [], [], [], ''
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ('src', 'href', 'srcset', 'data', 'poster', 'action')]
        if tag in ('td', 'th'):
            self.cells.append('')
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (['script'], ['style']):
            return
        self.text += data
        if {'td', 'th'} & set(self.open):
            self.cells[-1] += data


def scripts(text):
    """The scripts of a page, each allowed by its policy; anything else that is in a tag of that name fails."""
    found = re.findall(r'<script>(.*?)</script>', text, re.S)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    allowed = re.findall(r"'sha256-([^']*)'", policy)
    assert policy.startswith("default-src 'none'; img-src data:;") and text.count('<script') == len(found)
    assert all(base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() in allowed for one in found)
    return found
