// In the user's language, with the contrast they asked for, and one edge on every width.
import AxeBuilder from '@axe-core/playwright';
import { expect, test } from './mock';

test.describe('in German', () => {
  test.use({ locale: 'de-AT' });

  test('speaks German where the browser does', async ({ page, mock }) => {
    await mock.start({ total: 1200 });
    await page.goto(mock.url);
    await expect(page.getByRole('heading', { name: 'Neueste Bilder' })).toBeVisible();
    await expect(page.locator('html')).toHaveAttribute('lang', 'de');
    await page.getByRole('button', { name: 'Status: 1.200 Bilder' }).click();
    await expect(page.getByRole('dialog').getByText('Alles, was sich lesen lässt, ist gelesen.')).toBeVisible();
    await page.keyboard.press('Escape');
    await page.getByLabel('Bilder mit Worten suchen').fill('coast');
    await expect(page.getByRole('heading', { name: 'Bilder zu „coast“' })).toBeVisible();
    await page.locator('a[data-index="0"]').click();
    await expect(page.getByRole('button', { name: 'Mehr wie dieses' })).toBeVisible();
    await expect(page.getByText(/Aufgenommen \d+\. (Januar|Februar|März|Oktober|November|Dezember|[A-Z]\w+) 20\d\d/)).toBeVisible();
  });
});

test('speaks English everywhere else', async ({ page, mock }) => {
  await mock.start({ total: 20 });
  await page.goto(mock.url);
  await expect(page.locator('html')).toHaveAttribute('lang', 'en');
});

for (const scheme of ['light', 'dark'] as const) {
  test(`has all the contrast there is when asked for it, ${scheme}`, { tag: '@chromium' }, async ({ page, mock }) => {
    await mock.start({ total: 200 });
    await page.emulateMedia({ contrast: 'more', colorScheme: scheme, reducedMotion: 'reduce' });
    await page.goto(`${mock.url}/?q=harbour`);
    await expect(page.locator('li img.loaded').first()).toBeVisible();
    const colours = await page.evaluate(() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.querySelector('h1')!).color].toSorted());
    expect(colours).toEqual(['rgb(0, 0, 0)', 'rgb(255, 255, 255)']);
    const { violations } = await new AxeBuilder({ page }).options({ rules: { 'color-contrast-enhanced': { enabled: true } } }).analyze();
    expect(violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])).toEqual([]);
  });
}

test('keeps one left edge on a wide screen', async ({ page, mock }) => {
  await page.setViewportSize({ width: 2560, height: 1200 });
  await mock.start({ total: 200, waiting: 10 });
  await page.goto(mock.url);
  await expect(page.locator('li img.loaded').first()).toBeVisible();
  const lefts = await page.evaluate(() =>
    ['header .home', 'section .band span', '.lead', 'h1', '.flow', 'a[data-index="0"]'].map((selector) => Math.round(document.querySelector(selector)!.getBoundingClientRect().left)),
  );
  expect(new Set(lefts)).toEqual(new Set([24]));
});
