// What the page asks the server for. Addresses are relative: the token is in the page's own.
const base = new URL('.', location.href.split('#')[0]).href;

export const address = (path) => base + path;

async function answer(response) {
  if (response.ok) return response;
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error; } catch { /* no JSON: the number must do */ }
  throw Object.assign(new Error(message), {status: response.status});
}

// A server that has ended is said in words of ours; a request that was taken back stays what it is.
async function ask(path, options) {
  let response;
  try {
    response = await fetch(address(path), options);
  } catch (error) {
    throw error.name === 'AbortError' ? error : new Error('quadslide view has ended, or cannot be reached');
  }
  return answer(response);
}

// Writes carry a header of our own, which no other page can send.
export const send = async (method, path, body, headers = {}) =>
  ask(path, {method, body, headers: {'X-Quadslide': '1', ...headers}});
export const getAnswer = (path) => ask(path, {});
export const getJson = async (path, signal) => (await ask(path, {signal})).json();
export const getBytes = async (path, signal) => new Uint8Array(await (await ask(path, {signal})).arrayBuffer());
export const getPicture = async (path, signal) => createImageBitmap(await (await ask(path, {signal})).blob());
