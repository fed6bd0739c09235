// Start: what is shown, and which of the two pages the address names.
import {getJson} from './api.js';
import {SlidePage} from './slide.js';
import {ListPage} from './list.js';
import {Keys} from './keys.js';

const byId = (id) => document.getElementById(id);

function say(text, bad = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('bad', bad);
}

const stateOf = (hash) => Object.fromEntries(hash.replace(/^#/, '').split('&').map((item) => item.split('=')));

async function start() {
  const shown = await getJson('api/shown');
  const page = new SlidePage(byId('slide'), byId('tools'), say, shown);
  const toList = () => {
    page.close();
    byId('slide').hidden = true;
    byId('list').hidden = false;
    byId('title').textContent = `${shown.slides.length} ${shown.slides.length === 1 ? 'slide' : 'slides'}`;
    history.replaceState(null, '', location.pathname);
    say('');
  };
  const goTo = async (index, state) => {
    byId('list').hidden = true;
    byId('slide').hidden = false;
    byId('title').textContent = shown.slides[index].name;
    await page.show(index, state);
  };
  page.goTo = goTo;
  const list = new ListPage(byId('list'), shown, goTo);
  new Keys(byId('keys'), page, list, toList);
  const follow = () => {
    const state = stateOf(location.hash), index = Number(state.slide);
    if (state.slide !== undefined && shown.slides[index]) goTo(index, state);
    else if (shown.slides.length === 1) goTo(0, {});
    else toList();
  };
  addEventListener('hashchange', follow);
  follow();
}

start().catch((error) => say(error.message, true));
