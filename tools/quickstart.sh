#!/usr/bin/env bash
# From a bare checkout to a verified 4-bit network: makes .venv, installs, and runs the main job on
# scikit-learn's digits. Flags are handed on to tools/quickstart.py (try --precision=w3a3).
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/venv.sh

install_tfxp ""
exec .venv/bin/python tools/quickstart.py "$@"
