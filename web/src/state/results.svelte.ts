// What the grid shows: the answer to the query, page after page, or the newest pictures when nothing is asked.
// Only the latest request counts: starting one aborts the one before. Also keeps the rating of the answer on screen,
// because it belongs to exactly that answer's token.
import { ApiError, asError, createFeedback, listImages, searchImage, type ListedImage, type SearchQuery } from '../api/client';
import { sameQuery, type Query } from './address';
import { pictureOf } from './pictures';

export type Picture = ListedImage & { score?: number; other_names?: string[] };
export type Phase = 'idle' | 'loading' | 'ready' | 'failed';

// Small first, so that pictures appear early; larger while scrolling.
const FIRST_PAGE = 60;
const LATER_PAGE = 200;
// Searches are answered no further than this.
const WINDOW_MAX = 10_000;
// Most pictures in one list.
const LIST_MAX = 500;
const RETRIES_MAX = 5;
// The token carries this many pictures; more single ratings would rate what it does not know.
const RATED_IMAGES_MAX = 50;

class Results {
  query = $state.raw<Query>({ kind: 'none' });
  pictures = $state.raw<Picture[]>([]);
  phase = $state<Phase>('idle');
  loadingMore = $state(false);
  complete = $state(false);
  error = $state.raw<ApiError | null>(null);
  modelName = $state('');
  /** Milliseconds the first page took, for whoever likes to see it. */
  tookMs = $state(0);

  jwt = $state('');
  rating = $state<number | null>(null);
  #changedWhileSending = false;
  ratingPhase = $state<'none' | 'sending' | 'thanked' | 'failed'>('none');
  ratingError = $state('');
  thumbs = $state.raw<ReadonlyMap<string, boolean>>(new Map());

  #names = new Set<string>();
  #offset = 0;
  #running: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retries = 0;

  /** Shows the answer to `query`; what is on screen stays until the new answer is there. */
  show(query: Query) {
    if (sameQuery(query, this.query) && (this.phase === 'ready' || this.phase === 'loading')) return;
    const fromOrTo = query.kind === 'none' || this.query.kind === 'none';
    this.query = query;
    this.#retries = 0;
    if (fromOrTo) this.#clear();
    void this.#first();
  }

  /** Asks again, after a failure. */
  again() {
    this.#retries = 0;
    void this.#first();
  }

  /** The newest pictures, when some have come or gone meanwhile. */
  async refreshNewest() {
    if (this.query.kind !== 'none' || this.phase !== 'ready' || this.loadingMore) return;
    // Whoever has scrolled this far is looking for something; nothing may jump.
    if (this.#offset > LIST_MAX) return;
    const signal = this.#start();
    try {
      const { images, total } = await listImages(Math.max(FIRST_PAGE, this.#offset), 0, signal);
      this.#reset();
      this.#append(images);
      this.complete = images.length >= total;
    } catch {
      // The status says so; the next change asks again.
    }
  }

  /** The next page. */
  async more() {
    if (this.phase !== 'ready' || this.loadingMore || this.complete) return;
    this.loadingMore = true;
    const signal = this.#start();
    try {
      await this.#page(LATER_PAGE, signal);
      this.#retries = 0;
      this.error = null;
      this.loadingMore = false;
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === 'aborted') return;
      this.loadingMore = false;
      this.error = error;
      this.#later(error, () => void this.more());
    }
  }

  /** Gone from the server: gone from the screen. */
  remove(name: string) {
    this.pictures = this.pictures.filter((picture) => picture.image_name !== name);
    this.#names.delete(name);
    this.#offset = Math.max(0, this.#offset - 1);
  }

  rate(value: number) {
    if (!this.jwt) return;
    this.rating = value;
    return this.#sendRating();
  }

  /** A thumb on one picture; the same thumb again takes it back. */
  thumb(name: string, relevant: boolean) {
    const thumbs = new Map(this.thumbs);
    if (thumbs.get(name) === relevant) thumbs.delete(name);
    else thumbs.set(name, relevant);
    this.thumbs = thumbs;
    return this.#sendRating();
  }

  canThumb(index: number): boolean {
    return this.jwt !== '' && index >= 0 && index < RATED_IMAGES_MAX;
  }

  /** One request at a time, so that an older one never overtakes a newer; what changed meanwhile is sent after it. */
  async #sendRating() {
    if (!this.jwt) return;
    if (this.ratingPhase === 'sending') {
      this.#changedWhileSending = true;
      return;
    }
    const jwt = this.jwt;
    this.ratingPhase = 'sending';
    this.#changedWhileSending = false;
    const image_feedback = [...this.thumbs].map(([image_name, relevant]) => ({ image_name, relevant }));
    try {
      await createFeedback({ user_feedback: this.rating, jwt, image_feedback });
      if (jwt !== this.jwt) return;
      this.ratingPhase = 'thanked';
      if (this.#changedWhileSending) await this.#sendRating();
    } catch (thrown) {
      if (jwt !== this.jwt) return;
      const { code, message } = asError(thrown);
      this.ratingPhase = 'failed';
      this.ratingError = code === 'token_expired' ? 'These results are too old to rate. Search again, then rate.' : `Not saved: ${message}`;
    }
  }

  #clear() {
    this.#reset();
    this.complete = false;
    this.#forgetRating();
  }

  #reset() {
    this.#names.clear();
    this.#offset = 0;
    this.pictures = [];
  }

  #forgetRating() {
    this.jwt = '';
    this.rating = null;
    this.ratingPhase = 'none';
    this.#changedWhileSending = false;
    this.thumbs = new Map();
  }

  #start(): AbortSignal {
    clearTimeout(this.#retry);
    this.#running?.abort();
    this.#running = new AbortController();
    return this.#running.signal;
  }

  async #first() {
    const signal = this.#start();
    this.phase = 'loading';
    this.loadingMore = false;
    const began = performance.now();
    try {
      await this.#page(FIRST_PAGE, signal, true);
      this.tookMs = Math.round(performance.now() - began);
      this.error = null;
      this.phase = 'ready';
      this.#retries = 0;
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === 'aborted') return;
      this.#clear();
      this.error = error;
      this.phase = 'failed';
      this.#later(error, () => void this.#first());
    }
  }

  /** Overload and start-up pass by themselves; the server says when to ask again. */
  #later(error: ApiError, ask: () => void) {
    if (error.retryAfterS === null || error.code === 'model_not_ready' || ++this.#retries > RETRIES_MAX) return;
    this.#retry = setTimeout(ask, error.retryAfterS * 1000 * this.#retries);
  }

  async #page(wanted: number, signal: AbortSignal, first = false) {
    const offset = first ? 0 : this.#offset;
    const query = this.query;
    if (query.kind === 'none') {
      const { images, total } = await listImages(wanted, offset, signal);
      if (first) this.#reset();
      this.#append(images);
      this.complete = this.#offset >= total || images.length === 0;
      return;
    }
    const answer = await searchImage(asked(query), Math.min(wanted, WINDOW_MAX - offset), offset, signal);
    if (first) {
      this.#reset();
      this.#forgetRating();
      this.jwt = answer.jwt;
      this.modelName = answer.model_name;
    }
    this.#append(answer.matches);
    // A page may be short without being the last: a picture may vanish while it is looked up.
    this.complete = answer.matches.length === 0 || this.#offset >= WINDOW_MAX;
  }

  #append(pictures: Picture[]) {
    this.#offset += pictures.length;
    const fresh = pictures.filter(({ image_name }) => !this.#names.has(image_name) && this.#names.add(image_name));
    this.pictures = [...this.pictures, ...fresh];
  }
}

function asked(query: Exclude<Query, { kind: 'none' }>): SearchQuery {
  if (query.kind === 'text') return { text: query.text };
  if (query.kind === 'like') return { image_name: query.name };
  const picture = pictureOf(query.id);
  if (!picture) throw new ApiError('picture_gone', 'The picture you searched with is not kept after leaving the page.');
  return { picture };
}

export const results = new Results();
