// Numbers and dates as people read them.

const NUMBER = new Intl.NumberFormat('en');

export function count(n: number, one: string, many = `${one}s`): string {
  return `${NUMBER.format(n)} ${n === 1 ? one : many}`;
}

export function bytes(n: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${n >= 10 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(seconds < 36_000 ? 1 : 0)} h`;
}

export function date(rfc3339: string): string {
  const time = new Date(rfc3339);
  return Number.isNaN(time.getTime()) ? rfc3339 : time.toLocaleDateString('en', { year: 'numeric', month: 'long', day: 'numeric' });
}

/** `a/b.jpg` -> `b.jpg` */
export function fileName(imageName: string): string {
  return imageName.slice(imageName.lastIndexOf('/') + 1);
}
