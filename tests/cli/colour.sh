#!/usr/bin/env bash
# Colour rules from tile through train to predict: what the store, the slide's row, the model and the mask's note say.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

equal() { # NAME GOT WANTED
  ok "$1" "$([ "$2" = "$3" ]; echo $?)" "got $2, wanted $3"
}
of() { # STORE SQL
  sqlite3 "$1/index.db" "$2"
}

pixels() { # STORE: which pixels it holds
  of "$1" "SELECT checksum FROM patches JOIN slides ON slides.id = slide_id ORDER BY path, cell" | md5sum
}

$QS synth --quiet --out c --train 2 --labelled 1 --val 1 --test 1 --width 1024 --height 768 --seed 6 --noise 1 >log 2>&1
ok /colour/slides $? "$(cat log)"
tile=(tile --quiet --mpp 1 --patch 64 --cohort c/cohort.csv)
train=(train --method SL --batch-labelled 2 --iterations 2 --val-every 0 --threads 1)
macenko="macenko 0.5626,0.7201,0.4062,0.2159,0.8012,0.5581,1.9705,1.0308"

# --- at tile time
expect /colour/plain 0 "" $QS "${tile[@]}" --store plain
expect /colour/macenko 0 "" $QS "${tile[@]}" --store m --stain-norm macenko
equal /colour/reference-in-the-store "$(of m "SELECT colour FROM store")" "$macenko"
equal /colour/numbers-of-each-slide "$(of m "SELECT count(DISTINCT colour) FROM slides WHERE colour LIKE 'macenko 0.%'")" 4
ok /colour/pixels-changed "$([ "$(pixels m)" != "$(pixels plain)" ]; echo $?)"
equal /colour/the-same-cells "$(of m "SELECT sum(kept * cell) FROM patches")" "$(of plain "SELECT sum(kept * cell) FROM patches")"
expect /colour/again 0 "" $QS "${tile[@]}" --store m --stain-norm macenko
expect /colour/another-is-refused 1 "colour rules" $QS "${tile[@]}" --store m --stain-norm reinhard
expect /colour/none-is-refused 1 "colour rules" $QS "${tile[@]}" --store m
expect /colour/threads 0 "" $QS "${tile[@]}" --store m1 --stain-norm macenko --threads 1
equal /colour/threads-change-nothing "$(pixels m1)" "$(pixels m)"
expect /colour/reinhard 0 "" $QS "${tile[@]}" --store r --stain-norm reinhard
equal /colour/reinhard-in-the-rows "$(of r "SELECT count(*) FROM slides WHERE colour LIKE 'reinhard %'")" 4
slide=$(ls c/slides/*.tif | head -1)
expect /colour/reference-is-a-slide 0 "" $QS "${tile[@]}" --store f --stain-norm "macenko:$slide"
equal /colour/its-own-reference "$(of f "SELECT slides.colour = store.colour FROM slides, store ORDER BY slides.id LIMIT 1")" 1
expect /colour/reference-is-numbers 0 "" $QS "${tile[@]}" --store n --stain-norm "reinhard:8.5,-0.1,0.05,0.5,0.1,0.03"
equal /colour/numbers-in-the-store "$(of n "SELECT colour FROM store")" "reinhard 8.5,-0.1,0.05,0.5,0.1,0.03"
expect /colour/icc-without-a-profile 0 "no ICC profile" $QS "${tile[@]}" --store i --icc
equal /colour/icc-in-the-notes "$(of i "SELECT count(*) FROM slides WHERE notes LIKE '%no ICC profile%'")" 4
equal /colour/icc-nothing-changed "$(pixels i)" "$(pixels plain)"
expect /colour/unknown 2 "macenko, reinhard or none" $QS "${tile[@]}" --store x --stain-norm vahadane
expect /colour/few-numbers 2 "macenko 1,2" $QS "${tile[@]}" --store x --stain-norm macenko:1,2
expect /colour/no-reference 1 "gone.png" $QS "${tile[@]}" --store x --stain-norm macenko:gone.png
expect /colour/copy 2 "codec copy" $QS "${tile[@]}" --store x --codec copy --stain-norm macenko

# --- into the model, and from it into predict
expect /colour/train 0 "" $QS "${train[@]}" --store m --out t1
expect /colour/predict 0 "" $QS predict --quiet --model t1/last.safetensors --cohort c/cohort.csv --out p1
test=$(of m "SELECT colour FROM slides WHERE split = 'test'")
ok /colour/predict-has-the-numbers-of-tile "$(grep -qF "\"$test\"" p1/*.json; echo $?)" "$test
$(cat p1/*.json)"
expect /colour/train-plain 0 "" $QS "${train[@]}" --store plain --out t2
expect /colour/predict-plain 0 "" $QS predict --quiet --model t2/last.safetensors --cohort c/cohort.csv --out p2
ok /colour/predict-plain-changes-nothing "$(grep -q '"colour" : ""' p2/*.json; echo $?)" "$(cat p2/*.json)"

# --- at training time: measured once, kept in the row, part of the run
expect /colour/train-norm 0 "" $QS "${train[@]}" --store plain --out t3 --stain-norm macenko
equal /colour/stains-in-the-rows "$(of plain "SELECT count(*) FROM slides WHERE stains LIKE 'macenko %'")" 2
equal /colour/stains-are-those-of-tile "$(of plain "ATTACH 'm/index.db' AS m; SELECT count(*) FROM slides JOIN m.slides AS o USING (path) WHERE slides.stains = o.colour")" 2
before=$(of plain "SELECT group_concat(stains) FROM slides")
expect /colour/train-norm-again 0 "" $QS "${train[@]}" --store plain --out t4 --stain-norm reinhard
equal /colour/both-kept "$(of plain "SELECT count(*) FROM slides WHERE stains LIKE 'macenko %; reinhard %'")" 2
expect /colour/train-norm-third 0 "" $QS "${train[@]}" --store plain --out t5 --stain-norm macenko
ok /colour/measured-once "$(of plain "SELECT group_concat(stains) FROM slides" | grep -qF "${before%%,*}"; echo $?)"
expect /colour/predict-of-train-norm 0 "" $QS predict --quiet --model t3/last.safetensors --cohort c/cohort.csv --out p3
ok /colour/predict-of-train-norm-numbers "$(grep -qF "\"$test\"" p3/*.json; echo $?)" "$(cat p3/*.json)"
expect /colour/twice 2 "normalised already" $QS "${train[@]}" --store m --out t6 --stain-norm macenko
expect /colour/resume-with-another 1 "stain-norm is" $QS "${train[@]}" --store plain --out t3 --stain-norm reinhard
# pixels normalised at either time are the same: so are their mean and deviation
ok /colour/same-normalisation "$(cmp -s <(grep -A5 -m1 '"mean"' t1/run.json) <(grep -A5 -m1 '"mean"' t3/run.json); echo $?)" \
  "$(grep -A5 -m1 '"mean"' t1/run.json t3/run.json)"
ok /colour/other-without "$(cmp -s <(grep -A5 -m1 '"mean"' t1/run.json) <(grep -A5 -m1 '"mean"' t2/run.json); [ $? = 1 ]; echo $?)"
done_testing
