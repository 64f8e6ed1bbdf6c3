// Talks to the server. The types come from the server's own OpenAPI document (`npm run types`); every failure becomes
// one ApiError with the server's stable `code`, or `offline` when nothing answered.
import type { components } from './schema';

type Schemas = components['schemas'];
export type Status = Schemas['Status'];
export type Match = Schemas['Match'];
export type SearchResponse = Schemas['SearchResponse'];
export type ImageList = Schemas['ImageList'];
export type ListedImage = Schemas['ListedImage'];
export type ImageInfo = Schemas['ImageInfo'];
export type FailureList = Schemas['FailureList'];
export type FailureEntry = Schemas['FailureEntry'];
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

export const OFFLINE_TEXT = 'The server does not answer.';

export type SearchQuery = { text: string } | { image_name: string } | { picture: Blob };

export function searchImage(query: SearchQuery, limit: number, offset: number, signal: AbortSignal): Promise<SearchResponse> {
  if (!('picture' in query)) return post('/api/v1/search-image', { ...query, limit, offset }, signal);
  const form = new FormData();
  form.set('image', query.picture, 'picture');
  form.set('limit', String(limit));
  form.set('offset', String(offset));
  return request('/api/v1/search-image', { method: 'POST', body: form, signal });
}

export function createFeedback(body: Schemas['FeedbackRequest']): Promise<Schemas['FeedbackResponse']> {
  return post('/api/v1/create-feedback', body);
}

export function listImages(limit: number, offset: number, signal: AbortSignal): Promise<ImageList> {
  return request(`/api/v1/images?limit=${limit}&offset=${offset}`, { signal });
}

export function imageInfo(name: string, signal: AbortSignal): Promise<ImageInfo> {
  return request(`/api/v1/image-info?image_name=${encodeURIComponent(name)}`, { signal });
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

export function deleteImage(name: string, apiKey: string): Promise<null> {
  const path = name.split('/').map(encodeURIComponent).join('/');
  return request(`/api/v1/images/${path}`, { method: 'DELETE', headers: { Authorization: `Bearer ${apiKey}` } });
}

/** Not `fetch`: only this tells how much of the body has gone out. */
export function uploadImage(file: File, apiKey: string, onProgress: (share: number) => void, signal: AbortSignal): Promise<UploadResponse> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open('POST', '/api/v1/images');
    sending.setRequestHeader('Authorization', `Bearer ${apiKey}`);
    sending.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sending.onload = () => {
      const body = parseJson(sending.responseText);
      if (sending.status < 300) resolve(body as UploadResponse);
      else reject(problem(sending.status, body, sending.getResponseHeader('Retry-After')));
    };
    sending.onerror = () => reject(new ApiError('offline', OFFLINE_TEXT));
    sending.onabort = () => reject(new ApiError('aborted', 'Cancelled.'));
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
    throw init.signal?.aborted ? new ApiError('aborted', 'Cancelled.') : new ApiError('offline', OFFLINE_TEXT);
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
  return error instanceof ApiError ? error : new ApiError('unexpected', String(error));
}
