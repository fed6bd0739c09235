// Trainings, followed live: whole lines of the log from where the last answer ended.
import {address, getJson} from './api.js';

const POLL_MS = 2000, W = 460, H = 200, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 24, POINTS = 800;
const inks = ['#0b5cad', '#a32a00', '#006b52', '#8a2be2', '#5d6770'];
const dashes = ['', '6 3', '2 3', '9 3 2 3', '1 4'];
const regions = ['uc', 'us', 'dc', 'ds'];

const charts = [
  {words: 'Loss', series: ['loss', 'loss_sup', 'loss_unsup']},
  {words: 'Validation DSC', series: ['val_dsc', 'best_dsc']},
  {words: 'Shares of the regions', series: regions.map((r) => `share_${r}`)},
  {words: 'Accuracy in the regions', series: regions.map((r) => `accuracy_${r}`)},
  {words: 'Thresholds γ', match: /^gamma_/},
  {words: 'Patches a second', series: ['patches_per_s']},
];

export function duration(seconds) {
  const s = Math.round(seconds);
  return s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min` : s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

// Rows of an answer into series. A run that was resumed writes iterations again: what was there of them goes.
export function addRows(series, rows) {
  for (const [iteration, name, value] of rows) {
    if (value === null) continue;
    let points = series.get(name);
    if (!points) series.set(name, points = []);
    while (points.length && points[points.length - 1][0] >= iteration) points.pop();
    points.push([iteration, value]);
  }
}

const svg = (name, attributes, text) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

function drawChart(chart, series) {
  const names = chart.series ?? [...series.keys()].filter((n) => chart.match.test(n)).sort();
  const lines = names.map((name) => [name, series.get(name) ?? []]).filter(([, points]) => points.length);
  if (!lines.length) return null;
  const all = lines.flatMap(([, points]) => points);
  const xMax = all.reduce((m, p) => Math.max(m, p[0]), 1);
  let low = all.reduce((m, p) => Math.min(m, p[1]), Infinity), high = all.reduce((m, p) => Math.max(m, p[1]), -Infinity);
  if (high - low < 1e-9) { low -= 0.5; high += 0.5; }
  const x = (v) => LEFT + (W - LEFT - RIGHT) * v / xMax, y = (v) => TOP + (H - TOP - BOTTOM) * (high - v) / (high - low);
  const figure = document.createElement('figure'), caption = document.createElement('figcaption');
  const picture = svg('svg', {viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': `${chart.words}: ${lines.map(([n, p]) => `${n} ${p.at(-1)[1].toPrecision(3)}`).join(', ')}`});
  for (const [value, place] of [[high, TOP + 10], [low, H - BOTTOM]])
    picture.append(svg('text', {x: LEFT - 6, y: place, 'text-anchor': 'end'}, Math.abs(value) < 1e-3 ? '0' : Number(value.toPrecision(3))));
  picture.append(svg('text', {x: W - RIGHT, y: H - 6, 'text-anchor': 'end'}, xMax), svg('text', {x: LEFT, y: H - 6}, '0'),
    svg('path', {d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`, class: 'axis'}));
  caption.textContent = chart.words;
  const list = document.createElement('ul');
  lines.forEach(([name, points], i) => {
    const step = Math.max(1, Math.ceil(points.length / POINTS));
    const shown = points.filter((_, k) => k % step === 0 || k === points.length - 1);
    const style = {fill: 'none', stroke: inks[i % 5], 'stroke-width': 1.8, 'stroke-dasharray': dashes[i % 5]};
    picture.append(svg('polyline', {points: shown.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(' '), ...style}));
    const item = document.createElement('li'), sample = svg('svg', {viewBox: '0 0 26 10', class: 'sample'});
    sample.append(svg('line', {x1: 0, x2: 26, y1: 5, y2: 5, ...style}));
    item.append(sample, `${name} ${Number(points.at(-1)[1].toPrecision(4))}`);
    list.append(item);
  });
  figure.append(caption, picture, list);
  return figure;
}

export class RunsPage {
  constructor(root, shown) {
    Object.assign(this, {root, shown, open: false});
    this.runs = shown.runs.map((run, index) => {
      const box = document.createElement('article'), title = document.createElement('h2'), state = document.createElement('p');
      const body = document.createElement('div'), snapshot = document.createElement('div');
      title.textContent = run.name;
      state.setAttribute('role', 'status');
      body.className = 'charts';
      box.append(title, state, body, snapshot);
      root.append(box);
      return {index, state, body, snapshot, series: new Map(), next: 0, picture: -1};
    });
  }

  show(open) {
    this.open = open;
    clearTimeout(this.later);
    if (open) this.poll();
  }

  async poll() {
    await Promise.all(this.runs.map((run) => this.follow(run)));
    if (this.open) this.later = setTimeout(() => this.poll(), POLL_MS);
  }

  async follow(run) {
    try {
      let answer;
      do {
        answer = await getJson(`api/runs/${run.index}?from=${run.next}`);
        if (answer.from !== run.next) run.series.clear(); // the log was cut: from the start
        addRows(run.series, answer.rows);
        if (answer.next === run.next && answer.from === run.next) break;
        run.next = answer.next;
        run.changed = true;
      } while (answer.next < answer.size && answer.rows.length);
      this.say(run, answer);
      if (run.changed) run.body.replaceChildren(...charts.map((chart) => drawChart(chart, run.series)).filter(Boolean));
      run.changed = false;
      this.showSnapshot(run, answer.snapshots.at(-1) ?? -1);
    } catch (error) {
      run.state.textContent = error.message;
      run.state.className = 'bad';
    }
  }

  say(run, a) {
    const last = [...run.series.values()].reduce((m, points) => Math.max(m, points.at(-1)?.[0] ?? 0), 0);
    const at = Math.max(last, a.iteration ?? 0), said = [a.state];
    if (a.iterations) said.push(`iteration ${at} of ${a.iterations}`);
    if (a.state === 'running' && a.iteration > 0 && a.elapsed_s > 0 && a.iterations > at)
      said.push(`about ${duration((a.iterations - at) * a.elapsed_s / a.iteration)} left`);
    if (Number.isFinite(a.best_dsc) && a.best_dsc > 0) said.push(`best validation DSC ${a.best_dsc.toFixed(4)}`);
    if (a.error) said.push(a.error);
    if (a.broken) said.push(`a line of its log cannot be read: "${a.broken}"`);
    run.state.textContent = said.join(' · ');
    run.state.className = a.state === 'failed' || a.state === 'gone' || a.broken ? 'bad' : '';
  }

  showSnapshot(run, iteration) {
    if (iteration < 0 || iteration === run.picture) return;
    run.picture = iteration;
    const picture = document.createElement('img'), note = document.createElement('p');
    picture.src = address(`api/runs/${run.index}/snapshots/${iteration}`);
    picture.alt = `A training batch at iteration ${iteration}`;
    note.textContent = `A training batch at iteration ${iteration}, labelled patches first. Rows: patch; annotation (grey: none); ` +
      'prediction; reference, where the loss has one; with MetaSSL the regions: UC dark blue, US light blue, DC red, DS orange.';
    run.snapshot.replaceChildren(picture, note);
  }
}
