// What happens on the server and shows on the page: uploads, deletion, failures, restarts, no pictures, no model.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { API_KEY, Server, demoPicture, expect, test } from './server';

/** An empty picture of one bit per pixel: a small file, whatever its sides. */
function blank(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const framed = Buffer.alloc(data.length + 12);
    framed.writeUInt32BE(data.length, 0);
    framed.write(type, 4);
    data.copy(framed, 8);
    framed.writeUInt32BE(crc32(framed.subarray(4, -4)), data.length + 8);
    return framed;
  };
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  const rows = deflateSync(Buffer.alloc((1 + Math.ceil(width / 8)) * height));
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

test('adds a picture, which appears; recognises it the second time; deletes it', async ({ page }) => {
  const sent: (string | undefined)[] = [];
  page.on('request', (request) => sent.push(request.headers().authorization, request.headers()['x-api-key']));
  await page.goto('/');
  await page.getByRole('button', { name: 'Add pictures' }).click();
  const panel = page.getByRole('dialog');
  await panel.getByLabel('API key').fill('not-the-key');
  await panel.getByRole('button', { name: 'Use' }).click();
  await panel.getByLabel('Pictures to add').setInputFiles(demoPicture('zebra'));
  await expect(panel.getByText('The server does not know this key.')).toBeVisible();
  await panel.getByLabel('API key').fill(API_KEY);
  await panel.getByRole('button', { name: 'Use' }).click();
  await expect(panel.getByText('Added. It can be found in a moment.')).toBeVisible();
  await panel.getByRole('button', { name: 'Close' }).click();
  const added = page.locator('li a', { has: page.getByAltText('zebra.png') });
  await expect(added).toBeVisible();

  await page.getByRole('button', { name: 'Add pictures' }).click();
  await panel.getByLabel('Pictures to add').setInputFiles(demoPicture('zebra'));
  await expect(panel.getByText('Already here as zebra.png.')).toBeVisible();
  await panel.getByLabel('Pictures to add').setInputFiles({ name: 'notes.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
  await expect(panel.getByText(/notes\.png: .*not a picture/)).toBeVisible();
  // What it stays signed in with is a cookie that no script can read.
  expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).not.toContain(API_KEY);
  await page.keyboard.press('Escape');

  await added.click();
  const large = page.getByRole('dialog');
  await large.getByRole('button', { name: 'Delete', exact: true }).click();
  await large.getByRole('button', { name: 'Delete it' }).click();
  await expect(large.getByRole('heading', { name: 'zebra.png' })).toBeHidden();
  await page.keyboard.press('Escape');
  await expect(added).toBeHidden();
  expect(sent.filter((header) => header !== undefined)).toEqual([]);
});

test('shows what failed, why, and tries again', async ({ page, server }) => {
  await page.goto('/');
  await page.getByRole('button', { name: /^Status/ }).click();
  const panel = page.getByRole('dialog');
  await expect(panel.getByText('broken.png', { exact: true })).toBeVisible();
  await expect(panel.getByText('This is not a picture')).toBeVisible();
  // The same file would fail the same way.
  await expect(panel.getByRole('button', { name: 'Try all again' })).toBeHidden();
  writeFileSync(join(server.folder, 'huge.png'), blank(20_000, 10_000));
  await expect(panel.getByText('huge.png', { exact: true })).toBeVisible();
  // A limit may have been raised meanwhile.
  await panel.getByRole('button', { name: 'Try huge.png again' }).click();
  await expect(panel.getByText('Trying 1 picture again.')).toBeVisible();
  await expect(panel.getByText('huge.png', { exact: true })).toBeVisible();
  await expect(panel.getByText('broken.png', { exact: true })).toBeVisible();
});

test('notices a picture copied into the folder', async ({ page, server }) => {
  await page.goto('/');
  await expect(page.locator('li a').first()).toBeVisible();
  server.add('kangaroo');
  await expect(page.getByAltText('kangaroo.png')).toBeVisible();
});

test('says when the server is away and goes on when it is back', async ({ page }) => {
  const server = new Server(['owl', 'rose', 'bus']);
  try {
    await server.start();
    await page.goto(`${server.url}/?q=owl`);
    await expect(page.locator('li a')).toHaveCount(3);
    await server.stop();
    await expect(page.getByRole('alert')).toContainText('The server does not answer.');
    await page.getByLabel('Search pictures by words').fill('rose');
    await expect(page.getByRole('heading', { name: 'The server does not answer' })).toBeVisible();
    await server.start();
    await expect(page.getByRole('heading', { name: 'Pictures of “rose”' })).toBeVisible();
    await expect(page.getByRole('alert')).toBeHidden();
  } finally {
    await server.remove();
  }
});

test('helps when there are no pictures yet', async ({ page }) => {
  const server = new Server([]);
  try {
    await server.start();
    await page.goto(server.url);
    await expect(page.getByRole('heading', { name: 'No pictures yet' })).toBeVisible();
    await expect(page.getByText(`Copy some into ${server.folder}.`)).toBeVisible();
    server.add('owl');
    await expect(page.getByAltText('owl.png')).toBeVisible();
  } finally {
    await server.remove();
  }
});

test('says that the model is getting ready', async ({ page }) => {
  await page.route('**/api/v1/search-image', (route) =>
    route.fulfill({ status: 503, headers: { 'Retry-After': '2', 'Content-Type': 'application/problem+json' }, json: { code: 'model_not_ready', detail: 'Not ready.' } }),
  );
  await page.goto('/?q=tennis');
  await expect(page.getByRole('heading', { name: 'The model is getting ready' })).toBeVisible();
});
