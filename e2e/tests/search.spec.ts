// Searching: by words as they are typed, by a picture, by one of the results; the address; large pictures; the keyboard.
import { readFileSync } from 'node:fs';
import { demoPicture, expect, test } from './server';

const words = 'Search pictures by words';

test('begins with the newest pictures, the banner and examples', async ({ page }) => {
  await page.goto('/');
  await expect(page.getByRole('heading', { name: 'Newest pictures' })).toBeVisible();
  const note = page.getByText('A small built-in model answers for now.');
  await expect(note).toBeVisible();
  await expect(page.locator('img.loaded').first()).toBeVisible();
  await page.getByRole('button', { name: 'Hide this note' }).click();
  await expect(note).toBeHidden();
  await page.reload();
  await expect(page.locator('img.loaded').first()).toBeVisible();
  await expect(note).toBeHidden();
  // Whatever is offered finds something here.
  const example = page.getByRole('list', { name: 'Examples' }).getByRole('button').first();
  const text = (await example.textContent())!.trim();
  await example.click();
  await expect(page.getByLabel(words)).toHaveValue(text);
  await expect(page.locator('a[data-index="0"]')).toBeVisible();
});

test('searches while words are typed, and goes back', async ({ page }) => {
  await page.goto('/');
  await page.getByLabel(words).pressSequentially('tennis', { delay: 20 });
  await expect(page).toHaveURL('/?q=tennis');
  await expect(page.getByRole('heading', { name: 'Pictures of “tennis”' })).toBeVisible();
  await expect(page).toHaveTitle('Pictures of “tennis” – image-search');
  await page.locator('li a').first().hover();
  await expect(page.locator('.score').first()).toHaveText(/0\.\d{3}/);
  await page.goBack();
  await expect(page).toHaveURL('/');
  await expect(page.getByRole('heading', { name: 'Newest pictures' })).toBeVisible();
  await expect(page.getByLabel(words)).toHaveValue('');
});

test('drops an answer that comes too late', { tag: '@chromium' }, async ({ page }) => {
  let letGo = () => {};
  const held = new Promise<void>((done) => (letGo = done));
  await page.route('**/api/v1/search-image', async (route) => {
    if (route.request().postDataJSON().text === 'slow') await held;
    await route.continue().catch(() => {});
  });
  await page.goto('/?q=slow');
  await page.getByLabel(words).fill('whale');
  await expect(page.getByRole('heading', { name: 'Pictures of “whale”' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'Pictures' })).toHaveAttribute('aria-busy', 'false');
  letGo();
  const answer = await page.request.post('/api/v1/search-image', { data: { text: 'whale', limit: 1, strength: true, collapse: true } });
  const best = (await answer.json()).matches[0].image_url;
  for (let look = 0; look < 5; look++) {
    expect(await page.locator('a[data-index="0"]').getAttribute('href')).toBe(best);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
});

test('finds more like a result', async ({ page }) => {
  await page.goto('/?q=fish');
  await page.locator('li').first().hover();
  await page.getByRole('button', { name: /^More like/ }).first().click();
  await expect(page).toHaveURL(/\?like=.+\.png/);
  await expect(page.getByRole('heading', { name: /^More like/ })).toBeVisible();
  await expect(page.locator('form img')).toBeVisible();
  await page.goBack();
  await expect(page).toHaveURL('/?q=fish');
});

test('searches by a chosen picture', async ({ page }) => {
  await page.goto('/');
  await page.getByLabel('Picture to search with').setInputFiles(demoPicture('penguin'));
  await expect(page.getByRole('heading', { name: 'Like your picture' })).toBeVisible();
  await expect(page.locator('li a img').first()).toHaveAttribute('alt', 'penguin.png');
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Choose the picture again' })).toBeVisible();
});

for (const how of ['paste', 'drop'] as const) {
  // Firefox makes no paste with files in it by itself.
  test(`searches by a picture after ${how}`, { tag: how === 'paste' ? '@chromium' : [] }, async ({ page }) => {
    await page.goto('/');
    await expect(page.locator('li a').first()).toBeVisible();
    const bytes = readFileSync(demoPicture('octopus')).toString('base64');
    await page.evaluate(
      ({ bytes, how }) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], 'mine.png', { type: 'image/png' }));
        const event = how === 'paste' ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }) : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
      },
      { bytes, how },
    );
    await expect(page.locator('li a img').first()).toHaveAttribute('alt', 'octopus.png');
  });
}

test('shows a picture large, leafs, zooms, and comes back to it', async ({ page }) => {
  await page.goto('/?q=animal');
  await page.locator('li a').nth(2).click();
  const large = page.getByRole('dialog');
  await expect(large).toBeVisible();
  await expect(large.getByText(/128 × 128 · PNG · .+ kB/)).toBeVisible();
  const first = await large.getByRole('heading').textContent();
  await page.keyboard.press('ArrowRight');
  await expect(large.getByRole('heading')).not.toHaveText(first!);
  await page.keyboard.press('ArrowLeft');
  await expect(large.getByRole('heading')).toHaveText(first!);
  await page.keyboard.press('+');
  await expect(large.locator('.stage')).toHaveClass(/zoomed/);
  await expect(large.getByRole('link', { name: 'Download' })).toHaveAttribute('download', first!);
  await page.keyboard.press('Escape');
  await expect(large).toBeHidden();
  await expect(page).toHaveURL('/?q=animal');
  await expect(page.locator('li a').nth(2)).toBeFocused();

  await page.keyboard.press('Enter');
  await expect(large).toBeVisible();
  await page.keyboard.press('ArrowRight');
  await page.goBack();
  await expect(large).toBeHidden();
  await expect(page.locator('li a').nth(3)).toBeFocused();

  await page.keyboard.press('Enter');
  await large.getByRole('button', { name: 'More like this' }).click();
  await expect(large).toBeHidden();
  await expect(page).toHaveURL(/\?like=/);
});

test('opens a shared link to a picture', async ({ page }) => {
  await page.goto('/?image=owl.png');
  await expect(page.getByRole('dialog').getByRole('heading', { name: 'owl.png' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page).toHaveURL('/');
});

test('says when a shared picture is gone', async ({ page }) => {
  await page.goto('/?image=never-there.png');
  await expect(page.getByText('This picture is no longer here.')).toBeVisible();
});

test('works with the keyboard alone', async ({ page }) => {
  await page.goto('/');
  await expect(page.locator('li a').first()).toBeVisible();
  await page.keyboard.press('/');
  await expect(page.getByLabel(words)).toBeFocused();
  await page.keyboard.type('flower');
  await expect(page).toHaveURL('/?q=flower');
  await expect(page.getByRole('heading', { name: 'Pictures of “flower”' })).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await expect(page.locator('a[data-index="0"]')).toBeFocused();
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('a[data-index="1"]')).toBeFocused();
  await page.keyboard.press('End');
  await expect(page.locator('li a:focus')).toBeInViewport();
  await page.keyboard.press('Home');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.locator('a[data-index="0"]')).toBeFocused();
  await page.keyboard.press('ArrowUp');
  await expect(page.getByLabel(words)).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(page).toHaveURL('/');
});
