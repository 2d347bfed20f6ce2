"""Finding a better configuration by measuring: space, statistics, search, store, verdict, report."""
