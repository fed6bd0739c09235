"""Tiles a second of `quadslide view` against openslide-python's DeepZoom behind the standard library's server: one
slide, one core each, the same seeded places, in turn. Latency is that of a client on one kept connection; what is
compared is the servers' processor time, which other programs on the machine change least.
  python3 bench/view/bench_view.py build/release/quadslide [FOLDER]
FOLDER (/tmp/bench-view) keeps the slide, 12,800 x 10,240 pixels, and masks."""
import http.client, os, random, subprocess, sys, time

PEER = r'''
import io, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import openslide
from openslide.deepzoom import DeepZoomGenerator
zoom = DeepZoomGenerator(openslide.OpenSlide(sys.argv[1]), tile_size=256, overlap=0)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 18  # headers and body in one piece: no waiting for an acknowledgement
    def log_message(self, *a): pass
    def do_GET(self):
        level, x, y = map(int, self.path.strip("/").split("/"))
        out = io.BytesIO()
        zoom.get_tile(level, (x, y)).save(out, "jpeg", quality=85)
        self.send_response(200)
        self.send_header("Content-Length", str(out.tell()))
        self.end_headers()
        self.wfile.write(out.getvalue())
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, zoom.level_count, flush=True)
server.serve_forever()
'''
PYTHON = "/usr/bin/python3"  # Debian's, which has python3-openslide
N = 600


def start(arguments):
    return subprocess.Popen(["taskset", "-c", "0"] + arguments, stdout=subprocess.PIPE, text=True)


def used(pid):
    """Processor seconds of a process so far."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(port, paths, headers):
    """Milliseconds of each request."""
    connection, took = http.client.HTTPConnection("127.0.0.1", port), []
    for path in paths:
        then = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        took.append(1e3 * (time.perf_counter() - then))
        if answer.status != 200 or not body:
            sys.exit("%s: %d" % (path, answer.status))
    return sorted(took)


def report(name, took, seconds):
    print("%-34s p50 %6.2f  p99 %6.2f ms   %7.0f tiles a core and second" %
          (name, took[len(took) // 2], took[len(took) * 99 // 100], len(took) / max(seconds, 1e-3)), flush=True)
    return len(took) / max(seconds, 1e-3)


def make(quadslide, folder):
    slide = os.path.join(folder, "cohort", "slides", "slide_01.tif")
    if not os.path.exists(slide):
        subprocess.run([quadslide, "synth", "--quiet", "--out", os.path.join(folder, "cohort"), "--train", "0", "--val", "0",
                        "--test", "1", "--width", "12800", "--height", "10240", "--seed", "3"], check=True)
    pred = os.path.join(folder, "pred")
    os.makedirs(pred, exist_ok=True)
    mask = os.path.join(folder, "cohort", "masks", "slide_01.tif")
    if not os.path.exists(os.path.join(pred, "slide_01.tif")):
        os.symlink(mask, os.path.join(pred, "slide_01.tif"))
    return slide, os.path.join(folder, "cohort", "cohort.csv"), pred


def main():
    quadslide = sys.argv[1]
    folder = sys.argv[2] if len(sys.argv) > 2 else "/tmp/bench-view"
    slide, cohort, pred = make(quadslide, folder)
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    begun = time.perf_counter()
    peer = None
    ours = start([quadslide, "view", "--no-browser", "--threads", "1", "--cohort", cohort, "--pred", "net=" + pred])
    try:
        address = ours.stdout.readline().split(" at ")[1].strip()
        port, token = int(address.split(":")[2].split("/")[0]), address.split("/")[3]
        ask(port, ["/%s/tile/0/5/0/0" % token], {})
        print("from the command to the first picture: %.0f ms" % (1e3 * (time.perf_counter() - begun)))
        peer = start([PYTHON, "-c", PEER, slide])
        peer_port, levels = map(int, peer.stdout.readline().split())
        draw = random.Random(7)
        places = [(draw.randrange(49), draw.randrange(39)) for _ in range(2000)]
        whole = list(dict.fromkeys(places))[:N]
        half = list(dict.fromkeys((x // 2, y // 2) for x, y in places))[:400]
        for turn in range(2):
            before = used(ours.pid)
            took = ask(port, ["/%s/tile/0/0/%d/%d?v=%x" % (token, x, y, turn) for x, y in whole], {})
            copied = report("copied tile", took, used(ours.pid) - before)
            before = used(peer.pid)
            took = ask(peer_port, ["/%d/%d/%d" % (levels - 1, x, y) for x, y in whole], {})
            print("%34s %.1f times\n" % ("", copied / report("  DeepZoom", took, used(peer.pid) - before)))
        before = used(ours.pid)
        report("plane of a mask", ask(port, ["/%s/plane/0/label/0/0/%d/%d" % (token, x, y) for x, y in whole], {}),
               used(ours.pid) - before)
        before = used(ours.pid)
        report("errors", ask(port, ["/%s/plane/0/error/0/0/%d/%d" % (token, x, y) for x, y in whole], {}),
               used(ours.pid) - before)
        computed(quadslide, slide, folder, half)
    finally:
        for server in filter(None, (ours, peer)):
            server.kill()


def computed(quadslide, slide, folder, half):
    """A slide of one level, reduced by 2: nothing can be copied."""
    single = os.path.join(folder, "single.tif")
    if not os.path.exists(single):
        subprocess.run(["vips", "tiffsave", slide, single, "--tile", "--tile-width", "256", "--tile-height", "256",
                        "--compression", "jpeg", "--Q", "85"], check=True)
    ours = start([quadslide, "view", "--no-browser", "--threads", "1", single])
    peer = start([PYTHON, "-c", PEER, single])
    try:
        address = ours.stdout.readline().split(" at ")[1].strip()
        port, token = int(address.split(":")[2].split("/")[0]), address.split("/")[3]
        peer_port, levels = map(int, peer.stdout.readline().split())
        before = used(ours.pid)
        rate = report("reduced by 2 and encoded", ask(port, ["/%s/tile/0/1/%d/%d" % (token, x, y) for x, y in half], {}),
                      used(ours.pid) - before)
        before = used(peer.pid)
        took = ask(peer_port, ["/%d/%d/%d" % (levels - 2, x, y) for x, y in half], {})
        print("%34s %.1f times" % ("", rate / report("  DeepZoom", took, used(peer.pid) - before)))
    finally:
        for server in (ours, peer):
            server.kill()


if __name__ == "__main__":
    main()
