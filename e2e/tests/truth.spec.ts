// What the page says is so: which model answers, which folder, what failed and whether trying again can help; whole
// sentences, whole lists, headings that fit.
import { expect, test } from './mock';

test('names the model that answers, and the folder', async ({ page, mock }) => {
  await mock.start({ total: 30 });
  const available = { name: 'ViT-B-32__openai', megabytes: 606 };
  mock.world.change = (status) => ({ ...status, model: { ...status.model, name: 'emoji-clip', model_name: 'CLIP', banner: 'This is not CLIP but the small bundled model.', available } });
  await page.goto(mock.url);
  await expect(page.getByText('A small built-in model answers for now.')).toBeVisible();
  const asked = page.waitForRequest('**/api/v1/model/download');
  await page.getByRole('button', { name: 'Get the full model (606 MB)' }).click();
  expect((await asked).method()).toBe('POST');
  await page.getByRole('button', { name: 'Why?' }).click();
  const panel = page.getByRole('dialog');
  await expect(panel.getByText('Small built-in model (emoji-clip)')).toBeVisible();
  await expect(panel.getByText('This is not CLIP but the small bundled model.')).toBeVisible();
  await expect(panel.getByText('/home/me/pictures')).toBeVisible();
});

test('the empty page names the real folder, where the server tells it', async ({ page, mock }) => {
  await mock.start({ total: 0, waiting: 0 });
  await page.goto(mock.url);
  await expect(page.getByText('Copy some into /home/me/pictures.')).toBeVisible();
  mock.world.rich = false;
  mock.world.publish();
  await expect(page.getByText('Copy some into the images folder.')).toBeVisible();
});

test('says that a folder is away', async ({ page, mock }) => {
  await mock.start({ total: 30 });
  mock.world.sources = [{ location: '/media/disk/photos', away: true, reason: 'the folder does not exist' }];
  await page.goto(mock.url);
  await expect(page.getByText('/media/disk/photos cannot be reached: the folder does not exist. Its pictures are kept and come back with it.')).toBeVisible();
  await page.getByRole('button', { name: /^Status/ }).click();
  await expect(page.getByRole('dialog').getByText('Away: the folder does not exist.')).toBeVisible();
});

test('folds skipped files away, and offers to try again only where that can help', async ({ page, mock }) => {
  await mock.start({ total: 30 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: /^Status/ }).click();
  const panel = page.getByRole('dialog');
  const videos = panel.getByText('Videos', { exact: true });
  await expect(videos).toBeHidden();
  await panel.getByText('12 files skipped').click();
  await expect(videos).toBeVisible();
  // Sentences, though the server's begins small and ends without a full stop.
  await expect(panel.getByText('The file ends in the middle of the picture.')).toBeVisible();
  await expect(panel.getByText('It is looked at again when the file changes.')).toBeVisible();
  await expect(panel.getByRole('button', { name: 'Try scans/broken.png again' })).toBeHidden();
  await expect(panel.getByText('Everything that can be read is indexed.')).toBeVisible();
  await panel.getByRole('button', { name: 'Try scans/poster.tiff again' }).click();
  await expect(panel.getByText('Trying 1 picture again.')).toBeVisible();
  await expect(panel.getByText('scans/poster.tiff', { exact: true })).toBeHidden();
  await expect(panel.getByRole('button', { name: 'Try all again' })).toBeHidden();
});

test('does not say that everything is indexed while pictures wait', async ({ page, mock }) => {
  await mock.start({ total: 30, waiting: 5 });
  mock.world.change = (status) => ({ ...status, ingest: { state: 'idle', images_per_second: 0, eta_seconds: null, message: null } });
  await page.goto(mock.url);
  await page.getByRole('button', { name: /^Status/ }).click();
  await expect(page.getByRole('dialog').getByText('5 pictures wait for their turn.')).toBeVisible();
  await expect(page.getByText('Everything is indexed')).toBeHidden();
});

test('does not offer to repeat what was refused', async ({ page, mock }) => {
  await mock.start({ total: 30 });
  await page.route('**/api/v1/search-image', (route) => route.fulfill({ status: 422, json: { code: 'invalid_request', detail: 'the text is too long' } }));
  await page.goto(`${mock.url}/?q=x`);
  await expect(page.getByText('The text is too long.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Try again' })).toBeHidden();
  await page.route('**/api/v1/search-image', (route) => route.fulfill({ status: 500, json: { code: 'internal', detail: 'something broke' } }));
  await page.goto(`${mock.url}/?q=y`);
  await expect(page.getByRole('button', { name: 'Try again' })).toBeVisible();
});

test('cuts a long heading to two lines', async ({ page, mock }) => {
  await mock.start({ total: 30 });
  await page.goto(`${mock.url}/?q=${'a very long description of a picture '.repeat(12)}`);
  const heading = page.getByRole('heading', { level: 1 });
  await expect(heading).toBeVisible();
  const lines = await heading.evaluate((element) => element.getBoundingClientRect().height / parseFloat(getComputedStyle(element).lineHeight));
  expect(Math.round(lines)).toBe(2);
});

test('long lists have an end that can be seen, and a way back up', async ({ page, mock }) => {
  await mock.start({ total: 150, rich: false });
  for (const where of ['/', '/?q=coast']) {
    await page.goto(mock.url + where);
    await expect(page.locator('a[data-index]').first()).toBeVisible();
    const end = page.getByText('That is all: 150 pictures.');
    await expect(async () => {
      await page.mouse.wheel(0, 4000);
      await expect(end).toBeInViewport({ timeout: 300 });
    }).toPass();
    await page.getByRole('button', { name: 'Back to the top' }).click();
    await expect.poll(() => page.evaluate(() => window.scrollY)).toBe(0);
  }
});

test.describe('without a service worker, which would have kept the former files', () => {
  test.use({ serviceWorkers: 'block' });

  test('asks for the page anew when the server was upgraded under it, and shows the picture then', { tag: '@chromium' }, async ({ page, mock }) => {
    await mock.start({ total: 40 });
    // The files of the former version are gone; those of the next are there.
    let pages = 0;
    page.on('request', (request) => (pages += Number(request.isNavigationRequest())));
    await page.route('**/assets/later-*.js', (route) => (pages < 2 ? route.fulfill({ status: 404, body: '' }) : route.continue()));
    await page.goto(mock.url);
    await page.locator('a[data-index="2"]').click();
    // Nothing was opened, and the page is a fresh one.
    await expect.poll(() => pages).toBe(2);
    await page.locator('a[data-index="2"]').click();
    await expect(page.getByRole('dialog')).toBeVisible();
  });
});
