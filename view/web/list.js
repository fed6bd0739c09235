// The first page: a row a slide.
import {address} from './api.js';

const columns = [
  {words: 'Slide', of: (s) => s.name}, {words: 'Case', of: (s) => s.case}, {words: 'Split', of: (s) => s.split},
  {words: 'Labelled', of: (s) => s.labelled ? 'yes' : 'no'}, {words: 'Truth', of: (s) => s.truth ? 'yes' : 'no'},
];

export class ListPage {
  constructor(root, shown, goTo) {
    Object.assign(this, {root, shown, goTo, by: -1, down: false, filter: ''});
    this.find = document.createElement('input');
    this.find.className = 'find';
    this.find.type = 'search';
    this.find.placeholder = 'Find a slide or case (/)';
    this.find.setAttribute('aria-label', 'Find a slide or case');
    this.find.addEventListener('input', () => { this.filter = this.find.value.toLowerCase(); this.fill(); });
    const table = document.createElement('table'), head = table.createTHead().insertRow();
    head.append(this.heading(''));
    columns.forEach((column, i) => head.append(this.heading(column.words, i)));
    this.body = table.createTBody();
    root.append(this.find, table);
    this.fill();
  }

  heading(words, i) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    if (i === undefined) return cell;
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = words;
    button.addEventListener('click', () => {
      this.down = this.by === i && !this.down;
      this.by = i;
      this.fill();
      for (const other of this.root.querySelectorAll('th')) other.removeAttribute('aria-sort');
      cell.setAttribute('aria-sort', this.down ? 'descending' : 'ascending');
    });
    cell.append(button);
    return cell;
  }

  fill() {
    let order = this.shown.slides.map((slide, index) => ({slide, index}))
      .filter(({slide}) => `${slide.name} ${slide.case}`.toLowerCase().includes(this.filter));
    if (this.by >= 0) {
      const of = columns[this.by].of, sign = this.down ? -1 : 1;
      order = order.sort((a, b) => sign * of(a.slide).localeCompare(of(b.slide), undefined, {numeric: true}));
    }
    this.body.replaceChildren(...order.map(({slide, index}) => this.row(slide, index)));
  }

  row(slide, index) {
    const row = document.createElement('tr'), picture = document.createElement('img');
    picture.loading = 'lazy';
    picture.alt = '';
    picture.src = address(`thumb/${index}?v=${slide.version}`);
    const thumb = row.insertCell();
    thumb.className = 'thumb';
    thumb.append(picture);
    columns.forEach((column, i) => {
      const cell = row.insertCell();
      if (i > 0) { cell.textContent = column.of(slide); return; }
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = slide.name;
      button.addEventListener('click', () => this.goTo(index));
      cell.append(button);
    });
    row.addEventListener('click', (event) => { if (event.target === picture) this.goTo(index); });
    return row;
  }

  step(by) {
    const buttons = [...this.body.querySelectorAll('button')];
    const at = buttons.indexOf(document.activeElement);
    buttons[Math.min(buttons.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.focus();
  }
}
