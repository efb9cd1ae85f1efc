"""`python -m tfxp` is the command `tfxp`."""

from tfxp.cli.one_command import run

if __name__ == "__main__":
    run()
