#!/usr/bin/env bash
# The road of docs/digestpath.md, command by command, on a small data set of the same shape: names with
# spaces and without case, JPEG masks, crops of one scan, negatives. And the manifest's own errors.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"

expect /digestpath/synth 0 "cohort digestpath" \
  "$QS" synth --format digestpath --out dp --slides 10 --size 500 --seed 4 --quiet
expect /digestpath/cohort 0 "no case and no slide in two splits" \
  "$QS" cohort digestpath dp --out dp/cohort.csv --val-share 0.1 --test-share 0.3 --labelled-share 0.4 --seed 1
expect /digestpath/cohort-check 0 "10 slides" "$QS" cohort check dp/cohort.csv
expect /digestpath/tile 0 "10 done" "$QS" tile --store s --cohort dp/cohort.csv --level0 --patch 64 \
  --stride 64 --blank-rule --no-tissue --classes background,tumour --quiet --threads 1
expect /digestpath/store-clean 0 "" "$QS" check s
expect /digestpath/train 0 "last.safetensors" "$QS" train --store s --method MT --loss metassl --out run \
  --iterations 3 --batch-labelled 2 --batch-unlabelled 2 --val-every 0 --threads 1 --quiet
expect /digestpath/predict 0 "" "$QS" predict --model run/last.safetensors --cohort dp/cohort.csv \
  --split test --level0 --stride 48 --no-tissue --out pred --threads 1 --quiet
expect /digestpath/eval 0 "mean" "$QS" eval --cohort dp/cohort.csv --split test --pred pred --out e.json

# Every test image has a mask of its own size under its own name.
n_test=$(grep -c ',test,' dp/cohort.csv)
n_right=0
for mask in pred/*.tif; do
  [[ $(basename "$mask" .tif) =~ -([0-9]+)-([0-9]+)$ ]] || continue
  tiffinfo "$mask" 2>/dev/null | grep -q "Image Width: ${BASH_REMATCH[1]} Image Length: ${BASH_REMATCH[2]}\$" &&
    n_right=$((n_right + 1))
done
[ "$n_test" -gt 0 ] && [ "$n_right" = "$n_test" ]
ok /digestpath/masks-of-the-images-sizes $? "$n_right of $n_test"
grep -q "\"n_scored\" : $n_test" e.json
ok /digestpath/all-scored $?

# --- the manifest's own errors
first=$(sed -n 2p dp/cohort.csv)
# A case of two crops, the second of which is moved to another split.
twice=$(cut -d, -f3 dp/cohort.csv | sort | uniq -d | head -1)
awk -F, -v OFS=, -v c="$twice" '$3 == c && n++ == 1 {$4 = $4 == "train" ? "test" : "train"} 1' \
  dp/cohort.csv >dp/leak.csv
expect /cohort/leak 1 "case '$twice'" "$QS" cohort check dp/leak.csv
expect /cohort/leak-not-tiled 1 "case '$twice'" "$QS" tile --store s2 --cohort dp/leak.csv --level0 --quiet
{ cat dp/cohort.csv; echo "./$first"; } >dp/again.csv
expect /cohort/slide-twice 1 "already listed" "$QS" cohort check dp/again.csv
cp "dp/$(cut -d, -f1 <<<"$first")" dp/copy.jpg
{ cat dp/cohort.csv; echo "copy.jpg,,another,train,0,"; } >dp/copy.csv
expect /cohort/copy-unseen 0 "11 slides" "$QS" cohort check dp/copy.csv --no-content
expect /cohort/copy-seen 1 "same content" "$QS" cohort check dp/copy.csv
{ cat dp/cohort.csv; echo "gone.jpg,,another,train,0,"; } >dp/gone.csv
expect /cohort/missing 1 "gone.jpg" "$QS" cohort check dp/gone.csv
expect /cohort/no-images 1 "no image named" "$QS" cohort digestpath s --out x.csv
expect /cohort/usage 2 "DIR" "$QS" cohort
expect /cohort/usage-layout 2 "pairs, slides" "$QS" cohort pears dp
expect /cohort/usage-labelled 2 "one of them" "$QS" cohort digestpath dp --labelled-cases 2 --labelled-share 0.1
# every fault at once, and the exit status
{ cat dp/leak.csv; echo "copy.jpg,,another,train,0,"; echo "gone.jpg,,another2,train,0,"; } >dp/all.csv
"$QS" cohort check dp/all.csv >log 2>&1
rc=$?
ok /cohort/all-faults-at-once "$([ $rc = 1 ] && grep -q case-leak log && grep -qE 'content-leak|copy:' log && grep -q missing: log; echo $?)" "status $rc: $(cat log)"

# --- pairs and slides of the synthetic cohort: found, written, tiled
"$QS" synth --out sy --train 3 --labelled 2 --val 0 --test 1 --size 600 --seed 5 --quiet >log 2>&1
ok /cohort/synth $? "$(cat log)"
expect /cohort/pairs 0 "4 slides of 4 cases" "$QS" cohort pairs sy/slides --masks sy/masks --out sy/pairs.csv --test-share 0.25 --val-share 0 --labelled-cases 1
expect /cohort/pairs-labelled 0 "3 train (1 labelled)" "$QS" cohort check sy/pairs.csv
expect /cohort/pairs-tile 0 "4 done" "$QS" tile --quiet --store sp --cohort sy/pairs.csv --level0 --patch 64 --classes background,tumour
expect /cohort/slides 0 "4 slides of 4 cases" "$QS" cohort slides sy/slides --out sy/slides.csv
cp "$(ls sy/slides/*.tif | head -1)" sy/slides/zz.tif
for seed in 1 2 3 4 5 6; do
  "$QS" cohort slides sy/slides --out sy/leaky.csv --seed $seed --test-share 0.4 >log 2>&1 || break
done
ok /cohort/copy-in-two-splits-refused "$(grep -q 'content-leak.*slide_.*zz.tif\|content-leak.*zz.tif.*slide_' log && grep -q "1 fault" log; echo $?)" "$(cat log)"
done_testing
