"""Drawing in a real browser: a polygon by clicks, a stroke, a cut, an accepted region, undo, a second window that was
faster; what was saved is tiled again, and its areas are those of the shoelace formula.
  QS the program, MAKE_WORLD the maker of the slides."""
import json, os, shutil, signal, sqlite3, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(__file__))
import browser
from test_page import X0, Y0, X1, Y1, box_of

tests = bad = 0
R = 4  # level-0 pixels a pixel of the screen
CONTROL = "\ue009"


def ok(name, good, detail=""):
    global tests, bad
    tests += 1
    bad += not good
    print("%s %d %s" % ("ok" if good else "not ok", tests, name), flush=True)
    if not good:
        print("# " + str(detail)[:1500], flush=True)


def shoelace(ring):
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1]))) / 2


class Studio:
    def __init__(self, b, folder):
        self.b, self.file = b, os.path.join(folder, "rect.geojson")

    def saved(self):
        """Waits until the screen says saved, and reads the file."""
        self.b.until("return /^saved/.test(document.getElementById('state').textContent)")
        with open(self.file) as f:
            return json.load(f)["features"]

    def click(self, *places):
        box = box_of(self.b)
        actions = []
        for x, y in places:
            actions += [{"type": "pointerMove", "duration": 60, "x": int(box[0] + x), "y": int(box[1] + y)},
                        {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}, {"type": "pause", "duration": 300}]
        self.b.pointer(actions)

    def drag(self, *places):
        box = box_of(self.b)
        moves = [{"type": "pointerMove", "duration": 120, "x": int(box[0] + x), "y": int(box[1] + y)} for x, y in places]
        self.b.pointer(moves[:1] + [{"type": "pointerDown", "button": 0}] + moves[1:] + [{"type": "pointerUp", "button": 0}])

    def edited(self, does):
        """Does something and waits until it was saved: the words before it must have gone."""
        self.b.run("document.getElementById('state').textContent = ''")
        does()
        return self.saved()

    def key(self, key):
        self.b.run("document.querySelector('.map').focus()")
        self.b.press(key)


def area(features):
    return sum(shoelace(f["geometry"]["coordinates"][0][:-1]) - sum(shoelace(h[:-1]) for h in f["geometry"]["coordinates"][1:])
               for f in features)


def draw(s, b):
    s.key("q")
    corners = [(300, 200), (700, 230), (650, 500), (320, 470)]
    one = s.edited(lambda: s.click(*corners, corners[0]))
    want = shoelace([(x * R, y * R) for x, y in corners])
    ok("a polygon by clicks has its area", len(one) == 1 and abs(area(one) / want - 1) < 0.004, (area(one), want))
    s.key("x")
    cut = s.edited(lambda: s.drag((450, 300), (550, 300), (550, 400), (450, 400), (450, 302)))
    ok("a cut inside it is a hole", len(cut) == 1 and len(cut[0]["geometry"]["coordinates"]) == 2
       and abs((area(one) - area(cut)) / (100 * 100 * R * R) - 1) < 0.05, area(one) - area(cut))
    s.key("b")
    stroke = s.edited(lambda: s.drag((760, 300), (860, 300)))
    want = (100 * 24 + 3.14159 * 144) * R * R
    ok("a stroke is another shape", len(stroke) == 2 and abs((area(stroke) - area(cut)) / want - 1) < 0.04, (area(stroke) - area(cut), want))
    s.b.run("document.querySelector('.map').focus()")
    undone = s.edited(lambda: b.call("POST", b.session + "/actions", {"actions": [{"type": "key", "id": "k", "actions": [
        {"type": "keyDown", "value": CONTROL}, {"type": "keyDown", "value": "z"}, {"type": "keyUp", "value": "z"},
        {"type": "keyUp", "value": CONTROL}]}]}))
    ok("Ctrl+Z takes it back", len(undone) == 1 and abs(area(undone) - area(cut)) < 1, len(undone))


def vertices(s, b):
    before = area(s.saved())
    s.b.run("[...document.querySelectorAll('#tools button')].find((x) => x.textContent === 'Vertices').click()")
    moved = s.edited(lambda: s.drag((300, 200), (270, 170)))
    ok("a vertex is moved", len(moved) == 1 and area(moved) != before, (area(moved), before))


def reviewed(s, b):
    """A reviewed area: the last feature is all the rest, with the area as a hole; the page has it again when it is
    loaded again; what is not reviewed is ignored by tile."""
    corners = [(250, 150), (800, 150), (800, 560), (250, 560)]
    s.key("0")
    s.b.press("q")
    features = s.edited(lambda: s.click(*corners, corners[0]))
    last = features[-1]
    hole = shoelace(last["geometry"]["coordinates"][0][1][:-1])
    ok("a reviewed area is a hole in what is not reviewed", last["properties"]["classification"]["name"] == "not reviewed"
       and abs(hole / (550 * 410 * R * R) - 1) < 0.01 and len(features) == 2, (len(features), hole))
    s.key("x")
    features = s.edited(lambda: s.drag((270, 170), (290, 170), (290, 190), (270, 190), (270, 172)))
    ok("cut from a reviewed area is not reviewed", len(features[-1]["geometry"]["coordinates"]) == 2, len(features[-1]["geometry"]["coordinates"]))
    b.run("location.reload()")
    time.sleep(2)
    s.key("1")
    s.b.press("b")
    features = s.edited(lambda: s.drag((880, 300), (900, 300)))
    ok("loaded again it is the same", len(features[-1]["geometry"]["coordinates"]) == 2 and len(features) == 3, len(features))


def conflict(s, b):
    """Another window saves: ours is NOT SAVED until the user decides, and the other version is in the history."""
    with open(s.file) as f:
        text = f.read()
    head = text[:text.index("[") + 1]
    with open(s.file, "w") as f:
        f.write(head + "]}")
    s.key("b")
    s.drag((300, 560), (400, 560))
    said = b.until("const t=document.getElementById('state').textContent; return t.startsWith('NOT SAVED') && t")
    ok("what another window saved is not written over", "another window" in said, said)
    kept = b.run("return Object.keys(localStorage).length")
    mine = s.edited(lambda: b.run("[...document.querySelectorAll('#tools button')].find((x) => x.textContent === 'Keep mine').click()"))
    history = os.path.join(os.path.dirname(s.file), "history")
    theirs = [name for name in os.listdir(history) if open(os.path.join(history, name)).read() == head + "]}"]
    ok("kept in this browser meanwhile; then mine is there, theirs in the history", kept == 1 and len(mine) >= 2 and theirs, (kept, len(mine)))


def again(s, b, base):
    """The page anew: what was saved is what is drawn."""
    with open(s.file) as f:
        before = f.read()
    b.go(base + "#slide=0")
    b.run("location.reload()")
    b.until("return document.getElementById('state')")
    time.sleep(1)
    b.run("location.hash = 'slide=0&x=%r&y=%r&r=%r'" % ((X0 + X1) / 2, (Y0 + Y1) / 2, R))
    time.sleep(1.5)
    s.key("c")
    box = box_of(b)
    features = s.edited(lambda: s.click((box[2] / 2, box[3] / 2)))
    assert features[-1]["properties"]["classification"]["name"] == "not reviewed"
    global rest
    rest = features.pop()
    whole = (X1 - X0) * (Y1 - Y0)
    ok("an accepted region is the predicted one, and meets what was drawn before", area(features) >= whole * 0.999
       and len(before) > 100, (area(features), whole))
    return features


def reach_of(rest):
    ring = rest["geometry"]["coordinates"][0][1]
    return min(p[0] for p in ring), max(p[0] for p in ring), min(p[1] for p in ring), max(p[1] for p in ring)


def clip_ring(ring, keep, cross):
    out = []
    for a, b in zip(ring, ring[1:] + ring[:1]):
        if keep(a):
            out.append(a)
        if keep(a) != keep(b):
            out.append(cross(a, b))
    return out


def clipped(features, left, top, right, bottom):
    """The area of the shapes inside a rectangle, by Sutherland and Hodgman's way and the shoelace formula."""
    total = 0
    for f in features:
        for i, ring in enumerate(f["geometry"]["coordinates"]):
            ring = ring[:-1]
            for axis, limit, sign in ((0, left, 1), (0, right, -1), (1, top, 1), (1, bottom, -1)):
                def keep(p):
                    return sign * (p[axis] - limit) >= 0

                def cross(a, b):
                    t = (limit - a[axis]) / (b[axis] - a[axis])
                    return [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
                ring = clip_ring(ring, keep, cross) if ring else ring
            total += (shoelace(ring) if len(ring) > 2 else 0) * (-1 if i else 1)
    return total


def round_trip(qs, folder, features):
    store = folder + "/store"
    run = subprocess.run([qs, "tile", "--quiet", "--store", store, "--cohort", folder + "/drawn/cohort.csv", "--label-map",
                          folder + "/drawn/label-map.txt", "--level0", "--no-tissue", "--patch", "1024", "--stride", "1024",
                          "--classes", "background:#000000,foreground:#c80000"], capture_output=True, text=True)
    count = 0
    if run.returncode == 0:
        rows = sqlite3.connect(store + "/index.db").execute(QUERY).fetchall()
        count = sum(r[0] for r in rows)
    hole = shoelace(rest["geometry"]["coordinates"][0][1][:-1]) - shoelace(rest["geometry"]["coordinates"][1][0][:-1])
    ignored = sqlite3.connect(store + "/index.db").execute("SELECT sum(ignore_px), sum(px0 + px1 + ignore_px) FROM patches").fetchone()
    ok("tiled again: all that was not reviewed is ignored", abs((ignored[1] - ignored[0]) / hole - 1) < 0.001, (ignored, hole))
    left, right, top, bottom = reach_of(rest)
    # What was cut from the reviewed area lies wholly inside the accepted region.
    want = clipped(features, left, top, right, bottom) - shoelace(rest["geometry"]["coordinates"][1][0][:-1])
    ok("tiled again: as many pixels of the class as the shoelace formula says", run.returncode == 0
       and abs(count / want - 1) < 0.001, (run.stderr[-400:], count, want))


QUERY = "SELECT px1 FROM patches"


def main():
    qs, maker = os.environ["QS"], os.environ["MAKE_WORLD"]
    why = browser.missing()
    if why:
        print("ok 1 draw # SKIP %s\n1..1" % why)
        return 0
    folder = tempfile.mkdtemp(prefix="vw-draw-")
    subprocess.run([maker, folder], check=True)
    viewer = subprocess.Popen([qs, "view", "--no-browser", "--annotate", folder + "/drawn", "--pred", "net=" + folder + "/pred",
                               folder + "/rect.tif"], stdout=subprocess.PIPE, text=True)
    base = viewer.stdout.readline().split(" at ")[1].strip()
    b = None
    try:
        b = browser.Browser(1280, 860)
        b.go(base + "#slide=0&x=4000&y=3000&r=%d" % R)
        b.until("return document.getElementById('state') && document.querySelectorAll('.map canvas').length")
        time.sleep(1)
        s = Studio(b, folder + "/drawn")
        draw(s, b)
        vertices(s, b)
        reviewed(s, b)
        conflict(s, b)
        features = again(s, b, base)
        said = [line["message"] for line in b.log("browser") if "412" not in line["message"]]
        ok("no policy violation, no error in the console", not said, said)
        round_trip(qs, folder, features)
    finally:
        if b:
            b.close()
        viewer.send_signal(signal.SIGINT)
        viewer.wait(20)
        shutil.rmtree(folder)
    print("1..%d" % tests)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
