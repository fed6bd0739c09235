// Keys: one table, which the help shows too. Those of the slide work while it has the focus.
import {editKeys} from './edit.js';
import {kinds} from './panel.js';

const PAN_PX = 120;

// [key, words, what it does]; `page` is the SlidePage.
const slideKeys = [
  ['ArrowLeft', 'move (Shift: a screen)', (page, step) => page.move(-step('w'), 0)],
  ['ArrowRight', '', (page, step) => page.move(step('w'), 0)],
  ['ArrowUp', '', (page, step) => page.move(0, -step('h'))],
  ['ArrowDown', '', (page, step) => page.move(0, step('h'))],
  ['+', 'nearer', (page) => page.zoom(2)], ['=', '', (page) => page.zoom(2)],
  ['-', 'farther', (page) => page.zoom(0.5)],
  ['Home', 'the whole slide', (page) => page.fit()],
  [',', 'the slide before', (page) => page.step(-1)],
  ['.', 'the next slide', (page) => page.step(1)],
  ['L', 'two linked views', (page) => page.two()],
  ['M', 'the next model', (page) => {
    const n = page.shown.models.length;
    if (n) page.panel.setModel((page.panel.model + 1) % n);
  }],
  ['F', 'fill or outline of the layer switched last', (page) => {
    const {panel} = page;
    if (!panel.last) return;
    panel.settings[panel.last].outline = !panel.settings[panel.last].outline;
    panel.apply(panel.last);
  }],
  ['[', 'less opaque', (page) => fade(page.panel, -0.1)],
  [']', 'more opaque', (page) => fade(page.panel, 0.1)],
  ...Object.entries(Object.groupBy(kinds, (k) => k.key)).map(([key, of]) =>
    [key, of.map((k) => k.words).join(', '), (page) => of.forEach((k) => page.panel.toggle(k.kind))]),
];

function fade(panel, by) {
  if (!panel.last) return;
  const at = panel.settings[panel.last];
  at.opacity = Math.min(1, Math.max(0, at.opacity + by));
  panel.apply(panel.last);
}

const inText = (target) => target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== 'checkbox');

export class Keys {
  constructor(dialog, page, list, toList) {
    Object.assign(this, {dialog, page, list, on: true});
    this.build(toList);
    addEventListener('keydown', (event) => this.down(event));
    addEventListener('keyup', (event) => { if (event.key === ' ') for (const panel of page.panels) panel.hide(false); });
  }

  down(event) {
    if ((event.ctrlKey || event.metaKey) && this.on && this.page.editor && event.target.closest?.('.map') && 'zy'.includes(event.key.toLowerCase())) {
      event.preventDefault();
      this.page.editor.undo(event.key.toLowerCase() === 'z' && !event.shiftKey ? -1 : 1);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || inText(event.target)) return;
    if (event.key === '?') { this.help(); event.preventDefault(); return; }
    if (!this.on || this.dialog.open) return;
    if (!this.page.open) { if (!this.list.root.hidden) this.listKey(event); return; }
    if (!event.target.closest?.('.map')) return;
    if (event.key === ' ') {
      for (const panel of this.page.panels) panel.hide(true);
      event.preventDefault();
      return;
    }
    if (this.page.editor?.key(event.key)) {
      event.preventDefault();
      return;
    }
    const found = slideKeys.find(([key]) => key.toLowerCase() === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    const box = this.page.panel.place.getBoundingClientRect();
    found[2](this.page, (side) => event.shiftKey ? (side === 'w' ? box.width : box.height) * 0.9 : PAN_PX);
  }

  listKey(event) {
    const does = {j: () => this.list.step(1), k: () => this.list.step(-1), '/': () => this.list.find.focus()}[event.key.toLowerCase()];
    if (!does) return;
    event.preventDefault();
    does();
  }

  help() {
    if (this.dialog.open) this.dialog.close(); else this.dialog.showModal();
  }

  build(toList) {
    const table = document.createElement('table');
    const rows = [...slideKeys.filter(([, words]) => words).map(([key, words]) => [key.replace('ArrowLeft', 'Arrows'), words]),
      ...(document.body.classList.contains('annotates') ? editKeys : []),
      ['Space', 'held: the slide alone'], ['J K', 'in the list: down, up'], ['/', 'in the list: find'], ['?', 'this list']];
    for (const [key, words] of rows) {
      const row = table.insertRow(), name = document.createElement('kbd');
      name.textContent = key;
      row.insertCell().append(name);
      row.insertCell().textContent = words;
    }
    const label = document.createElement('label'), check = document.createElement('input');
    check.type = 'checkbox';
    check.checked = true;
    check.addEventListener('change', () => { this.on = check.checked; });
    label.append(check, ' Keys are on');
    const close = document.createElement('button');
    close.type = 'button';
    close.textContent = 'Close';
    close.addEventListener('click', () => this.dialog.close());
    const title = document.createElement('h2');
    title.textContent = 'Keys, while the slide has the focus';
    this.dialog.append(title, table, label, ' ', close);
    document.getElementById('help').addEventListener('click', () => this.help());
    document.getElementById('to-list').addEventListener('click', toList);
  }
}
