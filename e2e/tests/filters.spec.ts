// Filters: by date with bars that show where the pictures lie, folder, type, shape, camera, place; all in the address.
import { expect, test } from './mock';

test('the home view has months as headings, in the order in which the pictures were taken', async ({ page, mock }) => {
  await mock.start({ total: 600 });
  await page.goto(mock.url);
  await expect(page.getByRole('heading', { name: 'March 2026' })).toBeVisible();
  const february = page.getByRole('heading', { name: 'February 2026' });
  // In steps of half a screen, each of which is drawn before it is looked at: no heading is passed by.
  await expect
    .poll(() =>
      page.evaluate(() => {
        const heading = [...document.querySelectorAll('#results h2')].find(({ textContent }) => textContent === 'February 2026');
        if (heading) heading.scrollIntoView({ block: 'center' });
        else window.scrollBy(0, innerHeight / 2);
        return heading !== undefined;
      }),
    )
    .toBe(true);
  await expect(february).toBeInViewport();
  // Every heading stands above its own pictures: March has 14 days of three.
  const above = await february.evaluate((heading) => {
    const line = heading.getBoundingClientRect().top;
    return Math.max(...[...document.querySelectorAll<HTMLElement>('a[data-index]')].filter((tile) => tile.getBoundingClientRect().top < line).map((tile) => Number(tile.dataset.index)));
  });
  expect(above).toBe(14 * 3 - 1);
});

test('bars show where the pictures lie; one is chosen, kept in the address, and let go', async ({ page, mock }) => {
  await mock.start({ total: 2000 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  const bars = page.getByRole('group', { name: 'When the pictures were taken' });
  await expect(bars.getByRole('button', { name: '2026: 219 pictures' })).toBeVisible();
  await bars.getByRole('button', { name: '2025: 1,095 pictures' }).click();
  await expect(page.getByRole('heading', { name: 'December 2025' })).toBeVisible();
  expect(Object.fromEntries(new URL(page.url()).searchParams)).toEqual({ from: '2025-01-01', to: '2025-12-31' });
  // Within a year, its months.
  const february = bars.getByRole('button', { name: 'Feb: 84 pictures' });
  const may = bars.getByRole('button', { name: 'May: 93 pictures' });
  await february.hover();
  await page.mouse.down();
  await may.hover();
  await page.mouse.up();
  await expect(page.getByRole('heading', { name: 'May 2025' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'May 2025' })).toBeVisible();
  const chip = page.getByRole('list', { name: 'Only these' }).getByText('Feb 1, 2025 – May 31, 2025');
  await expect(chip).toBeVisible();
  await page.getByRole('button', { name: /^Remove the filter: Feb 1/ }).click();
  await expect(page.getByRole('heading', { name: 'March 2026' })).toBeVisible();
  expect(new URL(page.url()).search).toBe('');
});

test('what there is to choose is counted: all folders and cameras, and where results lie in time', async ({ page, mock }) => {
  await mock.start({ total: 1600 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  // Of all pictures, not of the first sixty that are here.
  await expect(page.getByLabel('Folder').getByRole('option')).toHaveText(['Any', 'city (200)', 'coast (200)', 'dunes (200)', 'forest (200)', 'harbour (200)', 'lake (200)', 'meadow (200)', 'night-sky (200)']);
  await page.getByLabel('Camera').selectOption('NIKON D750');
  await expect(page.getByRole('list', { name: 'Only these' }).getByText('NIKON D750')).toBeVisible();
  // Under the camera, and other cameras can still be chosen.
  await expect(page.getByLabel('Folder').getByRole('option', { name: 'city (200)' })).toHaveCount(0);
  await expect(page.getByLabel('Camera').getByRole('option')).toHaveText(['Any', /^Apple iPhone 12 \(\d+\)$/, /^NIKON D750 \(\d+\)$/]);
  await page.getByRole('button', { name: 'Remove the filter: NIKON D750' }).click();
  await page.getByLabel('Search pictures by words').fill('harbour');
  await expect(page.getByText('200 strong matches')).toBeVisible();
  const bars = page.getByRole('group', { name: 'When the pictures were taken' }).getByRole('button');
  await expect.poll(async () => (await bars.evaluateAll((all) => all.map((bar) => Number(/: (\d+) picture/.exec(bar.getAttribute('aria-label')!)![1])))).reduce((sum, n) => sum + n, 0)).toBeGreaterThan(0);
  const shown = Number(await page.locator('#results ul[aria-label="Pictures"] > li[aria-setsize]').first().getAttribute('aria-setsize'));
  await expect.poll(async () => (await bars.evaluateAll((all) => all.map((bar) => Number(/: (\d+) picture/.exec(bar.getAttribute('aria-label')!)![1])))).reduce((sum, n) => sum + n, 0)).toBe(Math.min(200, shown));
});

test('bars are reached with the keys', async ({ page, mock }) => {
  await mock.start({ total: 2000 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Filter', exact: true }).press('Enter');
  await page.getByRole('button', { name: /^2025: / }).press('Enter');
  await expect(page.getByRole('heading', { name: 'December 2025' })).toBeVisible();
});

test('filters results, tells the server, and goes with the next search', async ({ page, mock }) => {
  await mock.start({ total: 400 });
  await page.goto(`${mock.url}/?q=harbour`);
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  await page.getByLabel('Shape').selectOption('portrait');
  await expect.poll(() => mock.world.searches.at(-1)).toMatchObject({ text: 'harbour', filter: { orientation: 'portrait' } });
  await page.getByLabel('Type').selectOption('jpeg');
  await page.getByLabel('Folder').selectOption('harbour');
  await expect.poll(() => mock.world.searches.at(-1).filter).toEqual({ folder: 'harbour', formats: ['jpeg'], orientation: 'portrait' });
  const ratios = await page.locator('a[data-index] img').evaluateAll((all: HTMLImageElement[]) => all.map((img) => Number(img.getAttribute('width')) / Number(img.getAttribute('height'))));
  expect(ratios.length).toBeGreaterThan(3);
  expect(Math.max(...ratios)).toBeLessThan(1);
  await page.getByLabel('Search pictures by words').fill('coast');
  await expect.poll(() => mock.world.searches.at(-1)).toMatchObject({ text: 'coast', filter: { folder: 'harbour' } });
  await page.getByRole('link', { name: /^image-search/ }).click();
  await expect(page.getByRole('list', { name: 'Only these' })).toBeHidden();
});

test('folder, camera and place are chosen from the large picture', async ({ page, mock }) => {
  await mock.start({ total: 100 });
  await page.goto(mock.url);
  const open = async () => {
    await page.locator('a[data-index="0"]').click();
    return page.getByRole('dialog');
  };
  const folder = (await page.locator('a[data-index="0"] img').getAttribute('alt'))!.split('/')[0]!;
  await (await open()).getByRole('navigation', { name: 'Folder' }).getByRole('button', { name: folder }).click();
  await expect(page.getByRole('list', { name: 'Only these' }).getByText(`In ${folder}`)).toBeVisible();
  await (await open()).getByRole('button', { name: /^(NIKON|Apple)/ }).click();
  await expect(page.getByRole('list', { name: 'Only these' }).getByRole('listitem')).toHaveCount(2);
  await (await open()).getByRole('button', { name: 'Only from around here' }).click();
  await expect(page.getByText('Within 10 km')).toBeVisible();
  expect(new URL(page.url()).searchParams.get('near')).toBe('48.1,11.6,10');
});

test('places are offered where pictures have them, each with its number of pictures', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(mock.url);
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  const place = page.getByLabel('Place');
  await expect(place.getByRole('option')).toHaveText(['Any', /^(48\.1° N, 11\.6° E|coast: 33\.92° S, 18\.42° E) \(\d+\)$/, /\(\d+\)$/]);
  const label = await place.getByRole('option').filter({ hasText: 'coast' }).textContent();
  await place.selectOption({ label: label! });
  await expect.poll(() => new URL(page.url()).searchParams.get('near')).toBe('-33.92,18.42,25');
  const chip = page.getByRole('list', { name: 'Only these' });
  await expect(chip.getByText('Within 25 km (33.92° S, 18.42° E)')).toBeVisible();
  const last = Number(label!.match(/\((\d+)\)/)![1]) - 1;
  await expect(page.locator('a[data-index]').first()).toBeVisible();
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await expect(page.locator(`a[data-index="${last}"]`)).toBeVisible();
  await expect(page.locator(`a[data-index="${last + 1}"]`)).toHaveCount(0);
  await place.selectOption({ label: 'Any' });
  await expect(chip).toBeHidden();
});

test('a filter that leaves nothing says so, and is taken away with one press', async ({ page, mock }) => {
  await mock.start({ total: 50 });
  await page.goto(`${mock.url}/?from=1990-01-01&to=1990-12-31`);
  await expect(page.getByRole('heading', { name: 'Nothing matches this filter' })).toBeVisible();
  await page.getByRole('button', { name: 'Show everything' }).click();
  await expect(page.locator('a[data-index]').first()).toBeVisible();
});
