#!/usr/bin/env bash
# quadslide bench on tiny sizes: every layer and part is there, its work is what the shapes say, the
# sums agree, and a given roofline is the one that shares are taken of.
. "${QS_SOURCE_DIR:?}/tests/cli/lib.sh"

"$QS" bench --width 8 --batch 2 --patch 32 --rounds 2 --peak 100 --bandwidth 10 --json >bench.json 2>err
ok "bench --json" $? "$(cat err)"
python3 - <<'PY' >check.txt 2>&1
import json, math
d = json.load(open("bench.json"))
assert d["peak_flop_per_s"] == 1e11 and d["bytes_per_s"] == 1e10 and d["peak_is"] == "given"
assert (d["width"], d["batch"], d["patch"], d["rounds"]) == (8, 2, 32, 2)
train, infer = d["modes"]
assert (train["mode"], infer["mode"]) == ("train", "infer")
convs = {}
for mode in d["modes"]:
    assert mode["seconds"] > 0 and mode["clocked_seconds"] > 0
    assert math.isclose(mode["patches_per_s"], 2 / mode["seconds"], rel_tol=1e-9)
    for key in ("flop", "bytes", "roof_seconds"):
        assert math.isclose(mode[key], sum(l[key] for l in mode["layers"]), rel_tol=1e-9), key
    for l in mode["layers"]:
        assert l["seconds"] >= 0 and (l["bytes"] > 0 or not l["part"]), l
        want = max(l["flop"] / 1e11, l["bytes"] / 1e10)
        assert math.isclose(l["roof_seconds"], want, rel_tol=1e-9), l
        if l["op"].startswith("conv"):
            k = 3 if l["op"] == "conv3x3" else 1
            assert l["flop"] == 2 * 2 * l["height"] * l["width"] * l["ic"] * l["oc"] * k * k, l
            assert l["seconds"] > 0 and l["by"], l
            convs.setdefault((mode["mode"], l["part"]), []).append(l["name"])
# 10 blocks of two convolutions less one half, 4 1x1 and the head; the first has no source's gradient
n = len(convs["train", "fwd"])
assert n == 23, n
assert len(convs["train", "bwd_w"]) == n and len(convs["train", "bwd_d"]) == n - 1
assert len(convs["infer", "fwd"]) == n and ("infer", "bwd_w") not in convs
assert "encoder.in_conv.conv_conv.0" not in convs["train", "bwd_d"]
ops = {l["op"] for l in train["layers"]}
assert {"conv3x3", "conv1x1", "norm", "pool", "upsample"} <= ops, ops
assert "norm" not in {l["op"] for l in infer["layers"]}
names = [l["name"] for l in train["layers"] if not l["part"]]
assert names == ["packing and images", "loss (CE + Dice)", "SGD and moving average"], names
# two rounds: their mean may pass the median's step when the machine is busy, but not by much
sums = sum(l["seconds"] for l in train["layers"])
assert sums < 3 * train["clocked_seconds"], (sums, train["clocked_seconds"])
PY
ok "what it lists is the network's work" $? "$(cat check.txt)"

"$QS" bench --width 4 --batch 1 --patch 16 --rounds 1 --only infer >table.txt 2>err
ok "a table, the roofline measured" $? "$(cat err)"
grep -qE '^roofline  [0-9.]+ GFLOP/s \(measured\), [0-9.]+ GB/s \(measured\)' table.txt &&
  grep -q '^inference: ' table.txt && ! grep -q '^training step' table.txt && grep -q '^all of these' table.txt
ok "the table says so" $? "$(cat table.txt)"
# what is measured is a machine's: more than a slow processor's, less than any
awk '/^roofline/ {exit !($2 > 0.5 && $2 < 1e6 && $5 > 0.05 && $5 < 1e5)}' table.txt
ok "the roofline is plausible" $? "$(grep roofline table.txt)"

expect "a patch that does not divide" 2 "--patch is a multiple of 16" "$QS" bench --patch 100
expect "a width too large" 2 "--width is 1 to 64" "$QS" bench --width 65
expect "rounds" 2 "--rounds is 1 to 99" "$QS" bench --rounds 100
expect "a precision that is none" 2 "--precision is auto, f32 or bf16" "$QS" bench --precision f16
expect "a peak below 0" 2 "--peak" "$QS" bench --peak=-1
expect "an argument" 2 "takes no argument" "$QS" bench here
expect "a device that is none" 2 "device 'tpu' is not known" "$QS" bench --device tpu --patch 16
expect "the reference has no roofline" 1 "is not measured" "$QS" bench --device ref --patch 16 --batch 1
expect "more memory than there is" 1 "bytes" "$QS" bench --batch 4096 --patch 512 --only train --peak 1 --bandwidth 1
printf '[bench]\npatch=16\nbatch=1\nwidth=2\nrounds=1\nonly=infer\n' >run.ini
expect "options from a key file" 0 "1 patches of 16 x 16" "$QS" bench --config run.ini
done_testing
