# make demo: the depth ablation on the embedded clutter data, one seed, offline; report in runs/demo/report.html
# make test: the checks that .ci/run makes
# make gpu: nine minutes of measuring on an NVIDIA GPU, into results/gpu; benchmarks/README.md says what (it has not been run yet)

PYTHON ?= python3
VENV := .venv
IN := $(VENV)/bin/python

.PHONY: demo test gpu

demo: $(VENV)/installed
	$(IN) -m experiments.depth_ablation --config=configs/depth_ablation.py:clutter --workdir=runs/demo

test: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(IN) -m pytest -n 2 --dist loadfile

gpu: $(VENV)/installed
	$(IN) -m benchmarks.gpu

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(IN) -m pip install --quiet --requirement requirements.txt
	touch $@
