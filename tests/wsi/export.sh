#!/usr/bin/env bash
# `quadslide export` at the command line: annotations in, every format out, round trips between
# formats, and every wrong use with its message.
. "$QS_SOURCE_DIR/tests/cli/lib.sh"

coordinates() { # X Y X Y …
  local i=0
  while [ $# -gt 0 ]; do
    echo "<Coordinate Order=\"$i\" X=\"$1\" Y=\"$2\"/>"
    i=$((i + 1))
    shift 2
  done
}
asap() { # GROUP COORDINATES…
  local group=$1
  shift
  echo "<Annotation Name=\"x\" Type=\"Polygon\" PartOfGroup=\"$group\" Color=\"#64FE2E\"><Coordinates>"
  coordinates "$@"
  echo "</Coordinates></Annotation>"
}
{
  echo "<ASAP_Annotations><Annotations>"
  asap tumour 10 10 900 40 700 600 80 500
  asap background 200 100 400 100 400 300 200 300
  asap tumour 250 150 300 150 300 250
  asap stroma 600 300 1200 300 1200 800 500 790
  echo "</Annotations><AnnotationGroups/></ASAP_Annotations>"
} >"in put.xml"

expect /export/help 0 "--bounds-relative" $QS export --help
expect /export/tiff 0 "11 rules checked, 0 broken" $QS export "in put.xml" --as tiff --mpp 0.5 --factor 2
ok /export/tiff-is-there "$([ -s "in put.tif" ]; echo $?)"
expect /export/geojson 0 "2 regions, 1 holes" $QS export "in put.tif" --as geojson --only "class 1,class 2" --min-area-um2 5000
expect /export/geojson-whole 0 "9 rules checked, 0 broken" $QS export "in put.tif" --as geojson
ok /export/geojson-area "$(grep -q '"area_um2":' "in put.geojson"; echo $?)"
expect /export/asap 0 "4 rules checked, 0 broken" $QS export "in put.tif" --as asap --out a.xml --classes "background,tumour,stroma"
expect /export/ome 0 "6 rules checked, 0 broken" $QS export a.xml --as ome --out o.tif
expect /export/png 0 "a PNG" $QS export a.xml --as png
# Through outlines and back: the same label image.
expect /export/again 0 "0 broken" $QS export a.xml --as tiff --out again.tif --classes "background,tumour,stroma" --mpp 1
expect /export/first 0 "0 broken" $QS export "in put.tif" --as tiff --out first.tif --classes "background,tumour,stroma" --mpp 1
if command -v vips >/dev/null; then
  vips subtract again.tif first.tif difference.v 2>/dev/null || vips crop again.tif again.v 0 0 "$(vipsheader -f width first.tif)" "$(vipsheader -f height first.tif)"
  [ -f difference.v ] || vips subtract again.v first.tif difference.v
  ok /export/round-trip "$([ "$(vips max difference.v | cut -d. -f1)" = 0 ] && [ "$(vips min difference.v | cut -d. -f1)" = 0 ]; echo $?)"
else
  skip /export/round-trip "libvips-tools is not there"
fi

expect /export/no-format 2 "--as is tiff" $QS export a.xml
expect /export/bad-format 2 "--as is tiff" $QS export a.xml --as svg
expect /export/no-file 2 "name one mask" $QS export --as tiff
expect /export/missing 1 "gone.tif" $QS export gone.tif --as tiff
expect /export/over-itself 2 "which this run reads" $QS export first.tif --as tiff
expect /export/area-without-mpp 2 "pass --mpp" $QS export a.xml --as geojson --min-area-um2 5
expect /export/area-of-tiff 2 "are for geojson and asap" $QS export a.xml --as tiff --min-area-um2 5 --out x.tif
expect /export/bounds-without-slide 2 "needs the slide" $QS export a.xml --as geojson --bounds-relative
expect /export/unknown-class 2 "is no class of" $QS export a.xml --as geojson --only nerve
expect /export/unknown-label 1 '"stroma" of 1 shapes' $QS export a.xml --as png --labels "tumour=1,background=0"
expect /export/bad-map 2 "label map" $QS export a.xml --as png --labels "tumour"
expect /export/prob-size 1 "have one channel and the mask's size" $QS export a.xml --as geojson --prob o.tif --factor 2
head -c 300 a.xml >cut.xml
expect /export/cut-xml 1 "damaged XML" $QS export cut.xml --as png
echo "hello" >text.tif
expect /export/text 1 "text.tif" $QS export text.tif --as png
if [ "$(id -u)" != 0 ]; then
  mkdir locked && chmod a-w locked
  expect /export/unwritable 1 "locked" $QS export a.xml --as geojson --out locked/x.geojson
fi
expect /export/no-folder 1 "nowhere" $QS export a.xml --as geojson --out nowhere/x.geojson

if [ -d "$QS_DATA/annotations" ]; then
  for file in "$QS_DATA"/annotations/*; do
    expect "/export/real/$(basename "$file")" 0 "0 broken" $QS export "$file" --as geojson --factor 16 --mpp 0.25 --out real.geojson
  done
else
  skip /export/real "QS_DATA is not there"
fi
done_testing
