"""Package metadata of tfxp; every other setting lives in pyproject.toml.

The tools and configs folders stay at the top of the checkout, where people look for them, and are
installed as `tfxp.tools` and `tfxp.configs`. An editable install puts the checkout on the path
("compat") instead of hooking into the import system: hooks come last, so that a folder called tfxp
in the working directory, such as the checkout itself, would be taken for the package.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tfxp/version.py").read_text()).group(1)

# The repository's public address, such as https://github.com/OWNER/tfxp; "" while there is none.
ADDRESS = ""


def description() -> str:
    """README as an index shows it, where a link into the checkout would lead nowhere.

    Such links become absolute; without an address they become their text, and "(more)" goes.
    """

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"https?:|#", target):
            return match.group()
        return f"[{text}]({ADDRESS}/blob/main/{target})" if ADDRESS else text

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if not ADDRESS:
        readme = re.sub(r"\s\(\[more\]\((?!https?:)[^)]*\)\)", "", readme)
    return re.sub(r"\[([^][]+)\]\(([^)\s]+)\)", link, readme)


def addresses() -> dict[str, str]:
    """What an index lists beside the text."""
    pages = {
        "Source": "",
        "Documentation": "/blob/main/docs/index.md",
        "Changes": "/blob/main/docs/changelog.md",
    }
    return {name: ADDRESS + page for name, page in pages.items()} if ADDRESS else {}


COMMANDS = {
    "tfxp-doctor": "doctor",
    "tfxp-assign": "assign_precision",
    "tfxp-compare": "compare_models",
    "tfxp-cost": "estimate_cost",
    "tfxp-export": "export_tflite",
    "tfxp-measure": "measure_model",
    "tfxp-quantize": "quantize_model",
    "tfxp-report": "report_runs",
    "tfxp-run": "run_tflite",
    "tfxp-train": "train_model",
    "tfxp-run-all": "run_pipeline",
    "tfxp-search": "search_precision",
    "tfxp-view": "view_tflite",
}

setup(
    name="tfxp",
    version=VERSION,
    description="Keras models in few bits, exported to bit-exact integer .tflite files",
    long_description=description(),
    long_description_content_type="text/markdown",
    project_urls=addresses(),
    license="Apache-2.0",
    keywords="quantization fixed-point mixed-precision keras tensorflow tflite litert "
    "microcontroller tinyml tflm fpga qonnx wrpn sparsity",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Software Development :: Embedded Systems",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["tfxp", "tfxp.*"]),
        "tfxp.tools",
        "tfxp.tools.frontier",
        "tfxp.tools.frontier.programs",
        "tfxp.configs",
    ],
    package_dir={"tfxp.tools": "tools", "tfxp.configs": "configs"},
    package_data={
        "tfxp": ["py.typed"],
        "tfxp.commands": ["*.c"],
        "tfxp.csource": ["kernels/*"],
        "tfxp.report": ["*.css", "*.js", "vendor/*"],
        "tfxp.configs": ["*.md", "*.sbatch", "*.yaml", "**/*.json"],
    },
    install_requires=[
        "absl-py>=1.2",
        "ai-edge-litert",
        "flatbuffers",
        "grpcio",
        "h5py",
        "keras-tuner>=1.4.7",
        "llvmlite",
        "matplotlib",
        "numba",
        "numpy",
        "scikit-learn",
        "scipy>=1.9",
        "tensorboard",
        "tensorflow>=2.16",
        "tensorflow-model-optimization>=0.8",
        "tf-keras",
    ],
    extras_require={
        # the documentation site: mkdocs build --strict
        "docs": ["mkdocs-jupyter", "mkdocs-material", "mkdocstrings[python]"],
        # C++ for FPGAs from the QONNX file; its emulation wants g++
        "hls4ml": ["hls4ml>=1.3", "onnx", "qonnx>=1.0,<2"],
        # Google's viewer of graphs, which shows what `tfxp measure --node_data` writes
        "model-explorer": ["ai-edge-model-explorer"],
        "test": ["mypy", "pytest", "pytest-xdist", "pyyaml", "ruff"],
        # data sets by their names, tfds:mnist/3.0.1; it imports the first without saying so
        "tfds": ["importlib-resources", "tensorflow-datasets"],
        # hardware flows: the format, and the runtime that tests it
        "qonnx": ["onnx", "qonnx>=1.0,<2"],
        # LiteRT for Microcontrollers, to verify files on; its wheels are for this platform
        "tflm": ['tflite-micro; platform_system == "Linux" and platform_machine == "x86_64"'],
    },
    options={"editable_wheel": {"mode": "compat"}},
    entry_points={
        "console_scripts": [
            "tfxp=tfxp.cli.one_command:run",
            *(f"{name}=tfxp.tools.{module}:run" for name, module in COMMANDS.items()),
        ]
    },
)
