#!/bin/sh
# bench.sh: times nnlua and PyTorch in turn, A B A B, each at its best setting, and prints the ratios of the least times.
# Usage: sh scripts/dev/bench.sh [NAME] [ROUNDS] [PATTERN]     bench/NAME.lua beside bench/NAME.py; the pattern picks cases
#        sh scripts/dev/bench.sh web [SECONDS] [SERVER]        predictions over HTTP: see bench/web/run.sh
#        sh scripts/dev/bench.sh kann [ROUNDS]                 rspamd's neural plugin with nnlua: see bench/kann.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
what=${1:-mlp}
rounds=${2:-3}
pattern=${3:-}
program=${NNLUA:-$root/build/nnlua}
bench=$root/scripts/dev/bench
results=$(mktemp)
trap 'rm -f "$results"' EXIT

[ "$what" != web ] || exec sh "$bench/web/run.sh" "${2:-60}" "${3:-}"
[ "$what" != kann ] || exec sh "$bench/kann.sh" "$rounds"
[ -f "$bench/$what.lua" ] || { echo "bench.sh: there is no benchmark '$what'" >&2; exit 1; }
[ -x "$program" ] || { echo "bench.sh: $program is missing; build first: cmake -S . -B build && cmake --build build" >&2; exit 1; }
python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "bench.sh: no Python with torch; install python3-torch" >&2; exit 1; }

# One OpenBLAS build only in PyTorch's process: with two, their thread pools fight.
openmp=$(find /usr/lib -path '*openblas-openmp*' -name 'libopenblas.so.0' 2>/dev/null | head -n 1)
[ -n "$openmp" ] || { echo "bench.sh: PyTorch is not at its best here; install libopenblas0-openmp" >&2; exit 1; }
LD_LIBRARY_PATH=$(dirname "$openmp")
export LD_LIBRARY_PATH

# PyTorch's memory for large results comes from the system page by page and goes back to it at once, which often costs
# more than the operation; told not to, glibc keeps it, in huge pages.
keeping=glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1

one_round() {
  case $what in
    mlp)
      "$program" "$bench/mlp.lua" 10 | sed 's/^/nnlua /'
      OMP_NUM_THREADS=1 "$python" "$bench/mlp.py" 10 | sed 's/^/torch /'
      ;;
    *)
      "$program" "$bench/$what.lua" "$pattern" | sed 's/^/nnlua /'
      "$python" "$bench/$what.py" "$pattern" | sed 's/^/torch /'
      GLIBC_TUNABLES=$keeping "$python" "$bench/$what.py" "$pattern" | sed 's/^/kept /'
      ;;
  esac
}

round=1
while [ "$round" -le "$rounds" ]; do
  one_round >>"$results"
  round=$((round + 1))
done

awk -v what="$what" '
  { key = $1 " " $2; if (!(key in least) || $3 < least[key]) least[key] = $3 }
  $1 == "nnlua" && !($2 in seen) { seen[$2] = 1; order[++count] = $2; bytes[$2] = $4 }
  function mlp_table(  n, i, a, b, name, title) {
    printf "%-34s %10s %10s %8s\n", "30-128-64-1, microseconds", "nnlua", "PyTorch", "ratio"
    n = split("step32 step1 predict", name, " ")
    split("training step, batch 32|training step, batch 1|prediction of one row", title, "|")
    for (i = 1; i <= n; i++) {
      a = least["nnlua " name[i]]; b = least["torch " name[i]]
      printf "%-34s %10.2f %10.2f %8.1f\n", title[i], a, b, b / a
    }
    a = least["nnlua predict"]; b = least["torch predict_traced"]
    printf "%-34s %10.2f %10.2f %8.1f\n", "prediction, PyTorch traced", a, b, b / a
  }
  # ratio: how many times as long the better of the two settings of PyTorch takes
  function tensors_table(  i, a, b, c, speed) {
    printf "%-28s %10s %8s %10s %10s %8s\n", "case/threads, microseconds", "nnlua", "GB/s", "PyTorch", "its memory", "ratio"
    printf "%-28s %10s %8s %10s %10s %8s\n", "", "", "", "", "kept", ""
    for (i = 1; i <= count; i++) {
      a = least["nnlua " order[i]]; b = least["torch " order[i]]; c = least["kept " order[i]]
      speed = bytes[order[i]] > 0 ? sprintf("%.1f", bytes[order[i]] / a / 1000) : "-"
      printf "%-28s %10.5g %8s %10.5g %10.5g %8.2f%s\n", order[i], a, speed, b, c,
        (b < c ? b : c) / a, (b < c ? b : c) < a ? " <" : ""
    }
  }
  END { if (what == "mlp") mlp_table(); else tensors_table() }' "$results"
