"""The page of one training, finished or not, from what it wrote down; nothing is trained, and no network or data set is read."""

import base64
import pathlib
import statistics
from typing import Any

import numpy as np

from cnn_research import config as configs
from cnn_research import files, journal
from cnn_research.errors import CheckpointError
from cnn_research.reporting import figures, page, tables, templates
from experiments.launch import outcome, trial_pages

FILTERS = 'layer1.npz'  # the filters of layer 1 at the end, as 'kernel'
PREDICTIONS = 'predictions'  # the figure of what the network says of some test images, which needs the network
SAMPLES = 18  # images in it
_CAPTION = f'{SAMPLES} test images, evenly spaced over the split, not chosen: what the network says and how sure it is.'
_QUANTITIES = (('top-1 error (%)', 'top1_error', 100), ('top-5 error (%)', 'top5_error', 100), ('loss', 'loss', 1))
_NOTED = 'Training values are means since the point before, with augmentation and dropout where the recipe has them.'


def report(home: pathlib.Path, folder: pathlib.Path | None = None, name: str = 'train') -> page.Report:
    """The page, its figures and table written into the folder, by default the workdir itself; name: heads its addresses.

    CheckpointError for a config or result that is not what was written.
    """
    folder, config = folder or home, outcome.config(home, configs.read(home))
    net, result = configs.network(config), journal.result(home)
    # The network that a command trains to look into it has its run.json beside it.
    record = outcome.made(home.parent if home.name == 'network' and not (home / 'run.json').exists() else home)
    history = trial_pages.written(home)
    files.check(home / journal.RESULT, result or {}, outcome.TEST if result and 'test' in result else {})
    data, last = config.data.name, max((line['step'] for line in history if isinstance(line.get('step'), int)), default=0)
    step = result['step'] if result else last
    failed = trial_pages.failure(home)
    state = f'failed: {failed}' if failed and not result else f'not finished, {step:,} steps so far'
    facts = [
        ('architecture', net.name),
        ('parameters', f'{net.parameters:,}'),
        ('multiply-adds an image', f'{net.multiply_adds:,}'),
        ('training', f'{step:,} steps of {config.data.batch_size}{_epochs(history)}, seed {config.seed}'),
        ('time in steps', outcome.spent(home)),
        *([('speed', f'{statistics.median(rates):,.0f} examples a second')] if (rates := journal.rates(home)) else []),
        *trial_pages.peak(home).items(),
        *((what, record[what]) for what in ('machine', 'versions', 'date', 'code') if what in record),
        *([('key', result['key'])] if result else [('state', state)]),
    ]
    table = _table(result or {})
    if table.rows:
        tables.write(table, folder / 'result')
    sections = [('Result', (tables.to_html(table) if table.rows else '') + page.facts_html(facts))]
    notes = [*record.get('notes', []), *filter(None, [journal.other_rates((result or {}).get('continued', []))])]
    if notes:
        sections.append((outcome.NOTES, page.text_html('\n\n'.join(notes))))
    drawn = _curves(history, folder)
    sections += [('Learning curves', drawn)] if drawn else []
    sections += _filters(home, folder) + (_predictions(home, folder) if result else []) + _confusion(home, result or {}, folder)
    config_ = '\n'.join(f'{field}={value}' for field, value in configs.flat(config).items() if field not in trial_pages.UNSHOWN)
    sections.append(('Config', templates.part('folded', 'All of its config', config_)))
    if data == 'clutter':
        about = 'Clutter is a demonstration: its data and recipe were chosen so that depth can matter. '
        about += 'Its holdout shares digits with the training composites; its test composites show digits of their own.'
        sections.append(('About clutter', page.text_html(about)))
    tested = f'{100 * result["test"]["top1_error"]:.2f} % test error' if result and 'test' in result else 'finished, not tested'
    ended = tested if result else state.rstrip('.')
    lead = f'{net.name} trained on {data}: {ended}.'
    return page.Report(name, f'Training {net.name.split()[0]} on {data}', lead, sections, record['command'])


def _epochs(history: list[dict]) -> str:
    last = history[-1].get('epoch') if history else None
    return f', {last:.3g} epochs' if isinstance(last, float) else ''


def _table(result: dict) -> tables.Table:
    rows = [
        {'split': role, 'examples': result[role].get('examples')}
        | {name: None if result[role].get(key) is None else factor * result[role][key] for name, key, factor in _QUANTITIES}
        for role in ('holdout', 'test')
        if role in result
    ]
    columns = [tables.Column('split'), tables.Column('examples', format=',d')]
    columns += [tables.Column(name, format='.2f' if '%' in name else '.4f') for name, _, _ in _QUANTITIES]
    return tables.Table(columns, rows, 'At the end of training, every example counted once.')


def _show(folder: pathlib.Path, name: str, figure, caption: str) -> str:
    figures.save(figure, folder / 'figures' / name)
    return page.figure_html(figure, caption)


def _curves(history: list[dict], folder: pathlib.Path) -> str:
    """Error and loss, as far as the journal has them."""
    drawn = ''
    for key, factor, label, name in (('error', 100, 'error (%)', 'Top-1 error'), ('loss', 1, 'loss', 'Loss')):
        series = []
        for role in ('train', 'holdout'):
            told = [(trial_pages.told(line, 'epoch'), trial_pages.told(line, key)) for line in history if line['role'] == role]
            told = [(x, factor * y) for x, y in told if x is not None and y is not None]
            series += [(role, [x for x, _ in told], [y for _, y in told])] if told else []
        if series:
            drawn += _show(folder, key, figures.learning_curves(series, 'epoch', label, log_y=key == 'loss'), f'{name}. {_NOTED}')
    return drawn


def _filters(home: pathlib.Path, folder: pathlib.Path) -> list[tuple[str, str]]:
    if not (home / FILTERS).is_file():
        return []
    try:
        with np.load(home / FILTERS, allow_pickle=False) as kept:
            kernel = kept['kernel']
        figure = figures.filter_grid(kernel)
    except (OSError, ValueError, LookupError, EOFError):
        raise CheckpointError(f'{home / FILTERS} is damaged: it holds no filters.') from None
    caption = f'The {kernel.shape[-1]} layer-1 filters, {kernel.shape[0]}x{kernel.shape[1]}, at the end, each scaled by itself.'
    return [('Layer-1 filters', _show(folder, 'layer1', figure, caption))]


def _predictions(home: pathlib.Path, folder: pathlib.Path) -> list[tuple[str, str]]:
    """The figure as the training's command drew it: it is not drawn anew, which would need the network and the images."""
    path = home / 'figures' / f'{PREDICTIONS}.png'
    if not path.is_file():
        return []
    content = path.read_bytes()
    if folder != home:
        files.write(folder / 'figures' / path.name, content)
    uri = 'data:image/png;base64,' + base64.b64encode(content).decode()
    return [('Sample predictions', templates.part('figure', uri, _CAPTION, round(96 * figures.WIDTH) + 18))]


def _confusion(home: pathlib.Path, result: dict[str, Any], folder: pathlib.Path) -> list[tuple[str, str]]:
    matrix = result.get('test', {}).get('confusion')
    if matrix is None:
        return []
    size = len(files.check(home / journal.RESULT, matrix, [[int]], 'test.confusion'))
    names = result.get('class_names') or [str(number) for number in range(size)]
    if len(names) != size or any(len(row) != size for row in matrix):
        raise CheckpointError(f'{home / journal.RESULT} is damaged: test.confusion is not that of its {len(names)} classes.')
    figure = figures.confusion(np.array(matrix), names)
    caption = 'Test images of each true class (rows) by what they were called (columns).'
    return [('Confusion', _show(folder, 'confusion', figure, caption))]
