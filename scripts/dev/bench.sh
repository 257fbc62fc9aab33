#!/bin/sh
# bench.sh: times nnlua and PyTorch in turn, A B A B, each at its best setting.
# Usage: sh scripts/dev/bench.sh [WORKLOAD...]     all of w1 w1_batch1 w1_predict w2 w3 w4 w5 w6s w6 start, or some: a table
#                                                  with goals and memory, and a picture of it
#        sh scripts/dev/bench.sh sweep             a step of an MLP for batches of 1 to 1024 and widths of 8 to 4096
#        sh scripts/dev/bench.sh tensors [ROUNDS] [PATTERN]    operations on large tensors
#        sh scripts/dev/bench.sh small [ROUNDS] [PATTERN]      operations on small ones
#        sh scripts/dev/bench.sh mnist [ROUNDS]                an epoch of fit
#        sh scripts/dev/bench.sh gpt TEXT [ROUNDS]             scripts/gpt.lua with its defaults: 300 steps of training
#        sh scripts/dev/bench.sh web [SECONDS] [SERVER]        predictions over HTTP: see bench/web/run.sh
#        sh scripts/dev/bench.sh kann [ROUNDS]                 rspamd's neural plugin with nnlua: see bench/kann.sh
# BENCH_ROUNDS (2) and BENCH_SECONDS (2, of one program in one round) say how long it takes, BENCH_PICTURE (bench.png)
# where the picture goes, BENCH_RESULTS where all times stay. Nothing else should run meanwhile.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
program=${NNLUA:-$root/build/nnlua}
bench=$root/scripts/dev/bench
rounds=${BENCH_ROUNDS:-2}
seconds=${BENCH_SECONDS:-2}
picture=${BENCH_PICTURE:-bench.png}

case ${1:-} in
  web) exec sh "$bench/web/run.sh" "${2:-60}" "${3:-}" ;;
  kann) exec sh "$bench/kann.sh" "${2:-3}" ;;
esac
results=${BENCH_RESULTS:-$(mktemp)}
[ -n "${BENCH_RESULTS:-}" ] || trap 'rm -f "$results"' EXIT
: >"$results"

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

# ---- workloads: lines "who workload threads precision microseconds bytes"

nnlua() { "$program" "$bench/workloads.lua" "$1" "$2" "$3" "$seconds" | sed 's/^/nnlua /' >>"$results"; }

# As it comes, and with its memory kept: the better one counts.
torch() {
  "$python" "$bench/workloads.py" "$1" "$2" "$3" "$seconds" | sed 's/^/torch /' >>"$results"
  GLIBC_TUNABLES=$keeping "$python" "$bench/workloads.py" "$1" "$2" "$3" "$seconds" | sed 's/^/torch /' >>"$results"
}

# The time of a command in microseconds, and the most memory that it said it had. $1: how often
start_of() {
  count=$1
  shift
  from=$(date +%s%N)
  for _ in $(seq "$count"); do kilobytes=$("$@"); done
  to=$(date +%s%N)
  echo "$(((to - from) / count / 1000)) $((kilobytes * 1024))"
}

start() {
  most='local s = io.open("/proc/self/status"):read("a"); print(s:match("VmHWM:%s*(%d+)"))'
  echo "nnlua start 1 full $(start_of 20 "$program" -e "local nn = require 'nnlua' $most")" >>"$results"
  most='import torch, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
  echo "torch start 1 full $(start_of 3 "$python" -c "$most")" >>"$results"
}

one_workload() {
  case $1 in
    start) start ;;
    w1*) nnlua "$1" 1 full && torch "$1" 1 full ;;
    w2 | w3 | w4 | w5 | w6s | w6)
      nnlua "$1" 2 full
      torch "$1" 2 full
      nnlua "$1" 1 full
      case $1 in w3 | w5) ;; *) nnlua "$1" 2 mixed && torch "$1" 2 mixed ;; esac
      ;;
    *)
      echo "bench.sh: there is no workload '$1'" >&2
      exit 1
      ;;
  esac
}

overview() {
  [ $# -gt 0 ] || set -- w1 w1_batch1 w1_predict w2 w3 w4 w5 w6s w6 start
  for _ in $(seq "$rounds"); do
    for workload in "$@"; do one_workload "$workload"; done
  done
  "$program" "$bench/overview.lua" "$results" "$picture"
}

sweep() {
  seconds=${BENCH_SECONDS:-0.4}
  for _ in $(seq "$rounds"); do
    for width in 8 32 128 512 1024 2048 4096; do
      points=
      for batch in 1 4 16 64 256 1024; do points=$points,mlp_${batch}_$width; done
      nnlua "${points#,}" 2 full
      torch "${points#,}" 2 full
    done
  done
  "$program" "$bench/overview.lua" "$results" "$picture"
}

# ---- cases: lines "who case microseconds bytes"

cases() {
  rounds=${2:-3}
  pattern=${3:-}
  for _ in $(seq "$rounds"); do
    "$program" "$bench/$1.lua" "$pattern" | sed 's/^/nnlua /'
    "$python" "$bench/$1.py" "$pattern" | sed 's/^/torch /'
    GLIBC_TUNABLES=$keeping "$python" "$bench/$1.py" "$pattern" | sed 's/^/kept /'
  done >>"$results"
  # ratio: how many times as long the better of the two settings of PyTorch takes
  awk '
    { key = $1 " " $2; if (!(key in least) || $3 < least[key]) least[key] = $3 }
    $1 == "nnlua" && !($2 in seen) { seen[$2] = 1; order[++count] = $2; bytes[$2] = $4 }
    END {
      form = "%-28s %10s %8s %10s %10s %8s\n"
      printf form, "case/threads, microseconds", "nnlua", "GB/s", "PyTorch", "its memory", "ratio"
      printf form, "", "", "", "", "kept", ""
      for (i = 1; i <= count; i++) {
        a = least["nnlua " order[i]]; b = least["torch " order[i]]; c = least["kept " order[i]]
        speed = bytes[order[i]] > 0 ? sprintf("%.1f", bytes[order[i]] / a / 1000) : "-"
        printf "%-28s %10.5g %8s %10.5g %10.5g %8.2f%s\n", order[i], a, speed, b, c,
          (b < c ? b : c) / a, (b < c ? b : c) < a ? " <" : ""
      }
    }' "$results"
}

# ---- a language model: the mean time of a step over 100 of them, the least of all

gpt() {
  text=${2:-}
  [ -r "$text" ] || { echo "bench.sh: gpt wants a file of text to train on, such as tiny Shakespeare; got '$text'" >&2; exit 2; }
  scratch=$(mktemp -d)
  for _ in $(seq "${3:-3}"); do
    "$program" "$root/scripts/gpt.lua" "$text" --steps 300 --eval-every 100 --eval-rows 12 --sample 0 \
      --save "$scratch/gpt.safetensors" | grep '^step' | sed 's/^/nnlua /'
    "$python" "$bench/gpt.py" "$text" | sed 's/^/torch /'
    GLIBC_TUNABLES=$keeping "$python" "$bench/gpt.py" "$text" | sed 's/^/torch /'
  done | tee "$results"
  rm -r "$scratch"
  awk '
    { for (i = 2; i < NF; i++) if ($(i + 1) == "ms") time = $i
      if (!($1 in least) || time < least[$1]) least[$1] = time
      sum[$1] += time; count[$1]++ }
    END {
      printf "nnlua %.1f ms a step, PyTorch %.1f, ratio %.2f; on average %.1f and %.1f, ratio %.2f\n", least["nnlua"],
        least["torch"], least["torch"] / least["nnlua"], sum["nnlua"] / count["nnlua"], sum["torch"] / count["torch"],
        sum["torch"] / count["torch"] / (sum["nnlua"] / count["nnlua"])
    }' "$results"
}

case ${1:-} in
  sweep) sweep ;;
  gpt) gpt "$@" ;;
  tensors | small | mnist) cases "$@" ;;
  *) overview "$@" ;;
esac
