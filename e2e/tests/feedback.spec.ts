// Ratings: one click or key, stored once, changeable; thumbs on single pictures count alone and with a number.
import { expect, test } from './server';

const rated = (page: import('@playwright/test').Page) => page.waitForResponse('**/api/v1/create-feedback');

test('stores a rating and lets it be changed', async ({ page }) => {
  await page.goto('/?q=tennis');
  const first = rated(page);
  await page.getByRole('button', { name: '5 of 10' }).click();
  expect((await first).status()).toBe(201);
  await expect(page.getByText('Thank you. 5 of 10 is noted.')).toBeVisible();
  const second = rated(page);
  await page.getByRole('button', { name: '9 of 10' }).click();
  expect((await second).status()).toBe(200);
  expect(await (await second).json()).toMatchObject({ user_feedback: 9 });
  await expect(page.getByText('Thank you. 9 of 10 is noted.')).toBeVisible();
});

test('takes a key when the row has the focus', async ({ page }) => {
  await page.goto('/?q=tennis');
  await expect(page.getByRole('toolbar', { name: 'How good were these results?' })).toBeVisible();
  await page.keyboard.press('r');
  const answer = rated(page);
  await page.keyboard.press('0');
  expect(await (await answer).json()).toMatchObject({ user_feedback: 10 });
  await expect(page.getByRole('button', { name: '10 of 10' })).toHaveAttribute('aria-pressed', 'true');
});

test('takes thumbs at once, and keeps them with the number', { tag: '@chromium' }, async ({ page }) => {
  await page.goto('/?q=tennis');
  await page.locator('li a').first().click();
  const thumb = rated(page);
  await page.getByRole('button', { name: 'Fits the search', exact: true }).click();
  expect((await thumb).status()).toBe(201);
  expect(await (await thumb).json()).toMatchObject({ user_feedback: null });
  await expect(page.getByText('Thank you, noted.')).toBeVisible();
  await page.keyboard.press('ArrowRight');
  await page.getByRole('button', { name: 'Does not fit the search', exact: true }).click();
  await expect(page.getByText('Thank you, noted.')).toBeVisible();
  await page.keyboard.press('Escape');
  const answer = rated(page);
  await page.getByRole('button', { name: '7 of 10' }).click();
  expect((await answer).status()).toBe(200);
  expect((await answer).request().postDataJSON().image_feedback.map(({ relevant }: { relevant: boolean }) => relevant)).toEqual([true, false]);
});

test('asks anew for a new search', async ({ page }) => {
  await page.goto('/?q=tennis');
  await page.getByRole('button', { name: '3 of 10' }).click();
  await expect(page.getByText('Thank you.')).toBeVisible();
  await page.getByLabel('Search pictures by words').fill('whale');
  await expect(page.getByRole('heading', { name: 'Pictures of “whale”' })).toBeVisible();
  await expect(page.getByText('Thank you.')).toBeHidden();
  await expect(page.getByRole('button', { name: '3 of 10' })).toHaveAttribute('aria-pressed', 'false');
});
