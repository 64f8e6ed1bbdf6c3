// The field and what leads to it: the focus, searches of before, examples that find something, words beside a picture.
import { expect, test } from './mock';

const words = 'Search pictures by words';

test('has the focus when the page opens, and the key that leads to it does not write into it', async ({ page, mock }) => {
  await mock.start({ total: 60 });
  await page.goto(mock.url);
  await expect(page.getByLabel(words)).toBeFocused();
  await page.keyboard.press('/');
  await page.keyboard.type('coast');
  await expect(page).toHaveURL(`${mock.url}/?q=coast`);
});

test('remembers searches in this browser only, and forgets them when told', async ({ page, mock }) => {
  await mock.start({ total: 60 });
  await page.goto(mock.url);
  await page.getByLabel(words).fill('night sky');
  await page.getByLabel(words).press('Enter');
  await expect(page.getByRole('heading', { name: 'Pictures of “night sky”' })).toBeVisible();
  await page.goBack();
  const before = page.getByRole('list', { name: 'Searched before' });
  await expect(before.getByRole('button', { name: 'night sky' })).toBeVisible();
  await page.reload();
  await before.getByRole('button', { name: 'night sky' }).click();
  await expect(page).toHaveURL(`${mock.url}/?q=night+sky`);
  await page.goBack();
  await before.getByRole('button', { name: 'Forget these searches' }).click();
  await expect(before).toBeHidden();
  expect(await page.evaluate(() => localStorage.getItem('recent_searches'))).toBeNull();
});

test('offers words that find something here, as soon as the server knows some', async ({ page, mock }) => {
  await mock.start({ total: 40 });
  const examples = page.getByRole('list', { name: 'Examples' }).getByRole('button');
  await page.goto(mock.url);
  await expect(page.locator('a[data-index="0"]')).toBeVisible();
  await expect(examples).toHaveCount(0);
  const found = ['tennis', 'fruit', 'a dog', 'snow', 'the sea', 'cups'];
  mock.world.suggestions = [{ kind: 'folder', text: 'tennis' }, ...found.map((text) => ({ kind: 'word', text }))];
  await expect(examples).toHaveText(found);
  // While words are typed, those that find something here are offered, too.
  await page.getByLabel(words).fill('ten');
  await expect(page.getByRole('option', { name: 'tennis Found here' })).toBeVisible();
  await page.getByLabel(words).fill('');
  await expect(page).toHaveURL(`${mock.url}/`);
  await expect(examples).toHaveText(found);
  // Enough are known: they are asked for once.
  let asked = 0;
  page.on('request', (request) => (asked += Number(request.url().includes('/suggestions'))));
  await page.reload();
  await expect(examples).toHaveText(found);
  await examples.getByText('tennis').click();
  await expect(page).toHaveURL(`${mock.url}/?q=tennis`);
  expect(asked).toBe(1);
});

test('searches words beside a picture, and either alone', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.goto(`${mock.url}/?like=dunes%2F00000.jpg`);
  await expect(page.getByRole('heading', { name: 'More like 00000.jpg' })).toBeVisible();
  await page.getByLabel(words).fill('coast');
  await expect.poll(() => mock.world.searches.at(-1)).toMatchObject({ queries: [{ text: 'coast' }, { image_name: 'dunes/00000.jpg' }] });
  await expect(page).toHaveURL(`${mock.url}/?q=coast&like=dunes%2F00000.jpg`);
  await expect(page.getByRole('heading', { name: '“coast”, like 00000.jpg' })).toBeVisible();
  await page.reload();
  await expect(page.getByLabel(words)).toHaveValue('coast');
  await page.getByRole('button', { name: 'Search without the picture' }).click();
  await expect(page).toHaveURL(`${mock.url}/?q=coast`);
  await page.goBack();
  await page.getByLabel(words).fill('');
  await expect(page).toHaveURL(`${mock.url}/?like=dunes%2F00000.jpg`);
});

test('replaces the picture by words where the server cannot combine them', async ({ page, mock }) => {
  await mock.start({ total: 200, rich: false });
  await page.goto(`${mock.url}/?like=dunes%2F00000.jpg`);
  await expect(page.getByRole('heading', { name: 'More like 00000.jpg' })).toBeVisible();
  await page.getByLabel(words).fill('coast');
  await expect(page).toHaveURL(`${mock.url}/?q=coast`);
});

test('an arrow pressed before the answer is there leads into the answer', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  await page.route('**/api/v1/search-image', async (route) => {
    await new Promise((done) => setTimeout(done, 800));
    await route.continue().catch(() => {});
  });
  await page.goto(mock.url);
  await page.getByLabel(words).fill('coast');
  await expect(page).toHaveURL(`${mock.url}/?q=coast`);
  await page.keyboard.press('ArrowDown');
  await expect(page.locator('a[data-index="0"]')).toBeFocused();
  await expect(page.locator('a[data-index="0"] img')).toHaveAttribute('alt', /coast/);
});

test('suggests searches of before and what the server knows, by the keyboard alone', async ({ page, mock }) => {
  await mock.start({ total: 200 });
  mock.world.suggestions = [{ kind: 'folder', text: 'coast' }, { kind: 'camera', text: 'Coastar 7' }, { kind: 'name', text: 'coast road' }];
  await page.goto(mock.url);
  await page.evaluate(() => localStorage.setItem('recent_searches', '["coast at dawn"]'));
  await page.reload();
  const field = page.getByLabel(words);
  await field.pressSequentially('coa');
  const list = page.getByRole('listbox', { name: 'Suggestions' });
  const options = list.getByRole('option');
  await expect(options).toHaveText(['coast at dawn Searched before', 'coast Folder', 'coast road Name']);
  await expect(field).toHaveAttribute('aria-expanded', 'true');
  const isActive = async (text: string) => {
    await expect(list.getByRole('option', { selected: true })).toHaveText(text);
    const id = await list.getByRole('option', { selected: true }).getAttribute('id');
    await expect(field).toHaveAttribute('aria-activedescendant', id!);
  };
  await field.press('ArrowDown');
  await field.press('ArrowDown');
  await isActive('coast Folder');
  await field.press('ArrowUp');
  await isActive('coast at dawn Searched before');
  await field.press('Enter');
  await expect(page).toHaveURL(`${mock.url}/?q=coast+at+dawn`);
  await expect(field).toHaveValue('coast at dawn');
  await expect(list).toBeHidden();

  await field.fill('coa');
  await expect(options).toHaveCount(3);
  await field.press('Escape');
  await expect(list).toBeHidden();
  await expect(field).toHaveValue('coa');
  await field.fill('coas');
  await expect(options).toHaveCount(3);
  for (let n = 0; n < 4; n++) await field.press('ArrowDown');
  await expect(page.locator('a[data-index="0"]')).toBeFocused();
  await expect(list).toBeHidden();

  await field.fill('coast');
  await options.filter({ hasText: 'Folder' }).click();
  await expect(page).toHaveURL(`${mock.url}/?folder=coast`);
  await expect(field).toHaveValue('');
  await expect(page.getByRole('button', { name: 'Remove the filter: In coast' })).toBeVisible();
});
