#!/usr/bin/env bash
# What tile does beside reading pixels: resolution and its conflicts, tissue and its masks, previews; and the
# filters of train on what it measured.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

equal() { # NAME GOT WANTED
  ok "$1" "$([ "$2" = "$3" ]; echo $?)" "got $2, wanted $3"
}
of() { # STORE SQL
  sqlite3 "$1/index.db" "$2"
}

$QS synth --quiet --out c --train 2 --labelled 1 --val 1 --test 0 --width 1536 --height 1152 --seed 3 --noise 1 >log 2>&1
ok /tiling/slides $? "$(cat log)"
slide=$(ls c/slides/*.tif | head -1)
other=$(ls c/slides/*.tif | tail -1)
tile=(tile --quiet --patch 64 --no-tissue)

# --- resolution: a conflict is used, said and kept in the row; the cohort's value goes before the file's
expect /tiling/override-is-said 0 "though the file says 0.5" $QS "${tile[@]}" --mpp 1 --mpp-override 0.25 --store r1 "$slide"
equal /tiling/override-in-the-row "$(of r1 "SELECT mpp, mpp_origin, round(mpp_file, 6), downsample, notes LIKE 'the file says 0.5%' FROM slides")" \
  "0.25|override|0.5|4.0|1"
printf 'slide,mask,case,split,labelled,mpp\n%s,,k,train,0,0.4\n' "$slide" >mpp.csv
expect /tiling/cohort-mpp 0 "though the file says 0.5" $QS "${tile[@]}" --mpp 1 --cohort mpp.csv --store r2
equal /tiling/cohort-mpp-in-the-row "$(of r2 "SELECT mpp, downsample FROM slides")" "0.4|2.5"
expect /tiling/both 0 "" $QS "${tile[@]}" --mpp 1 --mpp-override 0.5 --cohort mpp.csv --store r3
equal /tiling/both-in-the-row "$(of r3 "SELECT mpp, notes FROM slides")" "0.5|the cohort says 0.4 µm per pixel; --mpp-override 0.5 was used"
expect /tiling/tolerance 0 "" $QS "${tile[@]}" --mpp 1.05 --mpp-tolerance 0.06 --store r4 "$slide"
equal /tiling/tolerance-reads-the-level "$(of r4 "SELECT downsample FROM slides")" "2.0"
expect /tiling/no-tolerance 0 "" $QS "${tile[@]}" --mpp 1.05 --store r5 "$slide"
equal /tiling/no-tolerance-resamples "$(of r5 "SELECT downsample FROM slides")" "2.1"
expect /tiling/tolerance-is-the-stores 1 "resolution tolerance" $QS "${tile[@]}" --mpp 1.05 --store r4 "$slide"
expect /tiling/tolerance-range 2 "--mpp-tolerance" $QS "${tile[@]}" --mpp 1 --mpp-tolerance 0.6 --store r6 "$slide"

# --- tissue: parameters, a mask by option and by column, none at all
tile=(tile --quiet --patch 64 --mpp 1)
expect /tiling/tissue-parameters 0 "" $QS "${tile[@]}" --store t1 --tissue-picture 512 --tissue-median 3 --tissue-closing 2 \
  --tissue-area 50 --tissue-hole 8 --saturation 12 "$slide"
equal /tiling/tissue-parameters-kept "$(of t1 "SELECT grid_rules FROM store")" \
  "tissue: saturation 12, picture 512, median 3, closing 2, area 50, hole 8, at least 0.25; blank rule: no"
for bad in "--tissue-picture 8" "--tissue-median -1" "--tissue-area -5" "--saturation 255"; do
  # shellcheck disable=SC2086
  expect "/tiling/wrong $bad" 2 "" $QS "${tile[@]}" --store t2 $bad "$slide"
done
cat >left.geojson <<'X'
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[768,0],[768,1152],[0,1152],[0,0]]]},"properties":{"classification":"any name"}}
X
expect /tiling/tissue-mask 0 "" $QS "${tile[@]}" --store t3 --tissue-mask left.geojson "$slide"
equal /tiling/tissue-mask-left-half "$(of t3 "SELECT sum(kept), max(x_l0 * kept), round(avg(tissue), 3) FROM patches")" "54|640|0.5"
printf 'slide,mask,case,split,labelled,mpp,tissue\n%s,,k,train,0,,left.geojson\n%s,,l,train,0,,\n' "$slide" "$other" >tissue.csv
expect /tiling/tissue-column 0 "" $QS "${tile[@]}" --store t4 --cohort tissue.csv
equal /tiling/tissue-column-of-one "$(of t4 "SELECT count(tissue_path), count(tissue_hash) FROM slides")" "1|1"
expect /tiling/tissue-mask-again 0 "" $QS "${tile[@]}" --store t4 --cohort tissue.csv
sed -i 's/768/700/g' left.geojson
expect /tiling/tissue-mask-changed 3 "was changed since" $QS "${tile[@]}" --store t4 --cohort tissue.csv
printf '[]' >none.geojson
expect /tiling/no-tissue-at-all 0 "no patch was kept" $QS "${tile[@]}" --store t5 --tissue-mask none.geojson "$slide"
equal /tiling/no-tissue-is-done "$(of t5 "SELECT state, (SELECT sum(kept) FROM patches) FROM slides")" "done|0"
expect /tiling/high-threshold 0 "see --otsu, --saturation, --tissue-min" $QS "${tile[@]}" --store t6 --saturation 250 "$slide"
expect /tiling/mask-and-none 2 "exclude each other" $QS "${tile[@]}" --store t7 --tissue-mask none.geojson --no-tissue "$slide"

# --- previews: of what is tiled, of what was already, of what had no tissue, of what cannot be read
expect /tiling/preview 0 "" $QS tile --quiet --patch 64 --mpp 1 --store p1 --cohort c/cohort.csv --preview p
equal /tiling/preview-of-each "$(ls p | wc -l)" 3
ok /tiling/preview-is-a-picture "$($QS info "p/$(basename "$slide" .tif).jpg" 2>&1 | grep -q "1568 x 1[0-9]* pixels"; echo $?)" "$($QS info p/*.jpg 2>&1)"
rm p/*
expect /tiling/preview-later 0 "" $QS tile --quiet --patch 64 --mpp 1 --store p1 --cohort c/cohort.csv --preview p
equal /tiling/preview-of-each-later "$(ls p | wc -l)" 3
expect /tiling/preview-of-nothing 0 "" $QS "${tile[@]}" --store t5 --tissue-mask none.geojson --preview q "$slide"
ok /tiling/preview-of-nothing-is-there "$([ -s "q/$(basename "$slide" .tif).jpg" ]; echo $?)"
touch file
expect /tiling/preview-into-a-file 1 "file" $QS "${tile[@]}" --store t8 --preview file/x "$slide"
ok /tiling/preview-before-the-store "$([ ! -e t8 ]; echo $?)"

# --- slides of one name enter the store in the order given, even when the first takes longest to hash
mkdir -p first second
cp "$slide" first/s.tif
head -c 100000000 /dev/zero >>first/s.tif
cp "$slide" second/s.tif
printf x >>second/s.tif
expect /tiling/two-of-one-name 0 "" $QS "${tile[@]}" --threads 2 --store o1 first/s.tif second/s.tif
equal /tiling/first-comes-first "$(of o1 "SELECT group_concat(id || name || (path LIKE '%/first/s.tif')) FROM slides")" "1s1,2s~20"

# --- filters of train
train=(train --store p1 --method SL --batch-labelled 2 --iterations 2 --val-every 0 --threads 1)
all=$(of p1 "SELECT count(*) FROM patches JOIN slides ON slides.id = slide_id WHERE kept AND split = 'train'")
sharp=$(of p1 "SELECT count(*) FROM patches JOIN slides ON slides.id = slide_id WHERE kept AND split = 'train' AND blur >= 200 AND tissue > 0.6")
ok /tiling/a-filter-that-filters "$([ "$sharp" -gt 0 ] && [ "$sharp" -lt "$all" ]; echo $?)" "$sharp of $all"
expect /tiling/where 0 "$sharp training patches" $QS "${train[@]}" --out w1 --where "blur >= 200 and tissue > 0.6"
expect /tiling/where-says-so 0 "$((all - sharp)) patches are left out" $QS "${train[@]}" --out w2 --where "blur >= 200 and tissue > 0.6"
ok /tiling/where-in-run-json "$(grep -q 'blur >= 200 and tissue > 0.6' w1/run.json; echo $?)" "$(head -c 600 w1/run.json)"
expect /tiling/no-where 0 "$all training patches" $QS "${train[@]}" --out w3
expect /tiling/where-another 1 "where is" $QS "${train[@]}" --out w1 --where "blur >= 210" --iterations 2
expect /tiling/where-none 2 "fulfils --where" $QS "${train[@]}" --out w4 --where "blur > 1e9"
expect /tiling/where-wrong 2 'condition "sharp > 3"' $QS "${train[@]}" --out w5 --where "sharp > 3"
done_testing
