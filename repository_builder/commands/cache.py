"""Show or clean the cache of build stages.

examples:
  triton-repo cache            # where it is and how large
  triton-repo cache --clean    # remove every stage result; the next build makes them again
"""

from __future__ import annotations

import argparse

from repository_builder import console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cache`."""
    parser.add_argument("--clean", action="store_true", help="remove every stage result")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(options: argparse.Namespace) -> int:
    """Show or clean."""
    from repository_builder.builder import stage_cache

    cache = stage_cache()
    freed = cache.clean() if options.clean else 0
    size = cache.size() if cache.root.exists() else 0
    if options.json:
        console.print_json({"folder": str(cache.root), "bytes": size, "freed_bytes": freed})
    else:
        print(f"{cache.root}: {size / 2**20:.1f} MiB" + (f", {freed / 2**20:.1f} MiB freed" if options.clean else ""))
    return 0
