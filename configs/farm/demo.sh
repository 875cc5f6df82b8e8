#!/bin/sh
# A clip of the bundled model and drawn inputs, in a folder (default: the current one): what an
# image's builder runs to see that it works.
set -eu
folder=$(cd "${1:-.}" && pwd)
cd "${CNX_SOURCE:-/opt/cnx-animate}"
python -m scripts.tiny.make_demo "$folder"
exec cnx run --reference "$folder/reference.png" --driving "$folder/driving.mp4" \
    --output "$folder/clip.mp4" --model tiny --overwrite
