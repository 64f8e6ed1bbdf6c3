// A stand-in for the server's API, for working on the page without Rust, a model or pictures: generated pictures, word
// matching by hash, live status. `npm run dev` uses it. MOCK_IMAGES sets how many pictures there are (default 10,000);
// MOCK_PLAIN=1 leaves out what not every server sends. Tests reach into `mock.world` to make things happen.
import { createHash } from 'node:crypto';
import { crc32, deflateSync } from 'node:zlib';

const SCENES = ['dunes', 'harbour', 'meadow', 'night sky', 'forest', 'coast', 'city', 'lake'];
const SIZES = [[1600, 1067], [1067, 1600], [1200, 1200], [1920, 1080], [1500, 1000], [2400, 1000], [900, 1200]];

const digest = (text) => createHash('sha256').update(text).digest();

function picture(index, name = `${SCENES[index % SCENES.length].replace(' ', '-')}/${String(index).padStart(5, '0')}.jpg`) {
  const [width, height] = SIZES[digest(`${index}`)[0] % SIZES.length];
  const url = `/api/v1/images/${name}`;
  return { image_name: name, image_url: `${url}?v=${index}`, thumbnail_url: `${url}/thumbnail?v=${index}`, width, height };
}

const KINDS = 24;
// ThumbHashes of the scenes below, one for each kind.
const PREVIEWS = `
  ImkOFYZ5d3d/iHdweIh4eHh/dfin Y0kOFYR5d4h/d3dxiIiIeId/Zfio pCkOFYKIh4h/d4hyd3eIiId/ZvjI
  5QkSHYJ3iHiPd3iCh3eIeIh/lsf3 5ekNHYKHh4ePh3iDeIeHiJh/qFj3 pMkNFYJ2eIiPeHeCiJh3iIiPiRj3
  Y6kNFYR4d3h/iIeBeJh4eHmPeQjX IokNFYSJd3d/d3dxiIh4eIZ/igeo oXgNDYaId4h/d4dxh3iIiHWPjAiI
  IngNDYaIh4iPd4hyh3eIeHd8jweI pHcNDYaHh3ePh4iCd3eHeHl2fweI JocNDYZ2eIePd3iCiId3iHlwfwZ3
  5pYNFYZneId/iIeCeJh4iIdweghX pLYNFYSIeHh/h4dyiJh4eHdwegZH YtYNFYKId3ePeHdyh4iIiIiAugg3
  IfYNHYKId4iPd4dyh3iIeHiAmEkI IRYOHYJ3h4iPd4eCh3eHeHeAZ6gI YzYOFYKGiHiPd3iBeIeGiGdwZugI
  pVYOFYRniIePiHeBeIh3iHdwdvco 5nYOFYR4d4d/h4dxeIh4eGdwhfhY ZYcODYaIeHh/eIdyh4iIiIlgg/d4
  5IcODYaId3ePd3dzd4h3iJpzcPd3 YogODYZ4d4iPeIeDh4iHeJaKcPd3 4YgODYaHh4iPd4iCeIeHiIaPgfmH
`.trim().split(/\s+/);
const DRAWN_WIDTH = 320;
const drawn = new Map();

/** Hills under a sun as PNG, in one of a few colours. (SVG would be shorter here, but is slow in browsers by the thousand.) */
function draw(name, ratio) {
  const kind = digest(name)[0] % KINDS;
  const key = `${kind} ${ratio}`;
  if (!drawn.has(key)) drawn.set(key, png(...scene(kind, ratio)));
  return drawn.get(key);
}

function scene(kind, ratio) {
  const [width, height] = [DRAWN_WIDTH, Math.round(DRAWN_WIDTH / ratio)];
  const hue = (kind * 360) / KINDS;
  const rows = Buffer.alloc((width * 3 + 1) * height);
  const hill = (x, layer) => 0.62 + layer * 0.13 + 0.07 * Math.sin((x / width) * (4 + layer * 2) + kind * (layer + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const layer = [2, 1, 0].find((each) => y / height > hill(x, each));
      const sun = Math.hypot(x - width * (0.2 + (kind % 7) / 10), y - height * 0.3) < height * 0.1;
      const colour = layer !== undefined ? rgb(hue + layer * 8, 0.3, 0.45 - layer * 0.13) : sun ? rgb(hue + 60, 0.8, 0.93) : rgb(hue + (40 * y) / height, 0.5, 0.62 + (0.24 * y) / height);
      rows.set(colour, y * (width * 3 + 1) + 1 + x * 3);
    }
  }
  return [width, height, rows];
}

function rgb(hue, saturation, lightness) {
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

function png(width, height, rows) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const framed = Buffer.alloc(body.length + 8);
    framed.writeUInt32BE(data.length, 0);
    body.copy(framed, 4);
    framed.writeUInt32BE(crc32(body), body.length + 4);
    return framed;
  };
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

/** Ratings of six weeks, which became better. */
function report() {
  const mean = (mean, count) => ({ mean, count, ...(count > 1 ? { low: mean - 1.2, high: Math.min(10, mean + 1.2) } : {}) });
  const share = (share, count) => ({ share, count, low: share - 0.1, high: Math.min(1, share + 0.1) });
  const over_time = ['2026-10-12', '2026-10-19', '2026-10-26', '2026-11-02', '2026-11-09', '2026-11-16'].map((from, week) => ({ from, ratings: 4 + week, value: mean(4.5 + week / 2, week === 3 ? 1 : 4 + week), thumbs: share(0.5 + week / 20, 20) }));
  const by_model = [
    { model: 'mock', revision: '2', ratings: 30, value: mean(6.9, 30), thumbs: share(0.7, 80) },
    { model: 'mock', revision: '1', ratings: 9, value: mean(4.8, 9) },
  ];
  const worst = ['harbour', 'zxqv', 'picture:00', 'picture:01'].map((text, n) => ({ text, ...(n === 3 ? { image_name: picture(5).image_name } : {}), ratings: 4 - n, value: mean(2 + n, 4 - n), ...(n === 0 ? { thumbs: share(0.25, 8) } : {}), last_searched: '2026-11-20T09:00:00Z' }));
  const compared = (verdict, gain, low, high) => ({ verdict, queries: 24, ratings: 60, before: 0.61, after: 0.61 + gain, gain, low, high, improved: 9, worsened: 4, change: 300 });
  const decided = {
    learning: [
      { number: 2, decided: '2026-11-20T09:00:00Z', outcome: 'on', by_operator: true, model: 'mock@2' },
      { number: 1, decided: '2026-11-19T09:00:00Z', outcome: 'on', by_operator: false, model: 'mock@2', comparison: compared('better', 0.05, 0.01, 0.09) },
    ],
    switches: [{ number: 1, decided: '2026-11-18T09:00:00Z', outcome: 'held', by_operator: false, model: 'mock@3', former: 'mock@2', comparison: compared('worse', -0.12, -0.2, -0.03) }],
  };
  return { ratings: 39, raters: 5, queries: 17, value: mean(6.1, 39), thumbs: share(0.66, 120), period: 'week', over_time, by_model, worst, decided, coverage: { images: 10_000, shown: 812, with_thumbs: 97 }, searches: { judged: 120, without_strong_match: 18 } };
}

/** Answers /api requests; returns false for everything else. `mock.world` is what it answers from, and may be changed. */
export function createMock({ total = Number(process.env.MOCK_IMAGES ?? 10_000), waiting = total > 0 ? 240 : 0, rich = process.env.MOCK_PLAIN !== '1', perSecond = 12 } = {}) {
  const listeners = new Set();
  const world = {
    images: Array.from({ length: total }, (_, index) => picture(index)),
    /** Not indexed yet, in the order in which they will be. */
    waiting: Array.from({ length: waiting }, (_, index) => picture(total + index)),
    failures: [
      { image_name: 'scans/broken.png', code: 'corrupt_image', reason: 'the file ends in the middle of the picture', attempts: 3 },
      { image_name: 'scans/poster.tiff', code: 'too_many_pixels', reason: 'It has 412 megapixels; at most 100 are read.', attempts: 1 },
    ],
    rich,
    sources: [{ location: '/home/me/pictures', away: false, reason: null }],
    skipped: [{ what: 'video', files: 8 }, { what: 'office document', files: 4 }],
    /** The bodies of all searches, oldest first. */
    searches: [],
    /** Changes of the status, for tests that need a certain one. */
    change: (status) => status,
    /** What half-typed words may become; each is found by what is in its text. */
    suggestions: [],
    /** What the ratings say; nobody may ask if it is `null`. */
    quality: report(),
    /** Ratings of earlier answers that searches learn from. */
    learnedFrom: 0,
    /** Whether server and browser share a desktop, and what its file manager showed. */
    hasDesktop: false,
    shownInFolder: [],
    refusesToShow: false,
    thumbnailDelayMs: 0,
    /** Every thumbnail that was asked for, and whether it went out or was cancelled. */
    thumbnails: [],
    publish,
    /** Indexes up to `n` of those that wait. */
    index(n) {
      world.images = [...world.waiting.splice(0, n).reverse(), ...world.images];
      rankings.clear();
      publish();
    },
  };
  const rated = new Map();
  const thumbs = new Map();
  const rankings = new Map();

  function status() {
    const { images, waiting, failures } = world;
    const pending = waiting.length;
    const plain = {
      version: 'mock',
      model: { state: 'ready', name: 'mock', model_name: 'Mock', revision: '1', dim: 64, engine: 'rten', engine_note: null, percent: null, banner: 'This is the mock server: the pictures are drawn and the ranking is by chance.' },
      store: { kind: 'embedded', collection: 'mock', vectors: images.length },
      images: { total: images.length + pending + failures.length, pending, indexed: images.length, failed: failures.length },
      ingest: { state: pending ? 'indexing' : 'idle', images_per_second: pending ? 12.4 : 0, eta_seconds: pending ? Math.ceil(pending / 12.4) : null, message: null },
      processes: [],
      uploads: { enabled: true, max_bytes: 52_428_800 },
      limits: { text_chars_max: 1000, limit_max: 200, query_picture_bytes_max: 26_214_400 },
    };
    if (world.rich) {
      plain.images = { ...plain.images, skipped: world.skipped.reduce((sum, { files }) => sum + files, 0), missing: 0 };
      plain.sources = world.sources;
      plain.limits.queries_max = 4;
    }
    return world.change(plain);
  }
  function publish() {
    listeners.forEach((response) => response.write(`event: status\ndata: ${JSON.stringify(status())}\n\n`));
  }
  if (perSecond > 0) {
    const clock = setInterval(() => (world.waiting.length > 0 ? world.index(perSecond) : publish()), 1000);
    clock.unref();
  }

  const shown = (image) => {
    if (!world.rich) return image;
    const kind = digest(image.image_name)[0];
    return { ...image, taken: takenOf(image), preview: PREVIEWS[kind % KINDS], ...(kind % 11 === 0 ? { other_names: [1, 2].map((n) => `copies/${n}/${image.image_name}`), other_names_total: 5 } : {}) };
  };
  const kept = (images, filter) => (filter ? images.filter((image) => fits(image, filter)) : images);
  const rank = (text) => {
    const scored = world.images.map((image) => {
      const isNamed = text.split(' ').some((word) => word && image.image_name.includes(word));
      const score = (isNamed ? 0.3 : 0.1) + digest(text + image.image_name)[0] / 2560;
      const strength = isNamed ? 'strong' : score > 0.19 ? 'fair' : 'weak';
      return { other_names: [], ...shown(image), score, ...(world.rich ? { strength: text.startsWith('zxqv') ? 'weak' : strength } : {}) };
    });
    return scored.sort((a, b) => b.score - a.score);
  };

  function mock(request, response) {
    const url = new URL(request.url, 'http://localhost');
    if (!url.pathname.startsWith('/api/')) return false;
    void answer(request, response, url).catch((error) => send(response, 500, { code: 'internal', detail: String(error) }));
    return true;
  }
  mock.world = world;
  return mock;

  async function answer(request, response, url) {
    const route = `${request.method} ${url.pathname.replace('/api/v1', '')}`;
    const limit = Number(url.searchParams.get('limit') ?? 50);
    const offset = Number(url.searchParams.get('after') ?? url.searchParams.get('offset') ?? 0);
    if (route === 'GET /status') return send(response, 200, status());
    if (route === 'GET /events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      listeners.add(response);
      request.on('close', () => listeners.delete(response));
      return response.write(`event: status\ndata: ${JSON.stringify(status())}\n\n`);
    }
    if (route === 'GET /images') {
      const images = kept(world.images, filterOfParams(url.searchParams));
      const next = offset + limit < images.length ? String(offset + limit) : undefined;
      return send(response, 200, { images: images.slice(offset, offset + limit).map(shown), total: images.length, ...(world.rich ? { next } : {}) });
    }
    if (route === 'POST /facets' && world.rich) {
      const { filter = {}, image_names } = JSON.parse((await read(request)).toString());
      return send(response, 200, countFacets(image_names ? world.images.filter(({ image_name }) => image_names.includes(image_name)) : world.images, filter));
    }
    if (route === 'GET /suggestions') {
      const asked = url.searchParams.get('text');
      const fits = ({ kind, text }) => (asked === null ? kind === 'word' : text.includes(asked));
      return send(response, 200, { suggestions: world.suggestions.filter(fits).slice(0, limit) });
    }
    if (route === 'GET /session') return send(response, 200, session(isSignedIn(request), world.hasDesktop));
    if (route === 'POST /session') {
      const isKey = JSON.parse((await read(request)).toString()).key === 'mock-key';
      if (!isKey) return send(response, 401, { code: 'api_key_needed', detail: 'The mock takes mock-key.' });
      response.setHeader('Set-Cookie', 'mock_session=1; Path=/; HttpOnly; SameSite=Strict');
      return send(response, 201, session(true, world.hasDesktop));
    }
    if (route === 'GET /image-info') {
      const found = world.images.find(({ image_name }) => image_name === url.searchParams.get('image_name'));
      if (!found) return send(response, 404, { code: 'not_found', detail: 'There is no such image.' });
      return send(response, 200, { ...shown(found), format: 'jpeg', size_bytes: 1_482_113, modified: '2026-03-14T15:09:26Z', content_hash: digest(found.image_name).toString('hex'), other_names: ['copies/same.jpg'], viewable_url: found.image_url, ...(world.rich ? { camera: CAMERAS[digest(found.image_name)[1] % 2], gps: { lat: 48.1, lon: 11.6 } } : {}) });
    }
    if (route === 'POST /search-image') return search(request, response);
    if (route === 'POST /create-feedback') {
      const { jwt, user_feedback, image_feedback } = JSON.parse((await read(request)).toString());
      if (image_feedback) thumbs.set(jwt, new Map(image_feedback.map(({ image_name, relevant }) => [image_name, relevant])));
      const first = !rated.has(jwt);
      rated.set(jwt, user_feedback);
      return send(response, first ? 201 : 200, { id: String(jwt), user_feedback });
    }
    if (route === 'GET /quality') return world.quality ? send(response, 200, world.quality) : send(response, 401, { code: 'api_key_needed', detail: 'Not here.' });
    if (route === 'GET /failures') return send(response, 200, { failures: world.failures.slice(offset, offset + limit), total: world.failures.length, skipped: world.skipped });
    if (route === 'POST /model/download') return send(response, 202, { name: 'ViT-B-32__openai', megabytes: 606 });
    if (route === 'POST /show-in-folder') {
      const { image_name } = JSON.parse((await read(request)).toString());
      if (world.refusesToShow) return send(response, 503, { code: 'file_manager_failed', detail: 'no file manager opened: xdg-open: it ended with 3' });
      world.shownInFolder.push(image_name);
      return response.writeHead(204).end();
    }
    if (route === 'POST /download-zip') return zip(request, response);
    if (route === 'POST /failures/retry') {
      const { image_names } = JSON.parse((await read(request)).toString());
      const tried = world.failures.filter(({ image_name }) => !image_names || image_names.includes(image_name));
      world.failures = world.failures.filter((failure) => !tried.includes(failure));
      world.waiting.push(...tried.map(({ image_name }, index) => picture(world.images.length + index, image_name)));
      publish();
      return send(response, 200, { retried: tried.length });
    }
    if (request.method === 'POST' || request.method === 'DELETE') return change(request, response, url);
    return bytes(request, response, url);
  }

  async function search(request, response) {
    const body = await read(request);
    const json = request.headers['content-type']?.includes('json') ? JSON.parse(body.toString()) : {};
    const form = (name) => new RegExp(`name="${name}"\\r\\n\\r\\n([^\\r]+)`).exec(body.toString('latin1'))?.[1];
    const [queries, filter] = [json.queries, json.filter].map((given, at) => given ?? JSON.parse(form(['queries', 'filter'][at]) ?? 'null'));
    world.searches.push({ ...json, ...(queries ? { queries } : {}), ...(filter ? { filter } : {}), ...(form('limit') ? { form: true } : {}) });
    if ((json.queries || json.filter || json.strength) && !world.rich) return send(response, 422, { code: 'invalid_request', detail: 'unknown field `queries`' });
    const parts = (queries ?? [json]).filter(({ weight }) => !(weight < 0)).map(({ text, image_name }) => text ?? image_name);
    const asked = parts.filter(Boolean).join(' ') || form('text') || 'picture';
    if (!rankings.has(asked)) rankings.clear(), rankings.set(asked, rank(asked));
    const unwanted = (queries ?? []).filter(({ weight, image_name }) => weight < 0 && image_name).map(({ image_name }) => image_name);
    const ranked = asked === 'nothing' ? [] : kept(rankings.get(asked), filter).filter(({ image_name }) => !unwanted.includes(image_name));
    const said = thumbs.get(json.refine ?? form('refine')) ?? new Map();
    const place = ({ image_name }) => (said.has(image_name) ? (said.get(image_name) ? 0 : 2) : 1);
    const ranking = said.size > 0 ? [...ranked].sort((a, b) => place(a) - place(b)) : ranked;
    const learned = (json.learn ?? form('learn') !== 'false') ? world.learnedFrom + (said.size > 0 ? 1 : 0) : 0;
    const from = json.offset ?? Number(form('offset') ?? 0);
    const matches = ranking.slice(from, from + (json.limit ?? Number(form('limit') ?? 10)));
    const strong = world.rich ? { strong_total: ranking.filter(({ strength }) => strength === 'strong').length } : {};
    return send(response, 200, { text: json.text, model_name: 'Mock', matches, jwt: `mock.${asked}.${Math.random()}`, ...strong, ...(learned > 0 ? { learned_from: learned } : {}) });
  }

  /** Not a real one: what is asked for, as text. */
  async function zip(request, response) {
    const names = /\[[^\r]*\]/.exec((await read(request)).toString())?.[0];
    if (!names || world.refusesZip) return send(response, 413, { code: 'too_large', detail: 'Too many.' });
    response.writeHead(200, { 'Content-Type': 'application/zip', 'Content-Disposition': 'attachment; filename="pictures.zip"' });
    return response.end(names);
  }

  async function change(request, response, url) {
    const body = await read(request);
    if (!isSignedIn(request)) return send(response, 401, { code: 'api_key_needed', detail: 'Sign in first (the mock takes mock-key).' });
    if (request.method === 'DELETE') {
      const name = decodeURIComponent(url.pathname.slice('/api/v1/images/'.length));
      world.images = world.images.filter(({ image_name }) => image_name !== name);
      publish();
      return response.writeHead(204).end();
    }
    const name = /filename="([^"]+)"/.exec(body.toString('latin1'))?.[1] ?? 'upload.png';
    const known = world.images.some(({ image_name }) => image_name === name);
    if (!known) world.waiting.unshift(picture(world.images.length + world.waiting.length, name));
    publish();
    return send(response, 201, { images: [{ image_name: name, duplicate_of: known ? name : null }] });
  }

  async function bytes(request, response, url) {
    const path = decodeURIComponent(url.pathname.slice('/api/v1/images/'.length));
    const name = path.replace(/\/thumbnail$/, '').replace(/^copies\/\d\//, '');
    const found = world.images.find(({ image_name }) => image_name === name);
    if (!found) return send(response, 404, { code: 'not_found', detail: 'There is no such image.' });
    if (path.endsWith('/thumbnail')) {
      const asked = { name, width: Number(url.searchParams.get('width')), outcome: 'open' };
      world.thumbnails.push(asked);
      response.on('close', () => (asked.outcome = response.writableFinished ? 'sent' : 'cancelled'));
      if (world.thumbnailDelayMs > 0) await new Promise((done) => setTimeout(done, world.thumbnailDelayMs));
    }
    response.writeHead(200, { 'Content-Type': 'image/png', 'Cache-Control': 'public, max-age=31536000, immutable' });
    return response.end(draw(name, found.width / found.height));
  }
}

const CAMERAS = ['NIKON D750', 'Apple iPhone 12'];
const DAY_MS = 24 * 3600 * 1000;
// Three pictures a day, the first of them on this one.
const LAST_DAY_MS = Date.UTC(2026, 2, 14, 12);

function takenOf(image) {
  const index = Number(image.image_url.split('?v=')[1] ?? 0);
  return new Date(LAST_DAY_MS - Math.floor(index / 3) * DAY_MS).toISOString().slice(0, 19);
}

function filterOfParams(params) {
  const names = ['folder', 'taken_after', 'taken_before', 'formats', 'orientation', 'camera', 'near'];
  const found = Object.fromEntries(names.flatMap((name) => (params.has(name) ? [[name, params.get(name)]] : [])));
  return Object.keys(found).length > 0 ? found : null;
}

function fits(image, { folder, taken_after, taken_before, formats, orientation, camera, near }) {
  const taken = takenOf(image);
  return (
    (!folder || image.image_name.startsWith(`${folder}/`)) &&
    (!taken_after || taken >= taken_after) &&
    (!taken_before || taken < taken_before) &&
    (!formats || formats.includes('jpeg')) &&
    (!orientation || shapeOf(image) === orientation) &&
    (!camera || cameraOf(image) === camera) &&
    (!near || isNear(image, near))
  );
}

const PLACES = [{ lat: 48.1, lon: 11.6 }, { lat: -33.92, lon: 18.42 }];
const placeOf = ({ image_name }) => PLACES[digest(image_name)[2] % 5];
function placesOf(images) {
  const places = PLACES.map((place, index) => ({ ...place, km: 25, images: images.filter((image) => placeOf(image) === place).length, ...(index === 1 ? { folder: 'coast' } : {}) }));
  return places.filter(({ images }) => images > 0).sort((a, b) => b.images - a.images);
}
/** In an address `near` is text; a tenth of a degree will do here. */
function isNear(image, near) {
  const [lat, lon] = typeof near === 'string' ? near.split(',').map(Number) : [near.lat, near.lon];
  const place = placeOf(image);
  return place !== undefined && Math.abs(place.lat - lat) < 0.1 && Math.abs(place.lon - lon) < 0.1;
}

const cameraOf = ({ image_name }) => CAMERAS[digest(image_name)[1] % 2];
const shapeOf = ({ width, height }) => (width > height ? 'landscape' : width < height ? 'portrait' : 'square');

/** Each part of the filter is counted as if it were not asked. */
function countFacets(images, filter) {
  const count = (of, ...parts) => {
    const others = { ...filter, ...Object.fromEntries(parts.map((part) => [part, undefined])) };
    const counts = new Map();
    for (const image of images.filter((image) => fits(image, others))) counts.set(of(image), (counts.get(of(image)) ?? 0) + 1);
    return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([value, images]) => ({ value, images }));
  };
  return {
    total: images.filter((image) => fits(image, filter)).length,
    months: count((image) => takenOf(image).slice(0, 7), 'taken_after', 'taken_before'),
    folders: count(({ image_name }) => image_name.split('/')[0], 'folder'),
    cameras: count(cameraOf, 'camera'),
    formats: count(() => 'jpeg', 'formats'),
    orientations: count(shapeOf, 'orientation'),
    places: placesOf(images.filter((image) => fits(image, { ...filter, near: undefined }))),
  };
}

const isSignedIn = ({ headers }) => headers.cookie?.includes('mock_session=1') ?? false;
const session = (isIn, show_in_folder) => ({ key_needed: false, scopes: ['search', 'feedback', ...(isIn ? ['upload'] : [])], show_in_folder });

function send(response, code, body) {
  const type = code < 400 ? 'application/json' : 'application/problem+json';
  response.writeHead(code, { 'Content-Type': type }).end(JSON.stringify(body));
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
