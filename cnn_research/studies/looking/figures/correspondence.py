"""What the correspondence experiment shows (Zeiler and Fergus 2013, section 4.3): the hidden parts (Fig. 8) and sign changes (Table 1)."""

from collections.abc import Mapping

import numpy as np

from cnn_research.reporting import claims, published
from cnn_research.reporting.drawing import Figure, Rectangle
from cnn_research.reporting.figures import WIDTH
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Column, Table

_SOURCE = 'Zeiler & Fergus 2013, section 4.3 and Table 1'
_PRINTED = ('right eye', 'left eye', 'nose', 'random')


def hidden_parts(images: np.ndarray, boxes: Mapping[str, np.ndarray], whole: str, elsewhere: str, colour: float) -> Figure:
    """A row for each uint8 image (N, H, W, C), C 1 or 3: itself with the box `whole` outlined, each other box (N, 4) hidden, and a box
    of the last one's size at random in `whole`, titled `elsewhere`. Boxes are top, left, height, width in px; colour: grey level."""
    parts, random = {name: box for name, box in boxes.items() if name != whole}, np.random.default_rng(0)
    sizes = next(reversed(parts.values()))[:, 2:]
    corners = boxes[whole][:, :2] + random.integers(0, np.maximum(boxes[whole][:, 2:] - sizes, 0) + 1)
    columns: dict[str, np.ndarray | None] = {'image': None, **parts, elsewhere: np.concatenate([corners, sizes], axis=1)}
    side = min(1.1, WIDTH / len(columns))
    figure = Figure(figsize=(side * len(columns), side * len(images) * images.shape[1] / images.shape[2] + 0.2), layout='constrained')
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for number, (image, across) in enumerate(zip(images, grid, strict=True)):
        for axes, (name, box) in zip(across, columns.items(), strict=True):
            shown = image.copy()
            if box is not None:
                top, left, height, width = box[number]
                shown[top : top + height, left : left + width] = round(colour)
            axes.imshow(shown if shown.shape[-1] == 3 else shown[..., 0], cmap='gray', vmin=0, vmax=255, interpolation='none')
            axes.set_axis_off()
            if number == 0:
                axes.set_title(name, fontsize=7.5, parse_math=False)
        top, left, height, width = boxes[whole][number]
        for line, edge in ((2.4, 'black'), (1.0, 'white')):  # dark on light: visible on any image
            grid[number, 0].add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, linewidth=line, edgecolor=edge))
    return figure


def tables_of(shelf: Shelf, changes: Mapping[str, Mapping[str, np.ndarray]], demonstration: bool) -> str:
    """Markup of sign changes {part, boxes of no part last: {tap: (networks, images)}}, the paper's beside them, and the claims.

    Of one network the spread is over its images, as in the paper; of several over the networks, and those decide the claims.
    """
    *parts, elsewhere = changes
    taps = list(changes[elsewhere])
    lone = len(changes[elsewhere][taps[0]]) == 1
    table = [
        {'part': part, **{tap: list(values[0] if lone else values.mean(1)) for tap, values in of.items()}} for part, of in changes.items()
    ]
    columns = [Column('part', 'hidden part'), *(Column(tap, f'{tap}: mean feature sign change', '.3f') for tap in taps)]
    words = f'Mean ± standard deviation over {"images" if lone else "networks"}; lower is more alike.'
    drawn = shelf.table('correspondence', Table(columns, table, words))
    printed = [
        {'part': part}
        | {record.quantity: record.value for record in published.rows('zf table 1') if record.key == f'zf table 1/{part}'}
        | {f'{record.quantity} spread': record.spread for record in published.rows('zf table 1') if record.key == f'zf table 1/{part}'}
        for part in _PRINTED
    ]
    columns = [Column('part', 'hidden part')]
    for layer in ('layer 5', 'layer 7'):
        columns += [Column(layer, f'{layer}, as printed', '.3f'), Column(f'{layer} spread', '±', '.3f')]
    drawn += shelf.table('paper', Table(columns, printed, 'The paper: five faces of dogs, networks trained on ImageNet.'))
    means = {f'{part}, {tap}': dict(enumerate(values.mean(1))) for part, of in changes.items() for tap, values in of.items()}
    low, high = taps[0], taps[-1]
    written = [
        claims.Claim(
            f'Hiding the same part changes {low} more alike than hiding random parts of the object.',
            _SOURCE,
            tuple(claims.difference(f'{elsewhere}, {low}', f'{part}, {low}') for part in parts),
            quantity='mean feature sign change',
            key='zf.correspondence.parts',
        )
    ]
    if high != low:
        share = 1 / len(parts)
        contrast = {f'{elsewhere}, {low}': 1.0, f'{elsewhere}, {high}': -1.0}
        contrast |= {f'{part}, {low}': -share for part in parts} | {f'{part}, {high}': share for part in parts}
        sentence = f'That advantage over random parts is smaller at {high}, where features know the class.'
        written.append(claims.Claim(sentence, _SOURCE, (contrast,), quantity='mean feature sign change', key='zf.correspondence.higher'))
    return drawn + shelf.claims([claims.judge(claim, means, demonstration=demonstration) for claim in written])
