// The first call at once, then one per interval, with none lost at the end.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { throttle } from './throttle';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('runs while calls keep coming, where a debounce would starve', () => {
  const run = vi.fn();
  const refresh = throttle(run, 2000);
  for (let call = 0; call < 21; call++) {
    refresh();
    vi.advanceTimersByTime(500);
  }
  expect(run).toHaveBeenCalledTimes(6);
});

it('does not lose the last call, and does not run without one', () => {
  const run = vi.fn();
  const refresh = throttle(run, 2000);
  refresh();
  refresh();
  expect(run).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(2000);
  expect(run).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(10_000);
  expect(run).toHaveBeenCalledTimes(2);
});

it('forgets when cancelled', () => {
  const run = vi.fn();
  const refresh = throttle(run, 2000);
  refresh();
  refresh();
  refresh.cancel();
  vi.advanceTimersByTime(10_000);
  expect(run).toHaveBeenCalledTimes(1);
});
