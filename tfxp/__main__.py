"""`python -m tfxp` is the command `tfxp`."""

from tfxp.cli.one_command import run

run()
