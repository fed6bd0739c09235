#!/usr/bin/env bash
# Every command × every output: somebody's file stays, an input is never written over (not by a link
# either), our own file is replaced; what lies under temporary names is left alone; two processes make one
# output whole. About ten seconds.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

$QS synth --quiet --out c --train 1 --labelled 1 --val 1 --test 1 --width 768 --height 640 --seed 5 >log 2>&1 &&
  $QS tile --quiet --store s --cohort c/cohort.csv --mpp 1 --patch 64 --stride 64 >>log 2>&1 &&
  $QS train --quiet --store s --method SL --loss plain --out run --batch-labelled 2 --iterations 2 --val-every 0 \
    --threads 1 >>log 2>&1
ok /outputs/a-model $? "$(cat log)"
slide=$(ls c/slides/*.tif | tail -1)
name=$(basename "$slide" .tif)
model=run/last.safetensors
$QS predict --quiet --model $model "$slide" --out p --prob >log 2>&1
ok /outputs/a-mask $? "$(cat log)"

# NAME OUTPUT COMMAND…: the command writes OUTPUT and reads $slide
table() {
  local what=$1 out=$2
  shift 2
  mkdir -p "$(dirname "$out")"
  echo "mine" >"$out"
  expect "/outputs/$what/somebodys-file" 2 "was not written by quadslide" "$@"
  ok "/outputs/$what/it-stays" "$([ "$(cat "$out")" = mine ]; echo $?)"
  rm "$out"
  cp "$slide" kept.tif
  ln "$slide" "$out" 2>/dev/null || cp -l "$slide" "$out"
  expect "/outputs/$what/over-an-input" 2 "which this run reads" "$@"
  ok "/outputs/$what/the-input-stays" "$(cmp -s "$slide" kept.tif; echo $?)"
  rm "$out"
  "$@" >log 2>&1
  ok "/outputs/$what/is-written" "$([ -s "$out" ]; echo $?)" "$(cat log)"
  "$@" >log 2>&1
  ok "/outputs/$what/our-own-is-replaced" $? "$(cat log)"
}
predict=($QS predict --quiet --force --prob --model $model "$slide" --out o)
table predict-mask o/$name.tif "${predict[@]}"
table predict-note o/$name.json "${predict[@]}"
table predict-prob o/prob/$name.tif "${predict[@]}"
for as in tiff ome geojson asap png; do
  mask=p/$name.tif
  table export-$as e/x.$as $QS export $mask --slide "$slide" --as $as --out e/x.$as
done
sed -n 1p c/cohort.csv >one.csv
grep ",test," c/cohort.csv | sed "s#slides/#c/slides/#; s#masks/#c/masks/#g" >>one.csv
table eval r/scores.json $QS eval --quiet --cohort one.csv --pred p --out r/scores.json
table report r/page.html $QS report --quiet --cohort one.csv --pred M=p --out r/page.html
table preview v/$name.jpg $QS tile --quiet --store s2 --mpp 1 --patch 64 --preview v "$slide"
echo "a,b" >m.csv
expect /outputs/cohort/somebodys-file 2 "is there already and says something else" $QS cohort slides c/slides --out m.csv
ok /outputs/cohort/it-stays "$([ "$(cat m.csv)" = a,b ]; echo $?)"

# --- names of one's own: what others call NAME.part is theirs
mkdir q
echo victim >victim.txt
for f in $name.tif.part $name.json.part .$name.tif.lock.part; do ln -s ../victim.txt "q/$f"; done
expect /outputs/part-links/predict 0 "" $QS predict --quiet --model $model "$slide" --out q
ok /outputs/part-links/untouched "$([ "$(cat victim.txt)" = victim ] && [ ! -L q/$name.tif ] && [ -L q/$name.tif.part ]; echo $?)"
long=$(printf 'n%.0s' {1..250}).tif
cp "$slide" "$long"
expect /outputs/long-name 0 "" $QS predict --quiet --model $model "$long" --out q

# --- another patient's mask of the same name
mkdir -p a b
cp "$slide" a/s.tif
cp "$(ls c/slides/*.tif | head -1)" b/s.tif
$QS predict --quiet --model $model a/s.tif --out t >log 2>&1
cp t/s.tif first.tif
expect /outputs/stranger/predict 1 "another slide's" $QS predict --quiet --model $model b/s.tif --out t
expect /outputs/stranger/force 1 "another slide's" $QS predict --quiet --force --model $model b/s.tif --out t
ok /outputs/stranger/mask-stays "$(cmp -s t/s.tif first.tif; echo $?)"
expect /outputs/stranger/export 1 "another slide's" $QS export t/s.tif --slide b/s.tif --as geojson --out t/x.geojson
mkdir moved
mv a moved/
expect /outputs/stranger/moved-slide-is-known 0 "" $QS predict --quiet --model $model moved/a/s.tif --out t

# --- two at once: whole masks, whole notes, nothing left behind
for i in 1 2 3 4; do
  $QS predict --quiet --prob --model $model "$slide" --out w$i >l1 2>&1 &
  $QS predict --quiet --prob --model $model "$slide" --out w$i >l2 2>&1
  two=$?
  wait $!
  one=$?
  cmp -s w$i/$name.tif o/$name.tif && cmp -s w$i/prob/$name.tif o/prob/$name.tif &&
    { [ $one = 0 ] || grep -q "another process is making it" l1; } &&
    { [ $two = 0 ] || grep -q "another process is making it" l2; } &&
    [ "$(ls -A w$i | grep -cE '\.part$|\.lock$')" = 0 ]
  ok /outputs/two-at-once/$i $? "$one $two $(ls -A w$i) $(cat l1 l2)"
done
done_testing
