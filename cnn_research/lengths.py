"""A schedule of another length: its warm-up, its cool-down and its drops are shares of it, and go with it. Lengths of time, as text."""

import re
from collections.abc import Mapping
from typing import Any

from cnn_research import config as configs
from cnn_research.errors import ConfigError

LENGTH = ('schedule.epochs', 'schedule.steps', 'schedule.examples')
_PARTS = ('schedule.warmup', 'schedule.cooldown')


def in_proportion(config, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` and, where they give the schedule another length than the config has, the parts that they do not name, scaled with it.

    values: {dotted name: value}, as `config.update` takes them. A part that is not in the unit of the config's length stays as it is, and
    so do the drops, which are epochs, where the new length is not in epochs. Raises ConfigError for a length that cannot be read.
    """
    asked = [name for name in LENGTH if configs.is_set(values.get(name))]
    before, had = configs.flat(config), length(config)
    if len(asked) != 1 or had is None:
        return dict(values)
    after = configs.flat(configs.update(config, {asked[0]: values[asked[0]]}))
    new, old = asked[0], had
    unit, old_unit = new.rpartition('.')[2], old.rpartition('.')[2]
    if not after[new] or (unit, after[new]) == (old_unit, before[old]):
        return dict(values)
    scaled: dict[str, Any] = {}
    for part in _PARTS:
        share = before[f'{part}.{old_unit}'] / before[old]
        if share and not any(name.startswith(part) for name in values):
            scaled[f'{part}.{old_unit}'] = 0
            exact = float(f'{share * after[new]:.9g}')
            scaled[f'{part}.{unit}'] = exact if unit == 'epochs' else int(exact)  # whole steps never add up to more than all of them
    if before['schedule.drops'] and unit == old_unit == 'epochs' and 'schedule.drops' not in values:
        drops = configs.by_layer(before['schedule.drops'], 'schedule.drops')
        times = {f'{at / before[old] * after[new]:.6f}'.rstrip('0').rstrip('.'): factor for at, factor in drops.items()}
        scaled['schedule.drops'] = ','.join(f'{at}={factor:g}' for at, factor in times.items())
    return {**values, **scaled}


def length(config) -> str | None:
    """The field that holds the schedule's length; None where none or several do."""
    found = [name for name in LENGTH if configs.flat(config)[name]]
    return found[0] if len(found) == 1 else None


def seconds(text: str) -> float:
    """'2h', '90min' or '30s' in seconds; ConfigError where it cannot be read."""
    found = re.fullmatch(r'([0-9.]+)\s*(h|min|s)', text.strip())
    try:
        return float(found[1]) * {'h': 3600, 'min': 60, 's': 1}[found[2]]
    except (TypeError, ValueError):
        raise ConfigError(f"trials.budget={text!r} cannot be read; write '2h', '90min' or '30s'.") from None
