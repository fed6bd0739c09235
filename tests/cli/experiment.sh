#!/usr/bin/env bash
# quadslide experiment, end to end on a cohort of seconds: the runs that follow from a file, their rows, the
# tables against a recomputation, kill -9 and resume, several at once, and every mistake of a file by name.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

$QS synth --quiet --out co --train 3 --val 1 --test 3 --labelled 2 --size 640 --seed 3 >log 2>&1
ok /experiment/a-cohort $? "$(cat log)"
base() { # OUT: a file whose later sections can be added to
  cat <<F
[experiment]
cohort=co/cohort.csv
out=$1
methods=SL/plain;MT
budgets=1
seeds=5;6
threads=2
[tile]
patch=64
mpp=1
[train]
iterations=12
batch-labelled=2
batch-unlabelled=2
val-every=6
save-every=2
log-every=2
conv=direct
lr=0.05
lambda-max=1
ema=0.9
[ablation phi]
methods=MT
seeds=5
gauss=
linear=phi=linear
F
}
base out >e.ini
sql() { sqlite3 "$1/store/index.db" "$2"; }
experiment_rows="SELECT count(*) FROM runs WHERE kind = 'experiment' AND state = 'done'"

expect /experiment/dry-run-lists 0 "7 runs, 0 done" $QS experiment e.ini --dry-run
ok /experiment/dry-run-makes-nothing "$([ ! -e out ]; echo $?)"
expect /experiment/all-runs 0 "7 of 7 runs done" $QS experiment e.ini --jobs 2 --threads 4
n=$(ls out/runs | wc -l)
ok /experiment/a-default-row-shares-its-run "$([ "$n" = 7 ]; echo $?)" "$(ls out/runs)"
ok /experiment/rows-in-the-store "$([ "$(sql out "$experiment_rows")" = 7 ]; echo $?)"
n=$(sql out "SELECT count(*) FROM metrics m JOIN runs r ON r.id = m.run_id WHERE r.kind = 'experiment' AND m.name = 'test_dsc'
  AND m.slide_id IN (SELECT id FROM slides WHERE split = 'test')")
ok /experiment/a-score-of-each-slide "$([ "$n" = 21 ]; echo $?)" "scores: $n"
n=$(sql out "SELECT count(DISTINCT json_extract(config, '\$.labelled_slides')) FROM runs WHERE kind = 'train' AND seed = 5")
ok /experiment/one-seed-one-set-of-labels "$([ "$n" = 1 ]; echo $?)" "$n sets"
n=$(sql out "SELECT max(n) FROM (SELECT count(*) n FROM runs WHERE kind = 'train' GROUP BY name)")
ok /experiment/each-is-trained-once "$([ "$n" = 1 ]; echo $?)" "$n times"

# The table against the scores: mean and deviation over slides of the mean over seeds.
want=$(sqlite3 :memory: ".mode csv" ".import out/scores.csv s" "
  WITH m AS (SELECT slide, avg(value) v FROM s WHERE method = 'MT' AND loss = 'metassl' AND variant = '' AND metric = 'test_dsc'
             GROUP BY slide),
       a AS (SELECT avg(v) mean, count(*) n FROM m)
  SELECT printf('%.6f %.6f', mean, sqrt((SELECT sum((v - mean) * (v - mean)) FROM m) / (n - 1))) FROM a")
got=$(sqlite3 :memory: ".mode csv" ".import out/tables.csv t" "
  SELECT printf('%.6f %.6f', mean, std) FROM t WHERE \"table\" = 'methods' AND row = 'MT + MetaSSL' AND metric = 'dsc'")
ok /experiment/table-is-recomputed "$([ -n "$want" ] && [ "$want" = "$got" ]; echo $?)" "wanted $want, is $got"
# … and the scores against eval itself.
$QS eval --quiet --cohort co/cohort.csv --pred out/runs/SL-plain-b1-s5/masks --out m.json >/dev/null 2>&1
want=$(sqlite3 :memory: "SELECT printf('%.6f', json_extract(readfile('m.json'), '\$.result.foreground.dsc_mean'))")
got=$(sqlite3 :memory: ".mode csv" ".import out/scores.csv s" "
  SELECT printf('%.6f', avg(value)) FROM s WHERE run = 'SL-plain-b1-s5' AND metric = 'test_dsc'")
ok /experiment/scores-are-those-of-eval "$([ -n "$want" ] && [ "$want" = "$got" ]; echo $?)" "wanted $want, is $got"

# Again: nothing is run. One option more: only what it changes. An old result stays.
before=$(cksum out/runs/*/last.safetensors)
expect /experiment/again 0 "7 of 7 runs done" $QS experiment e.ini
ok /experiment/again-trains-nothing "$([ "$(sql out "$experiment_rows")" = 7 ] && [ "$before" = "$(cksum out/runs/*/last.safetensors)" ]; echo $?)"
expect /experiment/dry-run-knows 0 "7 runs, 7 done" $QS experiment e.ini --dry-run
expect /experiment/one-more-seed-is-one-more-run 0 "10 runs, 7 done" $QS experiment e.ini --dry-run --set 'experiment.seeds=5;6;7'
cp out/scores.csv all-scores.csv
expect /experiment/other-options-are-other-runs 0 "7 runs, 0 done" $QS experiment e.ini --dry-run --set train.lr=0.06
expect /experiment/other-scores-train-nothing 0 "7 of 7 runs done" $QS experiment e.ini --set predict.stride=64
ok /experiment/other-scores-are-rows "$([ "$(sql out "$experiment_rows")" = 14 ] && [ "$before" = "$(cksum out/runs/*/last.safetensors)" ]; echo $?)"
expect /experiment/a-folder-of-other-options-is-left 0 "3 of 3 runs done" $QS experiment e.ini --set train.iterations=4 --set train.val-every=4 \
  --set experiment.methods=SL/plain --set experiment.seeds=5
ok /experiment/it-is-left "$([ -d "out/runs/SL-plain-b1-s5~2" ] && cksum out/runs/SL-plain-b1-s5/last.safetensors | diff - <(grep 'SL-plain-b1-s5/' <<<"$before"); echo $?)"

# Killed at any moment, started again: the same models, each trained to its end once.
base killed >k.ini
for wait in 0.6 1.2 2.1 3.3; do
  $QS experiment k.ini --set experiment.threads=2 >kill.log 2>&1 &
  pid=$!
  sleep $wait
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  done_then=$(sql killed "$experiment_rows" 2>/dev/null || echo 0)
done
ok /experiment/was-killed-on-the-way "$([ "${done_then:-0}" -lt 7 ]; echo $?)" "$done_then done before the last start"
$QS experiment k.ini --jobs 1 >kill.log 2>&1
ok /experiment/goes-on $? "$(tail -5 kill.log)"
ok /experiment/every-run-has-one-row "$([ "$(sql killed "$experiment_rows")" = 7 ]; echo $?)" "$(sql killed "$experiment_rows")"
same=0
for run in killed/runs/*/; do
  cmp -s "$run/last.safetensors" "out/runs/$(basename "$run")/last.safetensors" || same=1
done
ok /experiment/to-the-same-bits $same "$(cksum killed/runs/*/last.safetensors out/runs/*/last.safetensors)"
cmp <(grep -v train_s killed/scores.csv) <(grep -v train_s all-scores.csv)
ok /experiment/and-the-same-scores $?

# A stop: the child is told, the status is 1, the same command goes on.
base stopped >s.ini
$QS experiment s.ini >stop.log 2>&1 &
pid=$!
for _ in $(seq 100); do
  [ -s stopped/runs/SL-plain-b1-s5/state.safetensors ] && break
  sleep 0.1
done
kill -TERM $pid
wait $pid
rc=$?
ok /experiment/stops "$([ $rc = 1 ] && grep -q "same command goes on" stop.log; echo $?)" "status $rc: $(tail -3 stop.log)"

# A run that fails does not end the others.
base failing >f.ini
printf 'wild=lr=1000\n' >>f.ini
expect /experiment/one-fails 3 "failed: MT-metassl-b1-s5-phi.wild" $QS experiment f.ini --jobs 2 --set experiment.methods=SL/plain --set experiment.seeds=5

# A store without a cohort; a cohort elsewhere by the command line.
sed '/^cohort=/d; s/^out=.*/out=fromstore/; s/^\[tile\]/store=out\/store\n[tile]/' e.ini >store.ini
expect /experiment/a-store-alone 0 "7 of 7 runs done" $QS experiment store.ini

# Mistakes, by file, section, key and value.
bad() { # NAME PART SED-SCRIPT
  sed "$3" e.ini >bad.ini
  expect "/experiment/bad-$1" 2 "$2" $QS experiment bad.ini --dry-run
}
bad method 'bad.ini: [experiment] methods=MTT: there is no method "MTT"' 's/^methods=SL.*/methods=MTT/'
bad loss 'bad.ini: [experiment] losses=hard: plain or metassl' 's/^budgets=1/budgets=1\nlosses=hard/'
bad arm 'bad.ini: [experiment] losses=x' 's/^methods=SL.*/methods=SL\/x/'
bad budget 'bad.ini: [experiment] budgets=some' 's/^budgets=.*/budgets=some/'
bad seed 'bad.ini: [experiment] seeds=-4' 's/^seeds=5;6/seeds=-4/'
bad key 'bad.ini: [experiment] method: there is no such key' 's/^methods=SL.*/method=SL/'
bad section 'bad.ini: [trian]: there is no such section' 's/^\[train\]/[trian]/'
bad option 'bad.ini: [train] learning-rate: there is no such option' 's/^lr=/learning-rate=/'
bad value 'bad.ini: [train] lr=fast: ' 's/^lr=.*/lr=fast/'
bad own 'bad.ini: [train] seed: the experiment sets' 's/^lr=.*/seed=4/'
bad tile 'bad.ini: [tile] pach: there is no such option' 's/^patch=/pach=/'
bad tile-value 'bad.ini: [tile] patch=big' 's/^patch=.*/patch=big/'
bad predict 'bad.ini: [predict] out: the experiment sets this itself' 's/^\[tile\]/[predict]\nout=x\n[tile]/'
bad model 'bad.ini: [experiment] model=worst: best or last' 's/^budgets/model=worst\nbudgets/'
bad split 'bad.ini: [experiment] test=dev' 's/^budgets/test=dev\nbudgets/'
bad jobs 'bad.ini: [experiment] jobs=0' 's/^budgets/jobs=0\nbudgets/'
bad variant 'bad.ini: [ablation phi] linear: there is no such option' 's/^linear=.*/linear=phy=linear/'
bad variant-value 'bad.ini: [ablation phi] phi.linear=phi=bent: ' 's/^linear=.*/linear=phi=bent/'
bad variant-method 'bad.ini: [ablation phi] phi.linear=ema=0.5: ' 's/^linear=.*/linear=ema=0.5/; s/^methods=MT$/methods=SL/'
bad ablation-method 'bad.ini: [ablation phi] methods: name the methods' '/^methods=MT$/d'
bad no-out 'bad.ini: [experiment] out: ' '/^out=/d'
bad no-data 'bad.ini: [experiment] cohort: ' '/^cohort=/d'
bad too-many-labels 'bad.ini: [experiment] budgets=3: --labelled-cases 3: only 2 training cases are marked labelled' 's/^budgets=.*/budgets=3/'
printf 'not a key file\n' >bad.ini
expect /experiment/bad-file 1 'bad.ini: ' $QS experiment bad.ini
expect /experiment/no-file 1 'gone.ini: ' $QS experiment gone.ini
expect /experiment/no-argument 2 "give one key file" $QS experiment
expect /experiment/bad-set 2 "SECTION.KEY=VALUE" $QS experiment e.ini --set lr=4
expect /experiment/masked-pool-has-more 0 "0 done" $QS experiment e.ini --dry-run --set experiment.budgets=3 --set experiment.label-pool=masked
done_testing
