"""The stages of our builds, one file each: a `run(context)` and, beside it, how the stage is described."""
