"""Tuning with equal budgets: one Optuna study per (benchmark, method), each of the same number of finished trials.

``study`` is one of them, from its journal (``store``) to what it found (``result``). ``budget`` spends its budget: it
draws from the ``space``, trains and scores a ``trial`` on valid. What it means for a comparison: docs/tuning.md.
"""
