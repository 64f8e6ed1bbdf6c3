// "Show in folder": there where the server can open the file manager of this very desktop, and only for one picture.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test as withMock } from './mock';
import { test as withServer, Server } from './server';

const BUTTON = { name: 'Show in folder' };

withMock('a picture is shown from its large view, and one that is selected', async ({ page, mock }) => {
  await mock.start({ total: 40 });
  mock.world.hasDesktop = true;
  await page.goto(mock.url);
  const [first, second] = mock.world.images.map(({ image_name }) => image_name);
  await page.locator('a[data-index="0"]').click();
  await page.getByRole('dialog').getByRole('button', BUTTON).click();
  await expect.poll(() => mock.world.shownInFolder).toEqual([first]);
  mock.world.refusesToShow = true;
  await page.getByRole('dialog').getByRole('button', BUTTON).click();
  await expect(page.getByRole('alert')).toContainText('No file manager opened: xdg-open');
  mock.world.refusesToShow = false;
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();

  await page.locator('a[data-index="1"]').focus();
  await page.keyboard.press('x');
  const selection = page.getByRole('region', { name: 'Selection' });
  await selection.getByRole('button', BUTTON).click();
  await expect.poll(() => mock.world.shownInFolder).toEqual([first, second]);
  await page.locator('a[data-index="2"]').focus();
  await page.keyboard.press('x');
  await expect(selection).toContainText('2 selected');
  await expect(selection.getByRole('button', BUTTON)).toHaveCount(0);
});

withMock('where the server has no desktop, or is another machine, there is no button', async ({ page, mock }) => {
  await mock.start({ total: 40 });
  await page.goto(mock.url);
  await page.locator('a[data-index="0"]').click();
  await expect(page.getByRole('dialog').getByRole('button', { name: 'Copy link' })).toBeVisible();
  await expect(page.getByRole('button', BUTTON)).toHaveCount(0);
});

withServer('the real server opens what stands in for a file manager', async ({ page }) => {
  const server = new Server(['owl']);
  const programs = join(server.directory, 'programs');
  const told = join(server.directory, 'told');
  mkdirSync(programs);
  writeFileSync(join(programs, 'dbus-send'), '#!/bin/sh\nfor argument; do echo "$argument"; done >"$TOLD.part"\n/bin/mv "$TOLD.part" "$TOLD"\n');
  chmodSync(join(programs, 'dbus-send'), 0o755);
  Object.assign(server.environment, { PATH: programs, DISPLAY: ':0', TOLD: told });
  try {
    await server.start();
    await page.goto(`${server.url}/?image=owl.png`);
    await page.getByRole('button', BUTTON).click();
    await expect.poll(() => existsSync(told)).toBe(true);
    expect(readFileSync(told, 'utf8')).toContain(`array:string:file://${server.folder}/owl.png\n`);
  } finally {
    await server.remove();
  }
});
