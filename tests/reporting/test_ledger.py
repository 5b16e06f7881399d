"""The ledger: what is read back is what was judged, one word follows from the verdicts, and nothing is dropped or counted twice."""

import csv
import io
import pathlib
import re

import pytest

from cnn_research.errors import CheckpointError
from cnn_research.reporting import catalogue, claims, claims_file, ledger, ledger_page, ledger_text, measured, tables
from cnn_research.reporting.catalogue import Entry
from cnn_research.reporting.claims import Claim, Difference, difference
from cnn_research.reporting.claims_file import Told
from cnn_research.reporting.ledger import Place, Scale

ROOT = pathlib.Path(__file__).resolve().parents[2]
SENTENCE = 'From layer 1 to layer 5 every layer is worth more.'


def place(name='a', data='cifar10', **scale):
    return Place(name, pathlib.Path('results') / name / 'README.md', f'python -m experiments.{name}', Scale(data, **scale))


def told(verdict='reproduced', mean=1.0, half=0.5, sentence=SENTENCE, reason='3 seeds', key='', n=3, **fields):
    one = Difference('b - a', mean, mean - half, mean + half, n)
    given = {'margin': None, 'quantity': 'error', 'source': 'a paper', 'unit': 'seed', 'overlap': 0.0} | fields
    return Told(sentence, key, verdict, (one,), reason=reason, **given)


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def line_of(found, key='zf.layers.every'):
    return next(line for line in found.lines if line.entry.key == key)


def judged(values, **fields):
    claim = Claim('b is above a', 'a paper', (difference('b', 'a'), difference('c', 'a')), **fields)
    return claim, {row: dict(enumerate(of)) for row, of in values.items()}


@pytest.mark.parametrize(
    ('c', 'fields', 'overlap'),
    [
        ((3.0, 3.1, 2.9), {}, None),
        ((3.0, -3.1, 2.9), {'key': 'zf.layers.every', 'note': 'sources, that "disagree"'}, None),
        ((0.0, 0.0, 0.0), {}, None),
        ((-3.0, -3.1, -2.9), {'instead': 'top-5, in the source'}, 0.25),
        ((0.1, 0.2, 0.15), {'margin': 2.5}, None),
        ((0.1, float('inf'), 0.15), {}, None),
        ((0.1, 0.2), {'directed': False}, None),
    ],
)
def test_what_was_judged_is_read_back_to_the_last_digit(tmp_path, c, fields, overlap):
    claim, values = judged({'a': (0.0, 0.1, 0.3)[: len(c)], 'b': (2.0, 2.2, 2.1)[: len(c)], 'c': c}, **fields)
    one = claims.judge(claim, values, overlap=overlap)
    (tmp_path / 'claims.csv').write_text(tables.to_csv(claims.table([one, one])))
    first, second = claims_file.read(tmp_path / 'claims.csv')
    assert first == second
    assert (first.sentence, first.key, first.verdict, first.margin) == (claim.sentence, claim.key, one.verdict, claim.margin)
    assert (first.unit, first.overlap) == (one.unit, one.overlap) and first.reason.endswith(one.reason)
    for mine, theirs in zip(first.differences, one.differences, strict=True):
        assert str(mine[:7]) == str(theirs[:7])


def _good():
    claim, values = judged({'a': (0.0, 0.1, 0.3), 'b': (2.0, 2.2, 2.1), 'c': (3.0, 3.1, 2.9)})
    return tables.to_csv(claims.table([claims.judge(claim, values)]))


def _cell(column, text):
    def change(content):
        rows = list(csv.DictReader(io.StringIO(content)))
        rows[0][column] = text
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader(), writer.writerows(rows)
        return out.getvalue()

    return change


DAMAGE = {
    'a mean that is no number': _cell('difference', 'much'),
    'a mean that is nan': _cell('difference', 'nan'),
    'ends the wrong way round': _cell('difference low', '9'),
    'an end that is missing': _cell('difference high', ''),
    'n that is no count': _cell('n', '3.5'),
    'an unknown verdict': _cell('verdict', 'proved'),
    'a verdict that its numbers do not give': _cell('verdict', 'contradicted'),
    'no verdict beside a sentence': _cell('verdict', ''),
    'nothing compared': _cell('compared', ''),
    'a row cut short': lambda text: text[: text.rindex(',')],
    'an open quote': lambda text: text + '"',
    'no column of verdicts': lambda text: text.replace('verdict', 'judgement', 1),
    'a column twice': lambda text: text.replace('reason', 'sentence', 1),
    'no claim': lambda text: text.splitlines()[0] + '\n',
    'nothing at all': lambda text: '',
    'a claim that goes on without a beginning': lambda text: text.replace('\n1,,', '\n2,,', 1),
}


@pytest.mark.parametrize('change', DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, change):
    path = tmp_path / 'claims.csv'
    path.write_text(_good())
    claims_file.read(path)
    path.write_text(change(_good()))
    with pytest.raises(CheckpointError) as refused:
        claims_file.read(path)
    assert str(path) in str(refused.value) and '\n' not in str(refused.value) and len(str(refused.value)) < 400


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / 'claims.csv').write_bytes(_good().encode('utf-16'))
    with pytest.raises(CheckpointError, match='UTF-8'):
        claims_file.read(tmp_path / 'claims.csv')


DEMONSTRATION = {'reason': 'a demonstration: data and recipe were chosen so that the effect shows'}
WORDS = [
    (['reproduced'], ledger.REPRODUCED),
    (['reproduced', 'undecided', 'no verdict'], ledger.REPRODUCED),
    (['contradicted', 'undecided'], ledger.CONTRADICTED),
    (['reproduced', 'contradicted', 'undecided'], ledger.MIXED),
    (['undecided', 'no verdict'], ledger.UNDECIDED),
    (['no verdict'], ledger.NO_VERDICT),
    (['no direction claimed', 'no verdict'], ledger.NO_DIRECTION),
    ([measured.VERDICT, 'no verdict'], measured.VERDICT),
    ([], ledger.OPEN),
]


@pytest.mark.parametrize(('verdicts', 'word'), WORDS)
def test_the_word_follows_from_the_verdicts_whatever_their_order_and_demonstrations(verdicts, word):
    for order in (verdicts, verdicts[::-1]):
        every = [(place(str(n)), [told(one, mean=1.0 + n)]) for n, one in enumerate(order)]
        assert line_of(ledger.assemble(every)).word == word
        shown = [(place('clutter', 'clutter'), [told(one, mean=-9.0, **DEMONSTRATION)]) for one in ('reproduced', 'contradicted')]
        found = line_of(ledger.assemble([*every, *shown]))
        assert found.word == (word if verdicts else ledger.NO_VERDICT) and sum(found.verdicts().values()) == len(verdicts)


def test_a_claim_that_cannot_be_decided_says_so_until_there_is_evidence():
    closed = Entry('zf.x', 'A claim.', 'Table 9', closed='no data')
    assert ledger.word(closed, []) == ledger.CLOSED
    assert ledger.word(closed, [ledger.Evidence(told(), place())]) == ledger.REPRODUCED


def test_the_same_evidence_in_two_places_counts_once_and_other_evidence_does_not():
    same = ledger.assemble([(place('a'), [told()]), (place('b', 'of another name'), [told(key='zf.layers.every')])])
    assert len(line_of(same).evidence) == 1 and same.twice == 1
    other = ledger.assemble([(place('a'), [told()]), (place('b'), [told(mean=1.0000000001)])])
    assert len(line_of(other).evidence) == 2 and other.twice == 0
    flat = {'mean': 0.0, 'half': 0.0, 'verdict': 'no verdict'}
    assert ledger.assemble([(place('a'), [told(**flat)]), (place('b', 'mnist'), [told(**flat)])]).twice == 0
    assert ledger.assemble([(place('a'), [told(**flat)]), (place('b'), [told(**flat)])]).twice == 1


def test_what_the_catalogue_does_not_know_is_listed_and_counts_nowhere(tmp_path):
    strange = told(sentence='<b>Bigger</b> is better | always.', mean=2.0)
    found = ledger.assemble([(place(), [told(), strange, told(key='zf.no.such', mean=3.0)])])
    assert [one.told for one in found.strangers] == [strange, told(key='zf.no.such', mean=3.0)] and len(line_of(found).evidence) == 1
    ledger_page.write(found, tmp_path, 'a command')
    page, text = (tmp_path / 'report.html').read_text(), (tmp_path / 'ledger.md').read_text()
    assert '&lt;b&gt;Bigger&lt;/b&gt;' in page and '<b>Bigger' not in page + text and 'better \\| always' in text
    rows = rows_of(tmp_path / 'ledger.csv')
    assert [row['word'] for row in rows].count('not in the catalogue') == 2 and len(rows) == 3


def test_of_several_differences_the_one_furthest_against_the_claim_is_shown():
    near, far, wide = Difference('near', 1, 0.5, 1.5, 3), Difference('far', -1, -1.5, -0.5, 3), Difference('wide', -5, -15, 5, 3)
    one = ledger.Evidence(told()._replace(differences=(near, wide, far)), place())
    assert one.deciding == far
    within = Difference('in', 0, -0.5, 0.5, 3), Difference('out', 3, 2.9, 3.1, 3)
    margin = ledger.Evidence(told(margin=1.0)._replace(differences=within), place())
    assert margin.deciding.text == 'out'


def test_the_most_surprising_are_the_furthest_contradicted_one_of_each_claim_without_demonstrations():
    keys = [key for key, entry in catalogue.entries().items() if entry.patterns][:7]
    every = [told('contradicted', mean=-float(n + 2), half=1.0, key=key, quantity=key) for n, key in enumerate(keys)]
    every += [told('contradicted', mean=-99.0, half=1.0, key=keys[0], **DEMONSTRATION), told('contradicted', -30.0, 1.0, key=keys[1])]
    every += [told('undecided', mean=-50.0, half=60.0, key=keys[2])]
    found = ledger.surprising(ledger.assemble([(place(), every)]))
    assert [line.entry.key for line, _ in found] == [keys[1], keys[6], keys[5], keys[4], keys[3]]
    assert found[0][1].told.differences[0].mean == -30.0


def test_the_page_has_every_claim_once_and_the_csv_a_row_for_each_piece_of_evidence(tmp_path):
    found = ledger.assemble(
        [
            (place('coarse', networks=('net of cifar10',), examples='all', epochs='9 epochs'), [told('undecided', 0.2, 0.5)]),
            (place('fine', 'imagenette_subset/160px-v2', networks=('net_128',)), [told(mean=2.0, unit='split', overlap=None)]),
        ],
        without=['results/empty'],
    )
    out = tmp_path / 'ledger'
    ledger_page.write(found, out, 'python -m experiments.ledger')
    page = (out / 'report.html').read_text()
    assert page.count('<details>') == len(catalogue.entries()) and 'results/empty' in page
    assert 'undecided on CIFAR-10 (3 seeds); reproduced on Imagenette, a subset (3 splits)' in page
    text = (out / 'ledger.md').read_text()
    row, planned = [one for one in text.splitlines() if one.startswith('| From layer 1 to layer 5')]
    assert ledger.REPRODUCED in row and row.count('<br>') >= 1 and 'would decide: ' in row and 'net_128' in row
    assert 'seeds (reproduced)' in planned and 'experiments.coarse' in planned
    rows = rows_of(out / 'ledger.csv')
    assert [(one['evidence'], one['network'], one['epochs']) for one in rows] == [
        ('coarse', 'net of cifar10', '9 epochs'),
        ('fine', 'net_128', ledger.NOT_RECORDED),
    ]
    assert rows[0]['plan'] and rows[0]['plan_verdict'] == 'reproduced' and not rows[1]['plan']
    every = rows_of(out / 'catalogue.csv')
    assert [one['key'] for one in every] == list(catalogue.entries()) and all(one['decides'] or one['closed'] for one in every)


def test_counts_are_of_the_claims_of_sources_and_add_up():
    found = ledger.assemble([(place(), [told()])])
    total = int(re.match(r'(\d+) claims', ledger_text.counts(found))[1])
    assert total == sum(map(int, re.findall(r'[:;] (\d+) ', ledger_text.counts(found))))
    assert total == sum(entry.source != 'own' for entry in catalogue.entries().values())
    assert ledger_text.counts(found).count('1 reproduced wherever decided') == 1


def test_a_number_beside_a_printed_one_is_read_and_refused_where_it_is_none(tmp_path):
    one = next(one for one in catalogue.entries()['lecun.lenet5'].measured if one.row == {'network': 'lenet5'})
    (tmp_path / 'mnist.csv').write_text('network,error\nlenet5,1.0 0.9 1.1\nother,5\n')
    ((_, said),) = measured.told('A claim.', one, tmp_path)
    (effect,) = said.differences
    assert (effect.mean, effect.n) == (pytest.approx(0.05), 3) and effect.low < 0.05 < effect.high and '0.95 as printed' in said.reason
    assert measured.told('A claim.', one, tmp_path / 'nowhere') == []
    assert measured.told('A claim.', one._replace(row={'network': 'x'}), tmp_path) == []
    for text in ('network,error\nlenet5,much\n', 'network,error\nlenet5,\n', 'network,error\nlenet5,1\nlenet5,1\n', 'network\nlenet5\n'):
        (tmp_path / 'mnist.csv').write_text(text)
        with pytest.raises(CheckpointError, match='mnist.csv'):
            measured.told('A claim.', one, tmp_path)
