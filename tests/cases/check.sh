#!/usr/bin/env bash
# check.py as one TAP line. What is still known to be wrong is named here, and nothing else may be.
set -uo pipefail
pending=""
out=$("$(dirname "$0")/check.py" "$1")
wrong=$(sed -n 's/^.*right: wrong //p' <<<"$out" | sed 's/; /\n/g' | grep -vE "^(${pending:-none})" || true)
if grep -qE '^[0-9]+ of [0-9]+ right' <<<"$out" && [ -z "$wrong" ]; then
  echo "ok 1 /cases/$(sed 's/ of .*//' <<<"$out")-right"
else
  echo "not ok 1 /cases: $out"
  exit 1
fi
