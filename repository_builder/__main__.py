"""`python -m repository_builder` is `triton-repo`."""

import sys

from repository_builder.cli import main

sys.exit(main())
