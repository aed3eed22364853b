"""What every method, balancer, benchmark and backbone has to do: ``mola check`` and the tests of this package ask it.

A check is a function that raises :class:`mola.conformance.fault.Fault`, whose message is one line.
"""
