#!/bin/bash
# Trains pebble from the beginning on a GPU that is lent for some minutes, in one call.
#   scripts/pebble/lent.sh BUNDLE WORK SECONDS VERSION
# BUNDLE holds train.jsonl.xz and heldout.jsonl.xz, as `prepare` wrote them and `xz -9` made them
# small; the tokenizer is the one that ships. Leaves the packaged model in WORK/out.
set -euo pipefail
bundle=$1 work=$2 seconds=$3 version=$4
export PYTHONUNBUFFERED=1 TORCHDYNAMO_SUPPRESS_ERRORS=1
python=${PYTHON:-python3}
mkdir -p "$work/tokenizer"
cp vaultgpt/pebble/tokenizer.json vaultgpt/pebble/tokenizer_config.json "$work/tokenizer/"
for name in train heldout; do
  "$python" -c "import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], 'wb'))" \
    "$bundle/$name.jsonl.xz" "$work/$name.jsonl"
done
"$python" -m scripts.pebble.pack --work "$work"
"$python" -m scripts.pebble.train --work "$work" --run gpu --shape "${SHAPE:-gpu}" \
  --batch-rows "${ROWS:-64}" --steps 7000 --seconds "$seconds" --fit --flatten 0.5 \
  --long-share 0.4 --muon-decay 0.1 --bf16-checkpoints
"$python" -m scripts.pebble.package --work "$work" --run gpu --out "$work/out" --version "$version"
