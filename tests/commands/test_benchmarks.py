"""Every benchmark runs, in a small configuration; no time is asserted."""
import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
bench, cases, measure = map(import_module, ("bench", "cases", "measure"))
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [name for name in cases.CASES if "compiled" not in name])
def test_each_case_measures_something(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = cases.CASES[name](cases.TINY, CPU)
    assert rows
    for row in rows:
        assert row["seconds"] > 0 and row["memory_gb"] > 0
        assert bench.line(row | {"device": "cpu", "case": name}).startswith("cpu")
    json.dumps(rows)


def test_a_table_is_printed_and_its_figures_are_written(tmp_path, capsys):
    assert bench.main(["--tiny", "--only", "step, 16, n_D 2", "--out", str(tmp_path / "results.json")]) == 0
    assert "step, 16, n_D 2" in capsys.readouterr().out
    record = json.loads((tmp_path / "results.json").read_text())
    assert [row["case"] for row in record["rows"]] == ["step, 16, n_D 2"] and record["machine"]["threads"] >= 1


def test_the_operations_of_the_v3_networks_are_counted():
    image = (1, 7, 1024, 1024)
    forward = measure.generator_flops(cases.V3.generator, image)
    assert forward == pytest.approx(0.861e12, rel=0.01)
    step = measure.step_flops(cases.V3.generator, lambda: cases.V3.discriminator(2), image, (1, 1, 1024, 1024), (1, 10))
    # Seven passes of 0.057 through the discriminator, less the first layers' needless gradients.
    assert 0.3e12 < step - 3 * forward < 0.5e12
