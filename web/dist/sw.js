// The page without a network: keeps the page itself (never the API, never pictures), so that an installed app opens and
// says what is wrong instead of a browser's error. The network comes first for the page; names below /assets/ carry a
// hash, so what is kept of them is always right.
const CACHE = 'page-1';

self.addEventListener('install', (event) => {
  event.waitUntil(keepPage().then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method === 'POST' && url.origin === self.location.origin && url.pathname === '/') return event.respondWith(shared(request));
  if (request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (request.mode === 'navigate' && url.pathname === '/') event.respondWith(pageFirstFromNetwork(event));
  else if (url.pathname.startsWith('/assets/') || url.pathname === '/favicon.svg') event.respondWith(keptFirst(request));
});

/** What another app shares: a picture is kept until the page takes it, words go into the address. */
async function shared(request) {
  const form = await request.formData();
  const picture = form.getAll('image').find((each) => each instanceof File && each.size > 0);
  if (picture) await (await caches.open(CACHE)).put('/shared-picture', new Response(picture, { headers: { 'Content-Type': picture.type } }));
  const words = picture ? '' : String(form.get('text') || form.get('title') || '');
  return Response.redirect(`/?${new URLSearchParams({ shared: words })}`, 303);
}

async function pageFirstFromNetwork(event) {
  try {
    const answer = await fetch(event.request);
    // The page may be a newer one, with newer files.
    if (answer.ok) event.waitUntil(keepPage());
    return answer;
  } catch (error) {
    const kept = await caches.match('/');
    if (kept) return kept;
    throw error;
  }
}

async function keptFirst(request) {
  return (await caches.match(request)) ?? fetch(request);
}

/** The page and every file that it names; what it no longer names goes. */
async function keepPage() {
  const cache = await caches.open(CACHE);
  const page = await fetch('/', { cache: 'no-cache' });
  if (!page.ok) throw new Error(`The page answered ${page.status}.`);
  const named = [...(await page.clone().text()).matchAll(/(?:href|src)="(\/(?:assets\/[\w.-]+|favicon\.svg))"/g)].map(([, path]) => path);
  await Promise.all(named.map(async (path) => (await cache.match(path)) ?? cache.add(path)));
  await cache.put('/', page);
  const keys = await cache.keys();
  const wanted = new Set(['/', ...named]);
  await Promise.all(keys.filter(({ url }) => !url.endsWith('/shared-picture') && !wanted.has(new URL(url).pathname)).map((request) => cache.delete(request)));
}
