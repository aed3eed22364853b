"""Mixtures of low-rank adapters: the layers, their gates, and :func:`adapt`. Knows nothing of the harness.

Reading order: ``lowrank`` (what a layer holds), ``gates`` (which expert a sample gets), ``plans`` (which way the output
is computed), ``by_expert`` and ``by_weight`` (the fast ways), ``adapt`` (how a model gets such layers), ``router`` (the
paper's router network).
"""
