"""Tuning with equal budgets: one Optuna study per (benchmark, method), each of the same number of finished trials.

``space`` says what is tuned, ``trial`` trains one draw and scores it on valid, ``study`` spends the budget and survives
kills, ``result`` writes what was found. What it means for a comparison: docs/tuning.md.
"""
