#!/usr/bin/env bash
# Every class of bad input, at the command line: a clear message that names the file, the exit status, and
# nothing lost. Damaged files are made here by small recipes; the real ones of $QS_DATA are used when there.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"

$QS synth --out cohort --train 2 --labelled 1 --val 1 --test 1 --width 1100 --height 900 --seed 9 --quiet >log 2>&1
ok /bad/synth $? "$(cat log)"
slide=$(ls cohort/slides/*.tif | head -1)
mask=$(ls cohort/masks/*.tif | head -1)
tile=(tile --level0 --patch 256 --stride 256 --quiet --store)

# --- usage
expect /bad/no-command 2 "Commands:" $QS
expect /bad/unknown-command 2 'no command "tyle"' $QS tyle
expect /bad/unknown-option 2 "--help" $QS tile --nonsense
expect /bad/no-slides 2 "" $QS tile --level0 --store s0
expect /bad/missing-config 2 "none.ini" $QS tile --config none.ini --store s0

# --- slides
expect /bad/slide-missing 1 "nothere.svs" $QS "${tile[@]}" s1 nothere.svs
: >empty.svs
expect /bad/slide-empty 1 "empty.svs" $QS "${tile[@]}" s1 empty.svs
mkdir -p folder.svs
expect /bad/slide-directory 1 "folder.svs" $QS "${tile[@]}" s1 folder.svs
echo "this is no slide" >text.svs
expect /bad/slide-text 1 "text.svs" $QS "${tile[@]}" s1 text.svs
size=$(stat -c %s "$slide")
for share in 5 30 60 95; do
  head -c $((size * share / 100)) "$slide" >cut$share.tif
  expect "/bad/slide-truncated-at-$share-percent" 1 "cut$share.tif" $QS "${tile[@]}" s1 cut$share.tif
done
printf 'P6 300 200 255\n' >plain.ppm
head -c 180000 /dev/urandom >>plain.ppm
vips copy plain.ppm plain.png
expect /bad/image-mpp-unknown 1 "mpp" $QS tile --mpp 0.5 --store s2 --quiet plain.png
for bad in 0 -1 1000 abc; do
  expect "/bad/mpp-$bad" 2 "" $QS tile --mpp $bad --store s3 --quiet "$slide"
done

# --- some succeed: status 3, the good slide is in the store, the store is clean
expect /bad/some-slides-fail 3 "text.svs" $QS "${tile[@]}" s4 "$slide" text.svs
expect /bad/some-slides-fail-check 0 "" $QS check s4
n=$(sqlite3 s4/index.db "SELECT count(*) FROM slides WHERE state = 'done'" 2>&1)
ok /bad/some-slides-fail-good-one-kept "$([ "$n" = 1 ]; echo $?)" "done slides: $n"

# --- odd names work
mkdir "with space"
cp "$slide" "with space/Ünï cödé [1]: a,b.tif"
cp "$slide" ./-dash.tif
expect /bad/odd-names-work 0 "" $QS "${tile[@]}" s5 -- "with space/Ünï cödé [1]: a,b.tif" -dash.tif
mkdir two
cp "$slide" "two/Ünï cödé [1]: a,b.tif"
expect /bad/duplicate-base-names-work 0 "" $QS "${tile[@]}" s5 "two/Ünï cödé [1]: a,b.tif"
n=$(sqlite3 s5/index.db "SELECT count(DISTINCT name) FROM slides")
ok /bad/duplicate-base-names-distinct "$([ "$n" = 3 ]; echo $?)" "names: $n"

# --- masks
head=slide,mask,case,split,labelled,mpp
printf '%s\n%s,%s,c1,train,1,\n' $head "$slide" gone.tif >m1.csv
expect /bad/mask-missing 1 "gone.tif" $QS "${tile[@]}" s6 --cohort m1.csv
vips black small.tif 333 111
printf '%s\n%s,%s,c1,train,1,\n' $head "$slide" small.tif >m2.csv
expect /bad/mask-of-another-size 1 "333" $QS "${tile[@]}" s6 --cohort m2.csv
vips linear "$mask" odd.tif 1 7 --uchar
printf '%s\n%s,%s,c1,train,1,\n' $head "$slide" odd.tif >m3.csv
expect /bad/mask-label-not-in-table 1 "odd.tif" $QS "${tile[@]}" s6 --cohort m3.csv
expect /bad/after-bad-masks-check 0 "" $QS check s6

# --- cohorts
printf 'slide,mask,case\n' >c1.csv
expect /bad/cohort-columns 1 "c1.csv" $QS "${tile[@]}" s7 --cohort c1.csv
other=$(ls cohort/slides/*.tif | tail -1)
printf '%s\n%s,,case7,train,0,\n%s,,case7,test,0,\n' $head "$slide" "$other" >c2.csv
expect /bad/cohort-case-leak 1 "case7" $QS "${tile[@]}" s7 --cohort c2.csv
printf '%s\n%s,,k,train,0,\n%s,,k,test,0,\n' $head "$slide" "$slide" >c2.csv
expect /bad/cohort-slide-leak 1 "already listed" $QS "${tile[@]}" s7 --cohort c2.csv
printf '%s\n%s,,k,dev,0,\n' $head "$slide" >c3.csv
expect /bad/cohort-split 1 "dev" $QS "${tile[@]}" s7 --cohort c3.csv

# --- places
: >file
expect /bad/store-is-a-file 1 "file" $QS "${tile[@]}" file "$slide"
if [ "$(id -u)" = 0 ] && mkdir -p mnt && mount -t tmpfs -o size=600k none mnt 2>/dev/null; then
  $QS "${tile[@]}" mnt/s "$slide" >log 2>&1
  rc=$?
  ok /bad/disk-full "$([ $rc = 1 ] && grep -qi "space" log; echo $?)" "status $rc: $(cat log)"
  mount -o remount,size=64m mnt
  expect /bad/disk-full-store-sound 0 "" $QS check mnt/s
  expect /bad/disk-full-goes-on 0 "" $QS "${tile[@]}" mnt/s "$slide"
  mount -o remount,ro mnt
  expect /bad/read-only-place 1 "" $QS "${tile[@]}" mnt/s2 "$slide"
  expect /bad/read-only-store-readable 0 "" $QS status mnt/s
  expect /bad/read-only-store-checks 0 "" $QS check mnt/s
  umount mnt
else
  skip /bad/disk-full "needs root"
fi

# A file size limit stops a write as a full disk does: said, nothing lost, and the next run goes on.
(ulimit -f 500 && exec $QS "${tile[@]}" sl "$slide") >log 2>&1
rc=$?
ok /bad/file-size-limit "$([ $rc = 1 ] && grep -qi "too large" log; echo $?)" "status $rc: $(cat log)"
expect /bad/file-size-limit-store-sound 0 "" $QS check sl
expect /bad/file-size-limit-goes-on 0 "" $QS "${tile[@]}" sl "$slide"
(ulimit -f 2 && exec $QS export "$mask" --as geojson --out big.geojson) >log 2>&1
rc=$?
ok /bad/file-size-limit-export "$([ $rc = 1 ] && grep -q "big.geojson" log && [ ! -e big.geojson ]; echo $?)" "status $rc: $(cat log)"

# --- options that must agree
expect /bad/store-first 0 "" $QS "${tile[@]}" s8 "$slide"
expect /bad/store-other-patch-size 1 "patch" $QS tile --level0 --patch 128 --stride 128 --quiet --store s8 "$slide"
cp "$slide" replaced.tif
expect /bad/replace-first 0 "" $QS "${tile[@]}" s9 replaced.tif
cp "$(ls cohort/slides/*.tif | tail -1)" replaced.tif
expect /bad/file-replaced-under-the-same-name 1 "replaced.tif" $QS "${tile[@]}" s9 replaced.tif

# --- models, training, prediction
expect /bad/train-no-store 1 "nostore" $QS train --store nostore --method MT --out r0 --quiet
$QS tile --level0 --patch 64 --stride 64 --quiet --store st --cohort cohort/cohort.csv >log 2>&1
ok /bad/tile-cohort $? "$(cat log)"
train=(train --store st --iterations 2 --batch-labelled 2 --batch-unlabelled 2 --val-every 0 --quiet)
expect /bad/train-unknown-method 2 "MT" $QS "${train[@]}" --method Magic --out r0
expect /bad/train-lr 2 "" $QS "${train[@]}" --method MT --lr -1 --out r0
expect /bad/train 0 "" $QS "${train[@]}" --method MT --loss metassl --out r1
expect /bad/train-options-changed 1 "lr is" $QS "${train[@]}" --method MT --loss metassl --out r1 --lr 0.5
expect /bad/train-fresh-keeps-old 0 "" $QS "${train[@]}" --method SL --out r1 --fresh
ok /bad/train-fresh-old-is-there "$(ls -d r1.old* >/dev/null 2>&1; echo $?)"
model=r1/last.safetensors
expect /bad/model-missing 1 "none.safetensors" $QS predict --model none.safetensors --out p "$slide" --quiet
head -c 1000 $model >cut.safetensors
expect /bad/model-truncated 1 "cut.safetensors" $QS predict --model cut.safetensors --out p "$slide" --quiet
expect /bad/model-is-text 1 "text.svs" $QS predict --model text.svs --out p "$slide" --quiet
expect /bad/predict-some-fail 3 "empty.svs" $QS predict --model $model --out p --quiet "$slide" empty.svs
expect /bad/eval-missing-prediction 1 "" $QS eval --cohort cohort/cohort.csv --split test --pred p --out e.json --quiet

# --- the real ones
if [ -d "$QS_DATA/slides/broken" ]; then
  for f in "$QS_DATA"/slides/broken/*; do
    expect "/bad/real/$(basename "$f")" 1 "$(basename "$f")" $QS "${tile[@]}" sr "$f"
  done
  for f in pathml-smalltif.tif boxes_0.dcm; do
    expect "/bad/real/$f" 1 "$f" $QS "${tile[@]}" sr "$QS_DATA/slides/$f"
  done
  expect /bad/real/no-mpp 1 "mpp" $QS tile --mpp 0.5 --quiet --store sr2 "$QS_DATA/slides/TCGA-CR-7395-01A-01-TS1.svs"
else
  skip /bad/real "QS_DATA is not there"
fi
done_testing
