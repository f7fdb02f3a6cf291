#!/bin/sh
# Measures planet_tf on a GPU at the paper's size: update, decision and cycle with and without XLA,
# in 32 and 16 bits; then trains cheetah for some minutes. Needs an installed planet_tf alone.
#
#   scripts/gpu_benchmark.sh [MINUTES [DIRECTORY]]      (default: 30 minutes, runs/gpu_benchmark)
#
# It prints as it measures, and leaves one JSON per measurement and the run in the directory. The
# same command skips what was measured, and continues the training.
set -eu
minutes=${1:-30}
out=${2:-runs/gpu_benchmark}
case $minutes in '' | *[!0-9]*) echo "error: MINUTES must be a whole number, got '$minutes'" >&2; exit 2 ;; esac
command -v planet-tf >/dev/null || { echo "error: planet-tf is not on the PATH: activate its environment" >&2; exit 2; }
mkdir -p "$out"

for jit in off on; do
    for precision in float32 mixed_bfloat16; do
        json=$out/$precision-xla_$jit.json
        [ -e "$json" ] && continue
        echo "== $precision, XLA $jit"
        planet-tf bench --device=gpu --gin_file=cheetah.gin --jit=$jit --cycle=100 --repeats=3 \
            --gin_bindings="WorldModel.precision = '$precision'" --json="$json"
    done
done

echo "== cheetah for $minutes minutes"
status=0
timeout --signal=TERM "${minutes}m" planet-tf train --gin_file=cheetah.gin \
    --gin_bindings="train.device = 'gpu'" --root_dir="$out/cheetah" || status=$?
[ $status -eq 124 ] || [ $status -eq 143 ] || [ $status -eq 0 ] || exit $status
planet-tf plot "$out/cheetah" --csv="$out"
