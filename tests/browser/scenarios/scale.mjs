// Ten thousand deployments and a log of a hundred thousand lines: what they cost whoever looks at them.
import assert from 'node:assert/strict';
import { firstByte, memory } from '../measures.mjs';
import { signIn } from '../people.mjs';
import { until } from '../waiting.mjs';

// The middle one of several loads of a page, in milliseconds.
async function firstBytes(page, url) {
  const all = [];
  for (let load = 0; load < 5; load += 1) {
    await page.goto(url);
    all.push(await firstByte(page));
  }
  return Math.round([...all].sort((a, b) => a - b)[2]);
}

export default async function scale(session) {
  const { page, config } = session;
  await signIn(page, config.url, config.key);
  const told = {};

  session.step('the list');
  const list = `${config.url}projects/fleet`;
  told.list = await firstBytes(page, list);
  assert.equal(await page.locator('table.list tbody tr').count(), 50);
  told.filtered = await firstBytes(page, `${list}?state=CANCELED&branch=main`);
  assert.equal(await page.locator('table.list tbody tr').count(), 50);
  told.none = await firstBytes(page, `${list}?state=READY`);
  await page.getByText('Nothing found').waitFor();
  await page.goto(list);
  await page.getByRole('link', { name: 'Next page' }).click();
  await page.getByRole('link', { name: 'First page' }).waitFor();

  session.step('the page of a long log');
  const long = `${config.url}projects/long/deployments/${config.deployment}`;
  told.page = await firstBytes(page, long);
  const begun = Date.now();
  await page.goto(long);
  await page.locator('[data-log][data-ended="true"]').waitFor();
  told.whole = Date.now() - begun;
  await page.getByText(/100\d{3} lines/).waitFor();
  const shown = await page.locator('.line').count();
  assert.ok(shown < 500, `${shown} lines are in the document`);

  session.step('its end, and any line of it');
  const view = page.locator('[data-log-view]');
  await view.focus();
  const moved = Date.now();
  await page.keyboard.press('End');
  await page.locator('.line', { hasText: 'boat 100000' }).waitFor();
  told.end = Date.now() - moved;
  const sought = Date.now();
  await page.getByLabel('Search the log').fill('boat 54321');
  await until('it is found', async () => (await page.locator('[data-log-found]').innerText()) === '1 line');
  told.search = Date.now() - sought;
  await page.keyboard.press('Enter');
  await page.locator('.line.hit.current', { hasText: 'boat 54321' }).waitFor();

  session.step('a link to a line');
  await page.goto(`${long}#L70000`);
  await page.reload();
  await page.locator('.line.marked').waitFor();

  session.step('the file');
  const file = await page.evaluate(async (url) => {
    const answer = await fetch(url);
    return (await answer.text()).split('\n').filter((line) => line.startsWith('boat ')).length;
  }, `${long}/log.txt`);
  assert.equal(file, 100_000);
  told.megabytes = Math.round((await memory(page)) / 1e6);
  return told;
}
