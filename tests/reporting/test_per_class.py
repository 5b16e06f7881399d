"""Rows of ways and numbers of images: their labels, their ends, what is above what, and words."""

from cnn_research.reporting import per_class


def test_an_end_of_the_tried_rates_is_named():
    tried = (0.03, 0.003, 0.01)
    assert [per_class.edge(rate, tried) for rate in (0.003, 0.01, 0.03, None)] == ['the lowest tried', '', 'the highest tried', '']
    assert per_class.edge(0.01, (0.01, 0.05)) == per_class.edge(0.01, ()) == ''


def row(way, size, *accuracies, held=30, rate=0.01):
    return per_class.Row(per_class.label(way, size), way, size, dict(enumerate(accuracies)), {}, rate, '', 10, held, '')


ROWS = [row('b', 30, 70.0, 72.0), row('b', 1, 20.0, 22.0), row('a', 1, 10.0, 14.0), row('a', 30, 60.0)]


def test_labels_are_read_back():
    assert per_class.parsed(per_class.label('spm_32 resized(3=50) fixed', 300)) == ('spm_32 resized(3=50) fixed', 300)
    assert per_class.parsed('source') is per_class.parsed('fixed, x a class') is None


def test_ways_keep_their_order_and_sizes_rise():
    assert {way: list(of) for way, of in per_class.by_way(ROWS).items()} == {'b': [1, 30], 'a': [1, 30]}
    assert per_class.sizes(ROWS) == [1, 30]
    table = per_class.curve_table(ROWS, '')
    assert table.rows == [{'way': 'b', '1': [20.0, 22.0], '30': [70.0, 72.0]}, {'way': 'a', '1': [10.0, 14.0], '30': [60.0]}]


def test_differences_are_to_the_base_of_each_way_with_the_same_images():
    lines = {line['row']: line for line in per_class.table(ROWS, 'a', lambda way: 'a', '').rows}
    assert lines['b, 1 a class']['above'].mean == 9.0 and lines['b, 30 a class']['above'].mean == 10.0  # over the seeds of both
    assert lines['a, 1 a class']['above'] is None and lines['b, 30 a class']['images'] == 300
    assert all(line['above'] is None for line in per_class.table(ROWS, 'c', lambda way: 'c', '').rows)


def test_words_say_how_often_images_are_seen_and_who_chose():
    assert '100 steps of 60 images' in per_class.schedule(ROWS, 100, 60) and '20 passes' in per_class.schedule(ROWS, 100, 60)
    assert 'with 1 a class, that one number is chosen with 30 labels, and the weights with 10' in per_class.choice(ROWS)
    assert per_class.schedule(ROWS, 0, 60) == per_class.choice([row('a', 1, held=None)]) == ''
    assert per_class.lead(ROWS, []) == 'Mean accuracy per class in percent, at 1 and 30 images a class: b 21.0 / 71.0, a 12.0 / 60.0.'
    assert per_class.lead([row('a', 1)], []) == 'No row is finished yet.'
