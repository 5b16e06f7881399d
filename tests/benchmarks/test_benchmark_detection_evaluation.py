"""The benchmark of suppression and average precision, with few images."""

import pytest

from benchmarks import detection_evaluation


@pytest.mark.parametrize('kind', detection_evaluation.KINDS)
def test_every_detection_is_timed_and_judged(kind):
    row = detection_evaluation.row(kind, 20)
    assert row['before'] == 20 * 20 * 100 and 20 < row['after'] < row['before'] / 2 and 30 < row['mean'] < 100
    assert 0 < row['suppression'] < row['total']


def test_the_table_says_how_it_was_made(tmp_path, capsys):
    detection_evaluation.main(['', '--images=2', f'--out={tmp_path / "told.md"}'])
    text = (tmp_path / 'told.md').read_text()
    assert text in capsys.readouterr().out and 'of each class' in text and '--images=2' in text
