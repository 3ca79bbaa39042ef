# Everything sets up what it needs: nothing but Python 3.11 to 3.13 and make is presumed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN ?= runs/quickstart
WORKERS ?= 2
# What another Python or jaxlib can change: numbers, compilation, files, annotations.
VERSIONS = $(addprefix tests/test_, numerics.py mesh.py driver.py unroll.py networks.py \
  run_checkpoint.py run_environment.py run_loop.py settings.py)

.PHONY: help versions quickstart quickstart-segment quickstart-selftrain test fuzz lint \
  format docs bench faults clean

help:
	@echo "make quickstart  distil the embedded phantom films, a few minutes on two cores"
	@echo "make quickstart-segment  a small segmenter on a scanner that it never saw"
	@echo "make quickstart-selftrain  a model that improves on films without labels"
	@echo "make test        all tests        make lint    format, lint, types"
	@echo "make fuzz        FUZZ_SECONDS=3600: readers of foreign files, on damaged ones"
	@echo "make bench       measurements     make format  format the code"
	@echo "make faults      kills, flipped bits, full disks: is any work lost?"
	@echo "make docs        the site, into build/docs"
	@echo "PYTHON=python3.13 VENV=.venv-3.13 chooses another interpreter"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "jaxdistill needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."; exit 2; }
	@echo "setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[dev]"
	@touch $@

quickstart: $(VENV)/.installed
	$(BIN)/jaxdistill distill --config=configs/quickstart.py --workdir=$(RUN)

quickstart-segment: $(VENV)/.installed
	$(BIN)/jaxdistill segment --config=configs/quickstart_segment.py --workdir=$(RUN)-segment

quickstart-selftrain: $(VENV)/.installed
	$(BIN)/jaxdistill selftrain --config=configs/quickstart_selftrain.py \
	  --workdir=$(RUN)-selftrain

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# Damages files of every kind that strangers send, for so many seconds of CPU time.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed
	cd tests && JAX_PLATFORMS=cpu $(abspath $(BIN))/python fuzz.py $(FUZZ_SECONDS) $(ARGS)

versions: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(VERSIONS) $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[dev,docs]"
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/docs

$(VENV)/.peer: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[dev,peer]"
	@touch $@

bench: $(VENV)/.peer
	$(BIN)/python benchmarks/affinity.py --json=benchmarks/results/affinity_cpu.json
	$(BIN)/python benchmarks/convolutions.py \
	  --json=benchmarks/results/convolutions_cpu.json
	$(BIN)/python benchmarks/paired_augmentation.py \
	  --json=benchmarks/results/paired_augmentation_cpu.json
	$(BIN)/python benchmarks/surface_distance.py \
	  --json=benchmarks/results/surface_distance_cpu.json
	$(BIN)/python benchmarks/segmentation_step.py \
	  --json=benchmarks/results/segmentation_step_cpu.json
	$(BIN)/python benchmarks/views.py --json=benchmarks/results/views_cpu.json
	$(BIN)/python benchmarks/selfsupervised_step.py \
	  --json=benchmarks/results/selfsupervised_step_cpu.json
	$(BIN)/python benchmarks/backbones.py --json=benchmarks/results/backbones_cpu.json
	$(BIN)/python benchmarks/microbatch.py --json=benchmarks/results/microbatch_cpu.json
	$(BIN)/python benchmarks/unroll.py --json=benchmarks/results/unroll_cpu.json
	$(BIN)/python benchmarks/soft_label_memory.py \
	  --json=benchmarks/results/soft_label_memory_cpu.json
	$(BIN)/python benchmarks/peer_torch.py --json=benchmarks/results/peer_torch_cpu.json
	$(BIN)/python benchmarks/methods.py --json=benchmarks/results/methods_cpu.json
	@# These two need data: the hippocampus, and PneumoniaMNIST.
	-$(BIN)/python benchmarks/augmentation_dice.py \
	  --json=benchmarks/results/augmentation_dice_cpu.json
	-$(BIN)/python benchmarks/family.py --json=benchmarks/results/family_cpu.json

# Kills, flipped bits, full disks over every verb that writes; `make test` does a few.
faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m faults --json=benchmarks/results/faults_cpu.json

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
