// Asks for thumbnails a few at a time: what is on screen first, from the top; what has left the screen is cancelled, or
// never asked for. Few at a time also leaves connections for the search and the live status, which browsers count
// together with the pictures. Where they come so quickly that nobody waits, more are asked for: browsers keep them in a line of
// their own, and the next need not wait until the page is at leisure. The server has the small width of every picture ready, and
// makes others when they are asked for: large tiles and sharp screens get the small one first, and the sharper one when everybody
// in sight has something.

const AT_ONCE = 4;
const AT_ONCE_QUICK = 10;
const QUICK_MS = 120;
const TRIES_MAX = 4;
const RETRY_MS = 1500;
// What is here so soon is not faded in: that would only make it later.
const SOON_MS = 200;
const REMEMBERED_MAX = 20_000;

export interface Widths {
  url: string;
  /** For after the first. */
  sharper?: string | undefined;
}

interface Job extends Widths {
  img: HTMLImageElement;
  /** What is being fetched: the picture on screen, or the sharper one that will take its place. */
  loading: HTMLImageElement;
  hasFirst: boolean;
  tries: number;
  asked: number;
  timer?: ReturnType<typeof setTimeout>;
}

const waiting = new Set<Job>();
const running = new Set<Job>();
// Had before: the browser's cache has it, no turn is needed.
const had = new Set<string>();
let scheduled = false;
let atOnce = AT_ONCE;

/** For `use:`; gives the element its picture when it is its turn, and the class `loaded` when it is there. */
export function thumbnailTurn(img: HTMLImageElement, widths: Widths) {
  let job = ask(img, widths);
  return {
    update(next: Widths) {
      if (next.url === job.url && next.sharper === job.sharper) return;
      cancel(job);
      job = ask(img, next);
    },
    destroy: () => cancel(job),
  };
}

function ask(img: HTMLImageElement, { url, sharper }: Widths): Job {
  const job: Job = { img, url, sharper, loading: img, hasFirst: false, tries: 0, asked: performance.now() };
  if (sharper && had.has(sharper)) [job.url, job.sharper] = [sharper, undefined];
  if (had.has(job.url)) begin(job);
  else wait(job);
  return job;
}

function wait(job: Job) {
  waiting.add(job);
  schedule();
}

function cancel(job: Job) {
  clearTimeout(job.timer);
  waiting.delete(job);
  job.loading.onload = job.loading.onerror = null;
  // Only taking the address away makes browsers drop the request.
  if (running.delete(job)) job.loading.removeAttribute('src');
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  // When all tiles of this change are there, so that the first asked is the topmost and not the first created; a frame later would
  // only be later.
  queueMicrotask(() => {
    scheduled = false;
    goOn();
  });
}

function goOn() {
  // All are looked at before the first begins: looking after that has the browser lay out the page anew, each time.
  for (const job of mostWanted(atOnce - running.size)) {
    waiting.delete(job);
    begin(job);
  }
}

function begin(job: Job) {
  running.add(job);
  const begun = performance.now();
  const url = job.hasFirst && job.sharper ? job.sharper : job.url;
  // Beside the first, which stays if the sharper one does not come.
  job.loading = job.hasFirst ? new Image() : job.img;
  job.loading.onload = () => {
    job.loading.onload = job.loading.onerror = null;
    running.delete(job);
    atOnce = performance.now() - begun < QUICK_MS ? AT_ONCE_QUICK : AT_ONCE;
    if (had.size < REMEMBERED_MAX) had.add(url);
    const isSharper = job.hasFirst;
    if (!isSharper && job.sharper) {
      job.hasFirst = true;
      waiting.add(job);
    }
    // The screen was drawn; whoever is next waits for no frame. Before anything changes here, where everybody is costs nothing.
    if (!scheduled) goOn();
    if (isSharper) job.img.src = url;
    if (performance.now() - job.asked < SOON_MS) job.img.classList.add('soon');
    job.img.classList.add('loaded');
  };
  job.loading.onerror = () => {
    running.delete(job);
    atOnce = AT_ONCE;
    failed(job);
    if (!scheduled) goOn();
  };
  job.loading.src = url;
}

/** A thumbnail may be refused while the server starts or is busy: asked for again, ever more slowly. */
function failed(job: Job) {
  if (++job.tries > TRIES_MAX) {
    job.img.classList.add('loaded');
    return;
  }
  job.timer = setTimeout(() => wait(job), RETRY_MS * job.tries);
}

function mostWanted(most: number): Job[] {
  if (most <= 0) return [];
  const ranked: [number, Job][] = [];
  for (const job of waiting) {
    const { top, bottom, left } = job.img.getBoundingClientRect();
    const away = bottom < 0 ? -bottom : Math.max(0, top - window.innerHeight);
    // In sight: by rows from the top, left to right, and sharper ones after all first ones. Out of sight: the nearest.
    const rank = (away > 0 ? 1e6 + away : Math.max(0, top) + left / 1e4) + (job.hasFirst ? 1e5 : 0);
    ranked.push([rank, job]);
  }
  ranked.sort(([one], [other]) => one - other);
  return ranked.slice(0, most).map(([, job]) => job);
}
