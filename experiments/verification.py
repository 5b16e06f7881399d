"""Whose face is it: pairs of faces told to be of one person or of two, by features of networks and by hand (DeepFace, Taigman et al. 2014).

    python -m experiments.verification
    python -m experiments.verification --config=configs/verification.py:lfw --config.trials.seeds=3 --config.data.dir=DATA
    python -m experiments.verification --config=configs/verification.py:att_faces --config.verification.eyes=eyes.csv --dry_run

Rows are features (pixels, eigenfaces, local binary patterns, networks that learned to name other people) under measures (inner product,
weighted chi-squared, linear SVM, a Siamese end), judged in folds that share no person. Pairs come from a file like LFW's View 2, or are
drawn. Leaves report.html, README.md, tables and figures in the workdir; networks, features and outcomes are kept there, so that the same
command goes on where it was stopped. With --config.network no network is trained; one that learned a person of the pairs is refused.
3-D frontalisation is not here: it needs a model of faces; --config.verification.eyes aligns in 2-D.
"""

from cnn_research import config as configs
from cnn_research import trials
from cnn_research.errors import TrialError
from cnn_research.fields import Field
from cnn_research.reporting.shelf import Shelf
from cnn_research.studies.verification import report
from experiments.launch import command, elsewhere, matching, outcome, plans, verifying

FIELDS = (
    *elsewhere.FIELDS,
    *(field for field in trials.FIELDS if field.name == 'trials.seeds'),
    Field('verification.pairs', '', "a file of pairs as LFW's pairs.txt, here or beside a prepared set; '' = pairs are drawn"),
    Field('verification.eyes', '', "a csv of NAME,x,y,x,y, the left eye in the picture and the right, to align by; '' = the crop as it is"),
    Field(
        'verification.folds', verifying.FOLDS, 'that pairs are drawn in, no person in two; a file of pairs has its own', low=2, high=1000
    ),
    Field('verification.networks', 5, 'of each row and seed; each learns no one of the folds that it is judged on', low=1, high=500),
    Field('verification.same', 0, 'pairs of one person drawn in each fold at most; 0 = all', low=0),
    Field('verification.different', 0, 'pairs of two persons drawn in each fold; 0 = as many as of one', low=0),
    Field('verification.seed', 0, 'of the folds and pairs that are drawn', low=0, high=2**32 - 1),
    Field('verification.images', 4, 'of a person at least, for networks to learn to name them', low=1),
    Field('verification.costs', '0.01,0.1,1', 'values of C to choose from; a single one is taken as it is'),
    Field('verification.siamese', 1000, "steps of the first row's two top layers on pairs; 0 = no Siamese row", low=0, high=10**6),
    Field('verification.siamese_rate', 0.01, 'learning rate of these', low=1e-8, high=10),
    Field('verification.hardest', 6, 'pairs of each kind of error that are drawn', low=0, high=12),
)
_DEMONSTRATIONS = ('digits', 'clutter')


def _about(given: command.Command, table: matching.Table, unsettled: int) -> report.About:
    judged, trained = table.faces, table.trainings
    people = f'{trained[0].classes} identities in {len(trained[0].learned):,} images' if trained else ''
    labels = list(dict.fromkeys(one.row for one in trained))
    base = labels[0] if trained else next((one.name for one in table.networks), '')
    shared = next((row for row in labels[1:] if row in verifying.SHARED), '')
    return report.About(
        judged.pool.name,
        judged.pairs.words,
        100 * float(judged.pairs.same.mean()),
        # Networks that are named have learned nobody here, so all folds share them.
        [group.tolist() for group in judged.groups] if trained else [list(range(judged.pairs.folds))],
        people,
        given.options.trials.seeds if trained else 1,
        base,
        shared,
        [row for row in labels[1:] if row in verifying.LESSER],
        judged.aligned,
        not given.options.verification.pairs,
        judged.pool.name in _DEMONSTRATIONS,
        unsettled,
    )


def main(given: command.Command) -> None:
    costs = configs.numbers(given.options.verification.costs, 'verification.costs', float, low=1e-12)
    rows = {} if given.options.network else plans.rows(given, FIELDS, lambda row: row not in report.BASELINES)
    verifying.check(given)
    matching.check_libraries()
    judged = verifying.opened(given)
    networks = verifying.named(given, judged)
    table = matching.Table(given, judged, networks, verifying.planned(given, judged, rows), costs)
    notes = list(dict.fromkeys((*(note for one in networks for note in one.notes), *judged.pool.notes, *judged.notes)))
    if given.dry_run:
        print(verifying.plan(given, table.trainings, judged))
        plans.say(notes)
        return
    outcome.check_place(given, 'figures', 'features', 'outcomes', 'networks')
    stop = command.stopper()
    wrong = verifying.train(given, table.trainings, stop)
    told = matching.outcomes(table, stop)
    command.interruptible()
    found, nets = matching.rows(table, told), matching.nets(table)
    about = _about(given, table, sum(each['unsettled'] for _, one in told for each in one['measures'].values()))
    plate, drawn = matching.plate(table, told, about.base or next(iter(report.BASELINES)))
    shelf = Shelf(given.workdir, given.name, ())
    page = outcome.Page(*report.report(found, nets, about, plate, shelf), {**drawn, 'same': judged.pairs.same, 'fold': judged.pairs.fold})
    seconds = sum(one['seconds'] for _, one in told) + verifying.seconds(table.trainings)
    outcome.write(given, page, shelf, [one.home for one in networks], notes, seconds)
    if wrong:
        raise TrialError(f'{len(wrong)} trainings failed, {wrong[0]} for one; the report shows the others.')


if __name__ == '__main__':
    command.run('verification', main, __doc__, 'configs/verification.py:digits', FIELDS)
