#!/bin/sh
# Make the virtual environment with the tested versions: tools/make_env.sh [folder]
set -e
venv=${1:-.venv}

# Any Python from 3.11 on will do; the plain name first, then the versioned ones.
for py in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$py; break; fi
done
if [ -z "$found" ]; then
    echo "No Python 3.11 or newer was found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv), then run this again." >&2
    exit 1
fi

# Debian ships venv as a package of its own. Root on such a machine gets it installed; anybody else is told the line.
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! "$found" -c 'import venv, ensurepip' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv
        else
            echo "Python's venv module is missing. Run: sudo apt-get install python3-venv, then run this again." >&2
            exit 1
        fi
    fi
    "$found" -m venv "$venv"
fi

echo "Installing into $venv (several GB with torch; a few minutes on a fast line) ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$venv/bin/python" -m uv pip install --quiet --compile-bytecode --python "$venv/bin/python" -c constraints.txt -e ".[dev,nd2,czi,umap,app]"

# opencv-python wants the desktop's libGL; a server without it gets the same version without windows.
if ! "$venv/bin/python" -c 'import cv2' 2>/dev/null; then
    version=$("$venv/bin/python" -c 'from importlib.metadata import version as v; print(v("opencv-python"))')
    "$venv/bin/python" -m uv pip uninstall --quiet --python "$venv/bin/python" opencv-python
    "$venv/bin/python" -m uv pip install --quiet --python "$venv/bin/python" "opencv-python-headless==$version"
fi
"$venv/bin/python" -m ipykernel install --sys-prefix --name python3 >/dev/null 2>&1 || true
echo "The environment is ready."
