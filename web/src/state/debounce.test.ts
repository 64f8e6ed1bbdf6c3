// One call after the pause, with the last words.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { debounce } from './debounce';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('runs once, with what was typed last', () => {
  const run = vi.fn();
  const typed = debounce(run, 200);
  typed('t');
  vi.advanceTimersByTime(150);
  typed('te');
  vi.advanceTimersByTime(199);
  expect(run).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(run.mock.calls).toEqual([['te']]);
});

it('runs at once when flushed, and not again', () => {
  const run = vi.fn();
  const typed = debounce(run, 200);
  typed('x');
  typed.flush();
  vi.advanceTimersByTime(500);
  typed.flush();
  expect(run).toHaveBeenCalledTimes(1);
});

it('forgets when cancelled', () => {
  const run = vi.fn();
  const typed = debounce(run, 200);
  typed('x');
  typed.cancel();
  vi.advanceTimersByTime(500);
  expect(run).not.toHaveBeenCalled();
});
