// Thumbnails in the order of what is looked at: what left the screen is cancelled, what is on screen comes first, and a
// colour stands in until the picture is there.
import { expect, test, untilAllFetched } from './mock';

// Where thumbnails never come, the page never counts as loaded.
const WITHOUT_THUMBNAILS = { waitUntil: 'domcontentloaded' } as const;

test('cancels what left the screen, and asks first for what is on it', async ({ page, mock }) => {
  await mock.start({ total: 3000 });
  mock.world.thumbnailDelayMs = 250;
  await page.goto(mock.url);
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  // Far down, as fast as a thumb on the scrollbar goes.
  for (let step = 0; step < 12; step++) {
    await page.evaluate(() => window.scrollBy(0, innerHeight * 2.5));
    await page.waitForTimeout(60);
  }
  const asked = mock.world.thumbnails.length;
  const visible = () =>
    page.evaluate(() =>
      [...document.querySelectorAll<HTMLImageElement>('#results li img')]
        .map((img) => ({ name: img.alt, box: img.getBoundingClientRect(), loaded: img.classList.contains('loaded') }))
        .filter(({ box }) => box.bottom > 80 && box.top < innerHeight)
        .map(({ name, loaded }) => ({ name, loaded })),
    );
  const wanted = (await visible()).map(({ name }) => name);
  expect(wanted.length).toBeGreaterThan(4);
  await expect.poll(async () => (await visible()).every(({ loaded }) => loaded)).toBe(true);
  // From then on: those on screen before any other.
  const after = mock.world.thumbnails.slice(asked).map(({ name }) => name);
  const last = Math.max(...wanted.map((name) => after.indexOf(name)));
  expect(after.slice(0, last + 1).filter((name) => !wanted.includes(name)).length, 'asked before all on screen were').toBeLessThanOrEqual(4);
  expect(mock.world.thumbnails.filter(({ outcome }) => outcome === 'cancelled').length, 'cancelled').toBeGreaterThan(3);
  // Rows that flew by were hardly asked for.
  expect(mock.world.thumbnails.length).toBeLessThan(120);
});

test('asks for a few at a time, so that a search does not wait for pictures', async ({ page, mock }) => {
  await mock.start({ total: 500 });
  // Longer than any patience: whoever waits for a picture waits for ever.
  mock.world.thumbnailDelayMs = 600_000;
  await page.goto(mock.url, WITHOUT_THUMBNAILS);
  await expect.poll(() => mock.world.thumbnails.length).toBeGreaterThan(2);
  await page.getByLabel('Search pictures by words').fill('coast');
  await expect(page.getByRole('heading', { name: 'Pictures of “coast”' })).toBeVisible();
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  // What is fetched when there is time, is fetched all the same.
  await untilAllFetched(page);
  expect(mock.world.thumbnails.filter(({ outcome }) => outcome === 'open').length).toBeLessThanOrEqual(4);
});

test('paints the colours of a picture before it is there', async ({ page, mock }) => {
  await mock.start({ total: 50 });
  mock.world.thumbnailDelayMs = 600_000;
  await page.goto(mock.url, WITHOUT_THUMBNAILS);
  const canvas = page.locator('#results li canvas').first();
  await expect(canvas).toBeVisible();
  const colours = await canvas.evaluate((element: HTMLCanvasElement) => {
    const { data } = element.getContext('2d')!.getImageData(0, 0, element.width, element.height);
    return { sides: [element.width, element.height], alpha: data[3], different: new Set([...Array(data.length / 4).keys()].map((at) => data.slice(at * 4, at * 4 + 3).join())).size };
  });
  expect(Math.max(...colours.sides)).toBe(32);
  expect(colours.alpha).toBe(255);
  expect(colours.different).toBeGreaterThan(20);
});

test.describe('on a sharp screen', () => {
  test.use({ deviceScaleFactor: 2 });

  test('shows the width that is ready at once, and a sharper one when all in sight have something', async ({ page, mock }) => {
    await mock.start({ total: 60 });
    await page.goto(mock.url);
    const first = page.locator('a[data-index="0"] img');
    await expect(first).toHaveAttribute('src', /width=640/);
    const inSight = await page.locator('#results li img').evaluateAll((all) => all.filter((img) => img.getBoundingClientRect().top < innerHeight).map((img) => (img as HTMLImageElement).alt));
    const asked = mock.world.thumbnails;
    const firstSharp = asked.findIndex(({ width }) => width === 640);
    // Ten may be under way at once, and those may overtake each other.
    const before = asked.slice(0, firstSharp + 10).filter(({ width }) => width === 320).map(({ name }) => name);
    expect(inSight.length).toBeGreaterThan(4);
    expect(inSight.filter((name) => !before.includes(name))).toEqual([]);
  });
});
