#!/usr/bin/env bash
# Labels that are not there: a class without a pixel, labels under dropped patches, a validation without
# foreground, outlines elsewhere. Each is said or refused, with its way out. About ten seconds.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive
$QS synth --quiet --out c --train 2 --labelled 1 --val 1 --test 1 --width 1024 --height 768 --seed 6 >log 2>&1
ok /labels/a-cohort $? "$(cat log)"
slide=$(ls c/slides/*.tif | head -1)
mask=$(ls c/masks/*.tif | head -1)
train=($QS train --quiet --method SL --loss plain --batch-labelled 2 --iterations 2 --threads 1)
tile=($QS tile --quiet --level0 --patch 64 --no-tissue)

# --- a foreground class that no labelled pixel has
"${tile[@]}" --store two --labelled --mask "$mask" \
  --classes background,tumour,stroma "$slide" >log 2>&1
ok /labels/three-classes-two-drawn $? "$(cat log)"
expect /labels/empty-class 2 "class 2 (stroma) has no pixel in the" "${train[@]}" --store two --out r1
expect /labels/empty-class-allowed 0 "" "${train[@]}" --store two --out r2 --allow-empty-class

# --- outlines on glass: every patch that holds them is dropped
cat >glass.geojson <<'X'
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[2,2],[40,2],[40,40],[2,40]]]},"properties":{"classification":{"name":"foreground"}}}
X
cat >tissue.geojson <<'X'
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[512,256],[768,256],[768,512],[512,512]]]},"properties":{"classification":{"name":"any"}}}
X
printf 'slide,mask,case,split,labelled,mpp,tissue\n%s,glass.geojson,A,train,1,0.5,tissue.geojson\n' "$slide" >one.csv
expect /labels/lost-class 1 "of class 1 (foreground) no annotated pixel is in a kept patch" \
  $QS tile --quiet --level0 --patch 64 --store lost --cohort one.csv
expect /labels/lost-class-allowed 0 "" $QS tile --quiet --level0 --patch 64 --store lost2 --cohort one.csv --allow-empty-class
ok /labels/lost-is-in-the-row "$(sqlite3 lost2/index.db "SELECT notes LIKE '%lie in no kept patch%' FROM slides" | grep -q 1; echo $?)"

# --- a plan sees outlines that paint nothing
echo '{"type":"Feature","geometry":{"type":"Point","coordinates":[100,100]},"properties":{"classification":{"name":"foreground"}}}' >point.geojson
printf 'slide,mask,case,split,labelled,mpp\n%s,point.geojson,A,train,1,0.5\n' "$slide" >two.csv
expect /labels/plan-says-nothing-is-painted 0 "paints nothing: it has 1 point sets" $QS plan --level0 --patch 64 --cohort two.csv

# --- a validation DSC that would rest on empty masks
val=$(ls c/slides/*.tif | sed -n 3p)
printf 'P5\n1024 768\n255\n' >zero.pgm
head -c $((1024 * 768)) /dev/zero >>zero.pgm
vips copy zero.pgm zero.png >/dev/null 2>&1
printf 'slide,mask,case,split,labelled,mpp\n%s,%s,A,train,1,0.5\n%s,zero.png,B,val,1,0.5\n' "$slide" \
  "$mask" "$val" >three.csv
expect /labels/tile-with-an-empty-validation 0 "" "${tile[@]}" --store val --cohort three.csv
expect /labels/validation-on-empty-masks 0 "a DSC would rest on empty masks alone" "${train[@]}" --store val --out r3 --val-every 1
ok /labels/never-one "$([ ! -e r3/best.safetensors ]; echo $?)" "$(ls r3)"
done_testing
