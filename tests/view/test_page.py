"""The page in a real browser: edges of a rectangle to a pixel at many zooms, error colours where they belong, all
by keys alone, values under the pointer, a damaged slide, and neither policy violations nor foreign requests.
  QS the program, MAKE_WORLD the maker of the slides."""
import json, math, os, signal, subprocess, sys, tempfile, shutil, time

sys.path.insert(0, os.path.dirname(__file__))
import browser

X0, Y0, X1, Y1 = 2914, 1986, 5222, 4074  # of make_world.c
W, H, SHIFT = 8190, 6142, 400
HOME, SPACE, DOWN, LEFT = "\ue011", " ", "\ue015", "\ue012"
tests = bad = 0


def ok(name, good, detail=""):
    global tests, bad
    tests += 1
    bad += not good
    print("%s %d %s" % ("ok" if good else "not ok", tests, name), flush=True)
    if not good:
        print("# " + str(detail)[:1500], flush=True)


REACH = 32  # pixels around the middle of the map that are looked at


def box_of(b):
    return b.run("const r=document.querySelector('.map').getBoundingClientRect();return [r.x,r.y,r.width,r.height]")


class Seen:
    """The middle of the map in a screenshot: a pixel by its place in the map."""

    def __init__(self, b):
        self.box = box_of(b)
        self.x, self.y = int(self.box[2]) // 2 - REACH, int(self.box[3]) // 2 - REACH
        self.png = b.part(int(self.box[0]) + self.x, int(self.box[1]) + self.y, 2 * REACH + 1, 2 * REACH + 1)

    def read(self):
        _, _, self.rows, self.bands = browser.pixels(self.png)
        return self

    def at(self, x, y):
        i = (x - self.x) * self.bands
        return self.rows[y - self.y][i:i + 3]


def show(b, x, y, r, layers=""):
    """Goes to a place; the middle of the map is the level-0 place x, y."""
    b.run("location.hash = arguments[0]", "slide=0&x=%r&y=%r&r=%r%s" % (x, y, r, "&layers=" + layers if layers else ""))
    b.until("return document.querySelectorAll('.map canvas').length > 0")
    return settle(b)


def settle(b):
    """What is in the middle, once three pictures in a row are the same."""
    last, same = None, 0
    for _ in range(60):
        time.sleep(0.07)
        now = Seen(b)
        same = same + 1 if last and now.png == last.png else 0
        last = now
        if same == 2:
            break
    return last.read()


def edge(values, threshold):
    """Where a row of brightness crosses the threshold, between pixels; None when it does not once."""
    found = [i + (threshold - a) / (b - a) + 0.5 for i, (a, b) in enumerate(zip(values, values[1:]))
             if (a < threshold) != (b < threshold)]
    return found[0] if len(found) == 1 else None


def expected(level0, centre, r, size):
    return (level0 - centre) / r + size / 2


def check_edges(b, layers, threshold, of, tolerance, name):
    worst, places = 0, 0
    for r in (16, 11.3, 5.7, 4, 3.1, 2, 1.37, 1, 0.73, 0.25):
        for at_x, at_y in ((X0, (Y0 + Y1) / 2), (X1, (Y0 + Y1) / 2), ((X0 + X1) / 2, Y0)):
            seen = show(b, at_x + 0.25, at_y, r, layers)
            width, height = int(seen.box[2]), int(seen.box[3])
            if at_y == Y0:
                line = [of(seen.at(width // 2, v)) for v in range(height // 2 - 30, height // 2 + 31)]
                got, want = edge(line, threshold), expected(Y0, at_y, r, seen.box[3]) - (height // 2 - 30)
            else:
                line = [of(seen.at(u, height // 2)) for u in range(width // 2 - 30, width // 2 + 31)]
                got, want = edge(line, threshold), expected(at_x, at_x + 0.25, r, seen.box[2]) - (width // 2 - 30)
            places += 1
            off = abs(got - want) if got is not None else math.inf
            if off > worst:
                worst, where = off, (r, at_x, at_y, got, want)
    ok("%s: %d edges, at most %.2f pixels off" % (name, places, worst), worst <= tolerance, where)


def brightness(p):
    return sum(p) / 3


def main():
    qs, maker = os.environ["QS"], os.environ["MAKE_WORLD"]
    why = browser.missing()
    if why:
        print("ok 1 page # SKIP %s\n1..1" % why)
        return 0
    folder = tempfile.mkdtemp(prefix="vw-page-")
    subprocess.run([maker, folder], check=True)
    os.mkdir(folder + "/run")
    write_log(folder, "10,loss,1.5,\n10,share_uc,0.7,fraction\n20,loss,1.25,\n")
    viewer = subprocess.Popen([qs, "view", "--no-browser", "--cohort", folder + "/cohort.csv", "--pred",
                               "net=" + folder + "/pred", "--run", "mine=" + folder + "/run"],
                              stdout=subprocess.PIPE, text=True)
    base = viewer.stdout.readline().split(" at ")[1].strip()
    b = None
    try:
        b = browser.Browser(1280, 860)
        run(b, base, folder)
    finally:
        if b:
            b.close()
        viewer.send_signal(signal.SIGINT)
        ok("Ctrl-C ends it well", viewer.wait(20) == 0)
        shutil.rmtree(folder)
    print("1..%d" % tests)
    return bad != 0


def run(b, base, folder):
    start = folder + "/start.html"
    with open(start, "w") as f:
        f.write('<!doctype html><meta http-equiv="refresh" content="0;url=%s">' % base)
    b.go("file://" + start)
    b.until("return document.querySelectorAll('#list tbody tr').length === 2")
    ok("the file that starts the browser leads to the list", True)
    worklist(b)
    training(b, folder)
    by_keys(b)
    check_edges(b, "", 127, brightness, 1.0, "slide")
    mask_edges(b)
    errors(b)
    values(b)
    damaged(b)
    trouble(b, base)


def zoom_of(text):
    return text.split("&r=")[1].split("&")[0]


def write_log(folder, rows):
    with open(folder + "/run/metrics.csv", "w") as f:
        f.write("iteration,name,value,unit\n" + rows)


def points(b):
    """The points of the first curve, as many as there are."""
    return b.run("const l = document.querySelector('#runs polyline'); return l ? l.getAttribute('points').split(' ').length : 0")


def training(b, folder):
    """A log that grows, is cut by a resume and grows again: no point twice, none lost."""
    b.run("document.getElementById('to-runs').click()")
    b.until("return document.querySelectorAll('#runs figure').length === 2")
    ok("a training: its curves", points(b) == 2, points(b))
    write_log(folder, "10,loss,1.5,\n20,loss,1.25,\n30,loss,1,\n40,loss,0.9,\n50,lo")
    b.until("return document.querySelector('#runs polyline').getAttribute('points').split(' ').length === 4")
    ok("it is followed, and a line's half waits", "loss 0.9" in b.run("return document.querySelector('#runs figure').textContent"))
    write_log(folder, "10,loss,1.5,\n20,loss,1.25,\n")
    b.until("return document.querySelector('#runs polyline').getAttribute('points').split(' ').length === 2")
    write_log(folder, "10,loss,1.5,\n20,loss,1.25,\n30,loss,0.8,\nrubbish\n")
    b.until("return document.querySelector('#runs polyline').getAttribute('points').split(' ').length === 3")
    said = b.run("return document.querySelector('#runs article p').textContent")
    ok("a cut log begins again, and a broken line is said", "rubbish" in said and "stopped" in said, said)
    b.run("document.getElementById('to-list').click()")


def worklist(b):
    b.until("const c = [...document.querySelectorAll('#list tbody tr')].find((r) => r.textContent.includes('rect')).querySelector('.number'); return /\\d/.test(c.textContent)")
    row = b.run("return [...document.querySelectorAll('#list tbody tr')].map((r) => r.textContent)")
    area = (X1 - X0 - SHIFT) / (X1 - X0)
    ok("the work list: DSC of the shifted rectangle, and a slide that cannot be read",
       any("%.3f" % area in r for r in row) and any("cannot be read" in r for r in row), (area, row))


def by_keys(b):
    b.run("document.activeElement.blur()")
    b.press("j")
    ok("J goes to the first slide of the list", b.run("return document.activeElement.textContent") == "rect")
    b.press("\ue007")
    b.until("return document.activeElement && document.activeElement.className.includes('map')")
    time.sleep(0.6)
    whole = b.run("return location.hash")
    b.press("+", LEFT, DOWN)
    time.sleep(0.6)
    moved = b.run("return location.hash")
    ok("keys move and zoom", moved != whole and "r=" in moved, (whole, moved))
    b.press("p", "e", "a")
    b.until("return document.querySelectorAll('.layer input[type=checkbox]:checked').length === 3")
    ok("keys switch layers", True)
    b.press("p", "e", "a", "l")
    b.until("return document.querySelectorAll('.panel').length === 2")
    b.press("l")
    b.until("return document.querySelectorAll('.panel').length === 1")
    ok("a key shows two linked views", True)
    b.press("?")
    ok("? lists the keys", b.run("return document.querySelector('dialog').open"))
    b.press("?")
    b.press(HOME)
    time.sleep(0.6)
    home = b.run("return location.hash")
    ok("Home shows the whole slide", home == whole, (home, whole))


def mask_edges(b):
    """The mask's own edge must lie where the slide's does: by red less blue, which the grey slide does not have."""
    check_edges(b, "label.100f", 60, lambda p: p[0] - p[2], 1.0, "mask")


def errors(b):
    """Found between the shifted edges, false to their left, missed to their right: at four zooms."""
    for r in (16, 4, 1, 0.5):
        wrong = []
        for what, x in (("false", X0 + SHIFT / 2), ("found", (X0 + X1 + SHIFT) / 2), ("missed", X1 + SHIFT / 2), ("none", X0 - 300)):
            seen = show(b, x, (Y0 + Y1) / 2, r, "error.100f")
            u, v = int(seen.box[2]) // 2, int(seen.box[3]) // 2
            block = [seen.at(u + i, v + j) for i in range(-4, 4) for j in range(-4, 4)]
            mean = [sum(p[k] for p in block) / 64 for k in range(3)]
            spread = max(brightness(p) for p in block) - min(brightness(p) for p in block)
            good = {"false": mean[0] > mean[2] + 20 and spread > 25, "missed": mean[2] > mean[0] + 20 and spread > 25,
                    "found": mean[1] > mean[0] + 10 and spread < 12, "none": max(mean) - min(mean) < 12}[what]
            if not good:
                wrong.append((what, mean, spread))
        ok("errors at %g level-0 pixels a pixel: colour and pattern" % r, not wrong, wrong)


def values(b):
    show(b, (X0 + X1) / 2, (Y0 + Y1) / 2, 1)
    box = box_of(b)
    b.pointer([{"type": "pointerMove", "duration": 0, "x": int(box[0] + box[2] / 2) - 9, "y": int(box[1] + box[3] / 2)},
               {"type": "pointerMove", "duration": 0, "x": int(box[0] + box[2] / 2), "y": int(box[1] + box[3] / 2)}])
    text = b.until("const t=document.getElementById('status').textContent; return t.includes('predicted') && t")
    ok("values under the pointer", "predicted foreground" in text and "truth foreground" in text and "µm" in text
       and "found" in text, text)


def damaged(b):
    b.run("location.hash = 'slide=1'")
    text = b.until("const s=document.getElementById('status'); return s.classList.contains('bad') && s.textContent")
    ok("a damaged slide is said", "bad.tif" in text, text)


def trouble(b, base):
    said = [line["message"] for line in b.log("browser") if "422" not in line["message"]]
    ok("no policy violation, no error in the console", not said, said)
    asked = set()
    for line in b.log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    own = (base, "file://", "data:", "blob:", "about:", "chrome:", "chrome-untrusted:")  # the browser's empty tab
    foreign = [u for u in asked if not u.startswith(own)]
    ok("%d requests, none to anybody else" % len(asked), asked and not foreign, foreign)


if __name__ == "__main__":
    sys.exit(main())
