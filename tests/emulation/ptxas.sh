#!/usr/bin/env bash
# What ptxas said of every kernel for every architecture (cmake/keep-ptxas.sh kept it): nothing may
# spill registers. Prints the kernels that use most registers.
#   ptxas.sh OBJECT_DIR ARCHITECTURES
set -uo pipefail
dir=$1
archs=${2//;/ }
shopt -s nullglob
logs=("$dir"/*.ptxas)
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; bad=1; fi; }
[ ${#logs[@]} -gt 0 ]
ok $? "/ptxas/there is a log of each source ($dir)"
for arch in $archs; do
  kernels=$(cat "${logs[@]}" | grep -c "Compiling entry function .* for 'sm_${arch}'")
  [ "$kernels" -ge 40 ]
  ok $? "/ptxas/sm_$arch: $kernels kernels"
done
spills=$(awk '/Compiling entry function/ {name = $0; sub(/.*function ./, "", name); sub(/. for .*/, "", name); arch = $0; sub(/.* for ./, "", arch); sub(/.$/, "", arch)}
  /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ {print arch, name, $0}' "${logs[@]}")
[ -z "$spills" ]
ok $? "/ptxas/no register spills"
[ -z "$spills" ] || printf '%s\n' "$spills" | sed 's/^/# /' | head -20
awk '/Compiling entry function/ {name = $0; sub(/.*function ./, "", name); sub(/. for .*/, "", name); arch = $0; sub(/.* for ./, "", arch); sub(/.$/, "", arch)}
  /Used [0-9]+ registers/ {print $5, arch, name}' "${logs[@]}" | sort -rn | head -5 | sed 's/^/# registers: /'
echo "1..$n"
exit $bad
