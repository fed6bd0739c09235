"""Takes docs/view.jpg again: two linked views of a slide that no model has seen.
  scripts/demo; then, with the address that this prints,
  quadslide view --no-browser --cohort demo-out/cohort/cohort.csv --store demo-out/store \\
    --pred "Mean Teacher=demo-out/pred-mt" --pred "Mean Teacher + MetaSSL=demo-out/pred-mt-metassl"
  python3 tests/view/picture.py ADDRESS '#slide=17&layers=error.80f_truth.100o&model=1&layers2=label.60f_cells.100o' docs/view.jpg"""
import base64, os, sys, time

sys.path.insert(0, os.path.dirname(__file__))
import browser

b = browser.Browser(1400, 860)
try:
    b.go(sys.argv[1] + sys.argv[2])
    b.until("return document.querySelectorAll('.map canvas').length > 1")
    time.sleep(3)
    shot = b.call("POST", b.session + "/goog/cdp/execute", {"cmd": "Page.captureScreenshot",
                                                            "params": {"format": "jpeg", "quality": 80}})
    with open(sys.argv[3], "wb") as f:
        f.write(base64.b64decode(shot["data"]))
finally:
    b.close()
