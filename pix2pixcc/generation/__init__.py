"""From a trained model to products: what to generate from, how each image is written, the finished magnetogram."""
