// Waits until typing pauses. `flush` runs what waits at once (Enter), `cancel` forgets it.

export interface Debounced<A extends unknown[]> {
  (...args: A): void;
  flush(): void;
  cancel(): void;
}

export function debounce<A extends unknown[]>(run: (...args: A) => void, waitMs: number): Debounced<A> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waiting: A | undefined;
  const flush = () => {
    clearTimeout(timer);
    const args = waiting;
    waiting = undefined;
    if (args) run(...args);
  };
  const debounced = (...args: A) => {
    clearTimeout(timer);
    waiting = args;
    timer = setTimeout(flush, waitMs);
  };
  const cancel = () => {
    clearTimeout(timer);
    waiting = undefined;
  };
  return Object.assign(debounced, { flush, cancel });
}
