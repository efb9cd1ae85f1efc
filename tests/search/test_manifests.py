"""The manifests for cluster managers: they parse, and name flags and variables that exist."""

import re
import subprocess

import pytest

from tfxp.files import configs_folder
from tfxp.search.distributed import ID, IP, PORT
from tools.search_precision import _FLAGS

SLURM = configs_folder() / "slurm_search.sbatch"
KUBERNETES = configs_folder() / "kubernetes_search.yaml"


def check_command(text):
    command = re.search(r"exec tfxp-search ((?:.*\\\n)*.*)", text).group(1)
    flags = re.findall(r"--(\w+)", command)
    known = set(_FLAGS.values)
    assert {"model", "data", "directory", "output"} <= set(flags)
    assert not [name for name in flags if name not in known | {f"no{flag}" for flag in known}]


def test_slurm_script():
    text = SLURM.read_text()
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    check_command(text)
    assert all(name in text for name in (ID, IP, PORT))


@pytest.mark.parametrize(("task", "tuner"), [(0, "chief"), (3, "tuner3")])
def test_slurm_script_starts_a_chief_and_workers(task, tuner, tmp_path):
    """Run with a tool in the place of tfxp-search that prints what it was given."""
    tool = tmp_path / "tfxp-search"
    tool.write_text('#!/bin/bash\necho "$KERASTUNER_TUNER_ID $KERASTUNER_ORACLE_PORT" "$@"\n')
    tool.chmod(0o755)
    (tmp_path / "chief.address").write_text("node7\n")
    given = {"MODEL": "m.keras", "DATA": "d.npz", "OUT": str(tmp_path)}
    ours = {"SLURM_ARRAY_JOB_ID": "31", "SLURM_ARRAY_TASK_ID": str(task)}
    environment = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", **given, **ours}
    done = subprocess.run(
        ["bash", SLURM], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith(f"{tuner} 20031 --model=m.keras --data=d.npz"), done.stderr


def test_kubernetes_manifest():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    pod = job["spec"]["template"]["spec"]
    name, container = job["metadata"]["name"], pod["containers"][0]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment[IP] == f"{name}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert environment[PORT].isdigit() and ID in container["args"][0]
    check_command(container["args"][0])
    script = container["args"][0]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
