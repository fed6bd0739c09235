# Shared by the command-line tests: TAP lines, a scratch folder, expectations. Source it.
#   QS   the program, QS_DATA the real data (may be absent)
set -uo pipefail
QS=${QS:?the quadslide program}
QS_DATA=${QS_DATA:-${QS_SOURCE_DIR:-.}/../shared/data}
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp" 2>/dev/null; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
n_tests=0
n_bad=0
ok() { # NAME STATUS [DETAIL]
  n_tests=$((n_tests + 1))
  if [ "$2" = 0 ]; then
    echo "ok $n_tests $1"
  else
    echo "not ok $n_tests $1"
    n_bad=$((n_bad + 1))
    [ -n "${3:-}" ] && printf '%s\n' "$3" | tail -15 | sed 's/^/# /'
  fi
}
skip() { # NAME REASON
  n_tests=$((n_tests + 1))
  echo "ok $n_tests $1 # SKIP $2"
}
# expect NAME STATUS MESSAGE_PART COMMAND…: exit status and part of what it prints on stderr
expect() {
  local name=$1 want=$2 part=$3 out rc
  shift 3
  out=$(timeout 300 "$@" 2>&1)
  rc=$?
  if [ $rc = "$want" ] && { [ -z "$part" ] || grep -qF -- "$part" <<<"$out"; }; then
    ok "$name" 0
  else
    ok "$name" 1 "status $rc, wanted $want and \"$part\" from: $*
$out"
  fi
}
done_testing() {
  echo "1..$n_tests"
  exit $((n_bad > 0))
}
