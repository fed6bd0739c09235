#!/usr/bin/env bash
# Annotation files as masks: all three formats into a store's labels and class counts, label maps, order, odd
# outlines, resume, threads, and as the truth of eval.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"
export OMP_WAIT_POLICY=passive

equal() { # NAME GOT WANTED
  ok "$1" "$([ "$2" = "$3" ]; echo $?)" "got $2, wanted $3"
}
count() { # STORE CLASS: pixels of a class in the whole store
  sqlite3 "$1/index.db" "SELECT sum(px$2) FROM patches"
}
digest() { # STORE: everything that a patch's row says, and the bytes behind it
  sqlite3 "$1/index.db" "SELECT cell, x_l0, y_l0, kept, reason, tissue, blur, has_label, ignore_px, px0, px1, px2, px3,
    checksum, label_checksum FROM patches ORDER BY id" | md5sum
}

# 1536 x 1152 at 0.5 µm: at 1 µm 12 x 9 patches of 64, none over another, so sums of counts are areas.
$QS synth --quiet --out c --train 1 --labelled 1 --val 1 --test 0 --width 1536 --height 1152 --seed 7 --noise 1 >log 2>&1
ok /annotations/a-slide $? "$(cat log)"
slide=$(ls c/slides/*.tif | head -1)
tile=(tile --quiet --mpp 1 --patch 64 --no-tissue --classes "background,tumour:#c80000,stroma:#00c800")
map=(--label-map "Tumor=tumour,Stroma=stroma")

# Tumour 400 x 300, stroma 200 x 200 over its lower right quarter: 50 x 100 of them overlap at level 0.
cat >a.xml <<'X'
<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="A0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
<Coordinate Order="0" X="100" Y="100"/><Coordinate Order="1" X="500" Y="100"/>
<Coordinate Order="2" X="500" Y="400"/><Coordinate Order="3" X="100" Y="400"/></Coordinates></Annotation>
<Annotation Name="A1" Type="Polygon" PartOfGroup="Stroma" Color="#64FE2E"><Coordinates>
<Coordinate Order="0" X="450" Y="300"/><Coordinate Order="1" X="650" Y="300"/>
<Coordinate Order="2" X="650" Y="500"/><Coordinate Order="3" X="450" Y="500"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#ff0000"><Attributes/></Group>
<Group Name="Stroma" PartOfGroup="None" Color="#00ff00"><Attributes/></Group></AnnotationGroups></ASAP_Annotations>
X
expect /annotations/asap 0 "" $QS "${tile[@]}" --store s1 --mask a.xml "${map[@]}" "$slide"
equal /annotations/asap-stroma-on-top "$(count s1 2)" $((200 * 200 / 4))
equal /annotations/asap-tumour-below "$(count s1 1)" $(((400 * 300 - 50 * 100) / 4))
equal /annotations/asap-the-rest "$(count s1 0)" $((768 * 576 - (200 * 200 + 400 * 300 - 50 * 100) / 4))
expect /annotations/order-of-the-map 0 "" $QS "${tile[@]}" --store s2 --mask a.xml --label-order map \
  --label-map "Stroma=stroma,Tumor=tumour" "$slide"
equal /annotations/map-order-tumour-on-top "$(count s2 1)" $((400 * 300 / 4))
equal /annotations/map-order-stroma-below "$(count s2 2)" $(((200 * 200 - 50 * 100) / 4))

# Aperio: a layer with a hole, open, drawn half a pixel of the view off, and one that is wholly outside.
cat >b.xml <<'X'
<Annotations MicronsPerPixel="0.5"><Annotation Id="1" Name="Tumor" LineColor="255"><Regions>
<Region Id="1" Type="0" NegativeROA="0"><Vertices><Vertex X="201" Y="200"/><Vertex X="601" Y="200"/>
<Vertex X="601" Y="500"/><Vertex X="201" Y="500"/></Vertices></Region>
<Region Id="2" Type="1" NegativeROA="1"><Vertices><Vertex X="300" Y="300"/><Vertex X="400" Y="300"/>
<Vertex X="400" Y="400"/><Vertex X="300" Y="400"/></Vertices></Region>
<Region Id="3" Type="0" NegativeROA="0"><Vertices><Vertex X="5000" Y="5000"/><Vertex X="5100" Y="5000"/>
<Vertex X="5100" Y="5100"/></Vertices></Region></Regions></Annotation></Annotations>
X
expect /annotations/aperio 0 "lie wholly outside the slide" $QS "${tile[@]}" --store s3 --mask b.xml "${map[@]}" "$slide"
equal /annotations/aperio-hole "$(count s3 1)" $(((400 * 300 - 100 * 100) / 4))
equal /annotations/notes-in-the-row "$(sqlite3 s3/index.db "SELECT notes LIKE '%1 shapes wholly outside%' FROM slides")" 1

# GeoJSON: a hole, a bow tie (even-odd: two triangles), one cut off at the border.
cat >c.geojson <<'X'
{"type":"FeatureCollection","features":[
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[400,0],[400,400],[0,400],[0,0]],[[100,100],[200,100],[200,200],[100,200],[100,100]]]},
 "properties":{"classification":{"name":"Tumor","color":[200,0,0]}}},
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[600,200],[800,400],[800,200],[600,400],[600,200]]]},"properties":{"classification":{"name":"Stroma"}}},
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1436,1052],[1636,1052],[1636,1252],[1436,1252],[1436,1052]]]},"properties":{"classification":{"name":"Tumor"}}}]}
X
expect /annotations/geojson 0 "cut off at the slide's border" $QS tile --mpp 1 --patch 64 --no-tissue \
  --classes "background,tumour,stroma" --store s4 --mask c.geojson "${map[@]}" "$slide"
equal /annotations/geojson-hole-and-border "$(count s4 1)" $(((400 * 400 - 100 * 100 + 100 * 100) / 4))
equal /annotations/geojson-bow-tie "$(count s4 2)" $((200 * 200 / 2 / 4))
equal /annotations/geojson-notes "$(sqlite3 s4/index.db "SELECT notes LIKE '%1 rings that cross themselves%' FROM slides")" 1

# Label maps: a file of lines, unknown names, bad values.
printf '# names of the lab\nTumor = tumour\n\nStroma=stroma\n' >map.txt
expect /annotations/key-file 0 "" $QS "${tile[@]}" --store s5 --mask a.xml --label-map map.txt "$slide"
equal /annotations/key-file-same "$(digest s5)" "$(digest s1)"
expect /annotations/unknown-name 1 'the class "Stroma" of 1 shapes is not in the label map' $QS "${tile[@]}" --store s6 \
  --mask a.xml --label-map "Tumor=tumour" "$slide"
expect /annotations/unknown-class 2 'no class of the table' $QS "${tile[@]}" --store s7 --mask a.xml --label-map "Tumor=x" "$slide"
expect /annotations/bad-order 2 'file or map' $QS "${tile[@]}" --store s7 --mask a.xml --label-order top "$slide"
expect /annotations/ignore-and-skip 0 "" $QS "${tile[@]}" --store s8 --mask a.xml --label-map "Tumor=ignore,*=skip" "$slide"
equal /annotations/ignored-pixels "$(sqlite3 s8/index.db "SELECT sum(ignore_px) FROM patches")" $((400 * 300 / 4))
expect /annotations/another-map-is-refused 1 "label map" $QS "${tile[@]}" --store s1 --mask a.xml --label-map "Tumor=1,*=skip" "$slide"
expect /annotations/names-of-the-classes 0 "" $QS tile --quiet --mpp 1 --patch 64 --no-tissue --store s9 --mask a.xml \
  --classes "background,tumor,stroma" "$slide"
equal /annotations/names-of-the-classes-same "$(count s9 2)" $((200 * 200 / 4))

# A file that was changed under the same name.
cp a.xml d.xml
expect /annotations/before 0 "" $QS "${tile[@]}" --store s10 --mask d.xml "${map[@]}" "$slide"
expect /annotations/again 0 "" $QS "${tile[@]}" --store s10 --mask d.xml "${map[@]}" "$slide"
sed -i 's/X="650"/X="652"/' d.xml
expect /annotations/changed 1 "was changed since" $QS "${tile[@]}" --store s10 --mask d.xml "${map[@]}" "$slide"

# An outline of many vertices on a larger slide: threads and kills change nothing.
$QS synth --quiet --out big --train 1 --labelled 1 --val 0 --test 0 --width 4096 --height 3072 --seed 8 --noise 1 >log 2>&1
large=$(ls big/slides/*.tif)
awk 'BEGIN { printf "[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[["
  for (i = 0; i <= 20000; i++) { t = 6.283185307179586 * (i % 20000) / 20000; r = 1000 + 300 * sin(9 * t) + 60 * sin(400 * t)
    printf "%s[%.3f,%.3f]", i ? "," : "", 2000 + r * cos(t), 1500 + r * sin(t) }
  print "]]},\"properties\":{\"classification\":\"Tumor\"}}]" }' >big.geojson
big=(tile --quiet --level0 --patch 64 --stride 48 --no-tissue --classes "background,tumour" --label-map "Tumor=1" --mask big.geojson)
expect /annotations/one-thread 0 "" $QS "${big[@]}" --store t1 --threads 1 "$large"
expect /annotations/three-threads 0 "" $QS "${big[@]}" --store t3 --threads 3 "$large"
equal /annotations/threads-change-nothing "$(digest t3)" "$(digest t1)"
for wait in 0.3 0.5 0.8 1.2; do
  $QS "${big[@]}" --store k --threads 2 "$large" >log 2>&1 &
  sleep $wait
  kill -9 $! 2>/dev/null
  wait $! 2>/dev/null
done
expect /annotations/killed-and-resumed 0 "" $QS "${big[@]}" --store k --threads 2 "$large"
equal /annotations/kills-change-nothing "$(digest k)" "$(digest t1)"
expect /annotations/sound 0 "" $QS check k
wanted=$(awk 'BEGIN { n = 20000; for (i = 0; i < n; i++) { t = 6.283185307179586 * i / n; r = 1000 + 300 * sin(9 * t) + 60 * sin(400 * t)
  x[i] = sprintf("%.3f", 2000 + r * cos(t)); y[i] = sprintf("%.3f", 1500 + r * sin(t)) }
  for (i = 0; i < n; i++) { j = (i + 1) % n; s += x[i] * y[j] - x[j] * y[i] } printf "%.0f", (s < 0 ? -s : s) / 2 }')
expect /annotations/whole-patches 0 "" $QS tile --quiet --level0 --patch 64 --no-tissue --classes "background,tumour" \
  --label-map "Tumor=1" --mask big.geojson --store t4 "$large"
got=$(count t4 1)
ok /annotations/area-of-the-outline "$([ $(((got - wanted) * (got - wanted))) -lt 10000 ]; echo $?)" "$got pixels, the shoelace formula says $wanted"

# As the truth of eval: the mask that export draws of it is a perfect prediction.
val=$(ls c/slides/*.tif | tail -1)
mkdir -p p
$QS export a.xml --as tiff --slide "$val" --factor 2 --label-map "Tumor=1,Stroma=2" --classes "background,tumour,stroma" \
  --out "p/$(basename "$val" .tif).tif" >log 2>&1
ok /annotations/exported $? "$(cat log)"
printf 'slide,mask,case,split,labelled,mpp,truth\n%s,,k,test,0,,%s\n' "$val" "$PWD/a.xml" >e.csv
expect /annotations/truth-of-eval 0 "1.0000" $QS eval --cohort e.csv --pred p --classes "background,tumour,stroma" --require-dsc 0.99999 \
  --label-map "Tumor=tumour,Stroma=stroma"
expect /annotations/truth-without-a-map 1 'is not in the label map' $QS eval --cohort e.csv --pred p --classes "background,tumour,stroma"
expect /annotations/report 0 "" $QS report --cohort e.csv --pred "m=p" --out page.html --classes "background,tumour,stroma" \
  --label-map map.txt
# Real files of all kinds: every one is read and tiled with, and what it holds is said or painted.
if [ -d "$QS_DATA/annotations" ]; then
  for file in "$QS_DATA"/annotations/*; do
    name=$(basename "$file")
    expect "/annotations/real/$name" 0 "" $QS "${tile[@]}" --store "real-$name" --mask "$file" --label-map "*=tumour" "$slide"
  done
  # They are of slides larger than this one: every row says that its shapes lie outside, or are no areas.
  said=$(for file in "$QS_DATA"/annotations/*; do
    sqlite3 "real-$(basename "$file")/index.db" "SELECT notes LIKE '%wholly outside%' OR notes LIKE '%not painted%' FROM slides"
  done | sort | uniq -c | tr -s ' ')
  equal /annotations/real/notes "$said" " $(ls "$QS_DATA"/annotations | wc -l) 1"
else
  skip /annotations/real "QS_DATA is not there"
fi
done_testing
