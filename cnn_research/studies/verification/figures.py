"""Figures of a verification: receiver operating characteristics, and the pairs that are told worst."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnn_research.reporting.drawing import Figure
from cnn_research.reporting.figures import COLOURS, QUIET, STYLES, WIDTH, WRONG


def curves(panels: Mapping[str, Sequence[tuple[str, np.ndarray]]]) -> Figure:
    """One panel for each title, with a line for each (label, (K,) shares of one person's pairs accepted at evenly spaced shares of two
    persons'), in percent."""
    figure = Figure(figsize=(WIDTH, 3.9), layout='constrained')
    for place, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.plot((0, 100), (0, 100), color=QUIET, linewidth=0.8, linestyle=':')
        for index, (label, shares) in enumerate(lines):
            style = {'color': COLOURS[index % len(COLOURS)], 'linestyle': STYLES[index // len(COLOURS) % len(STYLES)]}
            axes.plot(np.linspace(0, 100, len(shares)), 100 * shares, linewidth=1.5, label=label.replace('$', r'\$'), **style)
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect('equal')
        axes.set_xlabel('pairs of two persons accepted (%)', fontsize=8.5)
        axes.set_ylabel('pairs of one person accepted (%)' if place == 1 else '', fontsize=8.5)
        axes.grid(color='#e4e4e4', linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(fontsize=6.5, loc='lower right', frameon=False)
    return figure


def hardest(accepted: Sequence[tuple], rejected: Sequence[tuple]) -> Figure:
    """The worst errors, (image uint8 (h, w, 3), image, name, name) each: two persons called one above, one person called two below."""
    lines = [('two persons called one', accepted), ('one person called two', rejected)]
    count = max([len(found) for _, found in lines] + [1])
    gap, label, title = 0.14, 0.36, 0.3
    side = min((WIDTH - (count - 1) * gap) / count / 2, 0.9)
    tall = title + side + label
    figure = Figure(figsize=(WIDTH, 2 * tall))
    for down, (words, found) in enumerate(lines):
        top = down * tall
        figure.text(0, 1 - (top + 0.16) / (2 * tall), words, fontsize=8.5, color=WRONG, va='center')
        for place, (first, second, *names) in enumerate(found):
            left = place * (2 * side + gap)
            for number, image in enumerate((first, second)):
                box = (left + number * side) / WIDTH, 1 - (top + title + side) / (2 * tall), 0.98 * side / WIDTH, side / (2 * tall)
                axes = figure.add_axes(box)
                axes.imshow(image, interpolation='none', aspect='auto')
                axes.set_axis_off()
            for number, name in enumerate(dict.fromkeys(names)):
                short = name if len(name) <= 24 else f'{name[:22]}…'
                height = 1 - (top + title + side + 0.1 + 0.13 * number) / (2 * tall)
                figure.text(left / WIDTH, height, short.replace('_', ' '), fontsize=6, va='center', color=QUIET, parse_math=False)
        if not found:
            figure.text(0.02, 1 - (top + title + side / 2) / (2 * tall), 'none', fontsize=8, color=QUIET, va='center')
    return figure
