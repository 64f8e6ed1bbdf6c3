// Where pictures lie in time, as bars: by year, or by month when they are of one or two years.
import type { FacetCount } from '../api/client';

/** A stretch of time with so many pictures. Days as YYYY-MM-DD, both included. */
export interface Bucket {
  from: string;
  to: string;
  label: string;
  count: number;
}

const YEARS_MAX = 60;

/** `year`: only the months of this one. */
export function bucketsOf(months: readonly FacetCount[], year: string | null, monthName: (month: string) => string): Bucket[] {
  const counts = new Map<string, number>();
  for (const { value, images } of months) {
    for (const key of [value, value.slice(0, 4)]) counts.set(key, (counts.get(key) ?? 0) + images);
  }
  const all = year ? [Number(year)] : months.map(({ value }) => Number(value.slice(0, 4)));
  if (all.length === 0) return [];
  const [first, last] = [Math.min(...all), Math.max(...all)];
  const byMonth = last - first < 2;
  const keys = Array.from({ length: Math.min(YEARS_MAX, last - first + 1) }, (_, at) => String(last - at).padStart(4, '0'))
    .reverse()
    .flatMap((year) => (byMonth ? Array.from({ length: 12 }, (_, at) => `${year}-${String(at + 1).padStart(2, '0')}`) : [year]));
  return keys.map((key) => ({ ...stretch(key), label: byMonth ? monthName(key) : key, count: counts.get(key) ?? 0 }));
}

/** The days of a year (`2024`) or month (`2024-02`). */
export function stretch(key: string): { from: string; to: string } {
  if (key.length === 4) return { from: `${key}-01-01`, to: `${key}-12-31` };
  const [year, month] = key.split('-').map(Number);
  return { from: `${key}-01`, to: `${key}-${String(new Date(Date.UTC(year!, month!, 0)).getUTCDate()).padStart(2, '0')}` };
}
