"""The first convolutional networks as data, trained by one loop, looked into, and reported beside the papers' numbers.

Where notebooks begin, and later work holds on:

- `cnn_research.architecture`: `Architecture`, `Layer`, the stages; the surgery `without`, `replaced`, `resized`
- `cnn_research.models.zoo`: `NAMES`, `architecture`; `cnn_research.models.network`: `Network`
- `cnn_research.data.sources`: `open_source`
- `cnn_research.config`: `default`, `update`, `check`; every field is in `cnn_research.fields`
- `cnn_research.train`: `fit`; `cnn_research.checkpoints`: `load`, which gives a `cnn_research.trained.Trained`; `cnn_research.evaluate`
- `cnn_research.trials`: many trainings as one table
- `cnn_research.studies`: a folder for each question asked of networks, `cnn_research.studies.looking` among them
- `cnn_research.reporting`: tables, claims, figures, and `cnn_research.reporting.published`, the papers' numbers

Images are uint8 (B, H, W, C) as a source gives them; errors that a user can cause are `cnn_research.errors.ResearchError`, of one line.
"""
