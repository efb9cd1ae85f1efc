# Sourced by check.sh and quickstart.sh: makes or reuses .venv and installs tfxp into it.
# Nothing but Python 3.10-3.13 with pip is needed beforehand.

# Print the first Python that fits; PYTHON=/path/to/python overrides.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "No Python 3.10 to 3.13 found; install one or set PYTHON=/path/to/python." >&2
  return 1
}

# install_tfxp ""             what users get
# install_tfxp "[test,tflm,qonnx,docs]"  with what the checks need
# Installs only when the interpreter, the extras or the package's metadata have changed.
install_tfxp() {
  local python stamp
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python) || return 1
    echo "Making .venv with $("$python" --version)"
    # Some distributions split venv's own pip off; the system's pip can put one in.
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
      rm -rf .venv
      "$python" -m venv --without-pip .venv || return 1
      "$python" -m pip --python .venv/bin/python install --quiet pip || return 1
    fi
  fi
  stamp=$( (.venv/bin/python --version; cat setup.py pyproject.toml tfxp/version.py) | cksum)
  if [ -f .venv/installed ] && grep -qxF -e "$stamp $1" -e "$stamp [test,tflm,qonnx,docs]" .venv/installed; then
    return
  fi
  echo "Installing tfxp$1 and what it needs into .venv (minutes, the first time)"
  .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable ".$1" || return 1
  echo "$stamp $1" >.venv/installed
}
