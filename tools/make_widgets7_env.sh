#!/bin/sh
# Make an environment with ipywidgets 7 in the versions that Colab has, for the browser tests: tools/make_widgets7_env.sh [folder]
# The classic notebook is its front end. The package goes in as the wheel that users get; run this again after a change and only that is made anew.
set -e
cd "$(dirname "$0")/.."
venv=${1:-.venv-widgets7}

# Colab has Python 3.13; the same versions work from 3.11 on.
for py in "${PYTHON:-python3.13}" python3.13 python3.12 python3.11 python3; do
    if "$py" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$py; break; fi
done
if [ -z "$found" ]; then
    echo "No Python 3.11 or newer with its venv module was found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv), then run this again." >&2
    exit 1
fi
[ -x "$venv/bin/python" ] || "$found" -m venv "$venv"
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

dist=$(mktemp -d)
trap 'rm -rf "$dist"' EXIT
"$venv/bin/uv" build --quiet --python "$venv/bin/python" --out-dir "$dist" .
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -c tools/widgets7.txt --reinstall-package cellprotocols notebook "$dist"/*.whl

# opencv-python wants the desktop's libGL; a server without it gets the same version without windows.
if ! "$venv/bin/python" -c 'import cv2' 2>/dev/null; then
    "$venv/bin/uv" pip uninstall --quiet --python "$venv/bin/python" opencv-python
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "opencv-python-headless==$(sed -n 's/^opencv-python==//p' tools/widgets7.txt)"
fi
echo "$venv is ready: $("$venv/bin/python" -c 'import sys, ipywidgets; print("Python", sys.version.split()[0] + ", ipywidgets", ipywidgets.__version__)')."
