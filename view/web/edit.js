// Drawing. Every edit is combined by the server on pixels of the screen's size, so outlines are always valid.
import {VectorLayer, VectorSource, Feature, Polygon, LineString, Draw, Modify, Style, Fill, Stroke, Circle} from './ol.js';
import {send} from './api.js';
import {Draft, REVIEWED} from './draft.js';

const UNDO_MAX = 100, tools = [
  {tool: 'hand', key: 'V', words: 'Hand'}, {tool: 'polygon', key: 'Q', words: 'Polygon'},
  {tool: 'freehand', key: 'W', words: 'Freehand'}, {tool: 'brush', key: 'B', words: 'Brush'},
  {tool: 'cut', key: 'X', words: 'Cut'}, {tool: 'accept', key: 'C', words: 'Accept'}, {tool: 'vertices', key: '', words: 'Vertices'},
];
export const editKeys = [['V', 'hand'], ['Q', 'polygon by clicks'], ['W', 'freehand'], ['B', 'brush (Alt erases)'], ['X', 'cut away'],
  ['C', 'accept the predicted region under the click'], ['1…9', 'class'], ['0', 'reviewed area'], ['Ctrl+Z, Ctrl+Y', 'undo, redo']];

const boxOf = (points, by = 0) => points.reduce((b, [x, y]) => [Math.min(b[0], x - by), Math.min(b[1], y - by), Math.max(b[2], x + by), Math.max(b[3], y + by)],
  [Infinity, Infinity, -Infinity, -Infinity]);
const meet = (a, b, by) => a[0] <= b[2] + by && b[0] <= a[2] + by && a[1] <= b[3] + by && b[1] <= a[3] + by;
const toMap = (ring) => [...ring, ring[0]].map(([x, y]) => [x, -y]);
const fromMap = (ring) => ring.slice(0, -1).map(([x, y]) => [x, -y]);

export class Editor {
  constructor(page, bar) {
    Object.assign(this, {page, shapes: [], past: [], at: 0, tool: 'hand', cls: 1, radius: 12, work: Promise.resolve(), parts: []});
    this.classes = page.shown.classes;
    this.source = new VectorSource({wrapX: false});
    this.sketch = new VectorSource({wrapX: false});
    this.build(bar);
    this.draft = new Draft(page.index, page.slide, this.classes, (text, bad) => this.tell(text, bad), () => this.offer());
    for (const panel of page.panels) this.attach(panel);
  }

  async load() {
    try {
      this.shapes = await this.draft.load();
      this.past = [this.shapes];
      this.draw();
    } catch (error) {
      this.tell(`no drawing here: ${error.message}`, true);
      this.off = true;
    }
  }

  close() {
    this.draft.close();
    this.box.remove();
    this.detach();
  }

  tell(text, bad) {
    this.state.textContent = text;
    this.state.classList.toggle('bad', bad);
  }

  // ---- the bar ----
  build(bar) {
    this.box = document.createElement('div');
    const button = (words, does, title = '') => {
      const made = document.createElement('button');
      Object.assign(made, {type: 'button', textContent: words, title});
      made.addEventListener('click', does);
      this.box.append(made, ' ');
      return made;
    };
    this.buttons = tools.map((t) => [t.tool, button(t.words, () => this.use(t.tool), t.key)]);
    this.select = document.createElement('select');
    this.select.setAttribute('aria-label', 'Class');
    const option = (value, words) => { const made = document.createElement('option'); made.value = value; made.textContent = words; this.select.append(made); };
    this.classes.slice(1).forEach((c, k) => option(k + 1, `${k + 1} ${c.name}`));
    option(REVIEWED, '0 reviewed area');
    this.select.addEventListener('change', () => { this.cls = Number(this.select.value); });
    const size = document.createElement('input');
    Object.assign(size, {type: 'range', min: 2, max: 80, value: this.radius});
    size.setAttribute('aria-label', 'Size of the brush');
    size.addEventListener('input', () => { this.radius = Number(size.value); });
    this.box.append(this.select, ' ', size, ' ');
    button('Undo', () => this.undo(-1));
    button('Redo', () => this.undo(1));
    this.state = document.createElement('span');
    this.state.id = 'state';
    this.state.setAttribute('role', 'status');
    this.choice = document.createElement('span');
    this.box.append(this.state, this.choice);
    bar.prepend(this.box);
    this.mark();
  }

  mark() {
    for (const [tool, made] of this.buttons) made.setAttribute('aria-pressed', String(tool === this.tool));
  }

  // Another window has saved: the user says whose is right.
  offer() {
    const button = (words, does) => {
      const made = document.createElement('button');
      Object.assign(made, {type: 'button', textContent: words});
      made.addEventListener('click', () => { this.choice.replaceChildren(); does(); });
      return made;
    };
    this.choice.replaceChildren(button('Keep mine', () => this.draft.force()), ' ',
      button('Take theirs', () => { this.draft.forget(); this.load(); }));
  }

  key(name) {
    const found = tools.find((t) => t.key && t.key === name.toUpperCase());
    if (found) this.use(found.tool);
    else if (/^[0-9]$/.test(name) && Number(name) < this.classes.length) this.choose(name === '0' ? REVIEWED : Number(name));
    else return false;
    return true;
  }

  choose(cls) {
    this.cls = cls;
    this.select.value = String(cls);
  }

  // ---- tools ----
  attach(panel) {
    const style = (f) => this.style(f.get('cls'));
    const layers = [new VectorLayer({source: this.source, style, zIndex: 50}),
      new VectorLayer({source: this.sketch, zIndex: 51, style: () => new Style({stroke: new Stroke({color: '#0b5cad99', width: 2 * this.radius, lineCap: 'round', lineJoin: 'round'})})})];
    for (const layer of layers) panel.map.addLayer(layer);
    this.parts.push({panel, made: []});
    this.use(this.tool);
  }

  style(cls) {
    if (cls === REVIEWED) return new Style({stroke: new Stroke({color: '#006b52', width: 2.5, lineDash: [8, 6]})});
    const rgb = this.classes[cls]?.rgb ?? [0, 0, 0];
    return new Style({fill: new Fill({color: [...rgb, 0.18]}), stroke: new Stroke({color: [...rgb, 1], width: 2})});
  }

  detach() {
    for (const part of this.parts) {
      for (const undo of part.made) undo();
      part.made = [];
    }
  }

  use(tool) {
    this.tool = tool;
    this.mark();
    this.detach();
    if (this.off) return;
    this.parts = this.parts.filter(({panel}) => panel.root.isConnected);
    for (const part of this.parts) this.equip(part);
  }

  equip({panel, made}) {
    const add = (interaction) => { panel.map.addInteraction(interaction); made.push(() => panel.map.removeInteraction(interaction)); };
    const listen = (name, does) => { panel.place.addEventListener(name, does, true); made.push(() => panel.place.removeEventListener(name, does, true)); };
    if (['polygon', 'freehand', 'cut'].includes(this.tool)) {
      const draw = new Draw({type: 'Polygon', freehand: this.tool !== 'polygon', style: new Style({
        stroke: new Stroke({color: '#0b5cad', width: 2}), fill: new Fill({color: '#0b5cad22'}), image: new Circle({radius: 4, fill: new Fill({color: '#0b5cad'})})})});
      draw.on('drawend', ({feature}) => this.edit(this.tool === 'cut' ? 'subtract' : 'add', {area: feature.getGeometry().getCoordinates().map(fromMap)}));
      add(draw);
    } else if (this.tool === 'vertices') {
      const modify = new Modify({source: this.source});
      modify.on('modifyend', ({features}) => features.forEach((f) => this.moved(f)));
      add(modify);
    } else if (this.tool === 'accept') {
      const click = ({coordinate}) => this.accept(panel, coordinate);
      panel.map.on('click', click);
      made.push(() => panel.map.un('click', click));
    } else if (this.tool === 'brush') {
      this.equipBrush(panel, listen);
    }
  }

  equipBrush(panel, listen) {
    let path = null, line = null;
    const at = (event) => {
      const box = panel.place.getBoundingClientRect();
      return panel.map.getCoordinateFromPixel([event.clientX - box.left, event.clientY - box.top]);
    };
    listen('pointerdown', (event) => {
      if (event.button !== 0 || event.target.closest('.ol-control')) return;
      event.stopPropagation();
      panel.place.focus({preventScroll: true});
      panel.place.setPointerCapture(event.pointerId);
      path = [at(event)];
      line = new Feature(new LineString([path[0], path[0]]));
      this.sketch.addFeature(line);
    });
    listen('pointermove', (event) => {
      if (!path) return;
      event.stopPropagation();
      path.push(at(event));
      line.getGeometry().setCoordinates(path);
    });
    listen('pointerup', (event) => {
      if (!path) return;
      event.stopPropagation();
      this.sketch.clear();
      const r = this.page.view.getResolution();
      this.edit(event.altKey ? 'subtract' : 'add', {path: path.map(([x, y]) => [x, -y]), radius: this.radius * r});
      path = null;
    });
  }

  // ---- edits: one after another ----
  edit(op, what, cls = this.cls) {
    const step = Math.min(Math.max(this.page.view.getResolution(), 1 / 16), 4096);
    this.work = this.work.then(() => this.combine(op, what, cls, step)).catch((error) => this.tell(`this edit was not made: ${error.message}`, true));
    return this.work;
  }

  async combine(op, what, cls, step) {
    const box = what.path ? boxOf(what.path, what.radius) : boxOf(what.area.flat());
    const near = (s) => meet(boxOf(s.rings[0]), box, step);
    const concerned = op === 'add' || cls === REVIEWED ? [cls] : [...new Set(this.shapes.map((s) => s.cls))].filter((c) => c !== REVIEWED);
    let shapes = this.shapes;
    for (const c of concerned) {
      const own = shapes.filter((s) => s.cls === c && near(s));
      if (op === 'subtract' && !own.length) continue;
      const rings = await this.ask(op, what, own, step);
      shapes = [...shapes.filter((s) => !own.includes(s)), ...rings.map((r) => ({cls: c, rings: r, step}))];
    }
    this.set(shapes);
  }

  // At the finest pixels that these shapes were drawn at, where that is not too much; else at the screen's.
  async ask(op, what, own, step) {
    const fine = Math.min(step, ...own.map((s) => s.step ?? 1));
    for (const at of new Set([fine, step])) {
      try {
        const answer = await send('POST', `api/slides/${this.page.index}/shape`, JSON.stringify({op, step: at, shapes: own.map((s) => s.rings), ...what}));
        return (await answer.json()).shapes;
      } catch (error) {
        if (error.status !== 422 || at === step) throw error;
      }
    }
    return [];
  }

  accept(panel, [x, y]) {
    this.work = this.work.then(async () => {
      const answer = await send('POST', `api/slides/${this.page.index}/accept/${panel.model}?x=${Math.max(0, Math.floor(x))}&y=${Math.max(0, Math.floor(-y))}`, '');
      const found = await answer.json();
      for (const rings of found.shapes) await this.combine('add', {area: rings}, found.class, this.page.view.getResolution());
    }).catch((error) => this.tell(error.message, true));
  }

  moved(f) {
    const rings = f.getGeometry().getCoordinates().map(fromMap), old = f.get('shape');
    this.work = this.work.then(async () => {
      const others = this.shapes.filter((s) => s !== old);
      const made = await this.ask('add', {area: rings}, [], Math.min(this.page.view.getResolution(), old.step ?? 1));
      this.set([...others, ...made.map((r) => ({...old, rings: r}))]);
    }).catch((error) => { this.draw(); this.tell(`this edit was not made: ${error.message}`, true); });
  }

  set(shapes) {
    this.shapes = shapes;
    this.past = [...this.past.slice(0, this.at + 1), shapes].slice(-UNDO_MAX);
    this.at = this.past.length - 1;
    this.draw();
    this.draft.put(shapes);
  }

  undo(by) {
    this.work = this.work.then(() => {
      const to = this.at + by;
      if (to < 0 || to >= this.past.length) return;
      this.at = to;
      this.shapes = this.past[to];
      this.draw();
      this.draft.put(this.shapes);
    });
  }

  draw() {
    this.source.clear();
    this.source.addFeatures(this.shapes.map((shape) => {
      const f = new Feature(new Polygon(shape.rings.map(toMap)));
      f.set('cls', shape.cls);
      f.set('shape', shape);
      return f;
    }));
  }
}
