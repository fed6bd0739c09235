#!/usr/bin/env bash
# scripts/gpu-experiments on this machine with tiny shapes: packed, trained in two pieces on the CPU away from the slides,
# merged, predicted and scored here.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive
script=$QS_SOURCE_DIR/scripts/gpu-experiments
$QS synth --quiet --out co --train 3 --val 0 --test 2 --labelled 1 --size 640 --seed 3 >log 2>&1
ok /gpu-experiments/a-cohort $? "$(cat log)"
cat >tiny.ini <<F
[experiment]
cohort=co/cohort.csv
out=out
methods=SL/plain;MT
budgets=1
seeds=5
model=last
[tile]
patch=32
mpp=4
[train]
width=8
iterations=6
batch-labelled=2
batch-unlabelled=2
save-every=2
val-every=0
conv=direct
F
export LIBS=no
expect /gpu-experiments/pack 0 "tiny: 3 trainings" env QS="$QS" "$script" pack p.tar.xz tiny.ini
mkdir away && tar -C away -xf p.tar.xz && mv co co-away
expect /gpu-experiments/no-time-is-a-piece 3 "3 left, 0 failed" env DEVICE=cpu away/gpu-experiments/gpu-experiments run 0
# The first piece ends with one run trained and one at a checkpoint: done by hand, so that no clock decides.
head -1 away/gpu-experiments/beds/tiny/commands >first
cp away/gpu-experiments/beds/tiny/commands all
cp first away/gpu-experiments/beds/tiny/commands
expect /gpu-experiments/a-piece 0 "0 left, 0 failed" env DEVICE=cpu away/gpu-experiments/gpu-experiments run 5
mkdir fresh && tar -C fresh -xf p.tar.xz && tar -C fresh/gpu-experiments -xf away/gpu-experiments/results.tar.xz
before=$(cksum fresh/gpu-experiments/beds/tiny/runs/*/last.safetensors)
expect /gpu-experiments/a-fresh-machine-goes-on 0 "0 left, 0 failed" env DEVICE=cpu fresh/gpu-experiments/gpu-experiments run 5
grep -qF "$before" <<<"$(cksum fresh/gpu-experiments/beds/tiny/runs/*/last.safetensors)"
ok /gpu-experiments/what-was-trained-stays $? "$before"
n=$(find fresh/gpu-experiments/beds/tiny/runs -name last.safetensors | wc -l)
ok /gpu-experiments/all-are-trained "$([ "$n" = 3 ]; echo $?)" "$n"
mv co-away co
expect /gpu-experiments/merge 0 "MT + MetaSSL" env QS="$QS" "$script" merge fresh/gpu-experiments/results.tar.xz tiny.ini
n=$(sqlite3 out/store/index.db "SELECT count(*) FROM runs WHERE kind = 'experiment' AND state = 'done'")
ok /gpu-experiments/all-are-scored "$([ "$n" = 3 ]; echo $?)" "$n"
ok /gpu-experiments/nothing-was-trained-here "$([ ! -e out/runs/MT-plain-b1-s5/log.txt ] || ! grep -q 'training patches' out/runs/*/log.txt; echo $?)"
mkdir elsewhere && cp tiny.ini elsewhere/
expect /gpu-experiments/other-results-are-refused 1 "merge where pack was run" env QS="$QS" "$script" merge \
  fresh/gpu-experiments/results.tar.xz elsewhere/tiny.ini
done_testing
