// Whether this server can filter, and where in time its pictures lie. Servers that know when a picture was taken can; one
// look at a list tells.
import { listImages } from '../api/client';
import { askedFilter, changed, type Filter } from './filter';

/** A stretch of time with so many pictures. Days as YYYY-MM-DD, both included. */
export interface Bucket {
  from: string;
  to: string;
  label: string;
  count: number;
}

const YEARS_MAX = 60;

class Filtering {
  /** `null` while it is not known. */
  available = $state<boolean | null>(null);
  #asking = false;

  /** What was listed tells whether the server knows when pictures were taken. */
  learn(pictures: readonly { taken?: string }[]) {
    if (this.available || pictures.length === 0) return;
    if (pictures.some(({ taken }) => taken !== undefined)) this.available = true;
  }

  /** Asks, if what is on screen did not tell. */
  async ask(signal: AbortSignal) {
    if (this.available !== null || this.#asking) return;
    this.#asking = true;
    try {
      const { images } = await listImages(1, { offset: 0 }, signal);
      if (images.length > 0) this.available = images[0]!.taken !== undefined;
    } catch {
      // Another time.
    }
    this.#asking = false;
  }
}

export const filtering = new Filtering();

/** Where the given pictures lie: by year, or by month when they are of one or two years. */
export function bucketsOf(days: readonly string[], monthName: (month: string) => string): Bucket[] {
  if (days.length === 0) return [];
  const years = days.map((day) => Number(day.slice(0, 4)));
  const [first, last] = [Math.min(...years), Math.max(...years)];
  const byMonth = last - first < 2;
  const counts = new Map<string, number>();
  for (const day of days) {
    const key = day.slice(0, byMonth ? 7 : 4);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const months = Array.from({ length: 12 }, (_, at) => String(at + 1).padStart(2, '0'));
  const keys = Array.from({ length: Math.min(YEARS_MAX, last - first + 1) }, (_, at) => String(last - at).padStart(4, '0'))
    .reverse()
    .flatMap((year) => (byMonth ? months.map((month) => `${year}-${month}`) : [year]));
  return keys.map((key) => ({ ...stretch(key), label: byMonth ? monthName(key) : key, count: counts.get(key) ?? 0 }));
}

/** The days of a year (`2024`) or month (`2024-02`). */
export function stretch(key: string): { from: string; to: string } {
  if (key.length === 4) return { from: `${key}-01-01`, to: `${key}-12-31` };
  const [year, month] = key.split('-').map(Number);
  return { from: `${key}-01`, to: `${key}-${String(new Date(Date.UTC(year!, month!, 0)).getUTCDate()).padStart(2, '0')}` };
}

/** How many pictures of each year, or of each month of one year, the server has under this filter: it is asked for totals. */
export async function countedBuckets(filter: Filter, newest: string, year: string | null, monthName: (month: string) => string, signal: AbortSignal): Promise<Bucket[]> {
  const total = async (to?: string) => {
    const asked = askedFilter(changed(filter, { from: undefined, to }));
    return (await listImages(1, { offset: 0 }, signal, asked)).total;
  };
  const newestYear = Number(newest.slice(0, 4));
  const buckets: Bucket[] = [];
  if (year) {
    let before = await total(`${Number(year) - 1}-12-31`);
    for (let month = 1; month <= 12; month++) {
      const key = `${year}-${String(month).padStart(2, '0')}`;
      const upTo = await total(stretch(key).to);
      buckets.push({ ...stretch(key), label: monthName(key), count: upTo - before });
      before = upTo;
    }
    return buckets;
  }
  let upTo = await total();
  for (let at = newestYear; upTo > 0 && at > newestYear - YEARS_MAX; at--) {
    const before = await total(`${at - 1}-12-31`);
    const key = String(at);
    buckets.unshift({ ...stretch(key), label: key, count: upTo - before });
    upTo = before;
  }
  return buckets;
}
