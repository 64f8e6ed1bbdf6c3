// What the grid shows: the answer to the query, page after page, or the newest pictures when nothing is asked.
// Only the latest request counts: starting one aborts the one before. Lists that were left are kept for a while, so
// that going back shows them at once.
import { ApiError, asError, FIRST_PAGE, listImages, searchImage, type ListedImage, type Match, type QueryPart, type SearchQuery, type SearchResponse, type Strength } from '../api/client';
import { t } from '../texts';
import { filterOf, isRefined, MIX_EVEN, sameQuery, type Query, type Search } from './address';
import { canCombine } from './combining';
import { askedFilter } from './filter';
import { foldOf } from './fold';
import { pictureOf } from './pictures';
import { rating, type KeptRating } from './rating.svelte';
import { live } from './status.svelte';

export type Picture = ListedImage & { score?: number; strength?: Strength; near_duplicates?: Match[] };
export type Phase = 'idle' | 'loading' | 'ready' | 'failed';

// The first page is small, so that pictures appear early; larger while scrolling.
const LATER_PAGE = 200;
// Searches are answered no further than this.
const WINDOW_MAX = 10_000;
// Most pictures in one list.
const LIST_MAX = 500;
// A reload loads no more than this to return to its place.
const RESTORED_MAX = 4000;
const RETRIES_MAX = 5;
const STATUS_WAIT_MS = 1500;
const LISTS_KEPT_MAX = 12;

interface Kept {
  query: Query;
  pictures: Picture[];
  offset: number;
  next: string | null;
  complete: boolean;
  total: number;
  strongTotal: number | null;
  modelName: string;
  unfolded: boolean;
  indexedThen: number;
  learnedFrom: number;
  learns: boolean;
  refine: string;
  rating: KeptRating;
}

class Results {
  query = $state.raw<Query>({ kind: 'none' });
  pictures = $state.raw<Picture[]>([]);
  phase = $state<Phase>('idle');
  loadingMore = $state(false);
  complete = $state(false);
  error = $state.raw<ApiError | null>(null);
  modelName = $state('');
  /** How many there are in all, of the newest. */
  total = $state(0);
  strongTotal = $state<number | null>(null);
  /** Newer pictures that are not shown yet, because nothing may move now. */
  fresh = $state(0);
  /** How many pictures could be found when this was answered; -1 while the status is not known. */
  indexedThen = $state(-1);
  unfolded = $state(false);
  /** From how many ratings the order comes, besides the thumbs of this answer. */
  learnedFrom = $state(0);
  /** Whether ratings may change the order of this search. */
  learns = $state(true);
  /** The order that ratings made while something had to keep its place; `null` if all stand in it. */
  waiting = $state.raw<Picture[] | null>(null);

  /** The first picture that is less likely to fit; -1 if the server does not say. */
  fold = $derived(foldOf(this.pictures, rating.noted));
  noneFits = $derived(this.fold === 0);
  /** Whether less likely pictures are kept from sight. */
  folded = $derived(this.fold > 0 && !this.unfolded);
  shown = $derived(this.folded ? this.pictures.slice(0, this.fold) : this.pictures);
  /** Everything was loaded that there is to see. */
  ended = $derived(this.phase === 'ready' && (this.folded || this.complete));

  #list = 0;
  #kept = new Map<number, Kept>();
  #names = new Set<string>();
  #offset = 0;
  #next: string | null = null;
  /** Token of the answer whose thumbs the order follows. */
  #refine = '';
  #more: Promise<void> | null = null;
  #running: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retries = 0;

  /** Shows the answer to `query`; what is on screen stays until the new answer is there. Loads at least `wanted`. */
  show(query: Query, list: number, wanted = 0) {
    const isSame = sameQuery(query, this.query);
    if (isSame && list === this.#list && (this.phase === 'ready' || this.phase === 'loading')) return;
    const fromOrTo = (query.kind === 'none') !== (this.query.kind === 'none');
    this.#list = list;
    this.query = query;
    this.learns = true;
    this.#retries = 0;
    this.fresh = 0;
    const kept = this.#kept.get(list);
    if (kept && sameQuery(kept.query, query)) return this.#restore(kept);
    if (fromOrTo) this.#clear();
    void this.#first(wanted);
  }

  /** Keeps what is on screen for when the user comes back to this list. */
  keep() {
    this.#kept.delete(this.#list);
    if (this.phase !== 'ready') return;
    const { query, pictures, complete, total, strongTotal, modelName, unfolded, indexedThen, learnedFrom, learns } = this;
    this.#kept.set(this.#list, { query, pictures, complete, total, strongTotal, modelName, unfolded, indexedThen, learnedFrom, learns, offset: this.#offset, next: this.#next, refine: this.#refine, rating: rating.kept() });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= LISTS_KEPT_MAX) break;
      this.#kept.delete(oldest);
    }
  }

  /** Asks again, after a failure or when more can be found. */
  again() {
    this.#retries = 0;
    void this.#first();
  }

  /** Whether pictures have come or gone since this was answered. */
  isOutdated(indexed: number): boolean {
    // Asked before the first status came: the list says how many it knew, a search is taken as it is.
    if (this.indexedThen < 0) this.indexedThen = this.query.kind === 'none' ? this.total : indexed;
    return indexed !== this.indexedThen;
  }

  /** The newest pictures, when some have come or gone meanwhile; a search that found nothing is repeated. */
  async refresh() {
    if (this.phase !== 'ready' || this.loadingMore) return;
    if (this.query.kind !== 'none') {
      if (this.pictures.length === 0) void this.#first();
      return;
    }
    const signal = this.#start();
    const indexedThen = live.now?.images.indexed ?? -1;
    try {
      const { images, total, next } = await listImages(Math.min(LIST_MAX, Math.max(FIRST_PAGE, this.#offset)), { offset: 0 }, signal, askedFilter(filterOf(this.query)));
      this.#reset();
      this.#append(images);
      this.#listed(total, next, images.length);
      this.fresh = 0;
      this.indexedThen = indexedThen;
    } catch {
      // The status says so; the next change asks again.
    }
  }

  /** The next page. */
  more(): Promise<void> {
    this.#more ??= this.#loadMore().finally(() => (this.#more = null));
    return this.#more;
  }

  async #loadMore() {
    if (this.phase !== 'ready' || this.loadingMore || this.complete || this.folded) return;
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

  unfold() {
    this.unfolded = true;
  }

  /** Asks again with the thumbs of this answer. `null`: there is nothing to learn, or something else is asked meanwhile. */
  async reranked(): Promise<SearchResponse | null> {
    const { query } = this;
    if (query.kind === 'none' || this.phase !== 'ready' || !this.learns || !rating.jwt) return null;
    const signal = this.#start();
    this.loadingMore = false;
    const refine = rating.jwt;
    try {
      const answer = await searchImage({ ...asked(query), refine }, Math.min(LATER_PAGE, Math.max(FIRST_PAGE, this.#offset)), 0, signal);
      this.#refine = refine;
      return answer;
    } catch {
      // The order stays; the thumbs are noted.
      return null;
    }
  }

  /** Shows the new order from place `stays` on; what is before keeps its place until [`settle`]. */
  reorder(answer: SearchResponse, stays: number) {
    const { matches } = answer;
    const isStill = matches.slice(0, stays).every(({ image_name }, index) => image_name === this.pictures[index]?.image_name);
    const kept = isStill ? [] : this.pictures.slice(0, stays);
    this.complete &&= matches.length >= this.#offset;
    this.strongTotal = answer.strong_total ?? this.strongTotal;
    this.learnedFrom = learnedFrom(answer, this.#refine);
    this.#names = new Set(kept.map(({ image_name }) => image_name));
    this.#offset = 0;
    this.pictures = kept;
    this.waiting = isStill ? null : [];
    this.#append(matches);
  }

  /** All pictures go to their places. */
  settle() {
    if (!this.waiting) return;
    const names = new Set<string>();
    this.pictures = this.waiting.filter(({ image_name }) => !names.has(image_name) && names.add(image_name));
    this.#names = names;
    this.waiting = null;
  }

  /** With or without what ratings say, for this search. */
  learn(learns: boolean) {
    this.learns = learns;
    void this.#first(0, rating.kept());
  }

  /** Gone from the server: gone from the screen. */
  remove(name: string) {
    const others = (pictures: Picture[]) => pictures.filter((picture) => picture.image_name !== name);
    this.pictures = others(this.pictures);
    this.waiting = this.waiting && others(this.waiting);
    this.#names.delete(name);
    this.#offset = Math.max(0, this.#offset - 1);
    this.total = Math.max(0, this.total - 1);
    // Lists kept for later still have it.
    this.#kept.clear();
  }

  #restore(kept: Kept) {
    this.#start().throwIfAborted();
    this.#reset();
    this.#append(kept.pictures);
    const { complete, total, strongTotal, modelName, unfolded, indexedThen, learnedFrom, learns } = kept;
    Object.assign(this, { complete, total, strongTotal, modelName, unfolded, indexedThen, learnedFrom, learns, error: null, loadingMore: false, phase: 'ready' });
    this.#offset = kept.offset;
    this.#next = kept.next;
    this.#refine = kept.refine;
    rating.begin(kept.rating);
  }

  #clear() {
    this.#reset();
    this.complete = false;
    rating.begin();
  }

  #reset() {
    this.#names.clear();
    this.#offset = 0;
    this.#next = null;
    this.#refine = '';
    this.waiting = null;
    this.learnedFrom = 0;
    this.pictures = [];
  }

  #start(): AbortSignal {
    clearTimeout(this.#retry);
    this.#running?.abort();
    this.#running = new AbortController();
    return this.#running.signal;
  }

  /** `rated`: the rating goes on. */
  async #first(wanted = 0, rated?: KeptRating) {
    const signal = this.#start();
    this.phase = 'loading';
    this.loadingMore = false;
    try {
      await this.#page(Math.min(LATER_PAGE, Math.max(FIRST_PAGE, wanted)), signal, { rated });
      this.error = null;
      this.phase = 'ready';
      this.#retries = 0;
      await this.#upTo(Math.min(wanted, RESTORED_MAX));
    } catch (thrown) {
      const error = asError(thrown);
      if (error.code === 'aborted') return;
      this.#clear();
      this.error = error;
      this.phase = 'failed';
      this.#later(error, () => void this.#first());
    }
  }

  async #upTo(wanted: number) {
    const list = this.#list;
    const goesOn = () => list === this.#list && this.phase === 'ready' && !this.complete && !this.folded && !this.error;
    while (this.pictures.length < wanted && goesOn()) await this.more();
  }

  /** Overload and start-up pass by themselves; the server says when to ask again. */
  #later(error: ApiError, ask: () => void) {
    if (error.retryAfterS === null || error.code === 'model_not_ready' || ++this.#retries > RETRIES_MAX) return;
    this.#retry = setTimeout(ask, error.retryAfterS * 1000 * this.#retries);
  }

  async #page(wanted: number, signal: AbortSignal, first?: { rated: KeptRating | undefined }) {
    const offset = first ? 0 : this.#offset;
    const query = this.query;
    const indexedThen = live.now?.images.indexed ?? -1;
    if (query.kind === 'none') {
      const { images, total, next } = await listImages(wanted, !first && this.#next ? { after: this.#next } : { offset }, signal, askedFilter(filterOf(query)));
      if (first) {
        this.#reset();
        this.indexedThen = indexedThen;
      }
      this.#append(images);
      this.#listed(total, next, images.length);
      return;
    }
    // The status says what this server can be asked.
    if (!live.now) await Promise.race([live.known, pause(STATUS_WAIT_MS)]);
    signal.throwIfAborted();
    const refine = !first ? this.#refine : this.learns && first.rated?.thumbs.size ? first.rated.jwt : '';
    const learning = { learn: this.learns, ...(refine ? { refine } : {}) };
    const answer = await searchImage({ ...asked(query), ...learning }, Math.min(wanted, WINDOW_MAX - offset), offset, signal);
    if (first) {
      this.#reset();
      this.unfolded = false;
      this.strongTotal = answer.strong_total ?? null;
      this.modelName = answer.model_name;
      this.indexedThen = indexedThen;
      this.#refine = refine;
      this.learnedFrom = learnedFrom(answer, refine);
      rating.begin(first.rated ?? { jwt: answer.jwt, value: null, thumbs: new Map() });
    }
    this.#append(answer.matches);
    // A page may be short without being the last: a picture may vanish while it is looked up.
    this.complete = answer.matches.length === 0 || this.#offset >= WINDOW_MAX;
  }

  /** Servers that give a `next` leave it away on the last page; others are asked until all are here. */
  #listed(total: number, next: string | null | undefined, got: number) {
    const wasLast = !next && this.#next !== null;
    this.total = total;
    this.#next = next ?? null;
    this.complete = got === 0 || wasLast || this.#offset >= total;
  }

  #append(pictures: Picture[]) {
    this.#offset += pictures.length;
    const fresh = pictures.filter(({ image_name }) => !this.#names.has(image_name) && this.#names.add(image_name));
    this.pictures = [...this.pictures, ...fresh];
    if (this.waiting) this.waiting = [...this.waiting, ...pictures];
  }
}

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Ratings of other answers. Those of the one that is refined count as one. */
function learnedFrom(answer: SearchResponse, refine: string): number {
  return Math.max(0, (answer.learned_from ?? 0) - (refine ? 1 : 0));
}

const NOT_WEIGHT = -0.5;

function asked(query: Search): SearchQuery {
  const parts: QueryPart[] = [];
  const hasPicture = query.kind !== 'text';
  // Alone, a part has no weight, and asks as every server understands it.
  const weight = (share: number) => (isRefined(query) ? { weight: Math.min(1, share / MIX_EVEN) } : {});
  const mix = hasPicture && query.text ? (query.mix ?? MIX_EVEN) : MIX_EVEN;
  if (query.text) parts.push({ text: query.text, ...weight(mix) });
  if (query.kind === 'like') parts.push({ image_name: query.name, ...weight(100 - mix) });
  if (query.kind === 'picture') parts.push({ picture: true, ...weight(100 - mix) });
  for (const text of query.not ?? []) parts.push({ text, weight: NOT_WEIGHT });
  for (const image_name of query.notLike ?? []) parts.push({ image_name, weight: NOT_WEIGHT });
  const filter = askedFilter(filterOf(query));
  const search: SearchQuery = { parts, judged: canCombine(), ...(filter ? { filter } : {}) };
  if (query.kind !== 'picture') return search;
  const picture = pictureOf(query.id);
  if (!picture) throw new ApiError('picture_gone', t.field.pictureGone);
  return { ...search, picture };
}

export const results = new Results();
