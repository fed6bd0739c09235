// What the page asks the server for. Addresses are relative: the token is in the page's own.
const base = new URL('.', location.href.split('#')[0]).href;

export const address = (path) => base + path;

async function answer(response) {
  if (response.ok) return response;
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error; } catch { /* no JSON: the number must do */ }
  throw new Error(message);
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

export const getJson = async (path, signal) => (await ask(path, {signal})).json();
export const getBytes = async (path, signal) => new Uint8Array(await (await ask(path, {signal})).arrayBuffer());
export const getPicture = async (path, signal) => createImageBitmap(await (await ask(path, {signal})).blob());
