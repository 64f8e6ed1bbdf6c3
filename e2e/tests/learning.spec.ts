// Thumbs order the answer again at once, but nothing moves that is in sight while the pointer is over it.
import type { Locator, Page } from '@playwright/test';
import { expect, test } from './mock';
import { test as onProgram } from './server';

const tile = (page: Page, index: number) => page.locator('li', { has: page.locator(`a[data-index="${index}"]`) });
const nameOf = async (of: Locator) => (await of.locator('img').getAttribute('alt'))!;
const fileOf = (name: string) => name.split('/').at(-1)!;

/** What is in sight, and where. */
async function inSight(page: Page) {
  return page.locator('li:has(a[data-index])').evaluateAll((tiles) => {
    const places = tiles.map((tile) => ({ name: tile.querySelector('img')!.alt, ...tile.getBoundingClientRect().toJSON() }));
    return places.filter(({ top, bottom }) => bottom > 0 && top < innerHeight).map(({ name, top, left, width }) => `${name} ${Math.round(left)} ${Math.round(top)} ${Math.round(width)}`);
  });
}

async function thumb(page: Page, index: number, fits: boolean) {
  const name = await nameOf(tile(page, index));
  await tile(page, index).hover();
  const noted = page.waitForResponse('**/api/v1/create-feedback');
  const ordered = page.waitForResponse((response) => response.url().endsWith('/search-image') && (response.request().postData() ?? '').includes('"refine"'));
  await page.getByRole('button', { name: `${fileOf(name)} ${fits ? 'fits' : 'does not fit'} the search` }).click();
  await noted;
  await ordered;
  return name;
}

test('thumbs on tiles order the answer, and what is in sight waits until the pointer has left', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 300 });
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(tile(page, 12)).toBeVisible();
  const first = await nameOf(tile(page, 0));
  const before = await inSight(page);
  const liked = await thumb(page, 7, true);
  await expect(page.getByText('Learning from 1 rating.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Show the new order' })).toBeVisible();
  expect(await inSight(page)).toEqual(before);
  const disliked = await thumb(page, 3, false);
  await expect(page.getByText('Learning from 2 ratings.')).toBeVisible();
  expect(await inSight(page)).toEqual(before);

  await page.mouse.move(640, 2);
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked);
  await expect(tile(page, 1).locator('img')).toHaveAttribute('alt', first);
  await expect(page.getByRole('button', { name: 'Show the new order' })).toBeHidden();
  await expect(page.getByAltText(disliked, { exact: true })).toBeHidden();
  await expect(tile(page, 0).getByRole('img', { name: 'You said: fits' })).toBeVisible();

  // Taken back, it goes where it was.
  await thumb(page, 0, true);
  await expect(page.getByText('Learning from 1 rating.')).toBeVisible();
  await page.mouse.move(640, 2);
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', first);
});

test('the new order can be asked for, and pages after it follow it', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 300, rich: false });
  await page.goto(`${mock.url}/?q=harbour`);
  const liked = await thumb(page, 5, true);
  // By the keyboard: on its way there, a mouse leaves the pictures.
  await page.getByRole('button', { name: 'Show the new order' }).press('Enter');
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked);
  // All, and none twice.
  await expect(async () => {
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await expect(tile(page, 299)).toBeVisible({ timeout: 500 });
  }).toPass();
  const later = mock.world.searches.filter(({ offset }) => offset > 0);
  expect(later.length).toBeGreaterThan(0);
  expect(later.at(-1).refine).toBe(mock.world.searches.find(({ refine }) => refine).refine);
});

test('a search can be made without learning, until the next one', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 300 });
  mock.world.learnedFrom = 3;
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(page.getByText('Learning from 3 ratings.')).toBeVisible();
  const liked = await thumb(page, 4, true);
  await expect(page.getByText('Learning from 4 ratings.')).toBeVisible();
  await page.getByRole('button', { name: 'Do not learn' }).click();
  await expect(page.getByText('Not learning from ratings here.')).toBeVisible();
  expect(mock.world.searches.at(-1)).toMatchObject({ learn: false });
  expect(mock.world.searches.at(-1).refine).toBeUndefined();
  await expect(tile(page, 4).locator('img')).toHaveAttribute('alt', liked);
  await expect(tile(page, 4).getByRole('img', { name: 'You said: fits' })).toBeVisible();
  await page.getByRole('button', { name: 'Learn again' }).click();
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked);
  await page.getByRole('button', { name: 'Do not learn' }).click();
  await page.getByLabel('Search pictures by words').fill('coast');
  await expect(page.getByRole('heading', { name: 'Pictures of “coast”' })).toBeVisible();
  await expect(page.getByText('Learning from 3 ratings.')).toBeVisible();
});

test('thumbs of the large view count, and the keyboard keeps its place', { tag: '@chromium' }, async ({ page, mock }) => {
  await mock.start({ total: 300 });
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(tile(page, 5)).toBeVisible();
  await page.locator('a[data-index="0"]').focus();
  for (let step = 0; step < 5; step++) await page.keyboard.press('ArrowRight');
  const liked = await nameOf(tile(page, 5));
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Fits the search', exact: true }).click();
  await expect.poll(() => mock.world.searches.at(-1).refine).toBeTruthy();
  await page.keyboard.press('Escape');
  await expect(page.getByText('Learning from 1 rating.')).toBeVisible();
  await expect(page.locator('a[data-index="5"]')).toBeFocused();
  await expect(tile(page, 5).locator('img')).toHaveAttribute('alt', liked);
  await page.getByRole('button', { name: 'Show the new order' }).press('Enter');
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked);
});

onProgram('the program orders by thumbs, at once and in later searches', { tag: '@chromium' }, async ({ page }) => {
  await page.goto('/?q=fruit');
  await expect(tile(page, 3)).toBeVisible();
  const liked = await thumb(page, 3, true);
  await page.getByRole('button', { name: 'Show the new order' }).press('Enter');
  await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked);
  await expect(page.getByText('Learning from 1 rating.')).toBeVisible();
  await expect(async () => {
    await page.goto('/?q=fruit');
    await expect(page.getByText('Learning from 1 rating.')).toBeVisible({ timeout: 2000 });
    await expect(tile(page, 0).locator('img')).toHaveAttribute('alt', liked, { timeout: 2000 });
  }).toPass();
  await page.getByRole('button', { name: 'Do not learn' }).click();
  await expect(tile(page, 0).locator('img')).not.toHaveAttribute('alt', liked);
});
