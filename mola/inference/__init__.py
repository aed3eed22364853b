"""A trained model in use, without the benchmark that it was trained on: its weights, its images, its answers."""
