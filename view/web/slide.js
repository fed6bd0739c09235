// The slide's page: panels, status line, address.
import {Projection, View} from './ol.js';
import {getJson} from './api.js';
import {Panel, kinds} from './panel.js';
import {errorShares} from './colours.js';
import {Editor} from './edit.js';

const POINTER_MS = 80;

export class SlidePage {
  constructor(root, tools, say, shown) {
    Object.assign(this, {root, tools, say, shown, panels: [], index: -1});
  }

  get open() { return this.panels.length > 0; }
  get panel() { return this.panels.find((p) => p.root.contains(document.activeElement)) ?? this.panels[0]; }

  async show(index, state) {
    this.close();
    this.index = index;
    const turn = this.turn = {};
    let slide;
    try {
      slide = await getJson(`api/slides/${index}`);
    } catch (error) {
      if (this.turn === turn) this.say(error.message, true);
      return;
    }
    if (this.turn !== turn) return;
    this.slide = slide;
    const extent = [0, -slide.h, slide.w, 0];
    this.projection = new Projection({code: `slide-${index}`, units: 'pixels', extent});
    this.view = new View({projection: this.projection, center: [slide.w / 2, -slide.h / 2], minResolution: 1 / 16,
      maxResolution: Math.max(slide.w / 200, slide.h / 200, 1), extent, constrainOnlyCenter: true, enableRotation: true,
      resolution: 1, smoothResolutionConstraint: false});
    this.buildTools();
    this.addPanel();
    this.restore(state);
    if (this.shown.annotates) {
      this.editor = new Editor(this, this.tools);
      await this.editor.load();
      if (this.turn !== turn) return;
    }
    this.view.on('propertychange', () => this.remember());
    this.remember();
    this.panels[0].place.focus({preventScroll: true});
    this.say(this.facts());
  }

  facts() {
    const s = this.slide;
    return `${s.name}: ${s.w} × ${s.h} pixels, ${s.mpp > 0 ? `${Number(s.mpp.toPrecision(4))} µm per pixel` : 'resolution unknown'}`;
  }

  close() {
    this.editor?.close();
    this.editor = null;
    for (const panel of this.panels) panel.close();
    this.panels = [];
    this.tools.replaceChildren();
    this.turn = null;
  }

  addPanel() {
    const panel = new Panel(this.shown, this.index, this.slide, this.view, this.projection, (text) => this.say(text, true));
    panel.changed = () => this.remember();
    this.root.append(panel.root);
    this.panels.push(panel);
    panel.map.updateSize();
    this.editor?.attach(panel);
    panel.place.addEventListener('pointermove', (event) => this.point(panel, event));
  }

  fit() {
    const size = this.panels[0].map.getSize() ?? [800, 600];
    this.view.fit([0, -this.slide.h, this.slide.w, 0], {size, padding: [8, 8, 8, 8]});
  }

  two(on = this.panels.length === 1) {
    if (on && this.panels.length === 1) {
      this.addPanel();
      const second = this.panels[1];
      second.restore(this.panels[0].state(), this.shown.models.length > 1 ? 1 : 0);
    } else if (!on && this.panels.length === 2) {
      this.panels.pop().close();
    }
    for (const panel of this.panels) panel.map.updateSize();
    this.twoButton?.setAttribute('aria-pressed', String(this.panels.length === 2));
    this.remember();
  }

  buildTools() {
    const add = (words, does) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = words;
      button.addEventListener('click', does);
      this.tools.append(button);
      return button;
    };
    add('Whole slide', () => this.fit());
    add('Turn left', () => this.turnBy(-Math.PI / 12));
    add('Turn right', () => this.turnBy(Math.PI / 12));
    this.twoButton = add('Two views', () => this.two());
    this.twoButton.setAttribute('aria-pressed', String(this.panels.length === 2));
    add('Previous slide', () => this.step(-1));
    add('Next slide', () => this.step(1));
  }

  turnBy(angle) { this.view.setRotation(this.view.getRotation() + angle); }
  step(by) {
    const to = this.index + by;
    if (to >= 0 && to < this.shown.slides.length) this.goTo?.(to, {layers: this.panels[0].state(), model: this.panels[0].model});
  }

  move(dx, dy) {
    const r = this.view.getResolution(), turn = this.view.getRotation(), [x, y] = this.view.getCenter();
    const ux = dx * Math.cos(turn) + dy * Math.sin(turn), uy = -dx * Math.sin(turn) + dy * Math.cos(turn);
    this.view.setCenter([x + ux * r, y - uy * r]);
  }

  zoom(by) { this.view.setResolution(Math.max(this.view.getMinResolution(), this.view.getResolution() / by)); }

  // ---- the address ----
  remember() {
    if (!this.open) return;
    const [x, y] = this.view.getCenter();
    const parts = {slide: this.index, x: x.toFixed(1), y: (-y).toFixed(1), r: this.view.getResolution().toPrecision(6)};
    if (this.view.getRotation()) parts.turn = this.view.getRotation().toFixed(4);
    if (this.panels[0].state()) parts.layers = this.panels[0].state();
    if (this.panels[0].model) parts.model = this.panels[0].model;
    if (this.panels.length === 2) Object.assign(parts, {layers2: this.panels[1].state(), model2: this.panels[1].model});
    const text = '#' + Object.entries(parts).map(([k, v]) => `${k}=${v}`).join('&');
    clearTimeout(this.later);
    this.later = setTimeout(() => { if (this.open) history.replaceState(null, '', text); }, 200);
  }

  restore(state = {}) {
    this.fit();
    const x = Number(state.x), y = Number(state.y), r = Number(state.r);
    if (state.x !== undefined && Number.isFinite(x) && Number.isFinite(y) && r > 0) {
      this.view.setCenter([x, -y]);
      this.view.setResolution(r);
    }
    if (Number.isFinite(Number(state.turn))) this.view.setRotation(Number(state.turn));
    this.panels[0].restore(state.layers, Number(state.model));
    if (state.layers2 !== undefined) {
      this.two(true);
      if (state.x === undefined) this.fit();
      for (const k of kinds) this.panels[1].toggle(k.kind, false);
      this.panels[1].restore(state.layers2, Number(state.model2));
    }
  }

  // ---- values under the pointer ----
  point(panel, event) {
    const box = panel.place.getBoundingClientRect();
    const at = panel.map.getCoordinateFromPixel([event.clientX - box.left, event.clientY - box.top]);
    if (!at) return;
    clearTimeout(this.pointing);
    this.pointing = setTimeout(() => this.ask(Math.floor(at[0]), Math.floor(-at[1])), POINTER_MS);
  }

  async ask(x, y) {
    if (x < 0 || y < 0 || x >= this.slide.w || y >= this.slide.h) { this.say(this.facts()); return; }
    try {
      const answer = await getJson(`api/slides/${this.index}/at?x=${x}&y=${y}`);
      this.say(this.words(answer));
    } catch (error) {
      this.say(error.message, true);
    }
  }

  words({x, y, values}) {
    const {mpp} = this.slide, said = [`${x}, ${y}`];
    if (mpp > 0) said.push(`${(x * mpp).toFixed(1)}, ${(y * mpp).toFixed(1)} µm`);
    const named = (v) => v === 255 ? 'ignored' : this.shown.classes[v]?.name ?? `class ${v}`;
    for (const {kind, model, value, reason, share} of values) {
      const of = this.shown.models.length > 1 ? ` (${this.shown.models[model]?.name})` : '';
      if (kind === 'cells' && reason) said.push(`patch ${reason}, tissue ${(share * 100).toFixed(0)} %`);
      if (value === undefined) continue;
      if (kind === 'label') said.push(`predicted ${named(value)}${of}`);
      if (kind === 'truth') said.push(`truth ${named(value)}`);
      if (kind === 'annot') said.push(`annotated ${named(value)}`);
      if (kind === 'prob') said.push(`probability ${(value / 255).toFixed(2)}${of}`);
      if (kind === 'unc') said.push(`uncertainty ${(value / 255).toFixed(2)}${of}`);
      if (kind === 'tissue') said.push(value ? 'tissue' : 'no tissue');
      if (kind === 'error') {
        const s = errorShares(value);
        const what = s.wrong && s.missed ? 'another class' : s.wrong ? 'false' : s.missed ? 'missed' : s.found ? 'found' : '';
        if (what) said.push(`${what}${of}`);
      }
    }
    return said.join(' · ');
  }
}
