#!/usr/bin/env bash
# gpu-ratios on made-up benches: medians over rounds, ratios, goals met and missed, what is not there said.
#   gpu_ratios.sh SOURCE_DIR
set -uo pipefail
ratios=$1/scripts/gpu-ratios
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0 status=0
check() { # NAME TEXT FILE: the file has this line
  n=$((n + 1))
  if grep -qxF -- "$2" "$3"; then echo "ok $n /gpu-ratios/$1"; else
    echo "not ok $n /gpu-ratios/$1"
    sed 's/^/# /' "$3"
    status=1
  fi
}
layers() { # TRAIN INFER, seconds: as qs_bench --json prints them, layers after their mode
  printf '  "modes" : [\n    {\n      "mode" : "train",\n      "seconds" : %s,\n          "seconds" : 7.5\n    },\n' "$1"
  printf '    {\n      "mode" : "infer",\n      "seconds" : %s,\n          "seconds" : 7.5\n    }\n  ]\n' "$2"
}
method() { # NAME LOSS SECONDS
  printf '{"bench":"method","method":"%s","loss":"%s","over_sl":1.2,"seconds":%s,"batch":24,"size":256}\n' "$@"
}
peer() { # WHAT WAY SECONDS
  printf '{"bench": "peer", "peer": "pytorch 2.9", "what": "%s", "way": "%s", "batch": 24, "seconds": %s, "patches_per_s": 3}\n' "$@"
}
{
  for train in 0.002 0.0021 0.9; do layers $train 0.0006; done # medians: one slow round says nothing
  for s in 0.0029 0.0028 0.0031; do method MT metassl $s; done
  method MT plain 5
  method CPS metassl 0.005
  peer student eager 0.0084
  peer student compile 0.0042
  peer student graph 0.00315
  peer two-network eager 0.01
  echo '{"bench": "peer", "peer": "pytorch 1.13", "what": "two-network", "way": "compile", "batch": 24, "skipped": "RuntimeError: torch.compile wants PyTorch 2"}'
  peer infer graph 0.0012
} >"$dir/lines"
"$ratios" "$dir/lines" >"$dir/out" || { echo "not ok $((++n)) /gpu-ratios/runs"; exit 1; }
check student "student step: 2.100 ms; goal 2.2 ms: met" "$dir/out"
check eager "  PyTorch eager: 8.400 ms, 4.00 times ours; goal 3 times: met" "$dir/out"
check best "  the best of compile and graph: 1.50 times ours; goal 1.7 times: missed" "$dir/out"
check two-network "two-network step (CPS + MetaSSL): 5.000 ms; goal 4.4 ms: missed" "$dir/out"
check two-network-eager "  PyTorch eager: 10.000 ms, 2.00 times ours; goal 3 times: missed" "$dir/out"
check skipped "  PyTorch compile: not measured (RuntimeError: torch.compile wants PyTorch 2)" "$dir/out"
check inference "inference: 40000 patches/s; goal 35000 patches/s: met" "$dir/out"
check inference-graph "  PyTorch graph: 1.200 ms, 2.00 times ours" "$dir/out"
check night "30,000 iterations of MT + MetaSSL: 87 s; goal 90 s: met" "$dir/out"
"$ratios" --no-goals "$dir/lines" >"$dir/out"
check no-goals "student step: 2.100 ms" "$dir/out"
: >"$dir/empty"
"$ratios" "$dir/empty" >"$dir/out"
check nothing-measured "30,000 iterations of MT + MetaSSL: not measured; goal 90 s" "$dir/out"
check nothing-measured-step "student step: not measured; goal 2.2 ms" "$dir/out"
"$ratios" "$dir/absent" >"$dir/out" 2>&1
[ $? = 2 ] && echo "ok $((++n)) /gpu-ratios/usage" || { echo "not ok $((++n)) /gpu-ratios/usage"; status=1; }
echo "1..$n"
exit $status
