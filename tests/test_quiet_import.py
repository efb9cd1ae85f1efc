"""TensorFlow is loaded by tfxp.keras, which holds its noise back, whichever folder comes first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# TensorFlow itself is never loaded, which takes too long: asking for it is enough.
LOOK = """
import importlib, json, sys

class Watch:
    early = False

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
            self.early |= "tfxp.keras" not in sys.modules
            raise ImportError(name)

watch = Watch()
sys.meta_path.insert(0, watch)
import tfxp
for folder in sys.argv[1:]:
    try:
        importlib.import_module(folder) if folder != "tfxp" else tfxp.quantize_model
    except ImportError:
        pass
print(json.dumps(watch.early))
"""


@pytest.mark.parametrize("folder", ["tfxp", "tfxp.devices", "tfxp.streams", "tfxp.sparsity"])
def test_tensorflow_is_not_loaded_past_tfxp_keras(folder):
    command = [sys.executable, "-c", LOOK, folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is False
