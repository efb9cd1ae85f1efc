"""tfxp by its own tools with their defaults: quantize_model.py, export_tflite.py, run_tflite.py.

Runs in the Python of the tool itself; the tools are called in this process, as their commands would
be, defaults throughout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import protocol

_ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(_ROOT))
_VERIFIED = 200


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Quantize, export, run the file."""
    import tfxp
    from tfxp.files import read_json

    result["versions"] = {"tfxp": f"{tfxp.__version__} {_commit()}"} | protocol.versions(
        "tf_keras", "tensorflow", "ai-edge-litert"
    )
    work = Path(settings.file).with_suffix("")
    quantized, figures, run = (f"{work}{end}" for end in (".keras", ".quantized.json", ".run.json"))
    result["recipe"] = "defaults, flips" if settings.epochs else "defaults"
    result["float"] = ""
    _tool("quantize_model", _quantize_flags(settings, work, quantized, figures))
    losses = read_json(figures, "figures").get("losses")
    if losses:
        result["losses"] = losses
    verify = [f"--verify_data={settings.eval_data}", f"--limit={_VERIFIED}"]
    _tool("export_tflite", [f"--model={quantized}", f"--output={settings.file}", *verify])
    limit = [f"--limit={settings.eval_images}"] if settings.eval_images else []
    _tool(
        "run_tflite",
        [
            f"--model={settings.file}",
            f"--data={settings.eval_data}",
            "--engine=litert",
            f"--json={run}",
            *limit,
        ],
    )
    measured = read_json(run, "run")
    result["accuracy"] = measured["accuracy"]
    result["eval_images"] = measured.get("samples", settings.eval_images)
    result["measured_on"] = "file in LiteRT"
    result["file_bytes"] = os.path.getsize(settings.file)


def _quantize_flags(
    settings: protocol.Settings, work: Path, quantized: str, figures: str
) -> list[str]:
    flags = [
        f"--model={settings.model}",
        f"--data={settings.train_data}",
        f"--limit={settings.calibration}",
        f"--precision={settings.precision}",
        f"--epochs={settings.epochs}",
        f"--batch_size={settings.batch_size}",
        f"--seed={settings.seed}",
        f"--output={quantized}",
        f"--json={figures}",
    ]
    if not settings.epochs:
        return flags
    x, y = protocol.training_images(settings)
    images = f"{work}.images.npz"
    np.savez(images, x=x.astype(np.uint8), y=y)
    return [*flags, f"--train_data={images}", "--augment=flip"]


def _tool(name: str, flags: list[str]) -> None:
    """Run a tool as its command would."""
    import importlib

    try:
        importlib.import_module(f"tools.{name}").run([name, *flags])
    except SystemExit as done:
        if done.code:
            raise RuntimeError(f"tools/{name}.py ended with {done.code}") from None


def _commit() -> str:
    command = ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    protocol.run(main, seeds=False)
