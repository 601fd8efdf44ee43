"""From a raw archive to model-ready cubes: index, pairing, hold-out, cubes, the report of what was left out."""
