// Asks for thumbnails a few at a time: what is on screen first, from the top; what has left the screen is cancelled, or
// never asked for. Few at a time also leaves connections for the search and the live status, which browsers count
// together with the pictures.

const AT_ONCE = 4;
const TRIES_MAX = 4;
const RETRY_MS = 1500;
const REMEMBERED_MAX = 20_000;

interface Job {
  img: HTMLImageElement;
  url: string;
  tries: number;
  timer?: ReturnType<typeof setTimeout>;
}

const waiting = new Set<Job>();
const running = new Set<Job>();
// Had before: the browser's cache has it, no turn is needed.
const had = new Set<string>();
let scheduled = false;

/** For `use:`; gives the element its picture when it is its turn, and the class `loaded` when it is there. */
export function thumbnailTurn(img: HTMLImageElement, url: string) {
  let job = ask(img, url);
  return {
    update(next: string) {
      if (next === job.url) return;
      cancel(job);
      job = ask(img, next);
    },
    destroy: () => cancel(job),
  };
}

function ask(img: HTMLImageElement, url: string): Job {
  const job: Job = { img, url, tries: 0 };
  if (had.has(url)) begin(job);
  else {
    waiting.add(job);
    schedule();
  }
  return job;
}

function cancel(job: Job) {
  clearTimeout(job.timer);
  waiting.delete(job);
  job.img.onload = job.img.onerror = null;
  // Only taking the address away makes browsers drop the request.
  if (running.delete(job)) job.img.removeAttribute('src');
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  // After the whole screen was drawn, so that the first asked is the topmost and not the first created.
  requestAnimationFrame(() => {
    scheduled = false;
    while (running.size < AT_ONCE) {
      const job = mostWanted();
      if (!job) return;
      waiting.delete(job);
      begin(job);
    }
  });
}

function begin(job: Job) {
  running.add(job);
  job.img.onload = () => {
    running.delete(job);
    if (had.size < REMEMBERED_MAX) had.add(job.url);
    job.img.classList.add('loaded');
    schedule();
  };
  job.img.onerror = () => {
    running.delete(job);
    failed(job);
    schedule();
  };
  job.img.src = job.url;
}

/** A thumbnail may be refused while the server starts or is busy: asked for again, ever more slowly. */
function failed(job: Job) {
  if (++job.tries > TRIES_MAX) {
    job.img.classList.add('loaded');
    return;
  }
  job.timer = setTimeout(() => {
    waiting.add(job);
    schedule();
  }, RETRY_MS * job.tries);
}

function mostWanted(): Job | undefined {
  let best: Job | undefined;
  let least = Infinity;
  for (const job of waiting) {
    const { top, bottom, left } = job.img.getBoundingClientRect();
    const away = bottom < 0 ? -bottom : Math.max(0, top - window.innerHeight);
    // In sight: by rows from the top, left to right. Out of sight: the nearest.
    const rank = away > 0 ? 1e6 + away : Math.max(0, top) + left / 1e4;
    if (rank < least) [best, least] = [job, rank];
  }
  return best;
}
