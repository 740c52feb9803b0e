#!/usr/bin/env bash
# Installs ifa_fusion as users do, and runs check_installed.py in each environment: built from source beside an installed
# MindSpore, and the wheel where no compiler is in reach. Takes a Python 3.11 and a folder, which is emptied first.
set -euo pipefail
python=$(command -v "$1")
folder=$(realpath -m "$2")
cd "$(dirname "$0")/../.."
check=$PWD/tests/install/check_installed.py

rm -rf "$folder"
mkdir -p "$folder/source" "$folder/elsewhere"
git ls-files -z | xargs -0 cp --parents --target-directory="$folder/source"

cd "$folder/source"
"$python" -m venv .venv
.venv/bin/pip install --quiet 'mindspore==2.10.*' 'numpy>=1.26,<2'
.venv/bin/pip wheel --no-deps --wheel-dir "$folder" .
.venv/bin/pip install .
cd "$folder/elsewhere"
../source/.venv/bin/python "$check"
../source/.venv/bin/pip uninstall --yes ifa-fusion
if ../source/.venv/bin/python -c 'import ifa_fusion' 2> /dev/null; then
  echo "install.sh: ifa_fusion can be imported after it was uninstalled" >&2
  exit 1
fi

"$python" -m venv "$folder/wheel"
export PATH=$folder/wheel/bin
pip install --quiet "$folder"/ifa_fusion-*.whl
python "$check"
