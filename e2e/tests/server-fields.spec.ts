// What the real server sends for the page: colours before pictures, files that are none by their kinds, pictures that
// browsers cannot show, many pictures as one file; and the API's own reader, whose examples work when they are pressed.
import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { API_KEY, ROOT, Server, expect, test } from './server';

test('colours stand where pictures will be, at once', async ({ page }) => {
  await page.route('**/thumbnail**', (route) => route.abort());
  await page.goto('/?q=tennis');
  const canvas = page.locator('li canvas').first();
  await expect(canvas).toBeVisible();
  const colours = await canvas.evaluate((canvas: HTMLCanvasElement) => new Set(canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data).size);
  expect(colours, 'one flat colour').toBeGreaterThan(10);
});

test('says which files were skipped, by kind', async ({ page }) => {
  const server = new Server(['owl']);
  try {
    writeFileSync(join(server.folder, 'film.mp4'), Buffer.from('\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41', 'latin1'));
    writeFileSync(join(server.folder, 'notes.txt'), 'No picture, but words.');
    await server.start();
    await page.goto(server.url);
    await page.getByRole('button', { name: /^Status/ }).click();
    await page.getByRole('dialog').getByText('2 files skipped').click();
    await expect(page.getByRole('dialog').getByRole('listitem').filter({ hasText: 'Videos' })).toContainText('1');
    await expect(page.getByRole('dialog').getByRole('listitem').filter({ hasText: 'Texts' })).toContainText('1');
  } finally {
    await server.remove();
  }
});

test('shows a HEIC picture in full size through a JPEG', async ({ page }) => {
  const server = new Server(['owl']);
  try {
    copyFileSync(join(ROOT, 'crates/clip/tests/golden/formats/turned-3.heic'), join(server.folder, 'phone.heic'));
    await server.launch(async () => (await (await fetch(`${server.url}/api/v1/status`)).json()).images.indexed === 2);
    await page.goto(`${server.url}/?image=phone.heic`);
    const dialog = page.getByRole('dialog');
    await expect(dialog.getByText('HEIF')).toBeVisible();
    await dialog.getByRole('button', { name: 'Zoom in' }).click();
    const whole = dialog.locator('img[src*="width=4096"]');
    await expect(whole).toBeVisible();
    expect(await whole.evaluate((img: HTMLImageElement) => [img.naturalWidth, img.naturalHeight])).toEqual([61, 45]);
  } finally {
    await server.remove();
  }
});

test('the selection is saved as a real zip file, and deleted with the key', { tag: '@chromium' }, async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const server = new Server(['owl', 'rose', 'bus', 'key']);
  try {
    await server.start();
    await page.goto(server.url);
    for (const name of ['owl', 'rose']) await page.locator('li a', { has: page.getByAltText(`${name}.png`) }).click({ modifiers: name === 'owl' ? ['Shift'] : [] });
    const bar = page.getByRole('region', { name: 'Selection' });
    await expect(bar.getByText('2 selected')).toBeVisible();
    await bar.getByRole('button', { name: 'Copy paths' }).click();
    expect((await page.evaluate(() => navigator.clipboard.readText())).split('\n').toSorted()).toEqual([join(server.folder, 'owl.png'), join(server.folder, 'rose.png')]);
    const saved = page.waitForEvent('download');
    await bar.getByRole('button', { name: 'Download as zip' }).click();
    const list = execFileSync('python3', ['-c', 'import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(*sorted(z.namelist()))', await (await saved).path()]);
    expect(list.toString().trim()).toBe('owl.png rose.png');

    await bar.getByRole('button', { name: 'Delete' }).click();
    await expect(bar.getByText('Delete 2 pictures from the folder? This cannot be undone.')).toBeVisible();
    await bar.getByRole('button', { name: 'Delete it' }).click();
    await bar.getByLabel('API key').fill(API_KEY);
    await bar.getByRole('button', { name: 'Use' }).click();
    await bar.getByRole('button', { name: 'Delete it' }).click();
    await expect(page.getByAltText('owl.png')).toBeHidden();
    await expect(page.getByAltText('rose.png')).toBeHidden();
    await expect(page.getByAltText('bus.png')).toBeVisible();
  } finally {
    await server.remove();
  }
});

test("the API's examples work when they are pressed, and the key is sent", { tag: '@chromium' }, async ({ page, server }) => {
  await page.goto('/docs');
  const operation = (method: string, path: string) => page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="${path}"]`) });
  const run = async (method: string, path: string) => {
    const block = operation(method, path);
    await block.locator('.opblock-summary').click();
    await block.getByRole('button', { name: 'Try it out' }).click();
    return async () => {
      const answer = page.waitForResponse((response) => response.url().startsWith(server.url + path.split('{')[0]));
      await block.getByRole('button', { name: 'Execute' }).click();
      return (await answer).status();
    };
  };
  expect(await (await run('post', '/api/v1/search-image'))()).toBe(200);
  expect(await (await run('post', '/api/v1/failures/retry'))()).toBe(200);
  expect(await (await run('get', '/api/v1/images'))()).toBe(200);
  const picture = await run('get', '/api/v1/images/{image_name}');
  await operation('get', '/api/v1/images/{image_name}').locator('tr[data-param-name="image_name"] input').fill('owl.png');
  expect(await picture()).toBe(200);

  const remove = await run('delete', '/api/v1/images/{image_name}');
  await operation('delete', '/api/v1/images/{image_name}').locator('tr[data-param-name="image_name"] input').fill('no such.png');
  expect(await remove(), 'without the key').toBe(401);
  await page.getByRole('button', { name: 'Authorize' }).first().click();
  const dialog = page.locator('.dialog-ux');
  await dialog.locator('input').first().fill(API_KEY);
  await dialog.getByRole('button', { name: 'Apply credentials' }).first().click();
  await dialog.getByRole('button', { name: 'Close' }).first().click();
  expect(await remove(), 'with the key, there is just no such picture').toBe(404);
});
