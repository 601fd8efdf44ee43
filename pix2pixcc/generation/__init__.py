"""From a trained model to products: what to generate from, how each output is written, the header of a finished product."""
