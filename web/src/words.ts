// Numbers, dates and names as people read them, in the page's language.
import { language, t } from './texts';

export function bytes(n: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${decimal(n, n >= 10 || unit === 0 ? 0 : 1)} ${units[unit]}`;
}

export function decimal(n: number, digits: number): string {
  return n.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function duration(seconds: number): string {
  if (seconds < 60) return t.seconds(Math.max(1, Math.round(seconds)));
  if (seconds < 5400) return t.minutes(Math.round(seconds / 60));
  return t.hours(decimal(seconds / 3600, seconds < 36_000 ? 1 : 0));
}

export function date(rfc3339: string): string {
  const time = new Date(rfc3339);
  return Number.isNaN(time.getTime()) ? rfc3339 : time.toLocaleDateString(language, { year: 'numeric', month: 'long', day: 'numeric' });
}

/** `2024-05-06` as people write it. */
export function day(ymd: string): string {
  return new Date(`${ymd}T12:00:00`).toLocaleDateString(language, { year: 'numeric', month: 'short', day: 'numeric' });
}

/** `2024-05` with its year, or without. */
const monthAs = (format: Intl.DateTimeFormatOptions) => (key: string) => new Date(`${key}-15T12:00:00`).toLocaleDateString(language, format);
export const month = monthAs({ year: 'numeric', month: 'long' });
export const monthShortYear = monthAs({ year: 'numeric', month: 'short' });
export const monthShort = monthAs({ month: 'short' });

/** `a/b.jpg` -> `b.jpg` */
export function fileName(imageName: string): string {
  return imageName.slice(imageName.lastIndexOf('/') + 1);
}

/** What the server says, as a sentence: a capital first, a full stop last. File names stay as they are. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const first = trimmed.split(/\s/, 1)[0] ?? '';
  const begun = /[./\\_:]/.test(first) ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(begun) || begun === '' ? begun : `${begun}.`;
}
