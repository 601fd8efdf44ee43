# make demo    a trained model, farside magnetograms and their score, from nothing, in minutes
# make test    the whole suite with coverage; .ci/run calls it
# make lint    ruff and mypy
# make bench   the measured figures of benchmarks/
PYTHON ?= python3
BIN := .venv/bin
DEMO_DATA := datasets/demo
DEMO_FLAGS := --dataset_name demo --gpu_ids -1

.PHONY: demo test lint bench clean

demo: .venv/installed
	$(BIN)/python synthetic_sun.py --out $(DEMO_DATA) --pairs 150 --test_suns 20 --size 128 --passbands 171
	$(BIN)/python pix2pixCC_Train.py $(DEMO_FLAGS) --resume --data_format_input fits --data_format_target fits \
		--input_dir_train $(DEMO_DATA)/Train/Input --target_dir_train $(DEMO_DATA)/Train/Target \
		--n_gf 16 --n_df 16 --n_downsample 3 --n_residual 6 --n_iterations 3000 --save_freq 1000 --display_freq 500
	$(BIN)/python pix2pixCC_Test.py $(DEMO_FLAGS) --iteration 3000 --input_dir_test $(DEMO_DATA)/Test/Input
	$(BIN)/python pix2pixCC_Test.py $(DEMO_FLAGS) --iteration 3000 \
		--input_dir_test "$$($(BIN)/python -c 'import importlib.resources as r; print(r.files("reproject.tests") / "data")')"
	$(BIN)/python pix2pixCC_Evaluate.py --generated checkpoints/demo/Image/Test/3000 --real $(DEMO_DATA)/Test/Target
	@echo "pictures and FITS files: checkpoints/demo/Image/Test/3000/ (secchi_l0_a and _b are real EUVI images); the run: checkpoints/demo/index.html"

test: .venv/installed-tests
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term tests

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

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@
