"""python -m medtea.cli, as the command medtea."""

from medtea.cli import main

main()
