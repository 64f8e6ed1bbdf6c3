// What only a library of some size shows, from the real program: stacks, the fold before weak matches, filters, a refined
// search, and suggestions.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, Server, expect, test as base } from './server';

// So many must be there before the server says what fits.
const PICTURES = 70;
const words = 'Search pictures by words';

const test = base.extend<object, { library: Server }>({
  library: [
    async ({}, use) => {
      const all = readdirSync(join(ROOT, 'demo/pictures')).map((file) => file.replace(/\.png$/, ''));
      const named = ['rose', 'tulip', 'red-apple', 'red-heart', 'fire', 'strawberry'];
      const server = new Server([...new Set([...named, ...all])].slice(0, PICTURES));
      for (const day of ['01', '02', '03']) server.addVariant('rose', `trips/rome/20190102_0304${day}.png`);
      server.addVariant('owl', 'trips/oslo/20200102_030405.png');
      await server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker', timeout: 120_000 },
  ],
  baseURL: async ({ library }, use) => use(library.url),
});

test('near-duplicates are one tile, which opens and shows each of them large', async ({ page }) => {
  await page.goto('/?q=rose');
  const stack = page.getByRole('button', { name: '4 copies of this picture' });
  await expect(stack).toBeVisible();
  await expect(page.getByAltText('rose.png', { exact: true }).or(page.getByAltText(/^trips\/rome/))).toHaveCount(1);
  await stack.click();
  const panel = page.getByRole('dialog', { name: 'Pictures that look nearly the same' });
  await expect(panel.getByRole('listitem')).toHaveCount(4);
  for (const name of ['rose.png', 'trips/rome/20190102_030401.png', 'trips/rome/20190102_030402.png', 'trips/rome/20190102_030403.png']) await expect(panel.getByRole('button', { name })).toBeVisible();
  await panel.getByRole('button', { name: 'trips/rome/20190102_030402.png' }).click();
  await expect(page.getByRole('dialog', { name: 'trips/rome/20190102_030402.png' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(stack).toBeVisible();
});

test('results end with what fits; what fits less stands behind a fold', async ({ page }) => {
  await page.goto('/?q=rose');
  await expect(page.getByText(/^[1-9]\d* strong match(es)?$/)).toBeVisible();
  const shown = await page.locator('#results li a').count();
  await page.getByRole('button', { name: 'Show less likely pictures' }).click();
  await expect(page.getByRole('heading', { name: 'Less likely' })).toBeAttached();
  await expect.poll(() => page.locator('#results li a').count()).toBeGreaterThan(shown);
});

test('filters by folder and by time, each a chip that can be taken away', async ({ page }) => {
  await page.goto('/');
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  await page.getByLabel('Folder').selectOption('trips/oslo');
  await expect(page).toHaveURL('/?folder=trips%2Foslo');
  await expect(page.locator('#results li a')).toHaveCount(1);
  await expect(page.getByAltText('trips/oslo/20200102_030405.png')).toBeVisible();
  await page.getByRole('button', { name: 'Remove the filter: In trips/oslo' }).click();
  await page.getByLabel('Until').fill('2019-12-31');
  await expect(page.locator('#results li a')).toHaveCount(3);
  await expect(page.getByRole('heading', { name: 'January 2019' })).toBeVisible();
});

test('a refined search keeps away what is not meant', async ({ page }) => {
  await page.goto('/?q=flower&like=red-heart.png&notlike=rose.png');
  await expect(page.getByRole('list', { name: 'Not wanted' }).getByText('Not like rose.png')).toBeVisible();
  await expect(page.getByRole('slider', { name: 'How much the words count beside the picture' })).toBeVisible();
  await expect(page.locator('a[data-index="0"] img')).toHaveAttribute('alt', /./);
  const first = () => page.locator('#results li a img').evaluateAll((all) => all.slice(0, 5).map((img) => img.getAttribute('alt')));
  expect(await first()).not.toContain('rose.png');
  await page.getByRole('button', { name: 'Allow rose.png again' }).click();
  await expect(page).toHaveURL('/?q=flower&like=red-heart.png');
});

test('suggests what this library holds while words are typed', async ({ page }) => {
  await page.goto('/');
  const field = page.getByLabel(words);
  await field.pressSequentially('rom');
  const options = page.getByRole('listbox', { name: 'Suggestions' }).getByRole('option');
  await expect(options).toHaveText(['trips/rome Folder']);
  await field.press('ArrowDown');
  await expect(options.first()).toHaveAttribute('aria-selected', 'true');
  await field.press('Enter');
  await expect(page).toHaveURL('/?folder=trips%2Frome');
  await expect(field).toHaveValue('');
  await expect(options).toHaveCount(0);
  await page.goto('/');
  await field.pressSequentially('red app');
  await expect(options).toHaveText(['red apple Name']);
  await options.first().click();
  await expect(page).toHaveURL('/?q=red+apple');
  await expect(page.locator('a[data-index="0"] img')).toHaveAttribute('alt', 'red-apple.png');
  await expect(field).toBeFocused();
});
