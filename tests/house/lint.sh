#!/usr/bin/env bash
# The rules of the house that a program can check. Prints one TAP line a rule; see ARCHITECTURE.md.
#   lint.sh SOURCE_DIR BUILD_DIR [CC CFLAGS…]
# With QS_LINT_PLANT=RULE it checks a copy of the tree with one violation of each rule planted, and
# passes only when every one is reported: the lint must be able to fail.
set -uo pipefail
src=$1
build=$2
shift 2
cc=("$@")
n=0
status=0
report() { # NAME PROBLEMS
  n=$((n + 1))
  if [ -z "$2" ]; then
    echo "ok $n /house/$1"
  else
    echo "not ok $n /house/$1"
    printf '%s\n' "$2" | head -20 | sed 's/^/# /'
    status=1
  fi
}

# Rooms and what each may include, beside itself.
declare -A doors=(
  [base]="" [wsi]="base" [db]="base" [kernels]="base" [model]="base wsi db kernels"
  [train]="base db kernels model" [infer]="base wsi db kernels model"
  [jobs]="base wsi db kernels model train infer" [view]="base wsi db infer jobs"
  [report]="base wsi db kernels model train infer jobs"
  [experiment]="base wsi db kernels model train infer jobs report"
  [cli]="base wsi db kernels model train infer jobs report experiment view"
)
declare -A prefix=([base]="qs_" [wsi]="wsi_" [db]="db_" [kernels]="kn_" [model]="model_|st_" [train]="tr_|ssl_"
                   [infer]="inf_" [view]="vw_" [jobs]="job_" [report]="rep_" [experiment]="exp_")

check_doors() { # TREE
  local tree=$1 room file inc to
  for room in "${!doors[@]}"; do
    [ -d "$tree/$room" ] || continue
    while IFS=: read -r file inc; do
      to=${inc%%/*}
      [ "$to" = "$room" ] && continue
      [ -n "${doors[$to]+x}" ] || continue
      [[ " ${doors[$room]} " == *" $to "* ]] || echo "${file#"$tree"/} includes \"$inc\": no door from $room to $to"
      case $inc in *_priv.h) echo "${file#"$tree"/} includes \"$inc\": a _priv.h is for its own room" ;; esac
    done < <(grep -rHoP '^\s*#\s*include\s+"\K[^"]+' "$tree/$room" --include='*.c' --include='*.h' --include='*.cu')
  done
}

check_includes_from_root() {
  local tree=$1
  grep -rnP '^\s*#\s*include\s+"(?![a-z]+/)' "$tree"/{base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view,cli} --include='*.c' --include='*.h' 2>/dev/null |
    sed "s|^$tree/||; s|$|: include from the project's root|"
}

check_third_party() {
  local tree=$1 header limit room files
  while read -r header limit room; do
    files=$(grep -rlE "#\s*include\s+<([a-z]+/)*${header//./\\.}>" "$tree"/{base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view,cli} 2>/dev/null | sort)
    [ "$(printf '%s' "$files" | grep -c .)" -le "$limit" ] || echo "<$header> is included by more than $limit files: $(echo $files)"
    printf '%s\n' "$files" | grep -v "^$tree/$room/" | grep . | sed "s|$| includes <$header>, which belongs to $room/|"
  done <<'T'
openslide.h 1 wsi
vips.h 3 wsi
tiffio.h 4 wsi
lcms2.h 1 wsi
sqlite3.h 8 db
dnnl.h 4 kernels/cpu
cudnn.h 1 kernels/cuda
microhttpd.h 1 view
T
}

check_no_printing() {
  local tree=$1
  grep -rnwE 'printf|fprintf\s*\((stdout|stderr)|puts|exit|abort|g_print|g_printerr|g_error|perror' "$tree"/{base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view} --include='*.c' --include='*.h' 2>/dev/null |
    grep -vE '^\S+:[0-9]+:\s*(/?\*|//)|/\*.*\b(printf|exit|abort|puts)\b.*\*/|\bG_GNUC_PRINTF\b' |
    grep -E '\b(printf|puts|exit|abort|g_print|g_printerr|g_error|perror)\s*\(|fprintf\s*\((stdout|stderr)' | sed "s|^$tree/||"
}

check_left_for_later() {
  local tree=$1
  grep -rnE '\b(TODO|FIXME|XXX|BOOTSTRAP)\b' "$tree"/{base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view,cli,tests,bench,cmake,scripts} 2>/dev/null |
    grep -v 'tests/house/lint.sh' | sed "s|^$tree/||"
}

check_symbols() {
  local room lib
  for room in "${!prefix[@]}"; do
    lib=$build/$room/libqs_$room.a
    [ -f "$lib" ] || continue
    nm -g --defined-only "$lib" 2>/dev/null | awk '$2 ~ /[TDBRC]/ {print $3}' | grep -vE "^(${prefix[$room]})|^_|^\." | sed "s#\$# is exported by $room/ without its prefix (${prefix[$room]})#"
  done
}

check_headers_alone() {
  local tree=$1 header
  for header in $(cd "$tree" && ls {base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view,cli}/{,*/}*.h 2>/dev/null); do
    # A header that is a body by design says so in its name.
    case $header in *_impl.h | *_template.h) continue ;; esac
    out=$(printf '#include "%s"\n' "$header" | "${cc[@]}" -I"$tree" -fsyntax-only -x c - 2>&1) || echo "$header does not compile alone: $(echo "$out" | head -1)"
  done
}

if [ -n "${QS_LINT_PLANT:-}" ]; then
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  cp -r "$src"/{base,wsi,db,kernels,model,train,infer,jobs,report,experiment,view,cli} "$tree" 2>/dev/null
  printf '#include "train/run/trainer.h"\n#include "slide.h"\n#include <sqlite3.h>\nvoid f(void){printf("x");}\n/* TODO */\n' >"$tree/wsi/planted.c"
  printf '#include "cli/cli.h"\nvoid f(void){puts("x");}\n' >"$tree/jobs/tile/planted.c"
  printf 'undeclared_type f(void);\n' >"$tree/wsi/planted.h"
  for rule in doors no_printing; do
    found=$("check_$rule" "$tree" | grep 'jobs/tile/planted')
    report "planted/$rule/jobs" "$([ -n "$found" ] || echo "what jobs/ did up the house was not reported")"
  done
  for rule in doors includes_from_root third_party no_printing left_for_later headers_alone; do
    found=$("check_$rule" "$tree" | grep planted)
    report "planted/$rule" "$([ -n "$found" ] || echo "the planted violation was not reported")"
  done
else
  report doors "$(check_doors "$src")"
  report includes_from_root "$(check_includes_from_root "$src")"
  report third_party "$(check_third_party "$src")"
  report no_printing "$(check_no_printing "$src")"
  report left_for_later "$(check_left_for_later "$src")"
  report symbol_prefixes "$(check_symbols)"
  report headers_alone "$(check_headers_alone "$src")"
fi
echo "1..$n"
exit $status
