#!/usr/bin/env bash
# predict, eval and report at the command line, on a cohort of small synthetic slides and a model of a few
# steps: what is written, what is skipped, which bits depend on what, every refusal by its message.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

same() { # NAME FILE FILE
  cmp "$2" "$3" >cmp.log 2>&1
  ok "$1" $? "$(cat cmp.log)"
}
holds() { # NAME SQL over j, the file m.json
  local value
  value=$(sqlite3 :memory: "WITH m AS (SELECT readfile('m.json') AS j) SELECT $2 FROM m" 2>&1)
  ok "$1" "$([ "$value" = 1 ]; echo $?)" "$2 gives $value"
}

$QS synth --quiet --out c --train 2 --labelled 1 --val 1 --test 2 --width 1500 --height 1100 --seed 4 --noise 1 >log 2>&1 &&
  $QS tile --quiet --store s --cohort c/cohort.csv --mpp 1 --patch 64 --stride 64 >>log 2>&1 &&
  $QS train --quiet --store s --method SL --out run --batch-labelled 2 --iterations 3 --val-every 0 --threads 1 >>log 2>&1
ok /predict/a-model-of-three-steps $? "$(cat log)"
model=run/last.safetensors
cohort=(--cohort c/cohort.csv)
slide=$(ls c/slides/*.tif | tail -1)
name=$(basename "$slide" .tif)
predict=(predict --quiet --model $model)

# --- the mask
expect /predict/cohort 0 "" $QS "${predict[@]}" "${cohort[@]}" --out p
n=$(ls p/*.tif | wc -l)
ok /predict/test-split-only "$([ "$n" = 2 ]; echo $?)" "masks: $n"
expect /predict/mask-is-a-slide 0 "750 x 550 pixels" $QS info p/$name.tif
expect /predict/states-the-memory 0 "memory at most" $QS predict --model $model "$slide" --out p0
ok /predict/no-temporary-files "$(ls -A p p0 | grep -qE 'part|level|tmp'; [ $? = 1 ]; echo $?)" "$(ls -A p p0)"
# --- tissue: the same rules as tile's, a mask of the user's, a cohort's column; another rule is another mask
windows() { sed -n 's/.*"windows_run" : \([0-9]*\).*/\1/p' "$1"; }
usual=$(windows p0/$name.json)
expect /predict/tissue-by-saturation 0 "" $QS "${predict[@]}" "$slide" --out p0 --saturation 60
fewer=$(windows p0/$name.json)
ok /predict/less-tissue-fewer-windows "$([ -n "$usual" ] && [ "$fewer" -lt "$usual" ]; echo $?)" "$usual, then $fewer"
printf '%s\n' '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"classification":{"name":"Region"}},"geometry":{"type":"Polygon","coordinates":[[[0,0],[120,0],[120,120],[0,120],[0,0]]]}}]}' >corner.geojson
expect /predict/tissue-mask 0 "" $QS "${predict[@]}" "$slide" --out p0 --tissue-mask corner.geojson
few=$(windows p0/$name.json)
ok /predict/tissue-mask-decides "$([ "$few" -ge 1 ] && [ "$few" -lt "$fewer" ]; echo $?)" "$fewer, then $few"
{ echo slide,mask,case,split,labelled,mpp,tissue; echo "$slide,,x,test,0,,corner.geojson"; } >column.csv
expect /predict/tissue-column 0 "" $QS "${predict[@]}" --cohort column.csv --out p1
ok /predict/tissue-column-decides "$([ "$(windows p1/$name.json)" = "$few" ]; echo $?)" "$(cat p1/$name.json)"
{ cat column.csv; echo "$(ls $PWD/c/slides/*.tif | head -1),,y,test,0,,gone.png"; } >gone.csv
$QS "${predict[@]}" --cohort gone.csv --out p3 >log 2>&1
rc=$?
ok /predict/tissue-mask-missing-is-known-first "$([ $rc = 3 ] && head -1 log | grep -q 'gone.png.*No such file' && [ -e p3/$name.tif ]; echo $?)" "$rc $(cat log)"
expect /predict/tissue-mask-missing 1 "gone.png" $QS "${predict[@]}" "$slide" --out p2 --tissue-mask gone.png
expect /predict/tissue-mask-or-none 2 "exclude each other" $QS "${predict[@]}" "$slide" --out p2 --tissue-mask corner.geojson --no-tissue
expect /predict/tissue-mask-and-cohort 2 "a cohort has a column" $QS "${predict[@]}" "${cohort[@]}" --out p2 --tissue-mask corner.geojson
expect /predict/saturation-out-of-range 2 "--saturation is 0 to 254" $QS "${predict[@]}" "$slide" --out p2 --saturation 255
# In bf16 it is another mask, not the one that is there: made anew, or refused with a word where there is no bf16.
$QS predict --model $model "$slide" --out p0 --precision bf16 >bf16.log 2>&1
rc=$?
if [ $rc = 0 ]; then
  ok /predict/bf16-is-made-anew "$(grep -q '"key".*; bf16' p0/$name.json; echo $?)" "$(cat bf16.log p0/$name.json)"
else
  ok /predict/bf16-is-refused "$([ $rc = 1 ] && grep -q 'use precision f32' bf16.log; echo $?)" "$(cat bf16.log)"
fi
if command -v tiffinfo >/dev/null; then
  tiffinfo p/$name.tif >info.log 2>&1
  ok /predict/tiffinfo "$([ "$(grep -c 'TIFF Directory' info.log)" = 2 ] && grep -q LZW info.log && grep -q min-is-black info.log &&
    grep -q '10000, 10000 pixels/cm' info.log; echo $?)" "$(cat info.log)"
else
  skip /predict/tiffinfo "tiffinfo is not there"
fi

# --- bits: of batch, threads and readers none; of stride and blending some
expect /predict/one-thread 0 "" $QS "${predict[@]}" --prob --batch 1 --threads 1 "$slide" --out b1
expect /predict/two-threads 0 "" $QS "${predict[@]}" --prob --batch 7 --threads 2 --readers 2 "$slide" --out b2
same /predict/same-mask b1/$name.tif b2/$name.tif
same /predict/same-probabilities b1/prob/$name.tif b2/prob/$name.tif
expect /predict/uniform 0 "" $QS "${predict[@]}" --prob --blend uniform "$slide" --out b3
ok /predict/blending-matters "$(cmp -s b1/prob/$name.tif b3/prob/$name.tif; [ $? = 1 ]; echo $?)"
expect /predict/level0 0 "1500 × 1100 (slide / 1)" $QS "${predict[@]}" --level0 --no-tissue "$slide" --out b4
expect /predict/other-mpp 0 "500 × 366 (slide / 3)" $QS "${predict[@]}" --mpp 1.5 "$slide" --out b5
expect /predict/mpp-override 0 "1500 × 1100 (slide / 1)" $QS "${predict[@]}" --mpp-override 1 "$slide" --out b6

# --- the same command goes on where it was
before=$(stat -c %Y.%i p/$name.tif)
expect /predict/again 0 "2 masks are already there" $QS predict --model $model "${cohort[@]}" --out p
ok /predict/again-keeps "$([ "$(stat -c %Y.%i p/$name.tif)" = "$before" ]; echo $?)"
rm "$(ls p/*.tif | head -1)"
expect /predict/one-is-gone 0 "1 slides to predict" $QS predict --model $model "${cohort[@]}" --out p
truncate -s 100 p/$name.tif
expect /predict/one-is-cut 0 "1 slides to predict" $QS predict --model $model "${cohort[@]}" --out p
same /predict/made-again p/$name.tif b1/$name.tif
expect /predict/other-options 0 "2 slides to predict" $QS predict --model $model "${cohort[@]}" --out p --stride 32
expect /predict/force 0 "2 slides to predict" $QS predict --model $model "${cohort[@]}" --out p --stride 32 --force

# --- refusals
echo "no slide" >text.svs
expect /predict/some-fail 3 "text.svs" $QS "${predict[@]}" text.svs "$slide" --out q1
ok /predict/some-fail-others-made "$([ -s q1/$name.tif ]; echo $?)"
expect /predict/all-fail 1 "text.svs" $QS "${predict[@]}" text.svs gone.svs --out q2
expect /predict/no-model 2 "--model" $QS predict "$slide" --out q
expect /predict/no-out 2 "--out" $QS predict --model $model "$slide"
expect /predict/no-slides 2 "--cohort" $QS predict --model $model --out q
expect /predict/both 2 "not both" $QS predict --model $model --out q "${cohort[@]}" "$slide"
expect /predict/split 2 "dev" $QS predict --model $model --out q "${cohort[@]}" --split dev
expect /predict/blend 2 "--blend" $QS predict --model $model --out q --blend hann "$slide"
expect /predict/stride 2 "stride of 999" $QS "${predict[@]}" --out q --stride 999 "$slide"
expect /predict/window 2 "window of 50" $QS "${predict[@]}" --out q --window 50 "$slide"
expect /predict/model-missing 1 "gone.safetensors" $QS predict --model gone.safetensors --out q "$slide"
expect /predict/model-is-text 1 "text.svs" $QS predict --model text.svs --out q "$slide"
touch file
expect /predict/out-is-a-file 1 "file" $QS "${predict[@]}" --out file "$slide"

# --- names
mkdir -p "d/with space" d/two
cp "$slide" "d/with space/-x.tif"
cp "$(ls c/slides/*.tif | head -1)" d/two/-x.tif
expect /predict/odd-names 0 "" $QS "${predict[@]}" --out q3 "d/with space/-x.tif" d/two/-x.tif
n=$(ls q3 | grep -cE -- '^-x~[0-9a-f]{8}\.tif$')
ok /predict/duplicate-names "$([ "$n" = 2 ]; echo $?)" "$(ls q3)"

# --- eval
mkdir perfect noisy
for t in c/truth/*.tif; do cp "$t" perfect/; done
for t in c/masks/*.tif; do cp "$t" noisy/; done
expect /eval/perfect 0 "mean                                1.0000    1.0000" $QS eval --quiet "${cohort[@]}" --pred perfect
expect /eval/prefers-truth 0 "column truth for 2 slides, column mask for 0" $QS eval --quiet "${cohort[@]}" --pred perfect
expect /eval/states-the-rule 0 "absent from both masks scores 1" $QS eval --quiet "${cohort[@]}" --pred perfect
expect /eval/against 0 "paired two-sided t-test" $QS eval --quiet "${cohort[@]}" --pred perfect --against noisy --out m.json
holds /eval/json-is-json "json_valid(j)"
holds /eval/json-mean "json_extract(j, '$.result.foreground.dsc_mean') = 1"
holds /eval/json-std "json_extract(j, '$.result.foreground.dsc_std') = 0"
holds /eval/json-noisy-is-worse "json_extract(j, '$.against.foreground.dsc_mean') < 0.999"
holds /eval/json-pairs "json_extract(j, '$.ttest_dsc.n') = 2 AND json_extract(j, '$.ttest_dsc.dof') = 1"
holds /eval/json-slides "json_array_length(j, '$.result.slides') = 2"
expect /eval/grids-meet 0 "prediction (/2) ×2, truth (/1) ×1" $QS eval --quiet "${cohort[@]}" --pred p
expect /eval/against-itself 0 "the differences are all 0" $QS eval --quiet "${cohort[@]}" --pred p --against p
expect /eval/required-dsc 1 "below the required 1.0" $QS eval --quiet "${cohort[@]}" --pred noisy --require-dsc 1.0
expect /eval/required-dsc-reached 0 "" $QS eval --quiet "${cohort[@]}" --pred perfect --require-dsc 1.0
expect /eval/distances-in-um 0 "distances in µm; boundary F1 within 5 µm" $QS eval --quiet "${cohort[@]}" --pred noisy --out m.json
holds /eval/json-distances "json_extract(j, '$.result.foreground.hd95_mean') > 0 AND json_extract(j, '$.result.foreground.assd_mean') > 0"
holds /eval/json-no-interval-of-two-cases "json_extract(j, '$.result.foreground.dsc_ci95_low') IS NULL
  AND json_extract(j, '$.result.n_cases') = 2"
expect /eval/says-that-two-cases-carry-none 0 "no 95 % interval: 2 cases were scored" $QS eval --quiet "${cohort[@]}" --pred noisy
um=$(sqlite3 :memory: "SELECT json_extract(readfile('m.json'), '$.result.foreground.hd95_mean')")
expect /eval/distances-in-pixels 0 "distances in px" $QS eval --quiet "${cohort[@]}" --pred noisy --pixels --out m.json
holds /eval/a-pixel-is-half-a-um "abs(json_extract(j, '$.result.foreground.hd95_mean') * 0.5 - $um) < 1e-9"
expect /eval/no-distances 0 "" $QS eval --quiet "${cohort[@]}" --pred noisy --no-distances --out m.json
holds /eval/no-distances-json "json_extract(j, '$.result.foreground.hd95_mean') IS NULL AND json_extract(j, '$.result.foreground.dsc_mean') > 0"
expect /eval/annotation 0 "mean                                1.0000    1.0000      0.00" $QS eval --quiet "${cohort[@]}" --pred noisy --annotation
expect /eval/annotation-says-so 0 "column truth for 0 slides, column mask for 2" $QS eval --quiet "${cohort[@]}" --pred noisy --annotation
expect /eval/wilcoxon 0 "Wilcoxon W = 0 of 2, p = 0.5 (exact)" $QS eval --quiet "${cohort[@]}" --pred perfect --against noisy
expect /eval/tolerance 2 "--tolerance -1" $QS eval "${cohort[@]}" --pred noisy --tolerance -1
rm perfect/$name.tif
expect /eval/one-missing 3 "perfect/$name.tif" $QS eval --quiet "${cohort[@]}" --pred perfect --out m.json
holds /eval/one-missing-json "json_extract(j, '$.result.n_scored') = 1"
mkdir empty
expect /eval/all-missing 1 "empty/$name.tif" $QS eval --quiet "${cohort[@]}" --pred empty
cp c/truth/$name.tif perfect/
printf 'slide,mask,case,split,labelled,mpp\n%s,,k,test,0,\n' "$slide" >notruth.csv
expect /eval/no-truth 1 "neither truth nor mask" $QS eval --quiet --cohort notruth.csv --pred perfect
expect /eval/no-cohort 2 "--cohort" $QS eval --pred perfect
expect /eval/unwritable 1 "file/m.json" $QS eval --quiet "${cohort[@]}" --pred perfect --out file/m.json

# --- report
report=(report --quiet "${cohort[@]}" --pred "A <&> B=noisy" --pred perfect)
expect /report/page 0 "page.html" $QS "${report[@]}" --run "A <&> B=run" --out page.html
pictures=$(grep -o '<img src="data:image/[a-z]*;base64,' page.html | wc -l)
n=$(grep -o '<img ' page.html | wc -l)
ok /report/pictures-are-inside "$([ "$n" -ge 12 ] && [ "$n" = "$pictures" ]; echo $?)" "images $n, inside $pictures"
ok /report/every-picture-has-an-alt "$([ "$(grep -o ' alt="[^"][^"]*"' page.html | wc -l)" = "$n" ]; echo $?)"
ok /report/loads-nothing "$(grep -qE 'https?://|<script|<link|@import|url\(' page.html; [ $? = 1 ]; echo $?)"
ok /report/names-are-escaped "$(grep -q 'A &lt;&amp;&gt; B' page.html && ! grep -q 'A <&> B' page.html; echo $?)"
expect /report/run-without-log 1 "metrics.csv" $QS "${report[@]}" --run X=c --out page2.html
ok /report/nothing-half-written "$([ ! -e page2.html ]; echo $?)"
rm perfect/$name.tif
expect /report/one-missing 3 "perfect/$name.tif" $QS "${report[@]}" --out page3.html
expect /report/no-pred 2 "--pred" $QS report "${cohort[@]}" --out page.html
done_testing
