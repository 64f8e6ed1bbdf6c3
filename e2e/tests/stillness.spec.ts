// Nothing moves while the page comes together: what is told later has its place kept free.
import type { Page } from '@playwright/test';
import { expect, test, untilAllFetched, type Mock } from './mock';

const PHONE = { width: 390, height: 844 };
const BUNDLED = { name: 'emoji-clip', model_name: 'CLIP', banner: 'This is not CLIP but the small bundled model.', available: { name: 'ViT-B-32__openai', megabytes: 606 } };

/** Adds up what moved by itself, and names it. */
function watchShifts() {
  const found: { sum: number; moved: string[] } = { sum: 0, moved: [] };
  Object.assign(window, { found });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean; sources: { node: Element | null; previousRect: DOMRect; currentRect: DOMRect }[] })[]) {
      if (entry.hadRecentInput) continue;
      found.sum += entry.value;
      for (const { node, previousRect: from, currentRect: to } of entry.sources) found.moved.push(`${node?.nodeName} ${(node as HTMLElement)?.className} ${from.top}→${to.top} ${from.left}→${to.left}`);
    }
  }).observe({ type: 'layout-shift', buffered: true });
}
const shifts = (page: Page) => page.evaluate(() => (window as unknown as { found: { sum: number; moved: string[] } }).found);

async function firstLoad(page: Page, mock: Mock) {
  // The status comes when the pictures stand, which is the worst that can happen.
  let tell = () => {};
  const told = new Promise<void>((done) => (tell = done));
  await page.route('**/api/v1/events', async (route) => {
    await told;
    await route.continue();
  });
  await page.addInitScript(watchShifts);
  await page.goto(mock.url);
  await expect(page.locator('#results img.loaded').first()).toBeVisible();
  tell();
  await expect(page.getByText('A small built-in model answers for now.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Filter', exact: true })).toBeVisible();
  await untilAllFetched(page);
  // Two frames, so that what was laid out last is counted.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

for (const [name, viewport] of [['a desktop', { width: 1280, height: 800 }], ['a phone', PHONE]] as const) {
  test.describe(name, () => {
    test.use({ viewport });
    test('nothing moves on the first load, with the note about the model', { tag: '@chromium' }, async ({ page, mock }) => {
      await mock.start({ total: 200 });
      mock.world.change = (status) => ({ ...status, model: { ...status.model, ...BUNDLED } });
      await firstLoad(page, mock);
      const { sum, moved } = await shifts(page);
      expect(sum, moved.join('\n')).toBeLessThan(0.01);
    });
  });
}

test('where there was no note last time, no place is kept free', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  mock.world.change = (status) => ({ ...status, model: { ...status.model, banner: null } });
  await page.goto(mock.url);
  await expect(page.getByRole('button', { name: /^Status: 200 pictures/ })).toBeVisible();
  await expect(page.locator('.band')).toHaveCount(0);
  await page.addInitScript(watchShifts);
  await page.reload();
  await expect(page.getByRole('button', { name: /^Status: 200 pictures/ })).toBeVisible();
  await expect(page.locator('#results img.loaded').first()).toBeVisible();
  const { sum, moved } = await shifts(page);
  expect(sum, moved.join('\n')).toBeLessThan(0.01);
});

test('a new browser keeps no place free if the page comes with the word that there is no note', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  mock.world.change = (status) => ({ ...status, model: { ...status.model, banner: null } });
  await page.route(`${mock.url}/`, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace('<html ', '<html data-note="none" ') });
  });
  await page.addInitScript(watchShifts);
  await page.goto(mock.url);
  await expect(page.getByRole('button', { name: /^Status: 200 pictures/ })).toBeVisible();
  await expect(page.locator('#results img.loaded').first()).toBeVisible();
  const { sum, moved } = await shifts(page);
  expect(sum, moved.join('\n')).toBeLessThan(0.01);
});
