"""``python -m amago_core``: the same as ``amago``."""

from amago_core.cli.main import main

main()
