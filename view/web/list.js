// The first page: a row a slide, sorted by what needs a look.
import {address, getJson} from './api.js';

const POLL_MS = 1500;

export class ListPage {
  constructor(root, shown, goTo) {
    Object.assign(this, {root, shown, goTo, by: -1, down: false, filter: '', rows: []});
    this.columns = this.makeColumns();
    this.find = document.createElement('input');
    this.find.className = 'find';
    this.find.type = 'search';
    this.find.placeholder = 'Find a slide or case (/)';
    this.find.setAttribute('aria-label', 'Find a slide or case');
    this.find.addEventListener('input', () => { this.filter = this.find.value.toLowerCase(); this.fill(); });
    this.progress = document.createElement('p');
    this.progress.setAttribute('role', 'status');
    const table = document.createElement('table'), head = table.createTHead().insertRow();
    head.append(this.heading(''));
    this.columns.forEach((column, i) => head.append(this.heading(column.words, i, column.title)));
    this.body = table.createTBody();
    root.append(this.find, this.progress, table);
    this.fill();
    if (shown.slides.length && (shown.models.length || shown.slides.some((s) => s.truth))) this.poll();
  }

  // Numbers have `number`: a share of 0 to 1, drawn as a bar where `bar` is set.
  makeColumns() {
    const row = (i) => this.rows[i] ?? {};
    const columns = [
      {words: 'Slide', of: (s) => s.name}, {words: 'Case', of: (s) => s.case}, {words: 'Split', of: (s) => s.split},
      {words: 'Labelled', of: (s) => s.labelled ? 'yes' : 'no'},
    ];
    this.shown.models.forEach((model, m) => columns.push({words: `DSC ${model.name}`, number: (i) => row(i).dsc?.[m],
      title: 'All foreground classes together'}));
    if (this.shown.models.length)
      columns.push(
        {words: 'Uncertain', number: (i) => row(i).uncertainty, bar: true, title: 'Mean uncertainty over tissue'},
        {words: 'Disagree', number: (i) => row(i).disagreement, bar: true, title: '1 − DSC of the predictions with the first one'},
        {words: 'Wrong', number: (i) => row(i).distance, bar: true, title: '1 − DSC to the truth, mean over the models'},
        {words: 'Needs a look', number: (i) => row(i).look, title: 'Mean of the percentile ranks in the three bars'});
    return columns;
  }

  async poll() {
    try {
      const list = await getJson('api/worklist');
      this.rows = list.rows;
      this.progress.textContent = list.done < list.of ? `${list.done} of ${list.of} slides are measured` : '';
      if (this.by < 0 && list.done === list.of && this.shown.models.length) this.sortBy(this.columns.length - 1, true);
      else this.fill();
      if (list.done < list.of) setTimeout(() => this.poll(), POLL_MS);
    } catch (error) {
      this.progress.textContent = error.message;
    }
  }

  heading(words, i, title) {
    const cell = document.createElement('th');
    cell.scope = 'col';
    if (i === undefined) return cell;
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = words;
    if (title) button.title = title;
    button.addEventListener('click', () => this.sortBy(i, this.by === i ? !this.down : !!this.columns[i].number));
    cell.append(button);
    return cell;
  }

  sortBy(i, down) {
    Object.assign(this, {by: i, down});
    [...this.root.querySelectorAll('th')].forEach((cell, k) => {
      if (k === i + 1) cell.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    });
    this.fill();
  }

  compare(a, b) {
    const {of, number} = this.columns[this.by];
    if (!number) return of(a.slide).localeCompare(of(b.slide), undefined, {numeric: true});
    const x = number(a.index) ?? -1, y = number(b.index) ?? -1; // what is not known comes last
    return x - y;
  }

  fill() {
    let order = this.shown.slides.map((slide, index) => ({slide, index}))
      .filter(({slide}) => `${slide.name} ${slide.case}`.toLowerCase().includes(this.filter));
    if (this.by >= 0) order = order.sort((a, b) => (this.down ? -1 : 1) * this.compare(a, b));
    const focused = document.activeElement?.dataset?.index;
    this.body.replaceChildren(...order.map(({slide, index}) => this.made(slide, index)));
    if (focused !== undefined) this.body.querySelector(`[data-index="${focused}"]`)?.focus();
  }

  // Rows are made once: their pictures are not fetched again when the order changes.
  made(slide, index) {
    this.kept ??= new Map();
    if (!this.kept.has(index)) this.kept.set(index, this.row(slide, index));
    const row = this.kept.get(index);
    this.columns.forEach((column, i) => { if (column.number) this.putNumber(row.cells[i + 1], column, index); });
    return row;
  }

  putNumber(cell, column, index) {
    const value = column.number(index), error = this.rows[index]?.error;
    cell.className = 'number';
    cell.textContent = Number.isFinite(value) ? value.toFixed(3) : error ? 'cannot be read' : '–';
    if (error) cell.title = error;
    if (!column.bar || !Number.isFinite(value)) return;
    const bar = document.createElement('meter');
    bar.max = 1;
    bar.value = value;
    bar.setAttribute('aria-label', column.words);
    cell.append(' ', bar);
  }

  row(slide, index) {
    const row = document.createElement('tr'), picture = document.createElement('img');
    picture.loading = 'lazy';
    picture.alt = '';
    picture.src = address(`thumb/${index}?v=${slide.version}`);
    const thumb = row.insertCell();
    thumb.className = 'thumb';
    thumb.append(picture);
    this.columns.forEach((column, i) => {
      const cell = row.insertCell();
      if (column.number) return;
      if (i > 0) { cell.textContent = column.of(slide); return; }
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = slide.name;
      button.dataset.index = index;
      button.addEventListener('click', () => this.goTo(index));
      cell.append(button);
    });
    picture.addEventListener('click', () => this.goTo(index));
    return row;
  }

  step(by) {
    const buttons = [...this.body.querySelectorAll('button')];
    const at = buttons.indexOf(document.activeElement);
    buttons[Math.min(buttons.length - 1, Math.max(0, at < 0 ? 0 : at + by))]?.focus();
  }
}
