"""The command of dropping: what it refuses, and one whole small table."""

import pytest

from cnn_research import trials
from cnn_research.errors import ConfigError
from experiments import dropconnect
from experiments.launch import command, pages


def parsed(workdir, *arguments):
    return command.parse('dropconnect', 'configs/dropconnect.py:smoke', [*arguments, f'--workdir={workdir}'], dropconnect.FIELDS)


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('architecture=zfnet', 'name it in dropconnect.network'),
        ('trials.grid=architecture=zfnet,alexnet', 'trials.grid names architecture'),
        ('trials.select=', "trials.grid without trials.select='holdout'"),
        ('dropconnect.network=lenet5', 'choose from wan_800'),
        ('dropconnect.rates=0.5,0.2', 'dropconnect.rates'),
        ('dropconnect.rates=', 'dropconnect.rates'),
        ('dropconnect.samples=0,5', 'dropconnect.samples'),
        ('data.name=clutter', 'clutter .* has 3 channels, but wan_800'),
    ],
)
def test_what_makes_no_table_is_refused_before_any_work(argument, message, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, 'carry_out', lambda *_: pytest.fail('a trial was begun'))
    with pytest.raises(Exception, match=message) as caught:
        dropconnect.main(parsed(tmp_path, f'--config.{argument}'))
    assert isinstance(caught.value, ConfigError) and not (tmp_path / 'plan.json').exists()


@pytest.mark.slow
def test_a_table_is_trained_measured_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, 'stopper', lambda: lambda: False)
    size = ('dropconnect.network=wan_800 resized(1=20,2=20)', 'dropconnect.rates=0.5', 'data.test_examples=40', 'data.batch_size=20')
    some = ('dropconnect.images=40', 'dropconnect.masks=4', 'dropconnect.samples=1,2', 'dropconnect.training_images=30')
    given = parsed(tmp_path, *(f'--config.{one}' for one in (*size, *some, 'schedule.steps=3', 'trials.grid=optimizer.learning_rate=0.1')))
    dropconnect.main(given)
    records = {record.row: record for record in trials.records_of(tmp_path)[1]}
    assert list(records) == ['neither', 'dropout 0.5', 'DropConnect 0.5']
    fits = {row: trials.read(record.workdir, 'fitted-30') for row, record in records.items()}
    assert all(fit['examples'] == 30 and fit['loss'] > 0 for fit in fits.values())
    for row, form in (('dropout 0.5', 'mean network'), ('DropConnect 0.5', 'moments')):
        found = trials.read(records[row].workdir, 'averages-40-4-1_2')
        (used,) = (one for one in found['forms'] if (one['form'], one['samples']) == (form, None))
        assert used['error'] == pytest.approx(records[row].result['test']['top1_error'])  # the very network that was tested
    book = pages._rendered(tmp_path, tmp_path)[0]
    told = {row.label: row for row in dropconnect._rows(book)}
    assert told['neither'].averages == {} and told['neither'].fitted == {0: fits['neither']}
    assert len(told['dropout 0.5'].curves[0].holdout) == 1 and told['dropout 0.5'].rate == 0.1
    page = (tmp_path / 'report.html').read_text()
    assert all(words in page for words in ('Averages over masks', 'Convergence', 'moments, limit', 'no verdict'))
