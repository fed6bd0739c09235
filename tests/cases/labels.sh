#!/usr/bin/env bash
# Labels that fall away with dropped patches are counted to the pixel, whatever the stride; a class
# without labels is refused by train; a validation on empty masks is no DSC. Takes about seven seconds.
set -uo pipefail
QS=$(realpath "$1")
cases=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
n=0
bad=0
ok() { # STATUS NAME DETAIL
  n=$((n + 1))
  if [ "$1" = 0 ]; then echo "ok $n /labels/$2"; else bad=1; echo "not ok $n /labels/$2: ${3:-}"; fi
}

# A rectangle across tissue and glass; what is lost, counted pixel by pixel from the store's rows.
cat >outline.geojson <<'J'
{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1000,1000],[2900,1000],[2900,2700],[1000,2700],[1000,1000]]]},"properties":{"classification":{"name":"Tumor"}}}
J
for stride in 128 96 50; do
  for least in 0.25 0.9; do
    store=s$stride-$least
    "$QS" tile --quiet --patch 128 --stride $stride --tissue-min $least --level0 --labelled --label-map Tumor=1 \
      --mask outline.geojson --store $store "$cases/f3-padded/cropped.tif" >out 2>&1
    detail=$(python3 - $store/index.db <<'P'
import re, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
x0, y0, x1, y1 = 1000, 1000, 2900, 2700
rows = [bytearray(x1 - x0) for _ in range(y1 - y0)]
n = 0
for x, y, w, h in db.execute('select x_l0, y_l0, w_l0, h_l0 from patches where kept'):
    a, b = max(x, x0) - x0, min(x + w, x1) - x0
    n += 1
    for r in range(max(y, y0), min(y + h, y1)) if b > a else ():
        rows[r - y0][a:b] = b'\1' * (b - a)
lost = sum(r.count(0) for r in rows)
notes = db.execute('select notes from slides').fetchone()[0] or ''
said = re.search(r'class 1 \(.*\): (\d+) annotated pixels lie in no kept patch', notes)
print('' if n and (int(said[1]) if said else 0) == lost > 0 else f'{n} kept, {lost} lost, said: {notes}')
P
    ) || detail="no count: $(tail -1 out)"
    [ -z "$detail" ]
    ok $? "counted-stride-$stride-tissue-$least" "$detail"
  done
done

# Three classes, and no pixel of the second.
labels=$cases/f5b-export-ignore/labels-and-ignore.tif
tile() { "$QS" tile --quiet --patch 64 --level0 --no-tissue --labelled --store "$1" --mask "$2" --classes "$3" "${@:4}" >>out 2>&1; }
train() { "$QS" train --quiet --store "$1" --out "$2" --iterations 1 --method SL --loss plain --batch-labelled 2 --batch-unlabelled 0 --threads 1 "${@:3}" >out 2>&1; }
tile four "$labels" background,a,b,c "$cases/he.tif"
train four run1
rc=$?
[ $rc -ne 0 ] && grep -q 'class 3 (c) has no pixel .*--allow-empty-class' out
ok $? train-refuses-a-class-without-labels "$rc: $(tail -1 out)"
train four run2 --allow-empty-class
ok $? train-with-a-class-without-labels "$(tail -1 out)"

# A validation slide whose mask is empty.
python3 - <<'P'
import struct, zlib
chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
open('empty.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 512, 384, 8, 0, 0, 0, 0)) +
                              chunk(b'IDAT', zlib.compress((b'\0' + bytes(512)) * 384)) + chunk(b'IEND', b''))
P
cp "$cases/f1-overwrite/x.tif" v.tif
printf 'slide,mask,case,split,labelled,mpp\n%s,%s,a,train,1,\n%s,%s,b,val,1,\n' \
  "$cases/f8-orientation/lzw-orientation1.tif" train.png v.tif empty.png >cohort.csv
python3 - "$cases/f8-orientation/lzw-orientation1.tif" <<'P'
import struct, sys, zlib
b = open(sys.argv[1], 'rb').read()
e = '<' if b[:2] == b'II' else '>'
at = struct.unpack(e + 'I', b[4:8])[0]
tags = {}
for i in range(struct.unpack(e + 'H', b[at:at + 2])[0]):
    t, k, _, v = struct.unpack(e + 'HHII', b[at + 2 + 12 * i:at + 14 + 12 * i])
    tags[t] = struct.unpack(e + 'H', b[at + 10 + 12 * i:at + 12 + 12 * i])[0] if k == 3 else v
w, h = tags[256], tags[257]
chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
open('train.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 0, 0, 0, 0)) +
                              chunk(b'IDAT', zlib.compress((b'\0' + b'\1' * (w // 2) + bytes(w - w // 2)) * h)) + chunk(b'IEND', b''))
P
"$QS" tile --quiet --patch 64 --level0 --no-tissue --store val --cohort cohort.csv >out 2>&1
train val run3 --val-every 1
rc=$?
[ $rc -eq 0 ] && grep -q 'rest on empty masks alone' out && ! grep -q 'DSC 1\.0000' out && [ ! -e run3/best.safetensors ]
ok $? validation-on-empty-masks-is-no-DSC "$rc: $(tail -2 out)"
exit $bad
