"""Detection (R-CNN, Girshick et al. 2014): region proposals, features of each, a linear SVM for each class, and what that finds.

    python -m experiments.detection
    python -m experiments.detection --config=configs/detection.py:rcnn --config.network=WORKDIR --config.detection.data=voc:DIR
    python -m experiments.detection --config=configs/detection.py:indoor --config.network=weights.npz --config.data.dir=DATA

Rows are taps of a network under SVMs with hard negative mining, as it is and fine-tuned; with a softmax in their place, with refined
boxes, without context and without the warp; and HOG and a spatial pyramid of visual words on the same proposals. Leaves report.html,
README.md, tables and figures in the workdir; proposals, features of windows, fine-tuned networks and outcomes are kept there, so that the
same command goes on where it was stopped and loses at most the images in hand.
"""

import numpy as np

from cnn_research.data.scenes import Scenes, joined, open_splits
from cnn_research.errors import ConfigError
from cnn_research.fields import Field
from cnn_research.models.network import check_taps
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.detection import diagnosis, evaluation, proposals, report
from experiments.launch import command, detecting, elsewhere, outcome, plans

FIELDS = (
    *elsewhere.FIELDS,
    Field('detection.data', 'scenes', "pictures with boxes: 'scenes' (embedded), 'voc:DIR' or a prepared TFDS set with objects"),
    Field('detection.train', 'train', 'its split to learn from'),
    Field('detection.test', 'test', 'its split to be judged on'),
    Field('detection.fewest', 1, 'boxes that a class has in the split to learn from, at least; others are left out', low=1),
    Field('detection.proposals', 'selective_search', "'selective_search', 'grid' or a file of boxes: .npz, or R-CNN's .mat"),
    Field('detection.most', 2000, 'proposals of a picture at most', low=1),
    Field('detection.taps', '', "the network's; '' = pool5, fc6 and fc7, or the two highest layers below the last"),
    Field('detection.side', 6, 'maps larger than this, in px, are averaged to it; 0 = as they are', low=0),
    Field(
        'detection.context', -1, "px of context about a window, at the size that the network reads; -1 = R-CNN's share, 16 of 227", low=-1
    ),
    Field('detection.rows', '', f"beside the taps under SVMs, of {', '.join(detecting.KINDS)}; '' = all, 'none' = none"),
    Field(
        'detection.seeds',
        1,
        "seeds of fine-tuning, of the softmax's sample, of visual words and, where they are redrawn, of the splits",
        low=1,
        high=1000,
    ),
    Field('detection.redrawn', False, 'each seed draws the scenes to learn from and those to be judged on anew, from both splits'),
    Field('detection.cost', 1e-3, 'C of the SVMs', low=1e-12),
    Field('detection.passes', 1, 'of hard negative mining over the scenes', low=1),
    Field('detection.steps', 500, 'of fine-tuning', low=1),
    Field('detection.rate', 0.01, 'learning rate of the new layer in fine-tuning, ten times that of the others', low=0),
    Field('detection.batch_size', 128, 'windows of a step of fine-tuning, a quarter of them positive', low=4),
    Field('detection.words', 200, 'of the visual vocabulary', low=2),
    Field('detection.suppression', 0.3, 'overlap above which the weaker of two detections of a class is dropped', low=0, high=1),
    Field('detection.way', 'area', "average precision: its area (VOC from 2010 on), or 'eleven' points (VOC 2007)", evaluation.WAYS),
    Field('detection.pixel', 0.0, 'added to the sides of boxes; 1 where VOC numbers of inclusive corners stand as edges', low=0, high=1),
    Field('detection.similar', '', "groups of similar classes for the kinds of false detections: 'cat+dog,chair+sofa'"),
)
_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def _opened(given: command.Command) -> tuple[Scenes, int]:
    """(the scenes of both splits, of which the first so many are those to learn from)."""
    options, where = given.options.detection, given.config.data.dir or None
    if options.train == options.test:
        raise ConfigError(f'detection.train and detection.test are both {options.train!r}; judge on a split of its own.')
    train, test = open_splits(options.data, (options.train, options.test), options.fewest, where)
    return joined(train, test), train.num_examples


def _kinds(text: str) -> list[str]:
    named = list(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    for name in named:
        if name not in (*detecting.KINDS, 'none'):
            raise ConfigError(f'detection.rows names {name[:100]!r}; choose from {", ".join(detecting.KINDS)}, or none.')
    return named or list(detecting.KINDS)


def _recalls(table: detecting.Table, method: str) -> dict:
    """{what proposes: (numbers, {overlap: recall})}, of all scenes; a grid is made anew for each number."""
    most, truths, where = table.options.most, table.pool.truths(), table.given.workdir / 'proposals'
    counts = [count for count in _COUNTS if count < most] + [most]
    found = {detecting.proposer(method): proposals.recall(truths, table.proposals, counts, pixel=table.options.pixel)}
    if method != 'grid':
        grids = [proposals.kept(where, table.pool, 'grid', count) for count in counts]
        each = [proposals.recall(truths, grid, [count], pixel=table.options.pixel) for grid, count in zip(grids, counts, strict=True)]
        found[detecting.proposer('grid')] = np.concatenate(each, axis=1)
    return {name: (counts, {0.5: of[0].tolist(), 0.7: of[1].tolist()}) for name, of in found.items()}


def _about(table: detecting.Table, name: str) -> report.About:
    pool, options, part = table.pool, table.options, table.drawn[0]
    counted = [(len(of), sum(int((~pool.objects[i].difficult).sum()) for i in of)) for of in (part.train, part.test)]
    seeds = (
        'Each seed draws the scenes to learn from and those to be judged on anew; counts are those of seed 0.' if options.redrawn else ''
    )
    seeds += " What is fine-tuned, the softmax's sample and visual words differ between seeds." if options.seeds > 1 else ''
    return report.About(
        data=pool.name,
        network=name,
        stands=detecting.stands(table.named.trained.architecture),
        class_names=pool.class_names,
        trained=counted[0],
        tested=counted[1],
        notes=pool.notes,
        proposals=f'Proposals: {detecting.proposer(options.proposals)}, at most {options.most:,} of a picture, '
        f'{np.mean([len(some) for some in table.proposals]):,.0f} on average.',
        crop=detecting.cut(table),
        way=options.way,
        seeds=seeds.strip(),
        similar=[[pool.class_names[label] for label in group] for group in table.groups],
        demonstration=pool.name == 'scenes',
        overlap=len(part.test) / len(part.train) if options.redrawn else None,
    )


def main(given: command.Command) -> None:
    options, planned = given.options.detection, detecting.network(given, planned=True)
    kinds, (pool, of_train) = _kinds(options.rows), _opened(given)
    proposals.check(options.proposals, options.most)
    drawn = detecting.drawn(pool.num_examples, of_train, options.seeds, options.redrawn)
    table = detecting.Table(given, planned, pool, [], drawn, diagnosis.groups(options.similar, pool.class_names))
    net, taps = planned.trained.architecture, detecting.table_taps(table)
    check_taps(net, taps)
    rows = detecting.keys(taps, net, kinds)
    detecting.check(table, rows)
    notes = [*planned.notes, *pool.notes]
    if given.dry_run:
        print(f'{len(rows)} rows, {options.seeds} seeds; {pool.num_examples} pictures of {pool.name}, {pool.num_classes} classes')
        print(*(f'  {key.label}' for key in rows), sep='\n')
        plans.say(notes)
        return
    outcome.check_place(given, 'figures', 'proposals', 'windows', 'outcomes', 'tuned', *([] if given.options.network else ['network']))
    stop = command.stopper()
    found = proposals.kept(given.workdir / 'proposals', pool, options.proposals, options.most, stop)
    table = table._replace(named=detecting.network(given), proposals=found)
    told = detecting.outcomes(table, rows, stop)
    command.interruptible()
    lines = [detecting.row(key, {seed: told[key, seed] for seed in drawn}) for key in rows]
    about, shelf = _about(table, planned.name), Shelf(given.workdir, given.name, ())
    shown = report.chosen(lines, options.way)[:1]
    pictures = {f'{row.key.label}, seed 0': detecting.pictures(told[row.key, 0], pool) for row in shown}
    recalls = _recalls(table, options.proposals)
    page = outcome.Page(*report.report(lines, about, recalls, pictures, shelf), {})
    seconds = sum(one['seconds'] for one in told.values())
    outcome.write(given, page, shelf, [table.named.home], [*notes, *detecting.notes(told)], seconds)


if __name__ == '__main__':
    command.run('detection', main, __doc__, 'configs/detection.py:scenes', FIELDS)
