// What the list is narrowed down to, in the address and in requests. Only what is asked for is there, so that two filters
// that ask the same are written the same.

export const SHAPES = ['landscape', 'portrait', 'square'] as const;
export type Shape = (typeof SHAPES)[number];

export interface Near {
  lat: number;
  lon: number;
  km: number;
}

export interface Filter {
  folder?: string;
  /** Days, as YYYY-MM-DD: taken on this day or later, and on this day or earlier. */
  from?: string;
  to?: string;
  formats?: string[];
  shape?: Shape;
  camera?: string;
  near?: Near;
}

export type FilterPart = keyof Filter;

const DAY = /^\d{4}-\d{2}-\d{2}$/;

export function readFilter(params: URLSearchParams): Filter {
  const day = (name: string) => {
    const text = params.get(name);
    return text && DAY.test(text) ? text : undefined;
  };
  const shape = SHAPES.find((each) => each === params.get('shape'));
  const formats = params.get('type')?.split(',').filter(Boolean);
  return clean({
    folder: params.get('folder') || undefined,
    from: day('from'),
    to: day('to'),
    formats: formats?.length ? formats : undefined,
    shape,
    camera: params.get('camera') || undefined,
    near: readNear(params.get('near')),
  });
}

export function writeFilter(filter: Filter, params: URLSearchParams) {
  const { folder, from, to, formats, shape, camera, near } = filter;
  const all = { folder, from, to, type: formats?.join(','), shape, camera, near: near && [near.lat, near.lon, near.km].join(',') };
  for (const [name, value] of Object.entries(all)) if (value) params.set(name, value);
}

/** As requests carry it; `undefined` if nothing is asked. */
export function askedFilter(filter: Filter): Record<string, unknown> | undefined {
  const { folder, from, to, formats, shape, camera, near } = filter;
  const asked = clean({ folder, taken_after: from, taken_before: to && dayAfter(to), formats, orientation: shape, camera, near });
  return Object.keys(asked).length > 0 ? asked : undefined;
}

/** The filter with some parts changed; `undefined` takes one away. */
export function changed(filter: Filter, change: { [Part in FilterPart]?: Filter[Part] | undefined }): Filter {
  return clean({ ...filter, ...change });
}

export const isEmptyFilter = (filter: Filter) => Object.keys(filter).length === 0;

export function dayAfter(day: string): string {
  const next = new Date(`${day}T00:00:00Z`);
  next.setUTCDate(next.getUTCDate() + 1);
  return next.toISOString().slice(0, 10);
}

export function dayBefore(day: string): string {
  const before = new Date(`${day}T00:00:00Z`);
  before.setUTCDate(before.getUTCDate() - 1);
  return before.toISOString().slice(0, 10);
}

function readNear(text: string | null): Near | undefined {
  const [lat, lon, km, more] = (text ?? '').split(',').map(Number);
  if (lat === undefined || lon === undefined || km === undefined || more !== undefined) return undefined;
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 180 && km > 0 ? { lat, lon, km } : undefined;
}

function clean<T extends object>(parts: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}
