// Talks to the server. The types come from the server's own OpenAPI document (`npm run types`); every failure becomes
// one ApiError with the server's stable `code`, or `offline` when nothing answered.
// What an older server does not send is optional here, and the page does without it.
import { t } from '../texts';
import type { components } from './schema';

type Schemas = components['schemas'];
/** A few bytes (ThumbHash, base64) that paint a picture's colours before the picture is there. */
type Previewed = { preview?: string | null };
export type Strength = 'strong' | 'fair' | 'weak';
export type SourceStatus = { location: string; away?: boolean; reason?: string | null };
export type Status = Omit<Schemas['Status'], 'images'> & {
  images: Omit<Schemas['ImageCounts'], 'skipped' | 'missing'> & { skipped?: number; missing?: number };
  sources?: SourceStatus[];
  limits: { queries_max?: number };
  /** The model that can be fetched with a press of a button, when there is one. */
  model: { available?: { name: string; megabytes: number } | null };
};
/** When it was taken, where the server knows: RFC 3339, perhaps without an offset. */
type Dated = { taken?: string };
export type Match = Schemas['Match'] & Previewed & Dated & { strength?: Strength; other_names_total?: number; near_duplicates?: Match[] };
export type SearchResponse = Omit<Schemas['SearchResponse'], 'matches'> & { matches: Match[]; strong_total?: number };
export type ListedImage = Schemas['ListedImage'] & Previewed & Dated & { other_names?: string[]; other_names_total?: number };
export type ImageList = { images: ListedImage[]; total: number; next?: string | null };
export type ImageInfo = Schemas['ImageInfo'] & Previewed & Dated & { other_names_total?: number; viewable_url?: string; camera?: string; lens?: string; gps?: { lat: number; lon: number } };
export type FailureEntry = Schemas['FailureEntry'] & { retryable?: boolean };
export type FailureList = { failures: FailureEntry[]; total: number; skipped?: { what: string; files: number }[] };
export type ImageFeedback = Schemas['ImageFeedback'];
export type UploadResponse = Schemas['UploadResponse'];

export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
  }
}

/** Several parts are searched together; only servers that say `limits.queries_max` take more than one. */
export type QueryPart = ({ text: string } | { image_name: string } | { picture: true }) & { weight?: number };
/** `picture` stands for the part that says so. */
export interface SearchQuery {
  parts: QueryPart[];
  picture?: Blob;
  filter?: Record<string, unknown>;
  /** Whether to say how well each match fits, and to show near-duplicates as one. */
  judged?: boolean;
  /** `false`: in the order of the model alone. */
  learn?: boolean;
  /** Token of an answer whose thumbs come first, or last. */
  refine?: string;
}

export function searchImage(query: SearchQuery, limit: number, offset: number, signal: AbortSignal): Promise<SearchResponse> {
  const [only, ...more] = query.parts;
  const isPlain = more.length === 0 && only?.weight === undefined;
  const judged = query.judged ? { strength: true, collapse: true } : {};
  const filter = query.filter ? { filter: query.filter } : {};
  const learning = { ...(query.learn === false ? { learn: false } : {}), ...(query.refine ? { refine: query.refine } : {}) };
  if (!query.picture) {
    return post('/api/v1/search-image', { ...(isPlain ? only : { queries: query.parts }), ...judged, ...filter, ...learning, limit, offset }, signal);
  }
  const form = new FormData();
  form.set('image', query.picture, 'picture');
  if (!isPlain) form.set('queries', JSON.stringify(query.parts));
  for (const [name, value] of Object.entries({ ...judged, ...learning })) form.set(name, String(value));
  if (query.filter) form.set('filter', JSON.stringify(query.filter));
  form.set('limit', String(limit));
  form.set('offset', String(offset));
  return request('/api/v1/search-image', { method: 'POST', body: form, signal });
}

export function createFeedback(body: Schemas['FeedbackRequest']): Promise<Schemas['FeedbackResponse']> {
  return post('/api/v1/create-feedback', body);
}

/** The first page at home. */
export const FIRST_PAGE = 60;
const EARLY_ADDRESS = `/api/v1/images?limit=${FIRST_PAGE}&offset=0`;

// Asked for before the page is built, so that it can be built with pictures. The server's answer asks for it even before this
// script is here (src/http/page.rs).
const isHome = globalThis.location?.pathname === '/' && location.search === '';
let early: Promise<ImageList> | null = isHome ? request(EARLY_ADDRESS) : null;
early?.catch(() => {});

/** `after` is the `next` of the page before, which stays right while pictures come and go; without one, an offset. */
export function listImages(
  limit: number,
  from: { offset: number } | { after: string },
  signal: AbortSignal,
  filter: Record<string, unknown> = {},
): Promise<ImageList> {
  const params = new URLSearchParams({ limit: String(limit), ...('after' in from ? { after: from.after } : { offset: String(from.offset) }) });
  for (const [name, value] of Object.entries(filter)) params.set(name, flat(value));
  const address = `/api/v1/images?${params}`;
  const asked = early;
  early = null;
  return asked && address === EARLY_ADDRESS ? asked : request(address, { signal });
}

/** As query strings carry it: lists and places with commas. */
function flat(value: unknown): string {
  return typeof value === 'object' && value !== null ? Object.values(value).join(',') : String(value);
}

export function imageInfo(name: string, signal: AbortSignal): Promise<ImageInfo> {
  return request(`/api/v1/image-info?image_name=${encodeURIComponent(name)}`, { signal });
}

export type Suggestion = Schemas['SuggestionEntry'];

/** What a half-typed text may become. */
export function findSuggestions(text: string, limit: number, signal: AbortSignal): Promise<Schemas['Suggestions']> {
  return request(`/api/v1/suggestions?${new URLSearchParams({ text, limit: String(limit) })}`, { signal });
}

/** Words that find something in this library. */
export function findWordsToTry(language: 'en' | 'de', limit: number, signal: AbortSignal): Promise<Schemas['Suggestions']> {
  return request(`/api/v1/suggestions?${new URLSearchParams({ language, limit: String(limit) })}`, { signal });
}

export type FacetCount = Schemas['FacetCount'];
export type Facets = Schemas['ImageFacetCounts'];

/** How many pictures there are of what a filter can be narrowed down to; of all, or among some. */
export function countFacets(filter: Record<string, unknown> | undefined, names: string[] | undefined, signal: AbortSignal): Promise<Facets> {
  return post('/api/v1/facets', { ...(filter ? { filter } : {}), ...(names ? { image_names: names } : {}) }, signal);
}

export type Quality = Schemas['Quality'];

/** What the ratings say, for the operator. */
export function getQuality(): Promise<Quality> {
  return request('/api/v1/quality');
}

/** What may be done with the key that this browser signed in with, if any. */
export function getSession(): Promise<Schemas['Session']> {
  return request('/api/v1/session');
}

export function signIn(key: string): Promise<Schemas['Session']> {
  return post('/api/v1/session', { key });
}

export function getStatus(): Promise<Status> {
  return request('/api/v1/status');
}

export function listFailures(limit: number, offset: number): Promise<FailureList> {
  return request(`/api/v1/failures?limit=${limit}&offset=${offset}`);
}

export function retryFailures(names: string[] | null): Promise<Schemas['RetryResponse']> {
  return post('/api/v1/failures/retry', names ? { image_names: names } : {});
}

/** Starts the download of the model that `status.model.available` names. */
export function fetchModel(): Promise<unknown> {
  return request('/api/v1/model/download', { method: 'POST' });
}

function imagePath(name: string): string {
  return `/api/v1/images/${name.split('/').map(encodeURIComponent).join('/')}`;
}

/** Of a picture of which only the name is known. */
export function thumbnailOf(name: string, width: 160 | 320 | 640 | 1280): string {
  return thumbnail({ thumbnail_url: `${imagePath(name)}/thumbnail` }, width);
}

export function imageUrlOf(name: string): string {
  return imagePath(name);
}

/** In the file manager of the machine that server and browser are on. */
export function showInFolder(name: string): Promise<null> {
  return post('/api/v1/show-in-folder', { image_name: name });
}

export function deleteImage(name: string): Promise<null> {
  return request(imagePath(name), { method: 'DELETE' });
}

/** Not `fetch`: only this tells how much of the body has gone out. */
export function uploadImage(file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<UploadResponse> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open('POST', '/api/v1/images');
    sending.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sending.onload = () => {
      const body = parseJson(sending.responseText);
      if (sending.status < 300) resolve(body as UploadResponse);
      else reject(problem(sending.status, body, sending.getResponseHeader('Retry-After')));
    };
    sending.onerror = () => reject(new ApiError('offline', `${t.trouble.offline}.`));
    sending.onabort = () => reject(new ApiError('aborted', 'aborted'));
    signal.addEventListener('abort', () => sending.abort());
    const form = new FormData();
    form.set('image', file, file.name);
    sending.send(form);
  });
}

function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return request(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal: signal ?? null });
}

async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch {
    throw init.signal?.aborted ? new ApiError('aborted', 'aborted') : new ApiError('offline', `${t.trouble.offline}.`);
  }
  const body = text ? parseJson(text) : null;
  if (!response.ok) throw problem(response.status, body, response.headers.get('Retry-After'));
  return body as T;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problem(status: number, body: unknown, retryAfter: string | null): ApiError {
  const { code, detail, title } = (body ?? {}) as Partial<Schemas['Problem']>;
  const seconds = Number(retryAfter);
  return new ApiError(code ?? `http_${status}`, detail ?? title ?? `The server answered ${status}.`, seconds > 0 ? seconds : null);
}

/** The thumbnail in a width the server keeps: 160, 320, 640 or 1280. */
export function thumbnail(picture: { thumbnail_url: string }, width: 160 | 320 | 640 | 1280): string {
  return `${picture.thumbnail_url}${picture.thumbnail_url.includes('?') ? '&' : '?'}width=${width}`;
}

export function asError(error: unknown): ApiError {
  if (error instanceof DOMException && error.name === 'AbortError') return new ApiError('aborted', 'aborted');
  return error instanceof ApiError ? error : new ApiError('unexpected', String(error));
}
