#!/bin/sh
# keep-ptxas.sh OBJECT COMMAND…: compiles, and moves what ptxas tells of each kernel out of the
# build's output into OBJECT.ptxas.
object=$1
shift
"$@" 2>"$object.log"
status=$?
case $object in *.cu.o) grep -E 'ptxas info|spill' "$object.log" >"$object.ptxas" ;; esac
grep -vE 'ptxas info|bytes stack frame|^$' "$object.log" >&2
rm -f "$object.log"
exit $status
