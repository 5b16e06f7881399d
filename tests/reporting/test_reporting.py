"""Reports: nothing from outside is loaded or interpreted, and the printed numbers are the papers'."""

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from page_reader import EVIL, Reader, scripts

from cnn_research import reporting
from cnn_research.errors import ResearchError
from cnn_research.reporting import figures, page, tables
from cnn_research.reporting.published import TABLES, published, rows
from cnn_research.reporting.tables import Column, Table

# As mathematics this is an error: a figure that draws it has not tried.
NOT_MATHS = '$\\nope$'


def pixels(figure):
    """RGBA as drawn, (H, W, 4)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_page_is_well_formed_and_loads_nothing():
    curve = figures.learning_curves([(EVIL, [0, 1], [1.0, 0.5])], EVIL, EVIL)
    grid = figures.filter_grid(np.ones((3, 3, 3, 4)))
    table = Table([Column('a', EVIL)], [{'a': EVIL}], EVIL)
    sections = [
        (EVIL, page.facts_html([(EVIL, EVIL)])),
        (EVIL, tables.to_html(table) + page.figure_html(curve, EVIL)),
        (EVIL, page.figure_html(grid, EVIL) + page.text_html(f'{EVIL}\n\n{EVIL}')),
    ]
    text = page.page(EVIL, EVIL, sections, f'python -m experiments.depth {EVIL}')
    read = Reader(text)
    assert len(scripts(text)) == 1 and EVIL not in text
    # title, h1, lead; three headings, three entries of the contents; a fact's two; a table's three; two captions; two paragraphs; command
    assert read.text.count(EVIL) == 3 + 3 + 3 + 2 + 3 + 2 + 2 + 1
    assert 'http://' not in text and 'https://' not in text and '@import' not in text and 'url(' not in text
    assert all(address.startswith(('data:', '#section-')) for address in read.addresses)
    assert [address.split(';')[0] for address in read.addresses if address.startswith('data:image')] == [
        'data:image/svg+xml',
        'data:image/png',
    ]
    targets = [address[1:] for address in read.addresses if address.startswith('#')]
    assert len(targets) == 3 and all(f'id="{target}"' in text for target in targets)
    assert 'name="viewport"' in text and 'prefers-color-scheme: dark' in text and '@media print' in text


def test_reader_notices_unbalanced_tags():
    with pytest.raises(AssertionError):
        Reader('<p><b>x</p></b>')


def test_saved_figures_are_reproducible_and_white(tmp_path):
    figure = figures.learning_curves([('a', range(20), range(20))], 'x', 'y')
    png, pdf = figures.save(figure, tmp_path / 'new' / 'lr0.1')
    again = figures.save(figures.learning_curves([('a', range(20), range(20))], 'x', 'y'), tmp_path / 'again')
    assert (png.name, pdf.name) == ('lr0.1.png', 'lr0.1.pdf')
    assert png.read_bytes()[:8] == b'\x89PNG\r\n\x1a\n' and pdf.read_bytes()[:5] == b'%PDF-'
    assert [file.read_bytes() for file in again] == [png.read_bytes(), pdf.read_bytes()]
    assert (pixels(figure)[0, 0] == 255).all()


def test_learning_curves_hold_the_data_and_every_name():
    names = ['_hidden', NOT_MATHS, 'plain', *map(str, range(6))]
    figure = figures.learning_curves(
        [(name, [1, 2, 3], [1.0, np.nan, index + 0.5]) for index, name in enumerate(names)], NOT_MATHS, NOT_MATHS, True
    )
    pixels(figure)
    (axes,) = figure.axes
    assert axes.get_yscale() == 'log'
    assert [line.get_ydata()[2] for line in axes.lines] == [index + 0.5 for index in range(len(names))]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == len(names)


def tile_values(figure, size):
    """The grid's drawn values, one (size, size, ...) array per tile in reading order, sampled at the middle of each weight."""
    picture = np.asarray(figure.axes[0].images[0].get_array())
    ground = (picture == 1).all(axis=2)
    tops = starts(~ground.all(axis=1))
    lefts = starts(~ground.all(axis=0))
    step = (tops[0][1] - tops[0][0]) // size
    middles = np.arange(size) * step + step // 2
    return [picture[np.ix_(top + middles, left + middles)] for top, _ in tops for left, _ in lefts]


def starts(flags):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]]).astype(int)))
    return list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize('maps', [1, 3, 6])
@pytest.mark.parametrize('scaling', ['each', 'shared'])
def test_filter_grid_draws_each_weight(maps, scaling):
    # Below 0.9 of the largest, lest a weight's white be taken for the ground between tiles.
    kernels = np.random.default_rng(0).uniform(-1, 0.9, (5, 5, maps, 6)) * np.arange(1, 7)
    kernels[0, 0, 0] = -np.arange(1, 7)
    figure = figures.filter_grid(kernels, scaling)
    tiles = tile_values(figure, 5)
    assert len(tiles) == 6
    for number, tile in enumerate(tiles):
        weights = kernels[..., number] if maps == 3 else kernels[:, :, :1, number].repeat(3, axis=2)  # grey is three equal channels
        np.testing.assert_allclose(tile, 0.5 + weights / (2 * (number + 1 if scaling == 'each' else 6)), atol=1e-6)
    (caption,) = figure.texts
    assert {'each': 'each filter', 'shared': 'all filters scaled by 6'}[scaling] in caption.get_text()
    assert (f'first of {maps} input maps' in caption.get_text()) == (maps == 6)


def test_filter_grid_draws_dead_filters_grey_and_refuses_what_it_cannot_draw():
    (tile,) = tile_values(figures.filter_grid(np.zeros((3, 3, 3, 1)), 'shared'), 3)
    assert (tile == 0.5).all()
    for kernels, scaling in [(np.zeros((3, 3, 4)), 'each'), (np.full((3, 3, 1, 2), np.nan), 'each'), (np.zeros((3, 3, 1, 2)), 'both')]:
        with pytest.raises(ValueError):
            figures.filter_grid(kernels, scaling)


def test_grid_of_filters_fills_its_rows():
    assert [figures._columns(count) for count in (1, 6, 16, 20, 64, 96, 256)] == [1, 3, 4, 5, 8, 12, 16]
    assert all(math.isqrt(count - 1) + 1 <= figures._columns(count) <= 3 * (math.isqrt(count) + 1) for count in range(1, 400))


@pytest.mark.parametrize('channels', [1, 3])
def test_sample_predictions_mark_right_and_wrong(channels):
    images = np.zeros((8, 12, 12, channels), np.uint8)
    truth = ['cat', NOT_MATHS] * 4
    predicted = ['cat', 'cat'] * 4
    figure = figures.sample_predictions(images, truth, predicted, np.linspace(0.3, 1.0, 8))
    pixels(figure)
    labels = [axes.get_xlabel() for axes in figure.axes if axes.images]
    assert labels[:2] == ['✓ cat 30%', f'✗ cat 40%\nis {NOT_MATHS}'] and len(labels) == 8
    with pytest.raises(ValueError):
        figures.sample_predictions(images, truth[:3], predicted, np.ones(8))


def test_confusion_writes_every_count_and_colours_only_errors():
    matrix = np.array([[95, 5, 0], [0, 40, 0], [1, 2, 7]])
    figure = figures.confusion(matrix, ['a', NOT_MATHS, 'a class with a very long name'])
    pixels(figure)
    axes = figure.axes[0]
    written = np.zeros_like(matrix)
    for text in axes.texts:
        column, row = text.get_position()
        written[row, column] = int(text.get_text())
    np.testing.assert_array_equal(written, matrix)
    shares = axes.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shares), [[True, False, True], [True, True, True], [False, False, True]])
    np.testing.assert_allclose(shares.compressed(), [5, 10, 20])
    pixels(figures.confusion(np.diag([0, 3]), ['a', 'b']))
    pixels(figures.confusion(np.ones((60, 60), int), [str(number) for number in range(60)]))
    with pytest.raises(ValueError):
        figures.confusion(matrix, ['a', 'b'])


@pytest.mark.parametrize(
    ('table', 'row', 'quantity', 'value', 'spread'),
    [
        ('mnist', 'linear', None, 12.0, None),
        ('mnist', '300', None, 4.7, None),
        ('mnist', '1000', None, 4.5, None),
        ('mnist', '300-100', None, 3.05, None),
        ('mnist', '500-150', None, 2.95, None),
        ('mnist', 'lenet5', None, 0.95, None),
        ('mnist', 'boosted lenet4, distortions', None, 0.7, None),
        ('mnist', 'committee of 7, distortions', None, 0.27, 0.02),
        ('cifar10', 'layers-80sec', None, 26, None),
        ('cifar10', 'layers-11pct', 'test error, augmented', 11, None),
        ('krizhevsky table 1', 'cnn', 'top-5', 17.0, None),
        ('krizhevsky table 2', '7 cnns*', 'test top-5', 15.3, None),
        ('krizhevsky effects', 'relu', None, 6, None),
        ('zf table 2', '6 convnets, (a) and (b) combined', 'test top-5', 14.8, None),
        ('zf table 3', 'removed layers 3,4,6,7', 'train top-1', 71.1, None),
        ('zf table 4', 'non-pretrained convnet', '15 per class', 22.8, 1.5),
        ('zf table 5', 'imagenet-pretrained convnet', '60 per class', 74.2, 0.3),
        ('zf table 7', 'svm (5)', 'caltech-101, 30 per class', 86.2, 0.8),
        ('zf table 7', 'softmax (7)', 'caltech-256, 60 per class', 72.6, 0.1),
        ('rcnn table 1', 'uva', 'mAP', 35.1, None),
        ('rcnn table 1', 'rcnn bb', 'tvmonitor', 52.4, None),
        ('rcnn table 2', 'ft fc7', 'diningtable', 46.5, None),
        ('rcnn table 2', 'fc6', 'mAP', 46.2, None),
        ('rcnn text', 'ft fc7, softmax', None, 50.9, None),
        ('deck', 'without layers 6,7', None, 5.7, None),
    ],
)
def test_published_numbers(table, row, quantity, value, spread):
    record = published(table, row, quantity)
    assert (record.value, record.spread, record.key) == (value, spread, f'{table}/{row}')


def test_zf_table_3_rows_agree_with_the_differences_stated_beside_them():
    differences = [0, 4.0, 0.3, 4.3, 32.0, 0.7, 0, 0, 1.1, 0.5, -0.5, 0.4]
    errors = [record.value for record in rows('zf table 3') if record.quantity == 'val top-5']
    bases = [18.1] * 7 + [16.5] * 5
    np.testing.assert_allclose(np.subtract(errors, bases), differences, atol=1e-9)


@pytest.mark.parametrize('table', ['rcnn table 1', 'rcnn table 2'])
def test_the_mean_average_precisions_are_the_means_that_are_printed(table):
    found = {}
    for record in rows(table):
        found.setdefault(record.key, []).append(record.value)
    for *classes, mean in found.values():
        assert len(classes) == 20 and np.mean(classes) == pytest.approx(mean, abs=0.051)


def test_papers_agree_where_they_print_the_same_number():
    same = [
        (('zf table 2', 'replication of krizhevsky, 1 convnet'), ('zf table 3', 'replication of krizhevsky, 1 convnet')),
        (('zf table 2', '1 convnet as per fig. 3'), ('zf table 3', 'our model')),
        (('zf table 2', '1 convnet, layers 3,4,5: 512,1024,512 maps (b)'), ('zf table 3', 'our model, layers 3,4,5: 512,1024,512 maps')),
    ]
    for quantity in ('val top-1', 'val top-5'):
        for one, other in same:
            assert published(*one, quantity).value == published(*other, quantity).value
    assert published('deck', 'full model').value == published('zf table 3', 'replication of krizhevsky, 1 convnet', 'val top-5').value


def test_published_records_are_complete_and_unambiguous():
    for name, records in TABLES.items():
        pairs = [(record.key, record.quantity) for record in records]
        assert len(set(pairs)) == len(pairs) > 0
        for record in records:
            assert record.key.startswith(f'{name}/') and record.source and record.quantity
            assert record.confidence in ('verified', 'verified-2nd', 'memory')
            assert record.unit in ('%', 'percentage points', 'times', 'share')
            assert record.unit != '%' or 0 < record.value < 100
        for top1, top5 in zip(records, records[1:], strict=False):
            if top1.key == top5.key and 'top-1' in top1.quantity and 'top-5' in top5.quantity:
                assert top5.value < top1.value


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (('mnits', 'lenet5'), ['mnits', 'Did you mean mnist?', 'zf table 3']),
        (('mnist', 'lenet-5'), ['lenet-5', 'Did you mean lenet5?', '500-150']),
        (('zf table 3', 'our model'), ['several', 'val top-5']),
        (('zf table 3', 'our model', 'val top5'), ['val top5', 'Did you mean val top-5?']),
    ],
)
def test_what_was_not_published_is_refused_with_the_choices(arguments, words):
    with pytest.raises(ResearchError) as refusal:
        published(*arguments)
    assert all(word in str(refusal.value) for word in words) and '\n' not in str(refusal.value)


def test_reporting_knows_nothing_of_networks():
    allowed = {
        'numpy',
        'scipy',
        'matplotlib',
        'PIL',
        'jinja2',
        'markupsafe',
        'cnn_research.errors',
        'cnn_research.files',
        'cnn_research.reporting',
    }
    for file in Path(reporting.__file__).parent.glob('*.py'):
        tree = ast.parse(file.read_text(encoding='utf-8'))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {f'{node.module}.{alias.name}' for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        for name in imported:
            ours = '.'.join(name.split('.')[:2]) if name.startswith('cnn_research') else name.split('.')[0]
            assert ours in allowed or ours in sys.stdlib_module_names, (file.name, name)
            assert 'pyplot' not in name
