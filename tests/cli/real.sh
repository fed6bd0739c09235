#!/usr/bin/env bash
# The real slides of $QS_DATA through every command, and the masks opened with OpenSlide, libvips and tiffinfo; the real
# annotation files out in every format. The model is one of two steps: what is tested is the road and the files, not
# the segmentation.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
if [ ! -d "$QS_DATA/slides" ]; then
  skip /real "QS_DATA is not there"
  done_testing
fi
$QS synth --out c --train 1 --labelled 1 --val 0 --test 0 --size 1024 --seed 3 --quiet >log 2>&1 &&
  $QS tile --store s --cohort c/cohort.csv --mpp 1 --patch 64 --quiet >>log 2>&1 &&
  $QS train --store s --method SL --out r --iterations 2 --batch-labelled 2 --batch-unlabelled 0 --val-every 0 --quiet >>log 2>&1
ok /real/model $? "$(cat log)"

# road NAME SLIDE MPP_OPTIONS…
road() {
  local name=$1 slide=$QS_DATA/slides/$2 mask as n
  shift 2
  expect "/real/$name/info" 0 "openslide" $QS info "$slide"
  expect "/real/$name/plan" 0 "0 of 1 would fail" $QS plan --mpp 1 --patch 128 "$@" "$slide"
  expect "/real/$name/tile" 0 "" $QS tile --store "store-$name" --mpp 1 --patch 128 --tissue-min 0 --quiet "$@" "$slide"
  expect "/real/$name/status" 0 "MP/s on" $QS status "store-$name" --slides --damage
  expect "/real/$name/check" 0 "" $QS check "store-$name"
  n=$(sqlite3 "store-$name/index.db" 'SELECT count(*) FROM patches WHERE kept')
  ok "/real/$name/has-patches" "$([ "$n" -gt 0 ]; echo $?)" "kept: $n"
  expect "/real/$name/predict" 0 "" $QS predict --model r/last.safetensors --out "p-$name" --prob --quiet "$@" "$slide"
  for mask in "p-$name"/*.tif "p-$name"/prob/*.tif; do
    levels=$(openslide-show-properties "$mask" 2>&1 | sed -n "s/^openslide.level-count: '\(.*\)'/\1/p")
    ok "/real/$name/openslide-opens-${mask#*/}" "$([ "${levels:-0}" -ge 2 ]; echo $?)" "levels: $levels"
    expect "/real/$name/libvips-opens-${mask#*/}" 0 "1 band" vipsheader "$mask"
    expect "/real/$name/tiffinfo-opens-${mask#*/}" 0 "LZW" tiffinfo "$mask"
  done
  n=$(ls "p-$name"/*.tif "p-$name"/prob/*.tif | wc -l)
  ok "/real/$name/mask-and-probability" "$([ "$n" = 2 ]; echo $?)" "files: $n"
  mask=$(ls "p-$name"/*.tif)
  for as in tiff ome geojson asap png; do
    prob=()
    [ $as = geojson ] && prob=(--prob "p-$name/prob/$(basename "$mask")" --min-area-um2 50 --min-hole-um2 50)
    expect "/real/$name/export-$as" 0 " 0 broken" $QS export "$mask" --as $as --out "e-$name.$as" --quiet "${prob[@]}"
  done
  # Its own mask as labels and as truth: a labelled store, a step of training, a score of 1.
  printf 'slide,mask,case,split,labelled,mpp\n%s,%s,k,train,1,%s\n' "$slide" "$PWD/$mask" "${2:-}" >"$name.csv"
  expect "/real/$name/tile-labelled" 0 "1 done" $QS tile --store "lab-$name" --mpp 1 --patch 64 --tissue-min 0 --quiet --cohort "$name.csv"
  expect "/real/$name/train" 0 "last.safetensors" $QS train --store "lab-$name" --method SL --out "run-$name" --iterations 2 --batch-labelled 2 \
    --batch-unlabelled 0 --val-every 0 --quiet
  expect "/real/$name/eval" 0 "1.0000" $QS eval --cohort "$name.csv" --split train --pred "p-$name" --quiet
}
road CMU-1 CMU-1-Small-Region.svs
road NDPI test3-DAPI-2-387.ndpi
road TCGA TCGA-CR-7395-01A-01-TS1.svs --mpp-override 0.5

# --- every annotation file of other tools: in, and out in every format, in order by its readers' rules
for f in "$QS_DATA"/annotations/*; do
  for as in geojson asap tiff png; do
    expect "/real/annotations/$(basename "$f")-$as" 0 " 0 broken" $QS export "$f" --as $as --labels '*=1' --factor 8 --mpp 0.5 --quiet --out "a.$as"
  done
done
done_testing
