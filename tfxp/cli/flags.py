"""Flags of a tool: absl's, in a set of its own, with the ones that all tools share."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from absl import flags

from tfxp.cli.custom_objects import read_custom_objects
from tfxp.cli.flag_parsers import ChoiceOrNoneParser, FractionParser
from tfxp.cli.outputs import OutputFlag, check_outputs
from tfxp.cli.usage import RUNNING, HelpFlag, explain, format_help
from tfxp.data import AUTO, METRICS, InputScaling, Source, data_kind
from tfxp.data.input_scaling import Scalings
from tfxp.errors import ConfigError, ModelError

Data = TypeVar("Data", bound=Source)
_SAMPLES = ("split", "limit", "preprocessing", "input_scale", "input_shift", "input_kind")
_INPUT_GROUP, _OUTPUT_GROUP, _RUN_GROUP = "What it reads", "What it writes", "How it runs"
_KINDS = (
    "An .npz file with x, y or x_train, y_train, x_test, y_test; for several inputs with an array "
    "under each input's name instead of x. Or a folder of pictures or WAV files by class, TFRecord "
    "files, an .npy file, a .csv table, a name such as tfds:mnist/3.0.1 (docs/data.md)."
)


@dataclass(frozen=True)
class OpeningFlags:
    """What a tool passes on to `tfxp.load_model`."""

    unsafe: Any
    custom_objects: Any

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `tfxp.load_model`.

        Raises:
            ConfigError: --custom_objects cannot be imported.
        """
        objects = read_custom_objects(self.custom_objects.value)
        return {"custom_objects": objects, "safe_mode": not self.unsafe.value}


class ToolFlags:
    """The flags of one tool, apart from those of any other tool in the same process.

    Args:
        doc: the tool's module docstring, printed by --help.

    Example:
        >>> tool = ToolFlags("Adds. Usage: add --limit=3")
        >>> limit = tool.limit()
        >>> tool.parse(["add", "--limit=3"])
        []
        >>> limit.value
        3
    """

    def __init__(self, doc: str | None) -> None:
        self.doc = inspect.cleandoc(doc or "")
        self.values = flags.FlagValues()
        self._required: set[str] = set()
        self._outputs: list[OutputFlag] = []
        self._files: list[tuple[str, str]] = []
        self._no_paths: frozenset[str] = frozenset()
        self._methods: dict[str, tuple[str, ...]] = {}
        self._methods_now: tuple[str, ...] = ()
        self.goes_on = False
        self.DEFINE_boolean("quiet", False, "Print errors and warnings only.")
        self.DEFINE_boolean(
            "verbose", False, "Print progress where nobody watches too, and the time at the end."
        )

    def __getattr__(self, name: str) -> Any:
        """absl's own DEFINE_… functions, which put the flag into this tool's set."""
        if name.startswith("DEFINE_"):
            return functools.partial(self._define, getattr(flags, name))
        raise AttributeError(name)

    def _define(
        self, definer: Callable[..., Any], name: str, *args: object, **kwargs: object
    ) -> Any:
        if kwargs.pop("required", False):  # absl would say it in its own words
            self._required.add(name)
        if self._methods_now:
            self._methods[name] = self._methods_now
        return definer(name, *args, flag_values=self.values, **kwargs)

    @contextlib.contextmanager
    def for_methods(self, *methods: str) -> Iterator[None]:
        """Flags defined inside go with these values of --method only, and stand together in help.

        Args:
            methods: values of --method.
        """
        self._methods_now = methods
        try:
            yield
        finally:
            self._methods_now = ()

    def check_methods(self, chosen: str) -> None:
        """Complain about flags that were given and that this method would ignore.

        Args:
            chosen: the value of --method.

        Raises:
            ConfigError: there are some; all are named.
        """
        wrong = {
            name: methods
            for name, methods in self._methods.items()
            if self.values[name].present and chosen not in methods
        }
        if wrong:
            listed = ", ".join(f"--{name} ({' or '.join(wrong[name])})" for name in wrong)
            raise ConfigError(
                f"flags of --method={chosen}: got {listed}; expected none that goes with other "
                "methods only. Leave them out."
            )

    def parse(self, argv: Sequence[str]) -> list[str]:
        """Set the flags from a command line (program name first) and return what is no flag.

        Raises:
            absl.flags.Error: an unknown flag, an impossible value, or a required one missing.
        """
        self.values.unparse_flags()
        for name in self.values:
            self.values[name].unparse()
        try:
            rest = list(self.values(list(argv)))[1:]
        except flags.Error as error:
            known = {name: self.values[name] for name in self.values}
            raise flags.Error(explain(error, known)) from None
        missing = [f"--{n}" for n in sorted(self._required) if self.values[n].value is None]
        if missing and not rest:
            raise flags.Error(f"{', '.join(missing)}: got nothing; expected a value of each.")
        return rest

    def resumable(self) -> None:
        """Say that the same command goes on where an interrupted run stopped."""
        self.goes_on = True

    def help_text(self, program: str = "") -> str:
        """Usage, the docstring, and every flag with its default, in groups.

        Args:
            program: how the tool was called.
        """
        names = sorted(self.values, key=lambda name: (self._place(name), name))
        listed = [
            HelpFlag(self.values[name], self._place(name)[1], name in self._required)
            for name in names
        ]
        return format_help(self.doc, program, listed)

    def _place(self, name: str) -> tuple[int, str]:
        """Where a flag stands in the help text: number and heading of its group."""
        files = {"model", "unsafe", "custom_objects", *_SAMPLES, *(n for n, _ in self._files)}
        if name in self._methods:
            return 2, f"What --method={' or '.join(self._methods[name])} does"
        if name in files:
            return 0, _INPUT_GROUP
        if any(output.name == name for output in self._outputs):
            return 3, _OUTPUT_GROUP
        return (4, _RUN_GROUP) if name in RUNNING else (1, "What it does")

    # What the tool works on -------------------------------------------------------------------

    def model(
        self,
        text: str = "Keras model: .h5, .keras or SavedModel.",
        names: Collection[str] = (),
        required: bool = True,
    ) -> Any:
        """--model.

        Args:
            text: what it is.
            names: values that are no paths.
            required: whether it must be given.
        """
        self._no_paths = frozenset(names)
        return self.DEFINE_string("model", None, text, required=required)

    def opening(self) -> OpeningFlags:
        """--[no]unsafe and --custom_objects: what code may run when --model is opened.

        A Keras model that is missing is noticed before TensorFlow is loaded.
        """
        self._files.append(("model", "model"))
        text = "Also open models that hold code (Lambda layers), which then runs: trust them first."
        unsafe = self.DEFINE_boolean("unsafe", False, text)
        text = (
            "Module with layers and functions of your own that the model uses: file.py or a dotted"
            " name. It is imported, which runs its code."
        )
        return OpeningFlags(unsafe, self.DEFINE_string("custom_objects", None, text))

    def data(self, text: str, required: bool = True) -> Any:
        """--data: what the tool works on."""
        return self.samples("data", text, required)

    def train_data(self, required: bool = False) -> Any:
        """--train_data: what fine-tuning learns from."""
        return self.samples("train_data", "Images and labels for training.", required)

    def eval_data(self, required: bool = False) -> Any:
        """--eval_data: what accuracy is measured on."""
        return self.samples("eval_data", "Images and labels to evaluate on.", required)

    def verify_data(self, required: bool = False) -> Any:
        """--verify_data: what exports are compared on, element by element."""
        return self.samples("verify_data", "Inputs to compare outputs on.", required)

    def samples(self, name: str, text: str, required: bool = False) -> Any:
        """A flag that names a data file, which is looked at before any work."""
        self._files.append((name, "data"))
        return self.DEFINE_string(name, None, f"{text} {_KINDS}", required=required)

    def preprocessing(self) -> Any:
        """--preprocessing: how files become inputs."""
        text = "How files become inputs (.json, docs/data.md); as the model says by default."
        return self.DEFINE_string("preprocessing", None, text)

    def split(self) -> Any:
        """--split: which half of a file that has two."""
        text = "Which part of a data file that has both."
        return self.DEFINE_enum("split", None, ["train", "test"], text)

    def limit(self) -> Any:
        """--limit: how many samples at most."""
        text = "Use the first N samples only (default: all)."
        return self.DEFINE_integer("limit", None, text, lower_bound=1)

    def input_scale(self) -> Any:
        """--input_scale: the first half of x·scale + shift."""
        text = "Inputs are multiplied by this before the model sees them (1/255 may be written so);"
        text += " by default as the model says that it was trained."
        return self._number("input_scale", "1", text)

    def input_shift(self) -> Any:
        """--input_shift: the second half of x·scale + shift."""
        return self._number("input_shift", "0", "Added to inputs after --input_scale.")

    def input_kind(self) -> Any:
        """--input_kind: real values, or the model's own integer codes."""
        text = "Whether the arrays hold real values or the model's integer codes already."
        return self.DEFINE_enum("input_kind", "auto", ["auto", "codes", "real"], text)

    @property
    def scaling_given(self) -> bool:
        """Whether --input_scale or --input_shift was given."""
        return any(self.values[name].present for name in ("input_scale", "input_shift"))

    def scaled(self, data: Data, names: Sequence[str], known: Scalings) -> tuple[Data, Scalings]:
        """Data as the model takes them: by --input_scale and --input_shift, else as it says itself.

        Args:
            data: samples in their own units.
            names: the model's inputs, in order.
            known: what the model says of its inputs.

        Returns:
            The scaled data, and the scaling that was used.

        Raises:
            ConfigError: one scale for several inputs.
        """
        if self.scaling_given:
            scale, shift = (self.values[name].value for name in ("input_scale", "input_shift"))
            scaling = InputScaling((scale,), (shift,))
            if len(names) > 1 and not scaling.is_one:
                raise ConfigError(
                    f"scaling of {data.name}: got {scaling} for {len(names)} inputs; expected "
                    "neither. Scale the arrays in the file."
                )
            known = {names[0]: scaling}
        elif known:
            words = ", ".join(f"{name}: {scaling}" for name, scaling in known.items())
            print(f"inputs are scaled as the model says ({words})")
        return data.scaled_by(names, known), known

    # What is asked for ------------------------------------------------------------------------

    def precision(self, default: str | None = None, required: bool = False) -> Any:
        """--precision: a precision map or a shorthand."""
        text = (
            "A precision map (.json), one that ships with tfxp by its name, or a shorthand: w4a6"
            " (4-bit weights, 6-bit activations), w4a4e8 (first and last layer 8), w4a4s8"
            " (operands of sums 8), w6a6c (per-channel weights)."
        )
        return self.DEFINE_string("precision", default, text, required=required)

    def metric(self) -> Any:
        """--metric: what evaluation counts."""
        text = (
            "What evaluation reports: auto takes accuracy for classes, binary_accuracy for zeros"
            f" and ones, else mae. One of {', '.join(METRICS)}, anomaly_auc (an autoencoder's"
            " error), or a metric of Keras such as AUC or F1Score."
        )
        return self.DEFINE_string("metric", AUTO, text)

    def direction(self) -> Any:
        """--metric_direction: which way is better."""
        text = "Which way a metric of Keras is better, where tfxp does not know."
        return self.DEFINE_enum("metric_direction", None, ["max", "min"], text)

    def batch_size(self, default: int = 128) -> Any:
        """--batch_size: samples a step."""
        return self.DEFINE_integer("batch_size", default, "Samples a step.", lower_bound=1)

    def seed(self) -> Any:
        """--seed: what every random draw starts from."""
        text = "Seed of every random draw."
        return self.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**32 - 1)

    # What comes out ---------------------------------------------------------------------------

    def output(
        self,
        text: str,
        *suffixes: str,
        name: str = "output",
        required: bool = False,
        folder: bool = False,
        default: str | None = None,
    ) -> Any:
        """--output, or another flag that names what the tool writes.

        Args:
            text: its help.
            suffixes: endings that fit; none allows any.
            name: the flag.
            required: whether it must be given.
            folder: whether it names a folder.
            default: its default.
        """
        self._outputs.append(OutputFlag(name, suffixes, folder))
        return self.DEFINE_string(name, default, text, required=required)

    def plot(self, text: str, name: str = "plot") -> Any:
        """--plot: a picture."""
        return self.output(f"{text} (.png, .svg, .pdf).", ".png", ".svg", ".pdf", name=name)

    def json(self) -> Any:
        """--json: the printed figures for programs."""
        return self.output("Also write the figures to this JSON file.", ".json", name="json")

    @property
    def outputs(self) -> Sequence[OutputFlag]:
        """The flags that name what the tool writes."""
        return tuple(self._outputs)

    def check_files(self) -> None:
        """Complain about inputs that are missing, and outputs that cannot be or are inputs too.

        Raises:
            DataError, ModelError: an input is missing, or no data file.
            ConfigError, OutputError: as in `tfxp.cli.outputs.check_outputs`.
        """
        check_outputs(self._outputs, {name: self.values[name].value for name in self.values})
        for name, kind in self._files:
            path = self.values[name].value
            if path and kind == "data":
                data_kind(path)
            elif path and path not in self._no_paths and not os.path.exists(path):
                raise ModelError(f"model {path!r}: no such file; expected a path of a model.")

    def progress(self) -> Any:
        """--[no]progress: None (draw on terminals only), True or False."""
        text = "Draw a progress bar (default: on a terminal; elsewhere a line every ten seconds)."
        return self.DEFINE_boolean("progress", None, text)

    def choice_or_none(self, name: str, default: str, choices: Sequence[str], text: str) -> Any:
        """A step that is done in one of several ways, or not: --name=way, --name, --noname.

        Args:
            name: the flag, whose value is a way or "none".
            default: the way that --name alone stands for too.
            choices: all ways.
            text: its help.
        """
        parser, serializer = ChoiceOrNoneParser(choices, default), flags.ArgumentSerializer()
        flag: Any = flags.Flag(parser, serializer, name, default, text, boolean=True)
        return flags.DEFINE_flag(flag, self.values)

    def _number(self, name: str, default: str, text: str) -> Any:
        parser, serializer = FractionParser(), flags.ArgumentSerializer()
        return flags.DEFINE(
            parser, name, default, text, flag_values=self.values, serializer=serializer
        )
