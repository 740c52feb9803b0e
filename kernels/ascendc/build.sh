#!/usr/bin/env bash
# Builds the operator package of IfaDecode with the CANN at ASCEND_HOME_PATH, and says where the installer is.
set -euo pipefail

fail() {
  echo "build.sh: $1" >&2
  exit 2
}

[[ $# -le 1 ]] || fail "$# arguments were given; it takes at most one, the folder to build in."
[[ -n "${ASCEND_HOME_PATH:-}" ]] ||
  fail "ASCEND_HOME_PATH is not set; it must be the folder of an installed CANN, which CANN's own set_env.sh exports."
[[ -x "$ASCEND_HOME_PATH/tools/opbuild/op_build" ]] ||
  fail "ASCEND_HOME_PATH is '$ASCEND_HOME_PATH', in which there is no tools/opbuild/op_build; it must be the folder of an installed CANN with its development tools."

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${1:-$source_folder/../../build/ascendc}
cmake -S "$source_folder" -B "$build" -DASCEND_CANN_PACKAGE_PATH="$ASCEND_HOME_PATH"
cmake --build "$build" --target binary package
ls "$build"/custom_opp_*.run
