// Runs at once and then at most every so often, however often it is called; the last call is never lost.

export interface Throttled {
  (): void;
  cancel(): void;
}

export function throttle(run: () => void, everyMs: number): Throttled {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wanted = false;
  const go = () => {
    run();
    timer = setTimeout(() => {
      timer = undefined;
      if (!wanted) return;
      wanted = false;
      go();
    }, everyMs);
  };
  const throttled = () => {
    if (timer === undefined) go();
    else wanted = true;
  };
  const cancel = () => {
    clearTimeout(timer);
    timer = undefined;
    wanted = false;
  };
  return Object.assign(throttled, { cancel });
}
