"""Measuring: time, memory and operations of a model with adapters against the plain one."""
