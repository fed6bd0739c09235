// Start: what is shown, and which of the two pages the address names.
import {getJson} from './api.js';
import {SlidePage} from './slide.js';
import {ListPage} from './list.js';
import {RunsPage} from './runs.js';
import {Keys} from './keys.js';

const byId = (id) => document.getElementById(id);

function say(text, bad = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('bad', bad);
}

const stateOf = (hash) => Object.fromEntries(hash.replace(/^#/, '').split('&').map((item) => item.split('=')));

async function start() {
  const shown = await getJson('api/shown');
  document.body.classList.toggle('annotates', shown.annotates);
  const page = new SlidePage(byId('slide'), byId('tools'), say, shown);
  const runs = new RunsPage(byId('runs'), shown);
  const only = (id, title) => {
    for (const name of ['list', 'runs', 'slide']) byId(name).hidden = name !== id;
    byId('title').textContent = title;
    if (id !== 'slide') page.close();
    runs.show(id === 'runs');
    say('');
  };
  const toList = () => {
    only('list', `${shown.slides.length} ${shown.slides.length === 1 ? 'slide' : 'slides'}`);
    history.replaceState(null, '', location.pathname);
  };
  const toRuns = () => {
    only('runs', `${shown.runs.length} ${shown.runs.length === 1 ? 'training' : 'trainings'}`);
    history.replaceState(null, '', '#runs');
  };
  const goTo = async (index, state) => {
    only('slide', shown.slides[index].name);
    await page.show(index, state);
  };
  page.goTo = goTo;
  const list = new ListPage(byId('list'), shown, goTo);
  new Keys(byId('keys'), page, list, toList);
  byId('to-runs').hidden = shown.runs.length === 0;
  byId('to-runs').addEventListener('click', toRuns);
  const follow = () => {
    const state = stateOf(location.hash), index = Number(state.slide);
    if (state.slide !== undefined && shown.slides[index]) goTo(index, state);
    else if (location.hash === '#runs' || (!shown.slides.length && shown.runs.length)) toRuns();
    else if (shown.slides.length === 1 && !shown.runs.length) goTo(0, {});
    else toList();
  };
  addEventListener('hashchange', follow);
  follow();
}

start().catch((error) => say(error.message, true));
