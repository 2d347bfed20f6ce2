"""The commands of `triton-repo`, one module each.

A command module has a docstring (shown by `--help`, with examples), `configure(parser)` that adds its options,
and `run(options)` that returns the exit code. Modules import heavy things inside functions.
"""
