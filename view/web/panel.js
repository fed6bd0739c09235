// One map with its layers. Two panels that share a view are two linked views.
import {Map, TileLayer, ImageTile, TileGrid, Overview, Rotate, Zoom, View, interactions} from './ol.js';
import {address, getPicture} from './api.js';
import {ByteTiles} from './bytes.js';
import {makeTable, legendOf, strongAt} from './colours.js';

const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// In the order in which they lie over each other. `key` switches the layer.
export const kinds = [
  {kind: 'tissue', key: 'T', words: 'Tissue', outline: true},
  {kind: 'cells', key: 'G', words: 'Patch grid', outline: true},
  {kind: 'prob', key: 'O', words: 'Probability', outline: false, threshold: 0.1},
  {kind: 'unc', key: 'U', words: 'Uncertainty', outline: false, threshold: 0.1},
  {kind: 'label', key: 'P', words: 'Prediction', outline: false},
  {kind: 'error', key: 'E', words: 'Errors', outline: false},
  {kind: 'diff', key: 'D', words: 'Disagreement with the first prediction', outline: false},
  {kind: 'annot', key: 'A', words: 'Annotations', outline: true},
  {kind: 'truth', key: 'A', words: 'Truth', outline: true},
];
const perModel = new Set(['prob', 'unc', 'label', 'error', 'diff']);

function hatched(w, h) {
  const canvas = element('canvas');
  canvas.width = w;
  canvas.height = h;
  const ink = canvas.getContext('2d');
  ink.fillStyle = '#d8d8d8';
  ink.fillRect(0, 0, w, h);
  ink.strokeStyle = '#6b6b6b';
  ink.lineWidth = 5;
  ink.beginPath();
  for (let x = -h; x < w; x += 16) {
    ink.moveTo(x, h);
    ink.lineTo(x + h, 0);
  }
  ink.stroke();
  return canvas;
}

function slideLayer(index, slide, projection, told) {
  const levels = slide.levels.slice().reverse();
  const source = new ImageTile({
    projection, wrapX: false, transition: 0, interpolate: true,
    tileGrid: new TileGrid({extent: [0, -slide.h, slide.w, 0], origin: [0, 0],
      resolutions: levels.map((level) => level.downsample), tileSizes: levels.map((level) => [level.tile_w, level.tile_h])}),
    loader: async (z, x, y, {signal}) => {
      const level = levels.length - 1 - z;
      try {
        return await getPicture(`tile/${index}/${level}/${x}/${y}?v=${slide.version}`, signal);
      } catch (error) {
        if (error.name === 'AbortError') throw error;
        told(error.message);
        return hatched(levels[z].tile_w, levels[z].tile_h); // damaged places are never white
      }
    },
  });
  return new TileLayer({source, extent: [0, -slide.h, slide.w, 0], preload: 1});
}

// A rounded length of 80 to 200 pixels: [pixels, words].
export function scaleOf(resolution, mpp) {
  const unit = mpp > 0 ? resolution * mpp : resolution;
  let length = 10 ** Math.floor(Math.log10(unit * 200));
  for (const k of [5, 2]) if (k * length <= unit * 200) { length *= k; break; }
  const words = !(mpp > 0) ? `${length} pixels` : length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  return [length / unit, words];
}

export class Panel {
  constructor(shown, index, slide, view, projection, told) {
    Object.assign(this, {shown, index, slide, projection, told, model: 0, hidden: false});
    this.root = element('div', '', {class: 'panel'});
    this.place = element('div', '', {class: 'map', tabindex: '0', role: 'application',
      'aria-label': `${slide.name}: arrows move, plus and minus zoom, ? lists all keys`});
    this.side = element('div', '', {class: 'side'});
    this.scale = element('div', '', {class: 'scale'});
    this.root.append(this.place, this.side);
    this.has = new Set(slide.planes.map((p) => `${p.kind}${p.model}`));
    this.settings = {};
    for (const k of kinds)
      this.settings[k.kind] = {on: false, opacity: 1, outline: k.outline, threshold: k.threshold ?? 0};
    this.map = new Map({target: this.place, view, controls: [], layers: [slideLayer(index, slide, projection, told)],
      interactions: interactions({keyboard: false}), moveTolerance: 3});
    this.addControls(slide);
    this.place.append(this.scale);
    this.layers = {};
    this.buildSide();
    const drawScale = () => {
      const [pixels, words] = scaleOf(view.getResolution() ?? 1, slide.mpp);
      this.scale.replaceChildren(words, element('i'));
      this.scale.lastChild.style.width = `${pixels}px`;
    };
    view.on('change:resolution', drawScale);
    drawScale();
  }

  addControls(slide) {
    const extent = [0, -slide.h, slide.w, 0];
    this.map.addControl(new Zoom({zoomInTipLabel: 'Zoom in (+)', zoomOutTipLabel: 'Zoom out (-)'}));
    this.map.addControl(new Rotate({tipLabel: 'Turn back', autoHide: true}));
    this.map.addControl(new Overview({collapsed: false, tipLabel: 'Overview', rotateWithView: true,
      layers: [slideLayer(this.index, slide, this.projection, () => {})],
      view: new View({projection: this.projection, extent, showFullExtent: true, constrainOnlyCenter: false,
        resolution: Math.max(slide.w / 168, slide.h / 126), minResolution: Math.max(slide.w / 168, slide.h / 126),
        maxResolution: Math.max(slide.w / 168, slide.h / 126)})}));
  }

  modelOf(kind) { return perModel.has(kind) ? this.model : 0; }

  // Uncertainty comes from its own file, or, of two classes, from the probability.
  sourceKind(kind) {
    return kind === 'unc' && !this.has.has(`unc${this.model}`) ? 'prob' : kind;
  }

  available(kind) { return this.has.has(`${this.sourceKind(kind)}${this.modelOf(kind)}`); }

  table(kind) {
    const at = this.settings[kind];
    return makeTable(kind, {...at, fromProb: this.sourceKind(kind) === 'prob'}, this.shown.classes);
  }

  // ---- layers ----
  layer(kind) {
    const name = `${this.sourceKind(kind)}/${this.modelOf(kind)}`;
    const had = this.layers[kind];
    if (had?.name === name) return had;
    if (had) this.map.removeLayer(had.layer);
    const tiles = new ByteTiles(this.slide, this.projection,
      (level, x, y) => `plane/${this.index}/${name}/${level}/${x}/${y}?v=${this.slide.version}`,
      (message) => this.fail(kind, message));
    const layer = new TileLayer({source: tiles.source, extent: [0, -this.slide.h, this.slide.w, 0],
      zIndex: 1 + kinds.findIndex((k) => k.kind === kind)});
    this.map.addLayer(layer);
    return this.layers[kind] = {name, tiles, layer};
  }

  fail(kind, message) {
    const at = this.settings[kind];
    if (at.why === message) return;
    at.why = message;
    at.on = false;
    this.told(message);
    this.apply(kind);
  }

  apply(kind) {
    const at = this.settings[kind];
    if (at.on && this.available(kind)) {
      const made = this.layer(kind);
      made.tiles.recolour(this.table(kind), at.outline);
      made.layer.setOpacity(at.opacity);
      made.layer.setVisible(!this.hidden);
    } else {
      this.layers[kind]?.layer.setVisible(false);
    }
    this.showSettings(kind);
    this.changed?.();
  }

  toggle(kind, on) {
    if (!this.available(kind)) return false;
    this.settings[kind].on = on ?? !this.settings[kind].on;
    this.settings[kind].why = '';
    this.last = kind;
    this.apply(kind);
    return true;
  }

  // Space held: the slide alone.
  hide(hidden) {
    this.hidden = hidden;
    for (const k of kinds) this.layers[k.kind]?.layer.setVisible(!hidden && this.settings[k.kind].on);
  }

  setModel(model) {
    this.model = model;
    if (this.select) this.select.value = String(model);
    for (const k of kinds) {
      this.settings[k.kind].why = '';
      if (perModel.has(k.kind)) this.apply(k.kind);
    }
  }

  // ---- the side ----
  buildSide() {
    this.controls = {};
    if (this.shown.models.length) {
      this.side.append(element('h2', 'Model'));
      this.select = element('select', '', {'aria-label': 'Model'});
      this.shown.models.forEach((m, i) => this.select.append(element('option', m.name, {value: i})));
      this.select.addEventListener('change', () => this.setModel(Number(this.select.value)));
      this.side.append(this.select);
    }
    this.side.append(element('h2', 'Layers'));
    for (const k of kinds.slice().reverse())
      if ([...this.has].some((name) => name.startsWith(k.kind)) || (k.kind === 'unc' && [...this.has].some((n) => n.startsWith('prob'))))
        this.side.append(this.buildLayer(k));
    if (!Object.keys(this.controls).length)
      this.side.append(element('p', 'No layers: name a cohort, a store or predictions on the command line.'));
  }

  buildLayer(k) {
    const at = this.settings[k.kind], box = element('div', '', {class: 'layer'});
    const label = element('label'), check = element('input', '', {type: 'checkbox'});
    label.append(check, element('span', k.words), element('kbd', k.key));
    const more = element('div', '', {class: 'more'});
    const opacity = element('input', '', {type: 'range', min: 0, max: 100, 'aria-label': `${k.words}: opacity`});
    const style = element('button', '', {type: 'button'});
    const legend = element('ul', '', {class: 'legend'}), why = element('p', '', {class: 'why bad'});
    more.append(opacity, style);
    let threshold = null;
    if (k.threshold !== undefined) {
      threshold = element('input', '', {type: 'range', min: 0, max: 99, 'aria-label': `${k.words}: shown from`});
      threshold.addEventListener('input', () => { at.threshold = threshold.value / 100; this.apply(k.kind); });
      const row = element('div', '', {class: 'more'});
      row.append(element('span', 'from'), threshold);
      legend.append(row);
    }
    check.addEventListener('change', () => this.toggle(k.kind, check.checked));
    opacity.addEventListener('input', () => { at.opacity = opacity.value / 100; this.apply(k.kind); });
    style.addEventListener('click', () => { at.outline = !at.outline; this.apply(k.kind); });
    box.append(label, more, legend, why);
    this.controls[k.kind] = {check, opacity, style, legend, why, more, threshold};
    for (const [byte, words] of legendOf(k.kind, this.shown.classes)) legend.append(this.legendRow(k.kind, byte, words));
    this.showSettings(k.kind);
    return box;
  }

  legendRow(kind, byte, words) {
    const row = element('li'), canvas = element('canvas');
    canvas.width = 22;
    canvas.height = 14;
    const ink = canvas.getContext('2d'), entry = this.table(kind)[byte];
    for (let y = 0; entry && y < 14; y++)
      for (let x = 0; x < 22; x++) {
        const alpha = (strongAt(entry.pattern, x, y) ? entry.rgba[3] : entry.rgba[3] / 4) / 255;
        ink.fillStyle = `rgb(${entry.rgba.slice(0, 3).join(' ')} / ${alpha})`;
        ink.fillRect(x, y, 1, 1);
      }
    row.append(canvas, element('span', words));
    return row;
  }

  showSettings(kind) {
    const c = this.controls[kind], at = this.settings[kind];
    if (!c) return;
    const can = this.available(kind);
    c.check.checked = at.on && can;
    c.check.disabled = !can;
    c.opacity.value = Math.round(at.opacity * 100);
    if (c.threshold) c.threshold.value = Math.round(at.threshold * 100);
    c.style.textContent = at.outline ? 'outline' : 'fill';
    c.style.setAttribute('aria-label', `${kind}: drawn as ${at.outline ? 'outline' : 'fill'}; change`);
    c.more.hidden = c.legend.hidden = !c.check.checked;
    c.why.textContent = at.why ?? '';
    c.why.hidden = !at.why;
  }

  // What is on, as text for the address, and back.
  state() {
    return kinds.filter((k) => this.settings[k.kind].on)
      .map((k) => `${k.kind}.${Math.round(this.settings[k.kind].opacity * 100)}${this.settings[k.kind].outline ? 'o' : 'f'}`).join('_');
  }

  restore(text, model) {
    if (model > 0 && model < this.shown.models.length) this.setModel(model);
    for (const item of (text ?? '').split('_')) {
      const [, kind, opacity, how] = /^([a-z]+)\.(\d+)([of])$/.exec(item) ?? [];
      if (!this.settings[kind]) continue;
      Object.assign(this.settings[kind], {opacity: Math.min(1, opacity / 100), outline: how === 'o'});
      this.toggle(kind, true);
    }
  }

  close() {
    this.map.setTarget(undefined);
    this.root.remove();
  }
}
