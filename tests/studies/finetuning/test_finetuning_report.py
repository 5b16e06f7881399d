"""Fine-tuning's tables, claims and words from accuracies made by hand."""

import csv

import pytest

from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.finetuning import report

ABOUT = report.About('caltech101_subset', 'cifar10', 3, 0.1, 400, 64, True, '')


def row(way, size, *accuracies, classes=43, problem='', rate=0.01, edge=''):
    told = dict(enumerate(accuracies))
    top5 = {seed: value + 10 for seed, value in told.items()} if classes >= 20 else {}
    return report.Row(f'{way}, {size} a class', way, size, told, top5, rate, edge, classes, 214, problem)


# As in the paper: features win everywhere, most with the fewest images; fine-tuning whole wins with the most.
ROWS = [
    row('scratch', 1, 5.0, 5.5, 5.2), row('scratch', 20, 40.0, 40.4, 40.1),
    row('whole', 1, 21.0, 19.5, 20.2), row('whole', 20, 60.0, 60.9, 60.3),
    row('frozen', 1, 30.0, 30.6, 30.1), row('frozen', 20, 55.0, 55.2, 55.9, edge='the highest tried'),
    row('from layer 5', 1, 25.0, 25.5, 25.3), row('from layer 5', 20, 58.0, 58.1, 58.4),
]  # fmt: skip


def test_labels_are_read_back():
    for way, size in (('frozen', 3), ('upper', 300), ('scratch', 1)):
        label = report.label(way, 6, size)
        assert report.reads(label) and report.parsed(label) == ('from layer 6' if way == 'upper' else way, size)
    assert report.reads('source') and report.reads('network') and not report.reads('frozen') and not report.reads('frozen, x a class')


def test_the_claims_follow_from_the_accuracies():
    found = report.judged(ROWS, ABOUT)
    assert [one.verdict for one in found] == ['reproduced'] * 3 + ['no direction claimed']
    assert [len(one.differences) for one in found] == [2, 1, 1, 1]
    assert found[1].differences[0].mean == pytest.approx(25.0 - 15.2, abs=0.01)
    turned = [line._replace(accuracy={seed: 70 - value for seed, value in line.accuracy.items()}) for line in ROWS]
    assert [one.verdict for one in report.judged(turned, ABOUT)][:3] == ['contradicted'] * 3
    assert {one.verdict for one in report.judged(ROWS, ABOUT._replace(learned='clutter'))} == {'no verdict', 'no direction claimed'}
    assert report.judged(ROWS, ABOUT._replace(problem='failed'))[0].verdict == 'no verdict'
    broken = [line._replace(problem='not finished: seed 2') if line.way == 'whole' else line for line in ROWS]
    assert [one.verdict for one in report.judged(broken, ABOUT)] == ['reproduced', 'reproduced', 'no verdict', 'no direction claimed']
    alone = [line for line in ROWS if line.size == 1 and line.way != 'whole']
    assert [len(one.differences) for one in report.judged(alone, ABOUT)] == [1]  # of what is not there nothing is said


def test_the_tables_have_every_row_in_one_order(tmp_path):
    show = Shelf(tmp_path, 'finetune', {line.label for line in ROWS})
    title, lead, sections = report.report(ROWS, ABOUT, show)
    assert title == 'Fine-tuning on caltech101_subset, networks of cifar10'
    assert 'at 1 and 20 images a class: frozen 30.2 / 55.4, from layer 5 25.3 / 58.2, whole 20.2 / 60.4' in lead
    assert lead.endswith('Claims: 3 reproduced.')
    ways = [line['way'] for line in csv.DictReader((tmp_path / 'curve.csv').read_text().splitlines())]
    assert ways == ['frozen', 'from layer 5', 'whole', 'scratch']
    lines = list(csv.DictReader((tmp_path / 'rows.csv').read_text().splitlines()))
    assert [line['row'] for line in lines][:3] == ['frozen, 1 a class', 'frozen, 20 a class', 'from layer 5, 1 a class']
    assert lines[1]['point note'] == 'the highest tried' and lines[1]['images'] == '860' and lines[0]['top5'] == '40.0 40.6 40.1'
    assert float(lines[0]['above']) == pytest.approx(25.0) and lines[-1]['above'] == ''
    paper = (tmp_path / 'paper.md').read_text().splitlines()
    assert paper[-1] == '| imagenet-pretrained convnet | 83.8 ± 0.5 | 86.5 ± 0.5 | 65.7 ± 0.2 | 70.6 ± 0.2 | 72.7 ± 0.4 | 74.2 ± 0.3 |'
    words = '\n'.join(show.markdown)
    for part in (
        'the same 214 images',
        'chosen with 214 labels, and the weights with 43',
        'same 400 steps of 64 images',
        '29.8 passes over',
        'network of its own',
    ):
        assert part in words
    assert (tmp_path / 'figures' / 'curves.pdf').is_file() and [heading for heading, _ in sections][:2] == ['Four ways', 'Learning curves']


def test_what_is_not_there_yet_is_said_and_nothing_is_made_up(tmp_path):
    planned = [line._replace(accuracy={}, top5={}, rate=None, classes=0, held=None, problem='not finished: seed 0') for line in ROWS]
    _, lead, sections = report.report(planned, ABOUT._replace(steps=0), Shelf(tmp_path, 'finetune', ()))
    assert lead == 'No row is finished yet.' and 'Learning curves' not in [heading for heading, _ in sections]
    partly = [ROWS[0], *planned[1:]]
    _, lead, _ = report.report(partly, ABOUT, Shelf(tmp_path, 'finetune', ()))
    assert 'at 1 images a class: frozen –, from layer 5 –, whole –, scratch 5.2' in lead
    few = [row('frozen', 1, 30.0, classes=10), row('scratch', 1, 40.0, classes=10)]
    show = Shelf(tmp_path, 'finetune', ())
    report.report(few, ABOUT._replace(networks=1, learned='clutter'), show)
    assert 'top5' not in (tmp_path / 'rows.csv').read_text() and 'Clutter is a demonstration' in '\n'.join(show.markdown)
