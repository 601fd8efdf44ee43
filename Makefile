# make demo    a trained model, farside magnetograms and their score, from nothing, in minutes
# make test    the whole suite with coverage; .ci/run calls it
# make lint    ruff and mypy
# make bench   the measured figures of benchmarks/
PYTHON ?= python3
BIN := .venv/bin
DEMO := --dataset_name demo --gpu_ids -1
DEMO_MODEL := --iteration 2400 --average --story
DEMO_SUN := --seed 20110305 --size 256 --passbands 171 --cadence 24
DEMO_OUT := checkpoints/demo/Image/Test/2400_ema
REAL_EUVI = $(shell $(BIN)/python -c 'import importlib.resources as r; print(r.files("reproject.tests") / "data")')

.PHONY: demo test lint bench clean

demo: .venv/installed
	$(BIN)/python pix2pixCC_Simulate.py --out datasets/demo --pairs 150 --test_suns 20 --size 128 --passbands 171
	$(BIN)/python pix2pixCC_Train.py $(DEMO) --resume --data_format_input fits --data_format_target fits \
		--input_dir_train datasets/demo/Train/Input --target_dir_train datasets/demo/Train/Target \
		--n_gf 16 --n_df 16 --n_downsample 3 --n_residual 6 --padding_size 8 --lr 5e-4 --n_epochs 16 --epoch_decay 8 --ema 0.995 \
		--n_workers 0 --save_freq 1200 --display_freq 400
	$(BIN)/python pix2pixCC_Test.py $(DEMO) $(DEMO_MODEL) --input_dir_test datasets/demo/Test/Input --target_dir_test datasets/demo/Test/Target
	$(BIN)/python pix2pixCC_Test.py $(DEMO) $(DEMO_MODEL) --input_dir_test "$(REAL_EUVI)"
	$(BIN)/python pix2pixCC_Evaluate.py --generated $(DEMO_OUT) --real datasets/demo/Test/Target
	$(BIN)/python pix2pixCC_Simulate.py --out datasets/demo/HMI --raw $(DEMO_SUN) --spacecraft SDO --start 2011-02-06T12:00 --days 28
	$(BIN)/python pix2pixCC_Simulate.py --out datasets/demo/EUVI --raw $(DEMO_SUN) --spacecraft STEREO-A STEREO-B --start 2011-03-05T12:00 --days 1
	$(BIN)/python pix2pixCC_Map.py $(DEMO) --iteration 2400 --average --frontside datasets/demo/HMI --history datasets/demo/HMI \
		--farside datasets/demo/EUVI --out checkpoints/demo/Map
	@echo
	@echo "FITS files and pictures (secchi_l0_a and _b are from real EUVI images): $(DEMO_OUT)/"
	@echo "a map of the whole Sun on 2011-03-05, another unseen Sun: checkpoints/demo/Map/      (with its corona: pip install sunkit-magex, and --pfss)"
	@echo "scores and their figures: $(DEMO_OUT)/evaluation/      the run, in a browser: checkpoints/demo/index.html"

test: .venv/installed-tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term tests

lint: .venv/installed-tests
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed-tests
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf .venv checkpoints datasets

.venv/installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@
