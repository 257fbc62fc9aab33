#!/bin/sh
# bench.sh: times nnlua and PyTorch in turn, A B A B, each at its best setting, and prints the ratios of the least times.
# Usage: sh scripts/dev/bench.sh [ROUNDS]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
rounds=${1:-3}
program=${NNLUA:-$root/build/nnlua}
bench=$root/scripts/dev/bench
results=$(mktemp)
trap 'rm -f "$results"' EXIT

[ -x "$program" ] || { echo "bench.sh: $program is missing; build first: cmake -S . -B build && cmake --build build" >&2; exit 1; }
python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "bench.sh: no Python with torch; install python3-torch" >&2; exit 1; }

# One OpenBLAS build only in PyTorch's process: with two, their thread pools fight.
openmp=$(dirname "$(find /usr/lib -path '*openblas-openmp*' -name 'libopenblas.so.0' 2>/dev/null | head -n 1)" 2>/dev/null || true)

round=1
while [ "$round" -le "$rounds" ]; do
  "$program" "$bench/mlp.lua" 10 | sed 's/^/nnlua /' >>"$results"
  LD_LIBRARY_PATH=${openmp:-} OMP_NUM_THREADS=1 "$python" "$bench/mlp.py" 10 | sed 's/^/torch /' >>"$results"
  round=$((round + 1))
done

awk '
  { key = $1 " " $2; if (!(key in least) || $3 < least[key]) least[key] = $3 }
  END {
    printf "%-34s %10s %10s %8s\n", "30-128-64-1, microseconds", "nnlua", "PyTorch", "ratio"
    n = split("step32 step1 predict", name, " ")
    split("training step, batch 32|training step, batch 1|prediction of one row", title, "|")
    for (i = 1; i <= n; i++) {
      a = least["nnlua " name[i]]; b = least["torch " name[i]]
      printf "%-34s %10.2f %10.2f %8.1f\n", title[i], a, b, b / a
    }
    a = least["nnlua predict"]; b = least["torch predict_traced"]
    printf "%-34s %10.2f %10.2f %8.1f\n", "prediction, PyTorch traced", a, b, b / a
  }' "$results"
