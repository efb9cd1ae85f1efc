#!/usr/bin/env bash
# Everything that must hold: lint, types, all tests. Makes or reuses .venv.
#
#   tools/check.sh            the checks before a commit
#   tools/check.sh --slow     also the tests that train and search; so does CI=true
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/venv.sh

failed=()
section() {
  local title=$1 started=$SECONDS
  shift
  printf '\n== %s\n' "$title"
  if "$@"; then
    printf -- '-- %s: ok, %d s\n' "$title" $((SECONDS - started))
  else
    printf -- '-- %s: FAILED, %d s\n' "$title" $((SECONDS - started))
    failed+=("$title")
  fi
}

slow=()
if [ "${1:-}" = "--slow" ] || [ "${CI:-}" = "true" ]; then
  slow=(--slow)
fi

section install install_tfxp "[test,tflm,qonnx,docs]"
if [ ${#failed[@]} -gt 0 ]; then
  exit 1
fi
export PATH="$PWD/.venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=3
section lint ruff check .
section types mypy
section tests python -m pytest -q -n auto --dist loadfile --durations=10 ${slow[@]+"${slow[@]}"}

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED: %s\n' "${failed[*]}"
  exit 1
fi
printf '\nAll checks passed in %d s.\n' "$SECONDS"
