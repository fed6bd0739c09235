#!/usr/bin/env bash
# quadslide report RUN…: the page of training runs has the curves, region sizes, region accuracy and
# quadripartition maps of the runs that were given, with the numbers that their logs hold; a run that is
# missing or broken is an error that names it, and the page that was there stays.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

{ $QS synth --quiet --out co --train 3 --val 1 --test 0 --labelled 1 --size 512 --seed 3 &&
  $QS tile --quiet --store st --cohort co/cohort.csv --patch 64 --mpp 1; } >log 2>&1
ok /report-runs/a-store $? "$(cat log)"
train() { # METHOD LOSS RUN
  $QS train --quiet --store st --method "$1" --loss "$2" --out "$3" --batch-labelled 2 --batch-unlabelled 2 \
    --iterations 8 --val-every 4 --save-every 4 --log-every 2 --conv direct --threads 1 --lr 0.05 --seed 7 >log 2>&1
  ok "/report-runs/$3-trains" $? "$(cat log)"
}
train SL plain base
train MT plain 'mt<plain>'
train MT metassl meta

expect /report-runs/page 0 "page.html: 3 runs" $QS report base 'mt<plain>' meta --out page.html
count() { grep -o -- "$1" page.html | wc -l; }
is() { # NAME WANTED GOT
  ok "$1" "$([ -n "$2" ] && [ "$2" = "$3" ]; echo $?)" "wanted $2, is $3"
}
best=$(awk -F, 'BEGIN { b = -1 } $2 == "val_dsc" && $3 > b { b = $3 } END { printf "%.3f", b }' meta/metrics.csv)
at=$(awk -F, 'BEGIN { b = -1 } $2 == "val_dsc" && $3 > b { b = $3; i = $1 } END { print i }' meta/metrics.csv)
is /report-runs/row-of-a-run 1 "$(count "meta</td><td>MT</td><td>metassl</td><td>7</td><td>8</td><td>done</td><td>$best</td><td>$at</td>")"
is /report-runs/rows 3 "$(count '<tr><td><span class="chip"')"
is /report-runs/names-are-escaped "1 0" "$(count 'mt&lt;plain&gt;</td>') $(count 'mt<plain>')"
is /report-runs/a-section-of-each-method "1 1" "$(count '<h2>SL</h2>') $(count '<h2>MT</h2>')"

# Curves: a chart of each in every method's section, a mark for each validation, a faint line a run.
is /report-runs/loss-charts 2 "$(count '<h3>Loss</h3>')"
is /report-runs/dsc-charts 2 "$(count '<h3>Validation DSC</h3>')"
is /report-runs/a-mark-a-validation "$(cat base/metrics.csv mt*/metrics.csv meta/metrics.csv | grep -c ',val_dsc,')" "$(count '<circle ')"
is /report-runs/a-faint-line-a-run 3 "$(count 'class="raw"')"

# Regions: of the run that has them, and of no other; four shares that fill the chart.
is /report-runs/region-sizes "1 1" "$(count '<h3>Quadripartition, ') $(count '<h3>Quadripartition, meta</h3>')"
is /report-runs/region-accuracy "1 1" "$(count '<h3>Right in each region, ') $(count '<h3>Right in each region, meta</h3>')"
logged=$(cut -d, -f2 meta/metrics.csv | grep '^accuracy_' | sort -u | wc -l)
lines=$(sed -n '/Right in each region/,/<\/figure>/p' page.html | grep -o 'class="line" style="stroke:var(--[a-z]*)' | sort -u | wc -l)
is /report-runs/a-line-a-region "$logged" "$lines"
bands=$(sed -n '/<h3>Quadripartition, /,/<\/figure>/p' page.html | grep -o '<polygon fill="var(--[a-z]*)" points="[^"]*"')
is /report-runs/four-bands "uc us dc ds" "$(grep -o -- '--[a-z]*' <<<"$bands" | tr -d '\n' | sed 's/^--//; s/--/ /g')"
top=$(sed -n 4p <<<"$bands" | sed 's/.*points="//' | tr ' ' '\n' | grep , | head -n "$(grep -c ',share_uc,' meta/metrics.csv)" | cut -d, -f2 | sort -u)
bottom=$(sed -n 1p <<<"$bands" | sed 's/.*points="//; s/ *"$//' | tr ' ' '\n' | grep , | tail -n "$(grep -c ',share_uc,' meta/metrics.csv)" | cut -d, -f2 | sort -u)
is /report-runs/the-bands-fill-the-chart "10.0 220.0" "$(echo "$top" "$bottom")"

# Maps: the pictures that the runs left, byte for byte.
is /report-runs/a-map-a-validation "$(ls base/snapshots mt*/snapshots meta/snapshots | grep -c png)" "$(count '<img src="data:image/png;base64,')"
grep -A1 'data:image/png' page.html | grep -o 'base64,[A-Za-z0-9+/=]*" alt="A training batch of meta' | sed 's/base64,//; s/".*//' | tail -1 | base64 -d >last.png
cmp last.png meta/snapshots/00000008.png
ok /report-runs/the-map-is-the-runs $? "$(ls -l last.png meta/snapshots)"
is /report-runs/the-map-has-its-step 1 "$(count 'meta, iteration 8</figcaption>')"
is /report-runs/what-the-rows-are 2 "$(count 'Rows: patch; annotation')"
ok /report-runs/loads-nothing "$(grep -qE 'https?://|<script|<link|@import|url\(' page.html; [ $? = 1 ]; echo $?)"

# A store knows its runs; a folder of an experiment has them below runs/.
expect /report-runs/of-a-store 0 "3 runs" $QS report st --out store.html
mkdir -p exp/runs && cp -r meta base exp/runs
expect /report-runs/of-an-experiment 0 "2 runs" $QS report exp --out exp.html
expect /report-runs/one-run-once 0 "3 runs" $QS report base st --out once.html
sed '/^[0-9]*,val_dsc/d; /^[0-9]*,share_/d; /^[0-9]*,accuracy_/d' -i exp/runs/base/metrics.csv
printf '9,loss,0.' >>exp/runs/base/metrics.csv # being written
expect /report-runs/a-run-that-goes-on 0 "1 run," $QS report exp/runs/base --out exp.html
is /report-runs/what-is-not-logged-is-left-out "1 0 0" "$(grep -c '<h3>Loss' exp.html) $(grep -c '<h3>Validation DSC' exp.html) $(grep -c '<h3>Quadri' exp.html)"

# Missing and broken runs, by name; the page that was there stays.
before=$(cksum page.html)
expect /report-runs/missing 1 "nowhere: no training run is there" $QS report base nowhere --out page.html
mkdir hollow
expect /report-runs/no-run 1 "hollow: no training run is there" $QS report base hollow --out page.html
broken() { # NAME FILE PART: `meta` with that file spoilt by stdin
  rm -rf spoilt
  cp -r meta spoilt
  cat >"spoilt/$2"
  expect "/report-runs/broken-$1" 1 "spoilt/$2$3" $QS report base spoilt --out page.html
}
broken log-line metrics.csv ': line 6 is "what,is,this"' < <(
  head -5 meta/metrics.csv
  echo 'what,is,this'
  tail -3 meta/metrics.csv
)
broken log-binary metrics.csv ': line 1 is' < <(head -c 300 /dev/zero | tr '\0' '\1')
broken log-value metrics.csv ': line 4 is "2,loss,0.5x,nat"' < <(
  head -3 meta/metrics.csv
  printf '2,loss,0.5x,nat\n4,loss,1,nat\n'
)
broken info run.json ': ' < <(head -c 40 meta/run.json)
broken info-array run.json ': no JSON object' <<<'[1]'
broken scores test.json ': ' <<<'{"result":'
broken map snapshots/00000008.png ': no PNG picture' <<<'no picture'
is /report-runs/the-page-stays "$before" "$(cksum page.html)"
expect /report-runs/no-out 2 "--out" $QS report base
expect /report-runs/unwritable 2 "hollow" $QS report base --out hollow
done_testing
