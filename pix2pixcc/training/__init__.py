"""A training run: its data, record, folder and lock, checkpoints, one step, validation, recorder, resuming. The loop is in pix2pixCC_Train.py."""
