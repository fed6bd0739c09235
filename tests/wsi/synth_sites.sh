#!/usr/bin/env bash
# Sites give nothing away by colour: the best per-pixel colour classifier stays at a DSC of 0.55 or less on
# slides of four sites, fitted on slides of two of them, and fitted on the test slide itself.
. "$(dirname "$0")/../cli/lib.sh"

out=$($QS synth --out c --train 4 --labelled 4 --val 0 --test 4 --sites 4 --size 1536 --seed 42 --quiet 2>&1)
ok "a cohort of four sites" $? "$out"
cut -d, -f3 c/cohort.csv | grep -c '^site[1-4]_case_' | grep -qx 8
ok "cases say their site" $? "$(cat c/cohort.csv)"
"$COLOUR" c/cohort.csv 2 >colour.csv
ok "colours are measured" $? "$(cat colour.csv)"
awk -F, '$1 == "mean" {found = 1; bad = $4 > 0.55 || $5 > 0.55} END {exit !found || bad}' colour.csv
ok "the best colour classifier stays at 0.55 or less" $? "$(cat colour.csv)"
awk -F, '$1 == "mean" {exit !($5 > 0.2)}' colour.csv
ok "and there is tumour to be found" $? "$(cat colour.csv)"
out=$($QS synth --out d --slides 3 --sites 100 2>&1)
[ $? != 0 ] && grep -q "100 sites; 1 to 99" <<<"$out"
ok "100 sites are refused" $? "$out"
done_testing
