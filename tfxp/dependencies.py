"""The packages that tfxp reaches into, the versions it was tested with, and what mends a misfit."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator

from tfxp.errors import DependencyError

# Package -> the series of versions that tfxp was tested with.
TESTED = {
    "tensorflow": "2.21.0",
    "tf_keras": "2.21.0",
    "tensorflow-model-optimization": "0.8.1",
    "keras-tuner": "1.4.8",
}
# What tfmot imports and Python no longer has.
_SUPPLIERS = {"distutils": "setuptools"}


@contextlib.contextmanager
def importing(package: str) -> Iterator[None]:
    """Turns a failed import of a package into the sentence that mends it.

    Args:
        package: the package as pip knows it, one of `TESTED`.

    Raises:
        DependencyError: the package, or one that it needs, is missing, or it lacks a name.

    Example:
        >>> with importing("keras-tuner"):
        ...     from json import yield_all
        Traceback (most recent call last):
        ...
        tfxp.errors.DependencyError: keras-tuner 1.4.8: cannot be imported (cannot import name
        'yield_all' from 'json'); expected what 1.4.8 has. Run: pip install "keras-tuner==1.4.8"
    """
    try:
        yield
    except ImportError as error:
        raise DependencyError(_not_imported(package, error)) from error


def check_tf_keras(tensorflow: str) -> None:
    """tf_keras runs beside the TensorFlow of its own version only.

    Args:
        tensorflow: the version of TensorFlow.

    Raises:
        DependencyError: tf_keras has another one.
    """
    tf_keras = version_of("tf_keras") or version_of("tf_keras-nightly")
    if tf_keras is None or _series(tf_keras) == _series(tensorflow):
        return  # a copy without metadata is taken as it is
    series = min(_series(tensorflow), _series(TESTED["tf_keras"]))
    wanted = ".".join(map(str, series))
    beside = "" if series == _series(tensorflow) else f' "tensorflow~={wanted}.0"'
    raise DependencyError(
        f"tf_keras: got {tf_keras} beside TensorFlow {tensorflow}; expected {wanted}. "
        f'Run: pip install "tf_keras~={wanted}.0"{beside}'
    )


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _series(version: str) -> tuple[int, int]:
    """Major and minor number."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _not_imported(package: str, error: ImportError) -> str:
    version = version_of(package)
    if version is None:
        return f"{package}: not installed. Run: {_pip(package, TESTED[package])}"
    what = f"{package} {version}: cannot be imported ({str(error).split(' (')[0]})"
    absent = (error.name or "").split(".")[0]
    own = absent.replace("_", "-") == package.replace("_", "-")
    if isinstance(error, ModuleNotFoundError) and absent and not own:
        return f"{what}. Run: pip install {_SUPPLIERS.get(absent, absent)}"
    command = _pip(package, TESTED[package])
    return f"{what}; expected what {TESTED[package]} has. Run: {command}"


def _pip(package: str, version: str) -> str:
    return f'pip install "{package}=={version}"'
