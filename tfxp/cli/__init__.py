"""What all tools share: flags, a main that never shows a traceback, tables.

A tool is a library call with flags:

    _FLAGS = cli.ToolFlags(__doc__)
    _MODEL = _FLAGS.model()                  # a shared flag
    _EPOCHS = _FLAGS.DEFINE_integer("epochs", 0, "Epochs of fine-tuning.", lower_bound=0)

    def main() -> int | None:
        ...                                  # _MODEL.value, _EPOCHS.value

    run = cli.entry_point(main, _FLAGS)      # also what the console command calls

    if __name__ == "__main__":
        run()
"""

from tfxp.cli.flags import ToolFlags
from tfxp.cli.main import entry_point
from tfxp.cli.precision_argument import read_precision
from tfxp.cli.saturation import warn_of_saturation
from tfxp.cli.table import format_table

__all__ = ["ToolFlags", "entry_point", "format_table", "read_precision", "warn_of_saturation"]
