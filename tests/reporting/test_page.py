"""Joined reports and trial details: every link has its place, every place is unique, and what a reader asks of a trial is there."""

import re

import pytest
from page_reader import EVIL, Reader, scripts

from cnn_research.reporting.page import Report, Trial, joined, page, place, trials_html
from cnn_research.reporting.tables import Cell, Column, Table, to_html


def trial(label, seed, state='finished', **facts):
    return Trial(label, seed, f'key{seed}', state, f'train {label} {seed}', f'config {label}', facts)


def report(name, labels=('base', 'without 3,4')):
    table = Table([Column('row'), Column('error', format='.1f')], [{'row': x, 'error': Cell([1.0, 2.0], place(name, x))} for x in labels])
    trials = [trial(label, seed, machine='a', minutes=seed) for label in labels for seed in (0, 1)]
    sections = [(EVIL, to_html(table)), ('Trials', trials_html(name, trials))]
    return Report(name, f'{name} {EVIL}', EVIL, sections, f'python -m experiments.{name}')


def test_joined_reports_keep_their_places_apart():
    reports = [report('depth'), report('stride'), report('depth cifar10 & "more"')]
    text = joined('All', EVIL, reports)
    read = Reader(text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(set(ids)) == len(ids) == 3 * (1 + 2 + 2 + 4)
    links = re.findall(r' href="#([^"]*)"', text)
    assert len(links) == 3 * (1 + 2 + 2 + 4 + 4) and set(links) == set(ids)  # each trial's page leads back to its row
    assert all(address.startswith(('data:', '#')) for address in read.addresses)
    assert len(scripts(text)) == 1 and all(one.title in read.text and one.command in read.text for one in reports)
    # Headings go down by one step at a time.
    levels = [int(tag[1]) for tag in read.tags if re.fullmatch('h[1-6]', tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_a_number_links_into_the_fold_that_holds_its_trials():
    one = report('depth')
    text = page(one.title, one.lead, one.sections, one.command)
    address = place('depth', 'without 3,4')[1:]
    # A browser opens a fold for a link to what is inside it, not for a link to the fold itself.
    assert re.search(rf'<details>\s*<summary>without 3,4 .*?</summary>\s*<div id="{re.escape(address)}">', text)
    assert f'<a href="#{address}">1.5 ± 0.7 (2)</a>' in text


def test_addresses_of_different_rows_differ():
    labels = ['without 3,4', 'without 3.4', '-7', '7', '6,7: 2048', 'a#b', 'a%23b', 'a"b', 'é', '<b>']
    addresses = [place('depth', label) for label in labels] + [place('depth-7', ''), place('stride', '7')]
    assert len(set(addresses)) == len(addresses)
    assert all(re.fullmatch(r'#[^\s"<>#&]+', address) for address in addresses)


def test_details_say_what_the_seeds_share_once_and_what_differs_by_seed():
    trials = [trial('a', 0, machine='cpu', minutes=3), trial('a', 1, f'failed: {EVIL}', machine='cpu'), trial('b', 0, machine='gpu')]
    text = trials_html('depth', trials)
    folds, pages = Reader(text[: text.index('<section')]), text[text.index('<section') :].split('<section')[1:]
    assert folds.tags.count('details') == 2 and 'script' not in folds.tags
    # Of a: heads and two seeds; of b: all its facts are shared.
    assert folds.cells == ['Seed', 'Key', 'State', 'minutes', '0', 'key0', 'finished', '3', '1', 'key1', f'failed: {EVIL}', '–'] + [
        'Seed', 'Key', 'State', '0', 'key0', 'finished',
    ]  # fmt: skip
    assert folds.text.count('cpu') == 1 and '1 finished, 1 failed' in folds.text
    for one, page_ in zip(trials, pages, strict=True):
        said = Reader(f'<section{page_}').text
        facts = [f'config {one.label}', f'train {one.label} {one.seed}', one.state, one.key, *map(str, one.facts.values())]
        assert all(text in said for text in facts)


def test_a_trial_is_a_page_of_its_own_with_what_its_config_has_unlike_the_base():
    base, other = (
        trial('a', 0),
        trial('b', 0)._replace(base='a, seed 0', differences=[('data.batch_size', EVIL, '32')], curves='<svg></svg>'),
    )
    same = trial('c', 0)._replace(base='a, seed 0', differences=[])
    text = trials_html('depth', [base, other, same])
    first, second, third = (Reader(f'<section{part}') for part in text.split('<section')[1:])
    assert 'Config beside' not in first.text and 'It has the same.' in third.text and 'svg' in second.tags and 'svg' not in first.tags
    assert second.cells == ['field', 'this one', 'a, seed 0', 'data.batch_size', EVIL, '32']
    assert re.search(r'<section class="trial" id="(depth-b!0-key0)">', text)[1] in text.partition('<section')[0]  # linked from its row
    assert second.addresses[0] == place('depth', 'b')


def test_places_that_are_not_there_or_twice_there_are_mistakes():
    one = report('depth')
    with pytest.raises(ValueError, match='twice'):
        joined('All', '', [one, one])
    with pytest.raises(ValueError, match='depth-without_3,4'):
        page('t', '', one.sections[:1], 'c')
