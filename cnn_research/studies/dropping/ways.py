"""The three ways that Wan et al. 2013 compare, as networks: the rows of the table."""

from collections.abc import Sequence

from cnn_research.errors import ConfigError
from cnn_research.models import zoo
from cnn_research.studies.dropping import report

# The zoo's word for a way, and the operation that sets its rate in a layer.
_WAYS = {
    report.DROPOUT: ('_dropout', 'replaced({number},dropout_rate={rate:g})'),
    report.DROPCONNECT: ('_dropconnect', 'replaced({number},rate={rate:g})'),
}
FAMILIES = tuple(name.removesuffix('_dropconnect') for name in zoo.NAMES if name.endswith('_dropconnect'))


def architectures(text: str, rates: Sequence[float]) -> dict[str, str]:
    """{row: architecture}: `text` as it is, and its siblings with dropout and DropConnect at every rate, in the layers that they drop.

    text: one of FAMILIES, then surgery that all ways take: 'wan_800 resized(1=100,2=100)'. ConfigError for any other network and for a
    rate that drops nothing or all; ArchitectureError for surgery that a way does not take.
    """
    name, *surgery = text.split(maxsplit=1) or ['']
    if name not in FAMILIES:
        raise ConfigError(f'dropconnect.network={text!r} has no siblings that drop; choose from {", ".join(FAMILIES)}, then surgery.')
    if wrong := [rate for rate in rates if not 0 < rate < 1]:
        raise ConfigError(f'dropconnect.rates names {wrong[0]:g}; a share that is dropped lies between 0 and 1.')
    if fine := [rate for rate in rates if report.split(report.label(report.DROPOUT, rate)) != (report.DROPOUT, rate)]:
        raise ConfigError(
            f'dropconnect.rates names {fine[0]!r}; a rate has at most six digits and is at least 0.0001, as rows are called by it.'
        )
    rows = {report.NEITHER: text}
    for way, (word, operation) in _WAYS.items():
        sibling = ' '.join([name + word, *surgery])
        dropped = [layer.number for layer in zoo.architecture(sibling).layers if any(hasattr(stage, 'rate') for stage in layer.stages)]
        for rate in rates:
            rows[report.label(way, rate)] = ' '.join([sibling, *(operation.format(number=number, rate=rate) for number in dropped)])
    return rows
