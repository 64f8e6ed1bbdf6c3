// On a phone: pictures first, room for fingers, nothing over the picture, and an app that opens without a network.
import type { Page } from '@playwright/test';
import { expect, test } from './mock';

test.use({ hasTouch: true, isMobile: true, viewport: { width: 360, height: 720 } });

const small = (page: Page, root: string) =>
  page.evaluate((root) => {
    const seen = [...document.querySelectorAll<HTMLElement>(`${root} :is(a, button, summary, input:not([type=file]))`)].filter((element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }));
    return seen
      .map((element) => ({ name: element.getAttribute('aria-label') ?? element.textContent ?? '', box: element.getBoundingClientRect(), isText: getComputedStyle(element).display === 'inline' }))
      .filter(({ box, isText, name }) => !isText && !name.startsWith('Skip to') && (box.width < 43.5 || box.height < 43.5))
      .map(({ name, box }) => `${name}: ${Math.round(box.width)} × ${Math.round(box.height)}`);
  }, root);

test('at most a quarter of the screen stands before the first picture', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  // With the longest of the usual notes.
  mock.world.change = (status) => ({ ...status, model: { ...status.model, name: 'emoji-clip' } });
  for (const where of ['/', '/?q=harbour']) {
    await page.goto(mock.url + where);
    await expect(page.locator('li img.loaded').first()).toBeVisible();
    const { y } = (await page.locator('a[data-index="0"]').boundingBox())!;
    expect(y, `first picture at ${where}`).toBeLessThanOrEqual(720 / 4);
  }
});

for (const [locale, said] of [
  ['en-GB', 'A small built-in model answers for now.'],
  ['de-DE', 'Noch antwortet ein kleines Modell.'],
] as const) {
  test.describe(locale, () => {
    test.use({ locale });
    test('the note about the model is said whole beside what can be done about it', { tag: '@chromium' }, async ({ page, mock }) => {
      await mock.start({ total: 200 });
      mock.world.change = (status) => ({ ...status, model: { ...status.model, name: 'emoji-clip', banner: 'small', available: { name: 'ViT-B-32__openai', megabytes: 606 } } });
      await page.goto(mock.url);
      const note = page.getByText(said);
      await expect(note).toBeVisible();
      const { whole, lines } = await note.evaluate((element) => ({ whole: element.scrollHeight <= element.clientHeight + 1 && element.scrollWidth <= element.clientWidth + 1, lines: Math.round(element.getBoundingClientRect().height / parseFloat(getComputedStyle(element).lineHeight)) }));
      expect(whole).toBe(true);
      expect(lines).toBeLessThanOrEqual(3);
      await expect(page.locator('.band').getByRole('button')).toHaveCount(3);
    });
  });
}

test('everything to press has room for a finger', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(mock.url);
  await expect(page.locator('li img.loaded').first()).toBeVisible();
  expect(await small(page, 'body')).toEqual([]);
  await page.getByRole('button', { name: /^Status/ }).tap();
  await expect(page.getByRole('dialog')).toBeVisible();
  expect(await small(page, 'dialog')).toEqual([]);
  await page.goto(`${mock.url}/?q=harbour`);
  await page.locator('a[data-index="0"]').tap();
  await expect(page.getByRole('dialog').getByText(/JPEG/)).toBeVisible();
  expect(await small(page, 'dialog')).toEqual([]);
});

test('the actions stand in one row, and nothing lies over the picture', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(`${mock.url}/?q=harbour`);
  await page.locator('a[data-index="1"]').tap();
  const large = page.getByRole('dialog');
  await expect(large.getByText(/JPEG/)).toBeVisible();
  await expect(page.locator('.growing')).toHaveCount(0);
  const beyond = await large.locator('.actions :is(a, button)').evaluateAll((actions) => actions.filter((action) => action.getBoundingClientRect().right > innerWidth || action.getBoundingClientRect().left < 0).length);
  expect(beyond, 'actions beyond the edge of the screen').toBe(0);
  const tops = await large.locator('.actions :is(a, button)').evaluateAll((actions) => actions.map((action) => Math.round(action.getBoundingClientRect().top)));
  expect(tops.length).toBeGreaterThan(4);
  expect(new Set(tops).size).toBe(1);
  // Wherever one looks at the picture, it is the picture that is there.
  const covered = await large.locator('.frame').evaluate((frame) => {
    const { left, top, width, height } = frame.getBoundingClientRect();
    const points = [0.02, 0.25, 0.5, 0.75, 0.98].flatMap((x) => [0.02, 0.5, 0.98].map((y) => [left + x * width, top + y * height] as const));
    return points.filter(([x, y]) => !document.elementFromPoint(x, y)?.closest('.stage')).length;
  });
  expect(covered).toBe(0);
});

test('asks for a rating in one quiet line, once the results were seen', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 400 });
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(page.locator('a[data-index="0"]')).toBeVisible();
  const ask = page.getByRole('button', { name: 'How good were these results?' });
  await expect(ask).toBeHidden();
  await page.evaluate(() => window.scrollTo(0, 1200));
  await expect(ask).toBeVisible();
  expect((await page.locator('.rating').boundingBox())!.height).toBeLessThanOrEqual(60);
  await ask.tap();
  const rated = page.waitForResponse('**/api/v1/create-feedback');
  await page.getByRole('button', { name: '8 of 10' }).tap();
  expect((await rated).ok()).toBe(true);
  await expect(page.getByText('Thank you. 8 of 10 is noted.')).toBeVisible();
});

test('tiles are rated by a finger, and the picture between the thumbs stays free', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 300 });
  await page.goto(`${mock.url}/?q=harbour`);
  const tile = page.locator('li', { has: page.locator('a[data-index="2"]') });
  const up = tile.getByRole('button', { name: /(?<!not) fits? the search$/ });
  await expect(up).toBeVisible();
  expect(await small(page, '#results')).toEqual([]);
  // On every tile, and between them and above them is the picture.
  const covered = await page.locator('#results li:has(a)').evaluateAll((tiles) =>
    tiles.slice(0, 6).flatMap((tile) => {
      const { left, top, width, height } = tile.getBoundingClientRect();
      const spots = [[0.5, 0.15], [0.9, 0.1], [0.5, 0.5], [0.5, 0.9]].filter(([, y]) => y! < 0.2 || width >= 104);
      return spots.filter(([x, y]) => !document.elementFromPoint(left + x! * width, top + y! * height)?.closest('a[data-index]'));
    }),
  );
  expect(covered).toEqual([]);
  const places = () => page.locator('#results li:has(a)').evaluateAll((tiles) => tiles.slice(0, 6).map((tile) => `${tile.querySelector('img')!.alt} ${Math.round(tile.getBoundingClientRect().top)}`));
  const before = await places();
  const noted = page.waitForResponse('**/api/v1/create-feedback');
  await up.tap();
  expect((await noted).ok()).toBe(true);
  await expect(up).toHaveAttribute('aria-pressed', 'true');
  await expect(page.getByText('Learning from 1 rating.')).toBeVisible();
  await expect(page.getByRole('dialog')).toBeHidden();
  // Nothing moves under the finger.
  expect(await places()).toEqual(before);
  expect(await small(page, '#results')).toEqual([]);
  await tile.getByRole('button', { name: /does not fit the search$/ }).tap();
  await expect(up).toHaveAttribute('aria-pressed', 'false');
});

test('a long press selects, further taps add', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(`${mock.url}/?q=harbour`);
  const { x, y, width, height } = (await page.locator('a[data-index="2"]').boundingBox())!;
  const touch = await page.context().newCDPSession(page);
  const at = [{ x: x + width / 2, y: y + height / 2 }];
  await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: at });
  await expect(page.getByText('1 selected')).toBeVisible();
  await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  await page.locator('a[data-index="4"]').tap();
  await expect(page.getByText('2 selected')).toBeVisible();
  await expect(page.getByRole('dialog')).toBeHidden();
  // What a tap would do by mistake now is away.
  await expect(page.getByRole('button', { name: /fits? the search$/ })).toHaveCount(0);
});

test('can be installed, and opens without a network', { tag: '@chromium' }, async ({ page, mock, context }) => {
  await mock.start({ total: 200 });
  await page.goto(mock.url);
  const address = await page.locator('link[rel=manifest]').getAttribute('href');
  const manifest = await (await page.request.get(mock.url + address)).json();
  expect(manifest).toMatchObject({ start_url: '/', display: 'standalone' });
  for (const { src, sizes } of manifest.icons) {
    const size = await page.evaluate(async (src) => {
      const bitmap = await createImageBitmap(await (await fetch(src)).blob());
      return `${bitmap.width}x${bitmap.height}`;
    }, src);
    expect(size).toBe(sizes);
  }
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    // Until everything of the page is kept.
    while (!(await caches.match('/'))) await new Promise((done) => setTimeout(done, 50));
  });
  await page.reload();
  await context.setOffline(true);
  mock.stop();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'The server does not answer' })).toBeVisible();
  await expect(page.getByLabel('Search pictures by words')).toBeVisible();
});
