"""A training run: its data, record, folder and lock, its checkpoints, one step, validation, recorder, resuming."""
