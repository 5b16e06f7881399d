"""The ledger as text: what the page, the Markdown and the csv say alike."""

import collections
import os
import pathlib
from collections.abc import Sequence

from cnn_research.reporting import ledger, measured, power, tables
from cnn_research.reporting.catalogue import SOURCES
from cnn_research.reporting.ledger import NOT_RECORDED, Evidence, Ledger, Line
from cnn_research.reporting.publication import Published
from cnn_research.reporting.tables import Column, Interval, Table

# What data are called in a sentence; others by their own name.
_DATA = {
    'mnist': 'MNIST',
    'digits': '5,000 digits of MNIST',
    'cifar10': 'CIFAR-10',
    'imagenette_subset/160px-v2': 'Imagenette, a subset',
    'caltech101_subset': 'Caltech-101, 43 categories',
    'gtsrb_32': 'traffic signs (GTSRB, a subset, 32 px)',
    'tiny_imagenet_32': '200 classes of ImageNet at 32 px',
    'indoor_objects': 'photographs of rooms',
    'clutter': 'clutter, a demonstration',
    'scenes': 'scenes of digits, a demonstration',
}
# The words over claims, short enough for the head of a narrow column.
_HEADS = {
    ledger.REPRODUCED: 'Reproduced',
    ledger.CONTRADICTED: 'Contradicted',
    measured.VERDICT: 'Measured',
    ledger.NO_DIRECTION: 'No direction',
    ledger.OPEN: 'Not tested',
    ledger.CLOSED: 'Not here',
}
_READ = {'verified': '', 'verified-2nd': ', second hand', 'memory': ', from memory'}
RULES = (
    'The word over a claim follows from its evidence alone, demonstrations left out. Reproduced, or contradicted, wherever decided: '
    'some evidence says so and none the opposite; what is undecided is counted beside it. Mixed: some say the one and some the other. '
    'Undecided: all that was judged. No direction claimed: by the sources. Measured, not judged: there are numbers, and no rule was '
    'written down before they were seen. No verdict: there is evidence, and none of it can be judged (demonstrations, too few seeds, '
    'no spread). Not tested here: no evidence yet. Cannot be decided here: the entry says why.\n\n'
    'A verdict is that of the table it comes from, by intervals over seeds or splits (95 %, Student; over splits that share examples, '
    'Nadeau & Bengio). Of a claim of several differences the one shown is that furthest against it, in half widths of its interval. A '
    'difference is above 0 on the side of its claim, and one with a margin is to lie within it; what is measured and not judged is '
    'ours less what stands beside it. Printed numbers were read in the source unless marked second hand or from memory. The same '
    'evidence in two places counts once: it is recognised by its sentence, what was compared and every number; a table that was '
    'rendered again with more seeds is other evidence. Scales are as the records have them, a recipe that a command names being read '
    'as it is today.'
)
PLANNING = (
    'A planning figure, no result: how many seeds or splits, those that are there included, would decide the claim if mean and spread '
    'stayed as they are (Student, two-sided 95 %; a margin by its two one-sided tests), and how. The mean will not stay; a figure '
    'near the present number means a coin tossed, and most claims need more. Splits of one set share examples, so their interval '
    'never falls to nothing, however many are drawn; where the record does not say how much they share, the figure is an upper bound.'
)
SURPRISING = (
    'Contradicted, and furthest against their claim in half widths of the interval; of each claim the furthest, demonstrations left out.'
)


def source_name(key: str) -> str:
    return SOURCES[key].cited


def data(name: str) -> str:
    return _DATA.get(name, name) or NOT_RECORDED


def printed(one: Published) -> str:
    """'removed layer 7, val top-5: 18.4 %'."""
    table, _, row = one.key.partition('/')
    row = f'the deck, {row}' if table == 'deck' else row
    spread = f' ± {one.spread:g}' if one.spread is not None else ''
    unit = '' if one.unit == 'share' else f' {one.unit}'
    return f'{", ".join(filter(None, (row, one.quantity)))}: {one.value:g}{spread}{unit}{_READ[one.confidence]}'


def effect(one: Evidence) -> str:
    """'+0.26 (-0.35 to +0.87)'."""
    return tables.shown(Interval(*one.deciding[1:4]), '+')


def number(one: Evidence) -> str:
    """'5 seeds', of the difference that is shown."""
    n = one.deciding.n
    return f'{n} {one.told.unit}{"s" * (n != 1)}'


def verdict(one: Evidence) -> str:
    return f'{one.told.verdict} (a demonstration)' if one.told.demonstration else one.told.verdict


def needs(one: Evidence) -> str:
    """What would decide undecided evidence; '' for other."""
    return power.words(one.plan, one.told.unit) if one.told.verdict == 'undecided' else ''


def short(line: Line) -> str:
    """'undecided on CIFAR-10 (3 seeds); reproduced on Imagenette (3 seeds)', or counts where there is much; '' without evidence."""
    if len(line.evidence) <= 3:
        return '; '.join(f'{one.told.verdict} on {data(one.place.scale.data)} ({number(one)})' for one in line.evidence)
    counts = '; '.join(f'{many} {said}' for said, many in line.verdicts().most_common())
    shown = sum(not one.counts for one in line.evidence)
    return counts + (f'; {shown} demonstration{"s" * (shown != 1)}' if shown else '')


def why(line: Line) -> str:
    """Why the claim can or cannot be decided here."""
    return f'Cannot be decided here: {line.entry.closed}.' if line.entry.closed else f'What decides it here: {line.entry.decides}.'


def also(line: Line) -> str:
    return ', '.join(source_name(key) for key in line.entry.also)


def link(path: pathlib.Path, folder: pathlib.Path) -> str:
    """The address of a file as seen from the folder that the ledger is written to."""
    return pathlib.Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def ordered(line: Line) -> list[Evidence]:
    return sorted(line.evidence, key=lambda one: (not one.counts, data(one.place.scale.data), one.network, one.place.name))


def claims_counted(found: Ledger) -> list[Line]:
    """Those that a source makes."""
    return [line for line in found.lines if line.entry.source != 'own']


def counts(found: Ledger) -> str:
    """'137 claims of 14 sources. 10 reproduced wherever decided, ...'"""
    lines = claims_counted(found)
    words = '; '.join(f'{many} {said}' for said, many in ledger.count(lines).items())
    return f'{len(lines)} claims of {len({line.entry.source for line in lines})} sources: {words}.'


def counts_table(found: Ledger) -> Table:
    """A row for each source."""
    words = [said for said in ledger.WORDS if said in ledger.count(found.lines)]
    rows = []
    for key in SOURCES:
        lines = found.of(key)
        if lines:
            rows.append({'source': tables.Cell(source_name(key), f'#{key}'), 'claims': len(lines), **ledger.count(lines)})
    columns = [Column('source', 'Source'), Column('claims', 'Claims')]
    return Table([*columns, *(Column(said, _HEADS.get(said, said.capitalize())) for said in words)], rows)


def surprises(found: Ledger) -> list[tuple[str, str]]:
    """[(sentence, what was found)] of the most surprising lines."""
    said = []
    for line, one in ledger.surprising(found):
        others = line.verdicts() - collections.Counter(contradicted=1)
        elsewhere = ', '.join(f'{others[word]} {word}' for word in ('reproduced', 'contradicted', 'undecided') if others[word])
        network = f', {one.network}' if one.subject else ''
        text = f'{data(one.place.scale.data)}{network}: {effect(one)}, {number(one)}, of {one.told.quantity}'
        said.append((f'{line.entry.sentence} ({source_name(line.entry.source)})', text + (f'; elsewhere {elsewhere}' if elsewhere else '')))
    return said


def first_screen(found: Ledger) -> str:
    """What README.md says of the ledger, as Markdown."""
    lines = [f'{counts(found)} The whole of it, claim by claim with scale, seeds and interval: [results/ledger](results/ledger/ledger.md).']
    lines += ['', f'The most surprising ({SURPRISING[0].lower()}{SURPRISING[1:].rstrip(".")}):', '']
    lines += [
        f'{place}. Contradicted: {tables.escaped(sentence)} {tables.escaped(text)}.'
        for place, (sentence, text) in enumerate(surprises(found), 1)
    ]
    return '\n'.join(lines) + '\n'


def evidence_table(line: Line, folder: pathlib.Path) -> Table:
    """One row for each piece of evidence of a claim."""
    rows = []
    for one in ordered(line):
        scale = one.place.scale
        many = len(one.told.differences)
        rows.append(
            {
                'verdict': verdict(one),
                'data': data(scale.data),
                'subject': one.subject,
                'network': one.network or NOT_RECORDED,
                'effect': Interval(*one.deciding[1:4]),
                'n': number(one),
                'needs': needs(one) or None,
                'compared': one.deciding.text + (f' (of {many} differences)' if many > 1 else ''),
                'of': one.told.quantity,
                'examples': scale.examples or NOT_RECORDED,
                'epochs': scale.epochs or NOT_RECORDED,
                'reason': one.told.reason,
                'table': tables.Cell(one.place.name, link(one.place.table, folder)),
            }
        )
    columns = [
        *(Column('verdict', 'Verdict'), Column('data', 'Data')),
        *([Column('subject', 'Of')] if any(row['subject'] for row in rows) else []),
        *(Column('effect', 'Difference (95 %)', '+'), Column('n', 'Over')),
        *([Column('needs', 'Would decide')] if any(row['needs'] for row in rows) else []),
        *(Column('table', 'Table'), Column('network', 'Network'), Column('compared', 'Compared'), Column('of', 'Quantity')),
        *(Column('examples', 'Examples'), Column('epochs', 'Trained for')),
        Column('reason', 'Why'),
    ]
    return Table(columns, rows)


def power_table(found: Ledger, folder: pathlib.Path) -> Table:
    """All undecided evidence, the least work first."""
    rows = [
        {
            'claim': tables.Cell(line.entry.sentence, f'#{line.entry.key}'),
            'data': data(one.place.scale.data),
            'network': one.subject,
            'effect': Interval(*one.deciding[1:4]),
            'n': number(one),
            'needs': needs(one),
            'table': tables.Cell(one.place.name, link(one.place.table, folder)),
            'command': one.place.command or NOT_RECORDED,
        }
        for line, one in ledger.undecided(found)
    ]
    columns = [
        *(Column('claim', 'Claim'), Column('data', 'Data'), Column('n', 'Now'), Column('effect', 'Difference (95 %)', '+')),
        *(Column('needs', 'Would decide'), Column('network', 'Of'), Column('table', 'Table'), Column('command', 'Command')),
    ]
    return Table(columns, rows, PLANNING)


_TIDY = (
    *('key', 'source', 'where', 'claim', 'word', 'evidence', 'data', 'network', 'examples', 'epochs', 'unit', 'n', 'compared'),
    *('differences', 'difference', 'low', 'high', 'margin', 'quantity', 'verdict', 'demonstration', 'plan', 'plan_verdict', 'plan_bound'),
    *('reported', 'reason', 'table', 'command'),
)


def tidy(found: Ledger, folder: pathlib.Path) -> Table:
    """One row for each piece of evidence, strangers last."""
    pairs: list[tuple[Line | None, Evidence]] = [(line, one) for line in found.lines for one in ordered(line)]
    return Table(
        [Column(name) for name in _TIDY], [_tidy(line, one, folder) for line, one in [*pairs, *((None, s) for s in found.strangers)]]
    )


def _tidy(line: Line | None, one: Evidence, folder: pathlib.Path) -> dict:
    plan = one.plan if one.told.verdict == 'undecided' else None
    deciding, scale = one.deciding, one.place.scale
    mean, low, high = (None if value != value else value for value in deciding[1:4])
    entry = line.entry if line else None
    return {
        **({'key': entry.key, 'source': source_name(entry.source), 'where': entry.where, 'claim': entry.sentence} if entry else {}),
        'word': line.word if line else 'not in the catalogue',
        **{'evidence': one.place.name, 'data': scale.data or NOT_RECORDED, 'network': one.network or NOT_RECORDED},
        **{'examples': scale.examples or NOT_RECORDED, 'epochs': scale.epochs or NOT_RECORDED},
        **{'unit': one.told.unit, 'n': deciding.n, 'compared': deciding.text, 'differences': len(one.told.differences)},
        **{'difference': mean, 'low': low, 'high': high, 'margin': one.told.margin},
        **{'quantity': one.told.quantity, 'verdict': one.told.verdict, 'demonstration': str(one.told.demonstration).lower()},
        **({'plan': plan.units, 'plan_verdict': plan.verdict, 'plan_bound': str(plan.bound).lower()} if plan else {}),
        **{'reported': one.told.sentence, 'reason': one.told.reason},
        **{'table': link(one.place.table, folder), 'command': one.place.command or NOT_RECORDED},
    }


def catalogued(found: Ledger) -> Table:
    """One row for each claim of the catalogue."""
    rows = [
        {
            **{'key': line.entry.key, 'source': source_name(line.entry.source), 'where': line.entry.where, 'claim': line.entry.sentence},
            **{'word': line.word, 'evidence': len(line.evidence), 'demonstrations': sum(not one.counts for one in line.evidence)},
            **{said: line.verdicts()[said] for said in ('reproduced', 'contradicted', 'undecided', measured.VERDICT)},
            **{'printed': '; '.join(map(printed, line.entry.printed)), 'also': also(line)},
            **{'decides': line.entry.decides, 'closed': line.entry.closed},
        }
        for line in found.lines
    ]
    return Table([Column(name) for name in rows[0]] if rows else [], rows)


def commands(evidence: Sequence[Evidence]) -> list[str]:
    return list(dict.fromkeys(one.place.command for one in evidence if one.place.command))
