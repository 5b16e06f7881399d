"""Finished trainings as `fit` and the train command leave them, without their arrays."""

import json

from cnn_research import config as configs
from cnn_research import files, journal, records

RUN = {'command': 'python -m experiments.train', 'machine': 'a machine', 'versions': 'jax 0', 'date': '2026-01-01'}
PERCEPTRON = {'architecture': 'perceptron', 'data.name': 'digits', 'loss.name': 'squared_error', 'data.holdout': 0.1}


def error(value):
    return {'error': value, 'top1_error': value}


def recorded(folder, key, values, run=RUN, **roles):
    """roles: what the result says of 'test' and 'holdout'."""
    config = configs.check(configs.update(configs.default(), values))
    configs.write(folder, config, key)
    files.write(folder / 'run.json', json.dumps(run))
    files.write(folder / 'timing.jsonl', '{"step": 1, "seconds": 60}\n{"step": 2, "seconds": 30}\n')
    lines = [{'step': step, 'epoch': step / 2, 'role': 'train', 'loss': 1 / step, 'error': 0.5 / step} for step in (1, 2)]
    files.write(folder / 'metrics.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))
    about = {'key': key, 'protocol': 'p', 'step': 2, 'views': 'centre', 'metrics': journal.mark(folder)}
    records.write(folder / 'result.json', {**about, 'config': configs.decisive(configs.read(folder)), **roles})
