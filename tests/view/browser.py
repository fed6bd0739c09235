"""A browser for the tests: Debian's chromium through chromedriver, WebDriver by the standard library."""
import base64, json, os, shutil, socket, struct, subprocess, tempfile, time, urllib.request, zlib

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--hide-scrollbars", "--force-device-scale-factor=1", "--disable-dev-shm-usage"]


def missing():
    """What is not there, in words, or None."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return program + " is not there"
    return None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Browser:
    def __init__(self, width=1280, height=800):
        self.profile = tempfile.mkdtemp(prefix="vw-browser-")
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", "--port=%d" % self.port], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.profile})
        options = {"binary": shutil.which("chromium"),
                   "args": FLAGS + ["--user-data-dir=" + self.profile, "--window-size=%d,%d" % (width, height)]}
        for _ in range(100):
            try:
                made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
                    "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError("chromedriver did not start")
        self.session = "/session/" + made["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.port, path), data, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:600]) from error

    def go(self, address):
        self.call("POST", self.session + "/url", {"url": address})

    def run(self, script, *arguments):
        return self.call("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script, seconds=20):
        end = time.time() + seconds
        while time.time() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.05)
        raise RuntimeError("waited %d s for: %s" % (seconds, script))

    def press(self, *keys):
        """Keys to whatever has the focus."""
        actions = [a for key in keys for a in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})]
        self.call("POST", self.session + "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def pointer(self, actions):
        self.call("POST", self.session + "/actions", {"actions": [
            {"type": "pointer", "id": "p", "parameters": {"pointerType": "mouse"}, "actions": actions}]})

    def picture(self):
        return base64.b64decode(self.call("GET", self.session + "/screenshot"))

    def part(self, x, y, w, h):
        """A picture of a part of the window."""
        clip = {"x": x, "y": y, "width": w, "height": h, "scale": 1}
        return base64.b64decode(self.call("POST", self.session + "/goog/cdp/execute", {
            "cmd": "Page.captureScreenshot", "params": {"format": "png", "clip": clip}})["data"])

    def log(self, kind):
        return self.call("POST", self.session + "/se/log", {"type": kind})

    def close(self):
        try:
            self.call("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait()
            shutil.rmtree(self.profile, ignore_errors=True)


def pixels(png):
    """(width, height, rows of bytes, bytes a pixel) of an 8-bit RGB or RGBA PNG."""
    at, data, w, h, bands = 8, b"", 0, 0, 0
    while at < len(png):
        n, kind = struct.unpack(">I4s", png[at:at + 8])
        if kind == b"IHDR":
            w, h, _, colour = struct.unpack(">IIBB", png[at + 8:at + 18])
            bands = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            data += png[at + 8:at + 8 + n]
        at += n + 12
    raw, rows, before = zlib.decompress(data), [], bytearray(w * bands)
    for y in range(h):
        start = y * (w * bands + 1)
        row = bytearray(raw[start + 1:start + 1 + w * bands])
        unfilter(raw[start], row, before, bands)
        rows.append(bytes(row))
        before = row
    return w, h, rows, bands


def unfilter(how, row, before, bands):
    for i in range(len(row) if how else 0):
        left = row[i - bands] if i >= bands else 0
        up, corner = before[i], before[i - bands] if i >= bands else 0
        if how == 1:
            row[i] = row[i] + left & 255
        elif how == 2:
            row[i] = row[i] + up & 255
        elif how == 3:
            row[i] = row[i] + (left + up) // 2 & 255
        else:
            p = left + up - corner
            a, b, c = abs(p - left), abs(p - up), abs(p - corner)
            row[i] = row[i] + (left if a <= b and a <= c else up if b <= c else corner) & 255
