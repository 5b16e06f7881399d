"""report.html: one file that loads nothing, read on a screen in light or dark, on a phone, and on paper."""

import html
from collections.abc import Sequence

from matplotlib.figure import Figure

from cnn_research.reporting.figures import data_uri

_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1a; --quiet: #5d5d58; --ground: #fdfdfb; --line: #d4d4cc; --strong: #55554f;
  --panel: #f3f3ee; --link: #1a4f8b; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e1dc; --quiet: #a3a29b; --ground: #191a1b; --line: #3b3c3d; --strong: #8f8e88;
  --panel: #242526; --link: #9cc3f0; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 46rem; background: var(--ground); color: var(--text);
  font: 1.0625rem/1.6 Charter, 'Bitstream Charter', 'Source Serif 4', Cambria, Georgia, 'DejaVu Serif', serif; overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 1rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 600; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1.0625rem; margin: 1.75rem 0 .5rem; }
p { margin: 0 0 1rem; }
a { color: var(--link); }
.lead { font-size: 1.125rem; }
nav { border-block: 1px solid var(--line); padding: .75rem 0; margin: 1.75rem 0; font-size: .9375rem; }
nav ol { margin: 0; padding-left: 1.5rem; }
figure { margin: 1.75rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; padding: .5rem; border: 1px solid var(--line);
  border-radius: 3px; }
figcaption { color: var(--quiet); font-size: .9rem; line-height: 1.45; margin: .6rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-block: 1.5px solid var(--strong); font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0; }
th { font-weight: 600; border-bottom: 1px solid var(--strong); vertical-align: bottom; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 12rem; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr + tr td { border-top: 1px solid var(--line); }
.number { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 1rem 0; font-size: .9375rem; }
dt { color: var(--quiet); }
dd { margin: 0; min-width: 0; font-variant-numeric: tabular-nums lining-nums; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 3px; padding: .8rem 1rem; overflow-x: auto;
  font: .875rem/1.5 ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  user-select: all; -webkit-user-select: all; }
@media (max-width: 34rem) {
  body { padding-top: 1.5rem; font-size: 1rem; }
  h1 { font-size: 1.55rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  figure img { padding: .2rem; }
}
@media print {
  :root { color-scheme: light; --text: #000; --quiet: #444; --ground: #fff; --line: #bbb; --strong: #444; --panel: #fff; --link: #000; }
  @page { margin: 18mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure:not(.table), tr, pre { break-inside: avoid; }
  figure.table figcaption { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  td, td.long { white-space: normal; min-width: 0; }
  pre { white-space: pre-wrap; }
}
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str]], command: str) -> str:
    """A complete HTML document.

    `title`, `lead`, the headings and `command` are plain text and are escaped; the second of each (heading, html) is markup and is
    put in as it is, so it comes from `to_html`, `figure_html`, `facts_html` or `text_html`. `command` makes the report again.
    """
    contents = ''.join(
        f'<li><a href="#section-{number}">{html.escape(heading)}</a></li>\n' for number, (heading, _) in enumerate(sections, 1)
    )
    navigation = f'<nav aria-label="Contents"><ol>\n{contents}</ol></nav>\n' if len(sections) > 2 else ''
    body = ''.join(
        f'<section id="section-{number}">\n<h2>{html.escape(heading)}</h2>\n{markup}</section>\n'
        for number, (heading, markup) in enumerate(sections, 1)
    )
    # The policy makes the browser refuse what this page must not do: load or run anything.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<div class="lead">{text_html(lead)}</div>
{navigation}{body}<section>
<h2>Made again by</h2>
<pre>{html.escape(command)}</pre>
</section>
</main>
</body>
</html>
"""


def text_html(text: str) -> str:
    """Plain text as paragraphs, parted where it has empty lines."""
    return ''.join(f'<p>{html.escape(part.strip())}</p>\n' for part in text.split('\n\n') if part.strip())


def figure_html(figure: Figure, caption: str) -> str:
    """The figure within the page itself, its caption (plain text) below it."""
    text = html.escape(caption)
    # A figure keeps the size at which its lettering was set: 96 pixels to the inch, plus the frame.
    width = round(96 * figure.get_figwidth()) + 18
    return f'<figure>\n<img src="{data_uri(figure)}" alt="{text}" style="width: {width}px">\n<figcaption>{text}</figcaption>\n</figure>\n'


def facts_html(facts: Sequence[tuple[str, object]]) -> str:
    """(label, value) pairs as a list; both are escaped."""
    pairs = ''.join(f'<dt>{html.escape(label)}</dt><dd>{html.escape(str(value))}</dd>\n' for label, value in facts)
    return f'<dl>\n{pairs}</dl>\n'
