"""Which layers settle first (Zeiler & Fergus 2013, section 4.1 and Fig. 4): the table of epochs, and the claim."""

from collections.abc import Mapping, Sequence

from cnn_research.reporting import claims
from cnn_research.reporting.shelf import Shelf
from cnn_research.reporting.tables import Cell, Column, Table

_SAID = 'Zeiler & Fergus 2013, section 4.1 and Fig. 4'
_MEASURE = (
    "The claim is the paper's, which gives no measure; this one is ours, and was fixed after curves of one network had been seen with "
    'another, which followed the size of features.'
)


def tables_of(shelf: Shelf, settled: Mapping[str, Sequence[float | None]], first: float, demonstration: bool) -> str:
    """Markup of the epochs at which each tap of each network settled, and of the claim, which needs two layers.

    settled: {tap, lower layers first: epoch of each network, None where it was before the first checkpoint}; first: that one's epoch.
    """
    rows = [{'layer': tap.split('.')[0], 'settled': _told(epochs, first)} for tap, epochs in settled.items()]
    columns = [Column('layer'), Column('settled', 'half of the drift is left at epoch', '.1f')]
    words = 'Mean ± standard deviation over networks, of how many in brackets; between two checkpoints along a straight line.'
    drawn = shelf.table('drift', Table(columns, rows, words))
    if len(settled) == 1:
        return drawn
    # Of what settled before the first checkpoint no more is known than that.
    known = {
        tap: {number: claims.Within(0.0, first) if epoch is None else epoch for number, epoch in enumerate(epochs)}
        for tap, epochs in settled.items()
    }
    lowest, *_, highest = settled
    claim = claims.Claim(
        'Lower layers settle first: layer 1 has left half of its drift behind before the last layer with maps has.',
        _SAID,
        claims.below(lowest, highest),
        quantity='epoch at which half of the drift is left',
        instead='the source gives no measure; this one is ours',
        key='zf.evolution',
    )
    return drawn + shelf.claims([claims.judge(claim, known, demonstration=demonstration)], _MEASURE)


def _told(epochs: Sequence[float | None], first: float) -> list[float] | Cell:
    """What a cell says: of some networks alone there is no mean."""
    late = [f'{epoch:.1f}' for epoch in epochs if epoch is not None]
    if len(late) == len(epochs):
        return list(epochs)
    some = f' ({len(epochs) - len(late)} of {len(epochs)}), {", ".join(late)}' if late else ''
    return Cell(None, note=f'before epoch {first:.3g}{some}')
