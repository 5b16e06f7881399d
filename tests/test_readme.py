"""What README shows of results is what the records gave, and what it links to is there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'results' / 'README.md', *sorted(ROOT.glob('results/*/README.md'))]


@pytest.mark.parametrize('name', ['depth_cifar10/depth', 'depth_cifar10/lesions'])
def test_tables_are_the_rendered_ones(name):
    rendered = (ROOT / 'results' / f'{name}.md').read_text()
    assert rendered[rendered.index('|') :] in (ROOT / 'README.md').read_text()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r'\]\(([^)#]+)\)', page.read_text()) if not link.startswith('http')]
    assert [link for link in links if not (page.parent / link).exists()] == []
