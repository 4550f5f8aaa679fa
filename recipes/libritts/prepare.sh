#!/usr/bin/env bash
# Usage: recipes/libritts/prepare.sh [FOLDER] [JOBS]
# Downloads LibriTTS (80 GB) to FOLDER/download unless it is there, and writes FOLDER/{train,valid,test}.jsonl.gz.
set -euo pipefail
source "$(dirname "$0")/../lhotse.sh"
folder=${1:-data/libritts}
jobs=${2:-8}
parts=(train-clean-100 train-clean-360 train-other-500 dev-clean test-clean)

mkdir -p "$folder/download"
chosen=()
for part in "${parts[@]}"; do
    chosen+=(-p "$part")
done
download_once "$folder/download/LibriTTS" lhotse download libritts "${chosen[@]}" "$folder/download"
lhotse prepare libritts -j "$jobs" "${chosen[@]}" "$folder/download/LibriTTS" "$folder/manifests"

make_cuts "$folder/train.jsonl.gz" "$folder/manifests" libritts train-clean-100 train-clean-360 train-other-500
make_cuts "$folder/valid.jsonl.gz" "$folder/manifests" libritts dev-clean
make_cuts "$folder/test.jsonl.gz" "$folder/manifests" libritts test-clean
