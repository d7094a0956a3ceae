#!/bin/sh
# The wheel in fresh environments, outside the source tree: the demo, the notebooks, an export. tools/release_test.sh [python ...]
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=$(ls -t "$root"/dist/*.whl | head -1)
sdist=$(ls -t "$root"/dist/*.tar.gz | head -1)
[ $# -gt 0 ] || set -- python3.11 python3.12 python3.13
for py in "$@"; do
    "$py" -m venv --without-pip "$work/env"
    python -m uv pip install --quiet --python "$work/env/bin/python" "$wheel"
    if ! "$work/env/bin/python" -c 'import cv2' 2>/dev/null; then # a server without the desktop's libGL
        python -m uv pip uninstall --quiet --python "$work/env/bin/python" opencv-python
        python -m uv pip install --quiet --python "$work/env/bin/python" opencv-python-headless
    fi
    mkdir "$work/home"
    ( cd "$work/home"
      PATH="$work/env/bin:$PATH"
      unset PYTHONPATH
      python -c 'import cellprotocols, sys; assert "site-packages" in cellprotocols.__file__; print(sys.version.split()[0], cellprotocols.__version__)'
      cellprotocols doctor
      cellprotocols demo --quiet
      cellprotocols notebooks mine
      cellprotocols share work/demo/25_infer --to napari
      [ "$(ls mine/*/*.ipynb | wc -l)" = 30 ] )
    rm -rf "$work/env" "$work/home"
done
python -m tarfile -l "$sdist" | grep settings.ini > /dev/null
echo "The wheel works with: $*"
