// A slide's draft: shapes to GeoJSON and back, and its way to the server. Nothing is lost: it is saved a second after
// each edit, what is not confirmed stays in this browser, and a failure is on the screen until it is over.
import {getAnswer, send} from './api.js';

const SAVE_MS = 1000, RETRY_MS = 5000, NOT_REVIEWED = 'not reviewed';
export const REVIEWED = -1; // the class of areas that were looked at

const closed = (ring) => [...ring, ring[0]];
const open = (ring) => ring.slice(0, -1);

export function inside([x, y], ring) {
  let odd = false;
  for (let i = 0, k = ring.length - 1; i < ring.length; k = i++) {
    const [ax, ay] = ring[i], [bx, by] = ring[k];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

const feature = (geometry, name, rgb) => JSON.stringify({type: 'Feature', id: crypto.randomUUID(), geometry,
  properties: {objectType: 'annotation', name, classification: {name, color: rgb}, isLocked: false}});

// Shapes are {cls, rings}: rings of level-0 places, not closed, the outer one first. Where anything was marked as
// reviewed, the last feature is all the rest: it is painted last, and ignored in training.
export function toText(slide, shapes, classes) {
  const features = shapes.filter((s) => s.cls !== REVIEWED).map((s) =>
    feature({type: 'Polygon', coordinates: s.rings.map(closed)}, classes[s.cls].name, classes[s.cls].rgb));
  const reviewed = shapes.filter((s) => s.cls === REVIEWED);
  if (reviewed.length) {
    const {w, h} = slide;
    const canvas = [[0, 0], [w, 0], [w, h], [0, h], [0, 0]];
    features.push(feature({type: 'MultiPolygon', coordinates: [
      [canvas, ...reviewed.map((s) => closed(s.rings[0]))],
      ...reviewed.flatMap((s) => s.rings.slice(1).map((ring) => [closed(ring)]))]}, NOT_REVIEWED, [128, 128, 128]));
  }
  return `{"type":"FeatureCollection","quadslide":{"w":${slide.w},"h":${slide.h}},"features":[${features.join(',\n')}]}\n`;
}

export function fromText(text, classes) {
  const shapes = [];
  for (const {geometry, properties} of JSON.parse(text).features) {
    const name = properties.classification.name;
    if (name !== NOT_REVIEWED) {
      shapes.push({cls: classes.findIndex((c) => c.name === name), rings: geometry.coordinates.map(open)});
      continue;
    }
    const [[, ...outers], ...inners] = geometry.coordinates;
    for (const outer of outers.map(open))
      shapes.push({cls: REVIEWED, rings: [outer, ...inners.map(([ring]) => open(ring)).filter((ring) => inside(ring[0], outer))]});
  }
  return shapes;
}

export class Draft {
  // told(text, bad): what the screen says. conflict(): another window was faster.
  constructor(index, slide, classes, told, conflict) {
    Object.assign(this, {index, slide, classes, told, conflict, etag: '"none"', text: null, saved: true});
    this.path = `api/slides/${index}/draft`;
    this.key = `quadslide-draft-${slide.name}-${slide.w}x${slide.h}`;
    this.leaving = (event) => { if (!this.saved) event.preventDefault(); };
    addEventListener('beforeunload', this.leaving);
  }

  // The shapes on the server, or, when this browser has some that were never confirmed, those.
  async load() {
    const answer = await getAnswer(this.path);
    this.etag = answer.headers.get('ETag');
    const text = await answer.text(), kept = this.kept();
    if (kept && kept.etag === this.etag && kept.text !== text) {
      this.text = kept.text;
      this.saved = false;
      this.save();
      return fromText(kept.text, this.classes);
    }
    this.told('', false);
    return fromText(text, this.classes);
  }

  kept() {
    try { return JSON.parse(localStorage.getItem(this.key)); } catch { return null; }
  }

  keep() {
    try { localStorage.setItem(this.key, JSON.stringify({etag: this.etag, text: this.text})); } catch { /* full: the page itself still has it */ }
  }

  put(shapes) {
    this.text = toText(this.slide, shapes, this.classes);
    this.saved = false;
    this.keep();
    this.told('saving', false);
    clearTimeout(this.later);
    this.later = setTimeout(() => this.save(), SAVE_MS);
  }

  // One request at a time; what was drawn meanwhile goes with the next.
  async save() {
    clearTimeout(this.later);
    if (this.saved || this.saving) return;
    this.saving = true;
    const text = this.text;
    try {
      const answer = await send('PUT', this.path, text, {'If-Match': this.etag});
      this.etag = answer.headers.get('ETag');
      if (this.text === text) {
        this.saved = true;
        localStorage.removeItem(this.key);
        this.told(`saved ${new Date().toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'})}`, false);
      }
    } catch (error) {
      this.told(`NOT SAVED: ${error.message}`, true);
      if (error.status === 412) this.conflict();
      else this.later = setTimeout(() => this.save(), RETRY_MS);
      this.saving = false;
      return;
    }
    this.saving = false;
    if (!this.saved) this.save();
  }

  // After a conflict: what is here goes over what another window saved, which the history keeps.
  async force() {
    const answer = await getAnswer(this.path);
    this.etag = answer.headers.get('ETag');
    this.keep();
    await this.save();
  }

  forget() {
    localStorage.removeItem(this.key);
    this.saved = true;
  }

  close() {
    if (!this.saved) this.save();
    removeEventListener('beforeunload', this.leaving);
  }
}
