#!/usr/bin/env bash
# kill -9 at random moments of tile and train: nothing committed is lost, nothing is duplicated,
# `check` is clean, and what comes out in the end equals an uninterrupted run.
#   kill.sh [TILE_KILLS [TRAIN_KILLS]]
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
tile_kills=${1:-12}
train_kills=${2:-6}
RANDOM=20261123

# What a store holds, without what may differ between runs (row ids, offsets, times).
content() {
  sqlite3 "$1/index.db" "SELECT s.name, p.cell, p.x_l0, p.y_l0, p.kept, p.reason, p.n_bytes, p.checksum, p.label_checksum
    FROM patches p JOIN slides s ON s.id = p.slide_id ORDER BY s.name, p.cell"
}
$QS synth --out cohort --train 2 --labelled 1 --val 1 --test 1 --width 1536 --height 1280 --seed 5 --quiet >log 2>&1
ok /kill/synth $? "$(cat log)"
# tile_killed NAME KILLS OPTION…: kills tile at random moments, into the store `cut`; `whole` is never interrupted.
tile_killed() {
  local name=$1 kills=$2 killed=0 lost="" before=0 i pid out now start ms d
  local -a tile=(tile --cohort cohort/cohort.csv --level0 --tissue-min 0 --quiet "${@:3}")
  rm -rf whole cut timing
  $QS "${tile[@]}" --store whole >log 2>&1
  ok /kill/$name-uninterrupted $? "$(cat log)"
  start=$(date +%s%N)
  $QS "${tile[@]}" --store timing >/dev/null 2>&1
  ms=$((($(date +%s%N) - start) / 1000000))
  for ((i = 0; killed < kills && i < 10 * kills; i++)); do
    $QS "${tile[@]}" --store cut >/dev/null 2>&1 &
    pid=$!
    sleep "$(printf '%d.%03d' $((d = (RANDOM * 32768 + RANDOM) % (ms + 1), d / 1000)) $((d % 1000)))"
    if ! kill -9 $pid 2>/dev/null; then # it was done: begin another
      wait $pid
      content cut >b
      content whole | cmp -s - b || lost+="store finished at round $i differs"$'\n'
      rm -rf cut
      before=0
      continue
    fi
    wait $pid 2>/dev/null
    killed=$((killed + 1))
    [ -e cut/index.db ] || continue
    # Killed while the store was being made there is none yet, and check says so; that is no loss before the first patch.
    out=$($QS check cut 2>&1) || { [ "$before" = 0 ] && [[ $out == *"creation was interrupted"* ]]; } ||
      lost+="after kill $killed check says: $out"$'\n'
    now=$(sqlite3 cut/index.db 'SELECT count(*) FROM patches' 2>/dev/null || echo 0)
    [ "$now" -ge "$before" ] || lost+="after kill $killed: $now patches, $before were there"$'\n'
    before=$now
  done
  ok "/kill/$name-killed-$killed-times-check-clean" "$([ -z "$lost" ] && [ $killed = "$kills" ]; echo $?)" "$lost"
  $QS "${tile[@]}" --store cut >log 2>&1
  ok /kill/$name-resumed $? "$(cat log)"
  content whole >a
  content cut >b
  ok /kill/$name-same-patches "$([ -s a ] && cmp -s a b; echo $?)" "$(diff a b | head)"
  out=$($QS check cut 2>&1)
  ok /kill/$name-check $? "$out"
}
# A slide's own tiles as they are: another way through reader, codec and store.
tile_killed tile-copy $((tile_kills / 2)) --patch 256 --stride 256 --codec copy
copies=$(sqlite3 whole/index.db 'SELECT count(*) FROM patches WHERE format = 4')
ok /kill/tile-copy-copied "$([ "$copies" -gt 20 ]; echo $?)" "$copies patches are tiles of the slide"
tile_killed tile "$tile_kills" --patch 64 --stride 64

train=(train --method MT --loss metassl --iterations 30 --batch-labelled 2 --batch-unlabelled 2
  --save-every 3 --val-every 15 --log-every 5 --threads 1 --conv direct --quiet --store)
$QS "${train[@]}" whole --out run-whole >log 2>&1
ok /kill/train-uninterrupted $? "$(cat log)"
start=$(date +%s%N)
$QS "${train[@]}" timing --out run-timing >/dev/null 2>&1
train_ms=$((($(date +%s%N) - start) / 1000000))
killed=0
for ((i = 0; i < train_kills; i++)); do
  $QS "${train[@]}" cut --out run-cut >/dev/null 2>&1 &
  pid=$!
  sleep "$(printf '%d.%03d' $((d = (RANDOM * 32768 + RANDOM) % (train_ms * 2 / 3 + 1), d / 1000)) $((d % 1000)))"
  kill -9 $pid 2>/dev/null && killed=$((killed + 1))
  wait $pid 2>/dev/null
done
$QS "${train[@]}" cut --out run-cut >log 2>&1
ok /kill/train-resumed $? "$(cat log)"
same=0
for f in last.safetensors best.safetensors; do cmp -s run-whole/$f run-cut/$f || same=1; done
ok "/kill/train-killed-$killed-of-$train_kills-same-weights" $same "weights differ from the uninterrupted run's"
cut -d, -f1-8 run-whole/metrics.csv >a
cut -d, -f1-8 run-cut/metrics.csv >b
ok /kill/train-log-not-duplicated "$([ "$(wc -l <a)" -gt 1 ] && [ "$(wc -l <a)" = "$(wc -l <b)" ]; echo $?)" "$(diff a b)"
done_testing
