// The first run: pictures flow in while they are indexed, newest first, and can be searched at once; nothing is called
// missing that is only on its way, and nothing moves for somebody who has scrolled.
import { expect, test, type Mock } from './mock';

/** Indexes a few every 300 ms, as a real run does, until all are there or the test ends. */
function flow(mock: Mock, perStep: number) {
  const clock = setInterval(() => (mock.world.waiting.length > 0 ? mock.world.index(perStep) : clearInterval(clock)), 300);
  return () => clearInterval(clock);
}

test('pictures flow in while they are indexed, with count, rate and time left', async ({ page, mock }) => {
  await mock.start({ total: 0, waiting: 400 });
  await page.goto(mock.url);
  await expect(page.getByRole('heading', { name: 'Your pictures are being read' })).toBeVisible();
  const stop = flow(mock, 4);
  try {
    const shown = () => page.locator('a[data-index]').count();
    await expect.poll(shown).toBeGreaterThan(0);
    await expect(page.getByText('Nothing found')).toBeHidden();
    await expect(page.getByText(/\d+ of 402 pictures are ready · 12\.4 a second · about \d+ s left/)).toBeVisible();
    const first = await shown();
    await expect.poll(shown).toBeGreaterThan(first);
    // Well before the end, the newest come first.
    expect(mock.world.waiting.length).toBeGreaterThan(100);
    const firstShown = await page.locator('a[data-index="0"] img').getAttribute('alt');
    expect(mock.world.images.slice(0, 24).map(({ image_name }) => image_name)).toContain(firstShown);
  } finally {
    stop();
  }
});

test('never says "Nothing found" while the first pictures are on their way to the screen', async ({ page, mock }) => {
  await mock.start({ total: 0, waiting: 40 });
  // What was listed before the first picture was indexed arrives late.
  await page.route('**/api/v1/images?*', async (route) => {
    const answer = await route.fetch();
    await new Promise((done) => setTimeout(done, 700));
    await route.fulfill({ response: answer }).catch(() => {});
  });
  await page.goto(mock.url);
  const said: string[] = [];
  await page.exposeFunction('said', (text: string) => said.push(text));
  await page.evaluate(() => {
    const look = () => document.querySelectorAll('h1').forEach((heading) => (window as any).said(heading.textContent));
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
    look();
  });
  await new Promise((done) => setTimeout(done, 200));
  mock.world.index(9);
  await expect(page.getByText('That is all: 9 pictures.')).toBeAttached();
  mock.world.index(31);
  await expect(page.getByText('That is all: 40 pictures.')).toBeAttached();
  expect(said).not.toContain('Nothing found');
});

test('a search finds what is there already, says what it did not see, and repeats itself only when it found nothing', async ({ page, mock }) => {
  await mock.start({ total: 8, waiting: 300 });
  await page.goto(`${mock.url}/?q=dunes`);
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  await expect(page.getByText('300 pictures are not searched yet.')).toBeVisible();
  const before = await page.locator('a[data-index]').count();
  mock.world.index(100);
  await expect(page.getByRole('button', { name: 'Search again' })).toBeVisible();
  expect(await page.locator('a[data-index]').count()).toBe(before);
  await page.getByRole('button', { name: 'Search again' }).click();
  await expect(page.getByText('200 pictures are not searched yet.')).toBeVisible();

  await page.goto(`${mock.url}/?q=nothing`);
  await expect(page.getByRole('heading', { name: 'Nothing found so far' })).toBeVisible();
  await expect(page.getByText('108 of 310 pictures are searchable so far.')).toBeVisible();
  mock.world.index(200);
  await expect(page.getByRole('heading', { name: 'Nothing found', exact: true })).toBeVisible();
});

test('nothing moves for somebody who has scrolled; the new ones wait behind a button', async ({ page, mock }) => {
  await mock.start({ total: 300, waiting: 60 });
  await page.goto(mock.url);
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  await page.mouse.move(5, 5);
  await page.evaluate(() => window.scrollTo(0, 1500));
  await expect(page.locator('a[data-index="0"]')).not.toBeInViewport();
  const seen = await page.locator('a[data-index] img').last().getAttribute('alt');
  mock.world.index(7);
  const fresh = page.getByRole('button', { name: '7 new pictures' });
  await expect(fresh).toBeVisible();
  await expect(page.getByAltText(seen!, { exact: true })).toBeAttached();
  await fresh.click();
  await expect(page.locator('a[data-index="0"] img')).toHaveAttribute('alt', mock.world.images[0]!.image_name);
  await expect(fresh).toBeHidden();
});

test('what was uploaded shows up by itself', async ({ page, mock }) => {
  await mock.start({ total: 20 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Add pictures' }).click();
  const panel = page.getByRole('dialog');
  await panel.getByLabel('API key').fill('mock-key');
  await panel.getByRole('button', { name: 'Use' }).click();
  await panel.getByLabel('Pictures to add').setInputFiles([1, 2, 3].map((n) => ({ name: `mine-${n}.png`, mimeType: 'image/png', buffer: Buffer.from('x') })));
  await expect(panel.getByText('All done.')).toBeVisible();
  await panel.getByRole('button', { name: 'Close' }).click();
  for (const n of [1, 2, 3]) {
    mock.world.index(1);
    await expect(page.getByText(`That is all: ${20 + n} pictures.`)).toBeAttached();
  }
  await expect(page.getByAltText('mine-1.png')).toBeVisible();
});

test('says "All done" only if it is', async ({ page, mock }) => {
  await mock.start({ total: 20 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Add pictures' }).click();
  const panel = page.getByRole('dialog');
  await panel.getByLabel('API key').fill('mock-key');
  await panel.getByRole('button', { name: 'Use' }).click();
  mock.world.change = (status) => ({ ...status, uploads: { enabled: true, max_bytes: 10 } });
  mock.world.publish();
  await expect(panel.getByText('up to 10 bytes each')).toBeVisible();
  await panel.getByLabel('Pictures to add').setInputFiles([{ name: 'small.png', mimeType: 'image/png', buffer: Buffer.from('x') }, { name: 'large.png', mimeType: 'image/png', buffer: Buffer.alloc(20) }]);
  await expect(panel.getByText('1 picture added, 1 not.')).toBeVisible();
  await expect(panel.getByText('All done.')).toBeHidden();
});
