// How it looks and for whom: axe on every view, light and dark, phone and desktop; 10,000 results.
import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { Mock } from './mock';
import { expect, test } from './server';

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const isNarrow = (page: Page) => page.viewportSize()!.width < 760;

const VIEWS: Record<string, (page: Page) => Promise<void>> = {
  newest: async (page) => {
    await page.goto('/');
    await expect(page.locator('img.loaded').first()).toBeVisible();
  },
  results: async (page) => {
    await page.goto('/?q=tennis');
    if (isNarrow(page)) {
      await expect(page.locator('a[data-index="0"]')).toBeVisible();
      await page.evaluate(() => window.scrollTo(0, innerHeight));
      await page.getByRole('button', { name: 'How good were these results?' }).click();
    }
    await page.getByRole('button', { name: '4 of 10' }).click();
    await expect(page.getByText('Thank you.')).toBeVisible();
  },
  'a large picture': async (page) => {
    await page.goto('/?q=tennis&image=owl.png');
    await expect(page.getByText('128 × 128')).toBeVisible();
  },
  'the question before deleting': async (page) => {
    await page.goto('/?image=owl.png');
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
  },
  status: async (page) => {
    await page.goto('/');
    await page.getByRole('button', { name: /^Status/ }).click();
    await expect(page.getByText('broken.png', { exact: true })).toBeVisible();
  },
  uploads: async (page) => {
    await page.goto('/');
    // There is no room for it in the line on top of a phone.
    if (isNarrow(page)) await page.getByRole('button', { name: /^Status/ }).click();
    await page.getByRole('button', { name: 'Add pictures' }).click();
    await expect(page.getByLabel('API key')).toBeVisible();
  },
  'a problem': async (page) => {
    await page.goto('/?like=never-there.png');
    await expect(page.getByRole('heading', { name: 'That picture is no longer here' })).toBeVisible();
  },
};

for (const [scheme, viewport] of [['light', { width: 1280, height: 800 }], ['dark', { width: 1280, height: 800 }], ['light', { width: 360, height: 740 }]] as const) {
  test.describe(`${scheme}, ${viewport.width} wide`, () => {
    test.use({ colorScheme: scheme, viewport, reducedMotion: 'reduce' } as object);
    for (const [name, show] of Object.entries(VIEWS)) {
      test(`axe finds nothing: ${name}`, async ({ page }) => {
        await show(page);
        const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze();
        expect(violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])).toEqual([]);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(overflow, 'pixels wider than the screen').toBe(0);
      });
    }
  });
}

test('follows the system to the dark side, and remembers a choice', { tag: '@chromium' }, async ({ page }) => {
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto('/');
  await expect.poll(background).toBe('rgb(19, 19, 18)');
  await page.getByRole('button', { name: 'Light colours' }).click();
  await expect.poll(background).toBe('rgb(250, 249, 247)');
  await page.reload();
  await expect.poll(background).toBe('rgb(250, 249, 247)');
  await page.getByRole('button', { name: 'Dark colours' }).click();
  expect(await page.evaluate(() => localStorage.getItem('theme'))).toBeNull();
});

test('scrolls through 10,000 results with the elements of a few screens', async ({ page }) => {
  // Fifty pages, one after the other.
  test.setTimeout(180_000);
  const mock = new Mock();
  await mock.start({ total: 10_000, rich: false });
  try {
    await page.goto(`${mock.url}/?q=dunes`);
    await expect(page.locator('li a').first()).toBeVisible();
    // To the very end, page after page, and back through all of them.
    const most = await page.evaluate(async () => {
      let most = 0;
      const drawn = async (top: number) => {
        window.scrollTo(0, top);
        await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll('#results li').length);
      };
      while (!document.querySelector('a[data-index="9999"]')) await drawn(document.documentElement.scrollHeight);
      const height = document.documentElement.scrollHeight;
      for (let step = 0; step <= 120; step++) await drawn(height * (1 - step / 120));
      return most;
    });
    expect(most, 'elements at any time').toBeLessThan(150);
    await expect(page.locator('a[data-index="0"]')).toBeVisible();
  } finally {
    mock.stop();
  }
});
