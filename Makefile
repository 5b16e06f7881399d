# make demo: the depth ablation on the embedded clutter data, one seed, offline; report in runs/demo/report.html
# make test: the checks that .ci/run makes
# make gpu: nine minutes of measuring on an NVIDIA GPU, into results/gpu; benchmarks/README.md says what (it has not been run yet)
# make docs: pages of the public names, from their docstrings, in build/docs; once pdoc is installed, without network

PYTHON ?= python3
VENV := .venv
IN := $(VENV)/bin/python
# Only what went wrong: neither newer versions of pip nor the ways that it took.
INSTALL := $(IN) -m pip install --quiet --quiet --disable-pip-version-check

.PHONY: demo test docs gpu

demo: $(VENV)/installed
	$(IN) -m experiments.depth_ablation --config=configs/depth_ablation.py:clutter --workdir=runs/demo
	@echo "Now open $(CURDIR)/runs/demo/report.html in a browser."

test: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(IN) -m pytest -n 2 --dist loadfile

gpu: $(VENV)/installed
	$(IN) -m benchmarks.gpu

docs: $(VENV)/docs
	$(IN) -m pdoc --docformat markdown --output-directory build/docs cnn_research
	@echo "Now open $(CURDIR)/build/docs/index.html in a browser."

$(VENV)/installed: requirements.txt
	@echo "Installing into $(VENV), which takes a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement requirements.txt
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(INSTALL) 'pdoc>=15,<17'
	touch $@
