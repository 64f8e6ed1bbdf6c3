// The report on ratings at /quality: plots, tables, and what learning changed, side by side.
import AxeBuilder from '@axe-core/playwright';
import { expect, test } from './mock';
import { test as onProgram } from './server';

test('shows ratings over time and by model, and what the worst queries find without and with learning', async ({ page, mock }) => {
  await mock.start({ total: 300 });
  mock.world.learnedFrom = 4;
  const scripts: string[] = [];
  page.on('request', (request) => scripts.push(new URL(request.url()).pathname));
  await page.goto(`${mock.url}/?q=harbour`);
  await expect(page.locator('li a').first()).toBeVisible();
  expect(scripts.filter((path) => path.includes('/Quality-'))).toEqual([]);

  await page.goto(`${mock.url}/quality`);
  await expect(page.getByText('39 ratings of 17 queries by 5 keys or addresses.')).toBeVisible();
  await expect(page.getByText('of 120 searches since the server started')).toBeVisible();
  const chart = page.getByRole('img', { name: /^Rating, 1 to 10, from Oct 12, 2026 to Nov 16, 2026$/ });
  await expect(chart.locator('circle')).toHaveCount(6);
  // A line through all points; a week with one rating has no interval, which parts the band.
  expect((await chart.locator('path.line').getAttribute('d'))!.match(/L/g)).toHaveLength(5);
  expect((await chart.locator('path.band').getAttribute('d'))!.match(/Z/g)).toHaveLength(2);
  await expect(chart.locator('.reach')).toHaveCount(5);
  await expect(page.getByRole('row', { name: /mock 1 9 4\.8/ })).toBeVisible();

  const worst = page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: 'harbour' }) });
  await worst.scrollIntoViewIfNeeded();
  await expect(worst.getByText('With learning, from 4 ratings. The same pictures in the same order.')).toBeVisible();
  await expect(worst.getByRole('img')).toHaveCount(8);
  const asked = mock.world.searches.filter(({ text, limit }) => text === 'harbour' && limit === 8);
  expect(asked.map(({ learn }) => learn)).toEqual([false, undefined]);
  await expect(page.getByRole('heading', { name: 'A picture that is not in the library' })).toBeVisible();
  const like = page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: /^Like / }) });
  await expect(like.locator('.asked img')).toHaveAttribute('src', /thumbnail\?width=160/);
  await expect(page.getByRole('row', { name: /mock@2 → mock@3 held back −0\.120 \(−0\.200 … −0\.030\): worse/ })).toBeVisible();
  await expect(page.getByRole('row', { name: /^2 .* on \(by hand\)/ })).toBeVisible();
  expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
});

test('says whom to ask when the report is not for everybody', async ({ page, mock }) => {
  await mock.start({ total: 20 });
  mock.world.quality = null;
  await page.goto(`${mock.url}/quality`);
  await expect(page.getByRole('alert')).toContainText('a key with the scope admin');
});

onProgram('the program reports what was rated', async ({ page }) => {
  await page.goto('/?q=sailboat');
  await page.getByRole('button', { name: '2 of 10' }).click();
  await expect(page.getByText('Thank you. 2 of 10 is noted.')).toBeVisible();
  await page.goto('/quality');
  await expect(page.getByRole('heading', { name: 'Quality' })).toBeVisible();
  const worst = page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: 'sailboat' }) });
  await worst.scrollIntoViewIfNeeded();
  await expect(worst.getByText('Rating, 1 to 10: 2.0')).toBeVisible();
  await expect(worst.getByAltText('sailboat.png').first()).toBeVisible();
});
