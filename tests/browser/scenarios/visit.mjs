// Visits a page as a careful tester does: tries the browser's own guards.
import assert from 'node:assert/strict';
import { everybodyCanUse } from '../everybody.mjs';
import { tabTo } from '../keyboard.mjs';
import { firstByte, memory } from '../measures.mjs';
import { fitsNarrowScreens } from '../people.mjs';
import { shoot } from '../pictures.mjs';

export default async function visit(session) {
  const { page, config } = session;
  session.step(`visit ${config.path}`);
  await page.goto(config.url + config.path);
  await page.locator('#settled').waitFor({ state: 'attached' });
  session.step('try the page in every way');
  await everybodyCanUse(page);
  await fitsNarrowScreens(page);
  await tabTo(page, page.getByRole('link', { name: 'Home' }));
  await shoot(page, 'visit');
  session.step('read it with scripts off');
  const plain = await session.another({ javaScriptEnabled: false });
  await plain.goto(config.url + config.path);
  const heading = await plain.getByRole('heading').innerText();
  assert.equal(heading, config.heading ?? 'A page');
  session.step('measure it');
  assert.ok(await firstByte(page) >= 0);
  assert.ok(await memory(page) > 0);
  session.step('ask for what is not there');
  const missing = await session.complaining(/404/, () => page.evaluate(async () => (await fetch('/missing')).status));
  return { heading, missing };
}
