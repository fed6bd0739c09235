#!/usr/bin/env bash
# The dry run, the ledger and the report of a run: what `plan` says is what `tile` then does, what fails is said
# before, leaks between commands are refused, and where the time went is in the store.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
holds() { # NAME JQ-LIKE SQL over j, the file plan.json
  local value
  value=$(sqlite3 :memory: "WITH m AS (SELECT readfile('$2') AS j) SELECT $3 FROM m" 2>&1)
  ok "$1" "$([ "$value" = 1 ]; echo $?)" "$3 gives $value"
}

$QS synth --out c --train 2 --labelled 1 --val 1 --test 1 --width 1400 --height 1100 --seed 8 --quiet >log 2>&1
ok /plan/synth $? "$(cat log)"
common=(--level0 --patch 128 --cohort c/cohort.csv --threads 2)

# --- a plan writes nothing and counts what tile makes
expect /plan/dry 0 "0 of 4 would fail" $QS plan "${common[@]}" --store s --no-tissue
ok /plan/writes-nothing "$([ ! -e s ]; echo $?)"
$QS plan "${common[@]}" --no-tissue --json >plan.json 2>log
$QS tile "${common[@]}" --no-tissue --store s >tile.log 2>&1
ok /plan/tile $? "$(cat tile.log)"
n=$(sqlite3 s/index.db 'SELECT count(*) FROM patches')
holds /plan/patches plan.json "j->>'patches' = $n"
memory=$(sed -n 's/.*at most \(.*\) of memory.*/\1/p' tile.log)
expect /plan/memory-is-what-tile-states 0 "at most $memory on 2 threads" $QS plan "${common[@]}" --no-tissue
expect /plan/rate-given 0 "7 MP/s (given by --rate)" $QS plan "${common[@]}" --rate 7
expect /plan/rate-stated 0 "stated: 20 MP/s a thread" $QS plan "${common[@]}"
expect /plan/bytes-measured 0 "measured in the store" $QS plan "${common[@]}" --no-tissue --store s
bytes=$(sqlite3 s/index.db 'SELECT sum(n_bytes + label_n_bytes) FROM patches')
$QS plan "${common[@]}" --no-tissue --store s --json >plan2.json 2>log
holds /plan/bytes-are-the-stores plan2.json "abs((j->>'bytes') - $bytes) < 10"

# --- what would fail, and why, with tile's exit status
: >empty.svs
slide=$(ls c/slides/*.tif | head -1)
head -c 3000 "$slide" >cut.tif
vips black small.tif 333 111
head=slide,mask,case,split,labelled,mpp
printf '%s\n%s,,a,train,0,\ncut.tif,,b,train,0,\nempty.svs,,c,train,0,\n%s,small.tif,d,test,1,\n' $head "$slide" "$(ls c/slides/*.tif | tail -1)" >bad.csv
expect /plan/fails-cut 3 "cut.tif: truncated" $QS plan --level0 --cohort bad.csv
expect /plan/fails-empty 3 "empty.svs: is empty" $QS plan --level0 --cohort bad.csv
expect /plan/fails-mask 3 "333 x 111" $QS plan --level0 --cohort bad.csv
$QS plan --level0 --cohort bad.csv --json >bad.json 2>log
holds /plan/fails-json bad.json "j->>'slides_that_fail' = 3 AND j->>'slides[1].fails' LIKE '%truncated%'"
expect /plan/all-fail 1 "2 of 2 would fail" $QS plan --level0 cut.tif empty.svs
expect /plan/mpp-unknown 1 "--mpp-override" $QS plan --mpp 0.5 small.tif
expect /plan/usage 2 "--rate" $QS plan --level0 --rate -1 "$slide"

# --- leaks between commands
cp "$slide" copy.tif
expect /guard/content 1 "has the same content as" $QS tile --level0 --patch 128 --no-tissue --quiet --store s --split test copy.tif
expect /guard/content-names-the-other 1 "$(basename "$slide")" $QS tile --level0 --patch 128 --no-tissue --quiet --store s --split val copy.tif
printf '%s\nother.tif,,case_04,train,0,\n' $head >case.csv
cp "$(ls c/slides/*.tif | tail -1)" other.tif
expect /guard/case 1 "case 'case_04' would be in train" $QS tile --level0 --patch 128 --no-tissue --quiet --store s --cohort case.csv
expect /guard/case-in-plan 1 "case 'case_04'" $QS plan --level0 --patch 128 --no-tissue --store s --cohort case.csv
# a whole cohort may move: what is named gets its new split
sed 's/,val,/,test,/' c/cohort.csv >c/moved.csv
expect /guard/a-cohort-may-move 0 "4 were already" $QS tile --level0 --patch 128 --no-tissue --store s --cohort c/moved.csv
expect /guard/check 0 "" $QS check s

# --- where the time went
expect /times/status 0 "MP/s on 2 threads; of the threads' time" $QS status s
$QS status s --json >status.json 2>log
holds /times/json status.json "j->>'runs[0].times.megapixels' > 1 AND j->>'runs[0].times.decode_s' > 0 AND j->>'runs[0].times.write_s' > 0 AND j->>'runs[0].times.wall_s' > 0"
sum=$(sqlite3 s/index.db "SELECT sum(value) < 3 * (SELECT value FROM metrics WHERE run_id = 1 AND name = 'tile.wall') FROM metrics WHERE run_id = 1 AND unit = 'thread s'")
ok /times/no-more-than-the-threads-had "$([ "$sum" = 1 ]; echo $?)" "$sum"
done_testing
