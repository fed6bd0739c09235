#!/usr/bin/env bash
# quadslide train, end to end: a synthetic cohort, a store, runs that are stopped, killed, resumed, refused.
. "$(dirname "$0")/../cli/lib.sh"

$QS synth --out co --train 3 --val 1 --test 1 --labelled 1 --size 768 --seed 3 >/dev/null 2>&1 &&
  $QS tile --store st --cohort co/cohort.csv --patch 64 --mpp 1 >/dev/null 2>&1
ok "a cohort and a store" $? "$(ls co st 2>&1)"

small=(--batch-labelled 2 --batch-unlabelled 2 --iterations 8 --val-every 4 --save-every 3 --log-every 2
  --conv direct --lambda-max 1 --threads 2)
train() { # METHOD LOSS RUN [MORE…]
  local method=$1 loss=$2 run=$3
  shift 3
  timeout 300 "$QS" train --store st --method "$method" --loss "$loss" --out "$run" "${small[@]}" "$@"
}

out=$(train mt metassl whole 2>&1)
ok "MT with MetaSSL trains" $? "$out"
for part in "training patches of 3 slides (1 labelled), 1 validation slides" "device cpu" "memory:" "done: whole/best.safetensors"; do
  grep -qF "$part" <<<"$out"
  ok "it says \"$part\"" $? "$out"
done
for file in last.safetensors best.safetensors state.safetensors metrics.csv run.json snapshots/00000004.png \
  snapshots/00000008.png; do
  [ -s "whole/$file" ]
  ok "whole/$file" $?
done
grep -q '^8,val_dsc,0' whole/metrics.csv && grep -q '^8,share_uc,' whole/metrics.csv &&
  grep -q '^8,gamma_unl_1,' whole/metrics.csv
ok "metrics.csv has validation, shares and thresholds" $? "$(cat whole/metrics.csv)"
$QS status st | grep -q 'train.*done.*whole'
ok "the store has the run as a row" $? "$($QS status st)"
$QS status st | grep -c normalise | grep -qx 1
ok "colour statistics are measured once" $?

before=$(cksum whole/*.safetensors)
out=$(train mt metassl whole 2>&1) && [ "$before" = "$(cksum whole/*.safetensors)" ]
ok "a finished run is left as it is" $? "$out"
$QS status st | grep -c normalise | grep -qx 1
ok "colour statistics are taken from the store the second time" $? "$($QS status st)"

# Stopped by SIGTERM as soon as there is a checkpoint, then killed, then finished.
parts=(train --store st --method mt --loss metassl --out parts "${small[@]}")
"$QS" "${parts[@]}" >stop.log 2>&1 &
pid=$!
for _ in $(seq 200); do
  [ -s parts/run.json ] && break
  sleep 0.05
done
kill -TERM $pid
wait $pid
rc=$?
[ $rc = 1 ] && grep -q "the same command goes on" stop.log
ok "SIGTERM saves, says how to go on, and is status 1" $? "status $rc: $(cat stop.log)"
"$QS" "${parts[@]}" >kill.log 2>&1 &
pid=$!
sleep 0.4
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
out=$(train mt metassl parts 2>&1)
ok "the same command goes on" $? "$out"
cmp whole/last.safetensors parts/last.safetensors && cmp whole/best.safetensors parts/best.safetensors
ok "to the same bytes as the uninterrupted run" $?
cmp <(grep -v patches_per_s whole/metrics.csv) <(grep -v patches_per_s parts/metrics.csv)
ok "and the same metrics" $?

expect "another lr is refused, with both values" 1 'lr is "0.02", was "0.01"' \
  "$QS" train --store st --method mt --loss metassl --out whole "${small[@]}" --lr 0.02
expect "--fresh starts over" 0 "whole.old-1" \
  "$QS" train --store st --method mt --loss metassl --out whole "${small[@]}" --iterations 2 --lr 0.02 --fresh
[ "$before" = "$(cksum whole.old-1/*.safetensors | sed 's/whole.old-1/whole/')" ]
ok "and keeps the old run" $?

for method in SL FullSup CPS; do
  train $method metassl "run-$method" --iterations 2 >out.log 2>&1
  ok "$method with MetaSSL" $? "$(cat out.log)"
done
$QS synth --out co2 --train 2 --val 0 --test 0 --labelled 1 --size 512 --seed 4 >/dev/null 2>&1 &&
  $QS tile --store st2 --cohort co2/cohort.csv --patch 64 --mpp 1 >/dev/null 2>&1
ok "a cohort without validation slides" $? "$(ls co2 st2 2>&1)"
expect "is trained on, with a warning" 0 "nothing is validated" "$QS" train --store st2 -m BCP --loss metassl --out unvalidated "${small[@]}"
[ -s unvalidated/last.safetensors ] && [ ! -e unvalidated/best.safetensors ]
ok "to a last model and no best one" $? "$(ls unvalidated)"
expect "no store" 2 "give the store" "$QS" train --out x
expect "no run folder" 2 "--out" "$QS" train --store st
expect "a method that does not exist" 2 "SL, FullSup, MT, FixMatch" "$QS" train --store st --out x --method nope
expect "an option of another method" 2 "method SL has no such option" "$QS" train --store st --out x -m SL --ema 0.5
expect "a number out of range" 2 "a number from" "$QS" train --store st --out x --momentum 2
expect "a store that is not there" 1 "nowhere" "$QS" train --store nowhere --out x
expect "the methods" 0 "cross pseudo" "$QS" train --list-methods
expect "the defaults in the help" 0 "lambda-max=N" "$QS" train --help
printf '[train]\nstore=st\nmethod=SL\nout=configured\niterations=2\nbatch-labelled=1\nbatch-unlabelled=1\nno-augment=true\n' >run.ini
expect "options from a file" 0 "done" "$QS" train --config run.ini --conv direct
grep -q '"no-augment" : "true"' configured/run.json
ok "and they count" $? "$(cat configured/run.json)"
mkdir unwritable && chmod a-w unwritable
if [ "$(id -u)" = 0 ]; then
  skip "a place that cannot be written" "root writes anywhere"
else
  expect "a place that cannot be written" 1 "unwritable" "$QS" train --store st --out unwritable/run "${small[@]}"
fi
done_testing
