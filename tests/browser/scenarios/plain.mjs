// The dashboard without a mouse, and without scripts.
import assert from 'node:assert/strict';
import { pressOn, tabTo } from '../keyboard.mjs';
import { fitsNarrowScreens, signIn } from '../people.mjs';

export default async function plain(session) {
  const { page, config } = session;

  session.step('sign in by keyboard');
  await page.goto(config.url);
  await tabTo(page, page.getByLabel('API key'));
  await page.keyboard.type(config.key);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Projects' }).waitFor();

  session.step('deploy by keyboard');
  await pressOn(page, page.getByRole('link', { name: 'harbour', exact: true }));
  await page.getByRole('heading', { name: 'Deployments' }).waitFor();
  await pressOn(page, page.locator('summary', { hasText: 'Deploy' }));
  await pressOn(page, page.getByRole('button', { name: 'Deploy now' }));
  await page.getByText('It is asked for, and waits for its turn.').waitFor();
  await page.locator('#deployment .state-ready').waitFor();

  session.step('read the log by keyboard');
  await page.locator('[data-log][data-ended="true"]').waitFor();
  await tabTo(page, page.locator('[data-log-view]'));
  await page.keyboard.press('End');
  await page.locator('.line', { hasText: 'published' }).waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('edition');
  await page.keyboard.press('Enter');
  await page.locator('.line.hit.current').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('.line.hit').count(), 0);
  await page.evaluate(() => window.scrollTo(0, 0));
  const address = page.url().split('?')[0];

  session.step('skip to the content');
  await page.goto(`${config.url}projects`);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');

  session.step('read everything with scripts off');
  const still = await session.another({ javaScriptEnabled: false });
  await signIn(still, config.url, config.key);
  await still.getByRole('link', { name: 'harbour', exact: true }).click();
  await still.locator('.state-ready').first().waitFor();
  await still.goto(address);
  await still.locator('.line', { hasText: 'this is edition one' }).waitFor();
  assert.deepEqual(await still.locator('.steps tbody th').allInnerTexts(), ['source', 'cache', 'install', 'build', 'output']);
  assert.equal(await still.getByLabel('Search the log').isVisible(), false, 'what needs scripts is not offered');
  await fitsNarrowScreens(still, 320);

  session.step('make a hook and revoke it with scripts off');
  await still.goto(`${config.url}projects/harbour/settings/hooks`);
  await still.getByRole('link', { name: 'Create a hook' }).first().click();
  await still.getByLabel('Name').fill('plain');
  await still.getByRole('button', { name: 'Create the hook' }).click();
  assert.match(await still.locator('[data-copied]').first().innerText(), /\/grh_\w{38}$/);
  await still.goto(`${config.url}projects/harbour/settings/hooks`);
  assert.doesNotMatch(await still.content(), /grh_/);
  await still.locator('summary', { hasText: 'Revoke' }).click();
  await still.locator('details[open]').getByRole('button', { name: /Revoke/ }).click();
  await still.getByText('No deploy hook').first().waitFor();
  return {};
}
