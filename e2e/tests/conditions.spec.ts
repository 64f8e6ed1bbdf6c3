// The page where things are not ideal: a slow line, fingers instead of a mouse, people who want no motion, pictures
// that are too large, a long indexing run.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from './server';

test('says how long indexing will take', async ({ page, server }) => {
  const status = await (await fetch(`${server.url}/api/v1/status`)).json();
  status.images = { ...status.images, total: 1000, indexed: 400, pending: 600 };
  status.ingest = { state: 'indexing', images_per_second: 12.5, eta_seconds: 48, message: null };
  await page.route('**/api/v1/events', (route) =>
    route.fulfill({ headers: { 'Content-Type': 'text/event-stream' }, body: `event: status\ndata: ${JSON.stringify(status)}\n\n` }),
  );
  await page.route('**/api/v1/status', (route) => route.fulfill({ json: status }));
  await page.goto('/');
  await page.getByRole('button', { name: /Indexing 40 %/ }).click();
  const panel = page.getByRole('dialog');
  await expect(panel.getByText('12.5 pictures a second, about 48 s left.')).toBeVisible();
  await expect(panel.getByRole('progressbar', { name: 'Indexed' })).toHaveAttribute('aria-valuenow', '40');
});

test('is usable on a slow line', { tag: '@chromium' }, async ({ page }) => {
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  // Slow 3G, as browsers' own tools call it.
  await network.send('Network.emulateNetworkConditions', { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 });
  let bytes = 0;
  network.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.goto('/?q=tennis', { waitUntil: 'commit' });
  await expect(page.getByRole('heading', { name: 'Pictures of “tennis”' })).toBeVisible({ timeout: 20_000 });
  // Places of pictures that are still on their way keep the layout from jumping.
  await expect(page.locator('li a').first()).toBeVisible({ timeout: 20_000 });
  const before = await page.locator('li').first().boundingBox();
  await expect.poll(() => page.locator('li a img').first().evaluate((image: HTMLImageElement) => image.complete && image.naturalWidth > 0), { timeout: 30_000 }).toBe(true);
  expect(await page.locator('li').first().boundingBox()).toEqual(before);
  expect(bytes).toBeLessThan(600_000);
});

test('stands still for people who want no motion', { tag: '@chromium' }, async ({ page }) => {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await page.goto('/?q=tennis');
  await page.locator('li a').first().click();
  await expect(page.getByRole('dialog')).toBeVisible();
  const moving = await page.evaluate(() => {
    const seconds = (text: string) => Math.max(...text.split(',').map((part) => (part.trim().endsWith('ms') ? parseFloat(part) / 1000 : parseFloat(part))));
    return [...document.querySelectorAll('*')].filter((element) => {
      const style = getComputedStyle(element);
      return seconds(style.transitionDuration) > 0.001 || seconds(style.animationDuration) > 0.001;
    }).length;
  });
  expect(moving).toBe(0);
});

test('copies the link of a picture', { tag: '@chromium' }, async ({ page, context, server }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto('/?q=tennis');
  await page.locator('li a').first().click();
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect(page.getByText('The link is copied.')).toBeVisible();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toBe(`${server.url}/?image=tennis.png`);
  await page.goto(link);
  await expect(page.getByRole('dialog', { name: 'tennis.png' })).toBeVisible();
});

test('says that a picture is too large to search with', async ({ page, server }) => {
  const large = join(server.directory, 'large.png');
  writeFileSync(large, Buffer.alloc(27 * 1024 * 1024));
  await page.goto('/');
  await expect(page.locator('li a').first()).toBeVisible();
  await page.getByLabel('Picture to search with').setInputFiles(large);
  await expect(page.getByText(/large.png is too large to search with; at most 2[56](\.\d)? MB/)).toBeVisible();
});

test.describe('with fingers', () => {
  test.use({ hasTouch: true, viewport: { width: 390, height: 800 } });

  test('swipes to the next picture and pinches to zoom', { tag: '@chromium' }, async ({ page }) => {
    await page.goto('/?q=tennis');
    await page.locator('li a').first().tap();
    await expect(page.getByRole('dialog', { name: 'tennis.png' })).toBeVisible();
    // While it grows, it does not take fingers.
    await expect(page.locator('.growing')).toHaveCount(0);
    const touch = await page.context().newCDPSession(page);
    const send = (type: 'touchStart' | 'touchMove' | 'touchEnd', ...points: [number, number][]) =>
      touch.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
    await send('touchStart', [150, 300], [240, 300]);
    await send('touchMove', [100, 300], [290, 300]);
    await send('touchEnd');
    const scale = () => page.locator('.stage img').last().evaluate((image) => new DOMMatrix(getComputedStyle(image.closest('[style]') ?? image).transform).a);
    await expect.poll(scale).toBeGreaterThan(1.5);
    await page.keyboard.press('0');
    await expect.poll(scale).toBe(1);
    await send('touchStart', [300, 300]);
    await send('touchMove', [200, 300]);
    await send('touchMove', [120, 300]);
    await send('touchEnd');
    await expect(page.getByRole('dialog', { name: 'tennis.png' })).toBeHidden();
    await expect(page.getByRole('dialog')).toBeVisible();
  });
});
