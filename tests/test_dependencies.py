"""What is said when a package is missing, too old or too new: one sentence, and the command."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfxp.dependencies as dependencies
from tfxp.dependencies import TESTED, check_tf_keras, importing
from tfxp.errors import DependencyError, TfxpError

ROOT = Path(__file__).resolve().parent.parent
# Modules whose package has another name.
PACKAGES = {
    "tflite_micro": "tflite-micro",
    "absl": "absl-py", "ai_edge_litert": "ai-edge-litert", "grpc": "grpcio",
    "keras_tuner": "keras-tuner", "sklearn": "scikit-learn", "tf_keras": "tf-keras",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
}  # fmt: skip
TFMOT = "tensorflow-model-optimization"
MODULE = "tensorflow_model_optimization.quantization.keras"


@pytest.fixture
def installed(monkeypatch):
    """Sets the versions that are said to be installed."""
    versions = {}
    monkeypatch.setattr(dependencies, "version_of", versions.get)
    return versions


def test_the_packages_at_hand_are_those_that_were_tested():
    for package, version in TESTED.items():
        assert dependencies.version_of(package) == version


@pytest.mark.parametrize(
    ("tensorflow", "tf_keras", "command"),
    [
        ("2.21.0", "2.16.0", 'pip install "tf_keras~=2.21.0"'),
        ("2.18.1", "2.21.0", 'pip install "tf_keras~=2.18.0"'),
        ("2.22.0", "2.21.0", 'pip install "tf_keras~=2.21.0" "tensorflow~=2.21.0"'),
        ("2.9.3", "2.21.0", 'pip install "tf_keras~=2.9.0"'),
    ],
)
def test_tf_keras_of_another_version_than_tensorflow(installed, tensorflow, tf_keras, command):
    installed["tf_keras"] = tf_keras
    wanted = f"tf_keras: got {tf_keras} beside TensorFlow {tensorflow}; expected "
    with pytest.raises(DependencyError, match=re.escape(wanted)) as error:
        check_tf_keras(tensorflow)
    assert str(error.value).endswith(f"Run: {command}") and "\n" not in str(error.value)
    assert isinstance(error.value, TfxpError) and isinstance(error.value, ImportError)


def test_versions_that_fit(installed):
    check_tf_keras("2.21.0")  # no metadata: a copy of one's own
    for tensorflow, tf_keras in (("2.21.0", "2.21.1"), ("2.20.0-rc1", "2.20.0")):
        installed["tf_keras"] = tf_keras
        check_tf_keras(tensorflow)


def test_a_name_that_another_version_lacks(installed):
    installed[TFMOT] = "0.9.0"
    with pytest.raises(DependencyError) as error, importing(TFMOT):
        from tensorflow_model_optimization.quantization.keras import QuantizeMap  # noqa: F401
    assert str(error.value) == (
        f"{TFMOT} 0.9.0: cannot be imported (cannot import name 'QuantizeMap' from '{MODULE}'); "
        f'expected what {TESTED[TFMOT]} has. Run: pip install "{TFMOT}=={TESTED[TFMOT]}"'
    )


def test_a_module_that_another_version_lacks(installed):
    installed[TFMOT] = "0.9.0"
    with pytest.raises(DependencyError, match='0.9.0: cannot be imported .*=="?0.8.1"'):
        with importing(TFMOT):
            importlib.import_module("tensorflow_model_optimization.python.core.gone")


def test_a_package_that_is_not_there(installed):
    with pytest.raises(DependencyError, match=f'{TFMOT}: not installed. Run: pip install "{TFMOT}'):
        with importing(TFMOT):
            importlib.import_module("no_such_module_of_tfmot")


def test_what_a_package_needs_and_python_lacks(installed):
    installed[TFMOT] = "0.8.1"
    for absent, supplier in (("distutils", "setuptools"), ("dm_tree", "dm_tree")):
        with pytest.raises(DependencyError, match=f"cannot be imported .*pip install {supplier}$"):
            with importing(TFMOT):
                raise ModuleNotFoundError(f"No module named {absent!r}", name=f"{absent}.version")


def test_import_of_tfxp_s_keras_says_it_too(tmp_path):
    """A tf_keras of another version beside TensorFlow stops before anything of it is run."""
    (tmp_path / "tensorflow.py").write_text("__version__ = '2.30.0'\n")
    (tmp_path / "tf_keras.py").write_text("raise SystemExit('was imported')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tfxp.keras"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DependencyError: tf_keras: got 2.21.0 beside TensorFlow 2.30.0; " in done.stderr
    assert importlib.import_module("tfxp.tfmot").Quantizer.__module__.startswith("tensorflow_model")


def test_what_is_imported_is_declared():
    imported = set()
    for path in [*(ROOT / "tfxp").rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    packages = {PACKAGES.get(name, name) for name in imported - {"tfxp", "tools"}}
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.search(r"install_requires=\[(.*?)\]", text, re.S).group(1)
    declared = set(re.findall(r'"([\w-]+)', listed))
    extras = re.search(r"extras_require=\{(.*?)\n    \}", text, re.S).group(1)
    packages -= {name for name in packages if f"'{name};" in extras or f'"{name}"' in extras}
    assert packages - set(sys.stdlib_module_names) == declared
