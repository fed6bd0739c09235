// From bytes to colours: one table a layer, and the patterns that tell errors apart without hue.
// Colours are those of Okabe and Ito (2008); every one has 3:1 or more against white or a dark border.
export const okabe = {green: [0, 128, 96], orange: [213, 94, 0], blue: [0, 96, 168], sky: [86, 180, 233],
  pink: [204, 51, 153], grey: [110, 120, 135]};

const mixed = (rgb, alpha) => [...rgb, Math.round(255 * alpha)];

// A table gives [r, g, b, a] and a pattern: 0 plain, 1 hatched, 2 dotted.
function labelTable(classes) {
  return (v) => v > 0 && v < classes.length ? {rgba: mixed(classes[v].rgb, 0.75), pattern: 0} : null;
}

// Probability: from yellow to dark red; uncertainty: white to purple. Below the threshold nothing.
function rampTable(from, to, threshold, value) {
  return (v) => {
    const p = value(v / 255);
    if (v === 255 && value === unc || p < threshold || p <= 0.02) return null;
    return {rgba: mixed(from.map((c, k) => Math.round(c + (to[k] - c) * p)), 0.25 + 0.6 * p), pattern: 0};
  };
}
const same = (p) => p;
export const unc = (p) => 1 - Math.abs(2 * p - 1);

export function errorShares(v) {
  return {found: (v & 3) / 3, wrong: (v >> 2 & 7) / 7, missed: (v >> 5) / 7};
}

function errorTable(v) {
  if (v === 0 || v === 255) return null;
  const s = errorShares(v);
  const strong = (share) => 0.45 + 0.5 * share;
  if (s.wrong > 0 && s.missed > 0) return {rgba: mixed(okabe.pink, strong(Math.max(s.wrong, s.missed))), pattern: 1};
  if (s.wrong > 0) return {rgba: mixed(okabe.orange, strong(s.wrong)), pattern: 1};
  if (s.missed > 0) return {rgba: mixed(okabe.blue, strong(s.missed)), pattern: 2};
  return {rgba: mixed(okabe.green, 0.25 + 0.3 * s.found), pattern: 0};
}

const cellColours = [null, okabe.grey, okabe.sky, okabe.orange, okabe.green];
const cellTable = (v) => v === 255 || !cellColours[v & 7] ? null
  : {rgba: mixed(cellColours[v & 7], (v & 7) === 4 ? 0.35 : 0.5), pattern: (v & 7) === 3 ? 1 : 0};

// `at` is a layer's settings: kind, threshold. Entries for all 256 bytes.
export function makeTable(kind, at, classes) {
  const of = {
    label: labelTable(classes), truth: labelTable(classes), annot: labelTable(classes),
    tissue: (v) => v === 1 ? {rgba: mixed(okabe.pink, 0.35), pattern: 0} : null,
    prob: rampTable([240, 200, 40], [150, 0, 20], at.threshold, same),
    unc: rampTable([235, 220, 250], [90, 0, 130], at.threshold, at.fromProb ? unc : same),
    error: errorTable, diff: errorTable, cells: cellTable,
  }[kind];
  return Array.from({length: 256}, (_, v) => of(v));
}

// What a layer's colours mean, for its legend: [byte, words].
export function legendOf(kind, classes) {
  const named = classes.map((c, k) => [k, c.name]).slice(1);
  return {
    label: named, truth: named, annot: named,
    tissue: [[1, 'tissue']],
    prob: [[128, '0.5'], [254, '1']],
    unc: [[128, 'uncertain']],
    error: [[3, 'found'], [28, 'false (hatched)'], [224, 'missed (dotted)'], [252, 'another class']],
    diff: [[3, 'both'], [28, 'only this (hatched)'], [224, 'only the first (dotted)'], [252, 'another class']],
    cells: [[4, 'kept'], [1, 'too little tissue'], [2, 'blank'], [3, 'damaged (hatched)']],
  }[kind];
}

// Is this pixel of the pattern's strong part?
export function strongAt(pattern, x, y) {
  if (pattern === 1) return (x + y) % 8 < 4;
  if (pattern === 2) return x % 4 < 2 && y % 4 < 2;
  return true;
}
