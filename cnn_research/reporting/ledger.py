"""The ledger: every claim of the catalogue with all the evidence there is, at whatever scale, and one word over it.

The word follows from the verdicts alone, those of demonstrations left out:
reproduced wherever decided, or contradicted wherever decided: some evidence says so, and none the opposite; what is undecided is counted
beside it. mixed: some say the one and some the other. undecided: evidence was judged and none decided. no direction claimed: the sources
claim none. measured, not judged: there are numbers, and no rule that was written before they were seen. no verdict: there is evidence of
which none could be judged. not tested here: none yet. cannot be decided here: the catalogue says why.
"""

import collections
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_research.reporting import catalogue, measured, power
from cnn_research.reporting.catalogue import Entry
from cnn_research.reporting.claims import Difference
from cnn_research.reporting.claims_file import Told

REPRODUCED, CONTRADICTED = 'reproduced wherever decided', 'contradicted wherever decided'
MIXED, UNDECIDED, OPEN, CLOSED = 'mixed', 'undecided', 'not tested here', 'cannot be decided here'
NO_DIRECTION, NO_VERDICT = 'no direction claimed', 'no verdict'
WORDS = (REPRODUCED, MIXED, CONTRADICTED, UNDECIDED, measured.VERDICT, NO_DIRECTION, NO_VERDICT, OPEN, CLOSED)
SURPRISES = 5
NOT_RECORDED = 'not recorded'


class Scale(NamedTuple):
    """What evidence was measured on, in words; '' where the records do not say. networks: of which one, several or all are meant."""

    data: str = ''
    networks: tuple[str, ...] = ()
    examples: str = ''
    epochs: str = ''


class Place(NamedTuple):
    """Where evidence stands: a name, the file that shows its table, the command that makes it, its scale."""

    name: str
    table: pathlib.Path
    command: str
    scale: Scale


class Evidence(NamedTuple):
    """subject: the network or cells that the sentence is about, '' where it names none."""

    told: Told
    place: Place
    subject: str = ''

    @property
    def counts(self) -> bool:
        return not self.told.demonstration

    @property
    def network(self) -> str:
        """The subject where it is one of several networks, else the only network, with what the sentence names of it."""
        networks = self.place.scale.networks
        if len(networks) == 1:
            return f'{networks[0]}: {self.subject}' if self.subject else networks[0]
        return self.subject or ('several, or none of them' if networks else '')

    @property
    def deciding(self) -> Difference:
        """Of several differences the one that is furthest against the claim, in half widths of its interval: it makes the verdict."""
        return min(self.told.differences, key=lambda one: strength(one, self.told.margin))

    @property
    def plan(self) -> power.Plan | None:
        return power.plan(self.told.differences, self.told.margin, self.told.overlap)


class Line(NamedTuple):
    entry: Entry
    evidence: list[Evidence]
    word: str

    def verdicts(self) -> collections.Counter:
        """How often each verdict was reached, without demonstrations."""
        return collections.Counter(one.told.verdict for one in self.evidence if one.counts)


class Ledger(NamedTuple):
    """strangers: evidence that is no claim of the catalogue; without: folders that hold no claims; twice: evidence found in a second place,
    and left out there."""

    lines: list[Line]
    strangers: list[Evidence]
    without: list[str]
    twice: int

    def of(self, source: str) -> list[Line]:
        return [line for line in self.lines if line.entry.source == source]


def strength(one: Difference, margin: float | None) -> float:
    """How far a difference is on the claim's side, in half widths of its interval: above 1 it decides for it, below -1 against."""
    if not math.isfinite(one.low) or not math.isfinite(one.high):
        return 0.0 if math.isnan(one.mean) else math.copysign(math.inf, one.mean) if one.mean else 0.0
    centre, half = (one.low + one.high) / 2, (one.high - one.low) / 2
    side = centre if margin is None else margin - abs(centre)
    return side / half if half else math.copysign(math.inf, side) if side else 0.0


def word(entry: Entry, evidence: Sequence[Evidence]) -> str:
    """One of WORDS."""
    verdicts = {one.told.verdict for one in evidence if one.counts}
    if {'reproduced', 'contradicted'} <= verdicts:
        return MIXED
    for verdict, said in (('reproduced', REPRODUCED), ('contradicted', CONTRADICTED), ('undecided', UNDECIDED)):
        if verdict in verdicts:
            return said
    for verdict in (measured.VERDICT, NO_DIRECTION):
        if verdict in verdicts:
            return verdict
    return NO_VERDICT if evidence else CLOSED if entry.closed else OPEN


def assemble(
    tables: Sequence[tuple[Place, Sequence[Told]]],
    numbers: Sequence[tuple[str, Place, Told]] = (),
    without: Sequence[str] = (),
    entries: Mapping[str, Entry] | None = None,
) -> Ledger:
    """numbers: (key of an entry, place, what was measured). The same evidence in a second place is left out there: it is recognised by its
    sentence, what was compared, and every number; of differences without spread, which are often just 0, by the data as well."""
    entries = catalogue.entries() if entries is None else entries
    found: dict[str, list[Evidence]] = {key: [] for key in entries}
    strangers, seen, twice = [], set(), 0
    for place, every in tables:
        for told in every:
            flat = all(not one.low < one.high for one in told.differences)
            identity = told.identity, place.scale.data if flat else ''
            if identity in seen:
                twice += 1
                continue
            seen.add(identity)
            fitting = catalogue.matching(entries, told.sentence, told.key)
            if len(fitting) == 1:
                found[fitting[0][0].key].append(Evidence(told, place, fitting[0][1]))
            else:
                strangers.append(Evidence(told, place))
    for key, place, told in numbers:
        found[key].append(Evidence(told, place))
    lines = [Line(entry, found[key], word(entry, found[key])) for key, entry in entries.items()]
    return Ledger(lines, strangers, sorted(without), twice)


def count(lines: Sequence[Line]) -> dict[str, int]:
    """{word: how many claims have it}, in the order of WORDS, those that have none left out."""
    counts = collections.Counter(line.word for line in lines)
    return {said: counts[said] for said in WORDS if counts[said]}


def surprising(ledger: Ledger) -> list[tuple[Line, Evidence]]:
    """The contradicted evidence that lies furthest against its claim, in half widths of its interval; of each claim the furthest, no
    demonstration, at most SURPRISES."""
    furthest = []
    for line in ledger.lines:
        against = [one for one in line.evidence if one.counts and one.told.verdict == 'contradicted']
        if against:
            furthest.append((line, min(against, key=lambda one: strength(one.deciding, one.told.margin))))
    furthest.sort(key=lambda pair: (strength(pair[1].deciding, pair[1].told.margin), pair[0].entry.key))
    return furthest[:SURPRISES]


def undecided(ledger: Ledger) -> list[tuple[Line, Evidence]]:
    """What more seeds might decide, the fewest first, and last what no number would."""
    found = [(line, one) for line in ledger.lines for one in line.evidence if one.counts and one.told.verdict == 'undecided']

    def needed(pair):
        plan = pair[1].plan
        return (plan.units if plan and plan.units else math.inf), pair[0].entry.key

    return sorted(found, key=needed)
