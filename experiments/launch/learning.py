"""Ways of learning a set from few images of each class or many: what such a table refuses, and what its records say."""

from collections.abc import Sequence

from cnn_research import config as configs
from cnn_research import trials
from cnn_research.errors import ConfigError
from cnn_research.reporting import claims, per_class
from experiments.launch import command, pages


def check(given: command.Command, ours: Sequence[str], who: str) -> None:
    """ConfigError for fields that its rows say themselves, `ours`, and for a grid of which nothing is chosen; who says those fields."""
    fields = configs.flat(given.config)
    for name in (name for name in ours if fields[name] != configs.BY_NAME[name].default):
        raise ConfigError(f'{name}={fields[name]!r} does not go with {given.name}, whose {who} say it; leave it out.')
    crossed = trials.crossed(given.options.trials)
    if crossed and not given.options.trials.select:
        raise ConfigError(
            f"{crossed} without trials.select='holdout' does not go with {given.name}, where every row has its own best point."
        )


def rows(book: pages.Book) -> list[per_class.Row]:
    """What the records of the main table say of each row, in percent."""
    tried, planned, found = book.tried('optimizer.learning_rate'), {}, []
    for record in (record for record in book.records if not record.part):
        planned.setdefault(record.row, []).append(record)
    for row, records in planned.items():
        done = [record for record in records if record.result]
        tests = {record.seed: record.result['test'] for record in done}
        rate = done[0].config['optimizer.learning_rate'] if done else None
        classes = max((len(test.get('class_accuracy', ())) for test in tests.values()), default=0)
        accuracy = {seed: 100 * test['mean_class_accuracy'] for seed, test in tests.items() if 'mean_class_accuracy' in test}
        top5 = {seed: 100 * (1 - test['top5_error']) for seed, test in tests.items() if classes >= claims.FEWEST_CLASSES}
        held = next((record.result['holdout'].get('examples') for record in done if 'holdout' in record.result), None)
        way, size = per_class.parsed(row)
        ends = per_class.edge(rate, tried)
        found.append(per_class.Row(row, way, size, accuracy, top5, rate, ends, classes, held, pages.problem(records)))
    return found
