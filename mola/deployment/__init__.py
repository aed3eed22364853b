"""A run's trained model, taken home: plain weights, a model card, and graphs for other runtimes."""
