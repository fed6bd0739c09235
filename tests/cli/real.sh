#!/usr/bin/env bash
# The real slides of $QS_DATA: tile → predict, and the masks opened with OpenSlide, libvips and tiffinfo. The model
# is one of two steps: what is tested is the road and the files, not the segmentation.
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
  local name=$1 slide=$QS_DATA/slides/$2 mask
  shift 2
  expect "/real/$name/info" 0 "openslide" $QS info "$slide"
  expect "/real/$name/tile" 0 "" $QS tile --store "store-$name" --mpp 1 --patch 128 --tissue-min 0 --quiet "$@" "$slide"
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
}
road CMU-1 CMU-1-Small-Region.svs
road NDPI test3-DAPI-2-387.ndpi
road TCGA TCGA-CR-7395-01A-01-TS1.svs --mpp-override 0.5
done_testing
