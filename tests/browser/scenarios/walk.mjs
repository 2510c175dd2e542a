// A person's whole way: from signing in to a deployment that a hook started, its log, a new URL for the hook, the limit, going
// back to an older deployment, and out again. Each page on the way is judged for everybody, and on narrow screens.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { everybodyCanUse } from '../everybody.mjs';
import { clipboard, fitsNarrowScreens, signIn } from '../people.mjs';
import { shoot } from '../pictures.mjs';
import { until } from '../waiting.mjs';

const run = promisify(execFile);

export default async function walk(session) {
  const { page, config } = session;

  // What is wrong with one page keeps nobody from seeing what is wrong with the next.
  const wrong = [];
  const judge = async (name) => {
    await everybodyCanUse(page).catch((error) => wrong.push(`${name}: ${error.message}`));
    await fitsNarrowScreens(page, 320).catch((error) => wrong.push(`${name}: ${error.message}`));
    await shoot(page, name);
  };
  const request = async (url) => {
    const { stdout } = await run('curl', ['-sS', '-X', 'POST', '-w', '\n%{http_code}', url]);
    const [body, status] = stdout.split('\n');
    return { status: Number(status), ...JSON.parse(body) };
  };
  const settings = async (section) => page.goto(`${config.url}projects/harbour/settings/${section}`);

  session.step('sign in');
  await page.goto(config.url);
  await judge('sign-in');
  await signIn(page, config.url, config.key);
  await page.getByRole('heading', { name: 'No project yet' }).waitFor();
  await judge('projects-none');

  session.step('create a project');
  await page.getByRole('link', { name: 'New project' }).first().click();
  await page.getByLabel('Repository', { exact: true }).fill(config.repository);
  await judge('new-project');
  await page.getByRole('button', { name: 'Look into the repository' }).click();
  await page.getByText('The repository can be read.').waitFor();
  await page.getByLabel('Name').fill('harbour');
  assert.deepEqual(await page.getByLabel('Production branch').locator('option').allInnerTexts(), ['main', 'next']);
  await judge('new-project-branch');
  await page.getByRole('button', { name: 'Create the project' }).click();
  await page.getByText('The project is created.').waitFor();
  await judge('deployments-none');

  session.step('create a hook and copy its URL');
  await settings('hooks');
  await judge('hooks-none');
  await page.getByRole('link', { name: 'Create a hook' }).first().click();
  await page.getByLabel('Name').fill('cms');
  await judge('new-hook');
  await page.getByRole('button', { name: 'Create the hook' }).click();
  await page.getByText('Copy it now.').waitFor();
  await page.getByRole('button', { name: /^Copy/ }).first().click();
  const url = await until('the URL is copied', () => clipboard(page));
  assert.match(url, /\/v1\/integrations\/deploy\/prj_\w{26}\/grh_\w{38}$/);
  await judge('hook-created');

  session.step('request it, and see the deployment come and get ready without loading the page again');
  await page.goto(`${config.url}projects/harbour`);
  await page.evaluate(() => { window.sameAsBefore = true; });
  const job = (await request(url)).job;
  const row = page.locator(`tr[id="${job.id}"]`);
  await row.getByText('Hook cms').waitFor();
  await row.locator('.state-ready').waitFor();
  assert.equal(await page.evaluate(() => window.sameAsBefore), true);
  await page.getByText('Nothing was deployed yet').waitFor({ state: 'hidden' });

  session.step('read its log');
  await row.getByRole('link').first().click();
  const log = page.locator('[data-log]');
  await log.locator('.line', { hasText: 'edition one' }).waitFor();
  await log.locator('.line .f2', { hasText: 'built' }).waitFor();
  await page.locator('[data-log][data-ended="true"]').waitFor();
  await page.getByLabel('Search the log').fill('edition');
  await page.locator('[data-log-found]', { hasText: 'lines' }).waitFor();
  await page.getByRole('button', { name: 'Next line found' }).click();
  await log.locator('.line.hit.current').waitFor();
  await log.locator('.line .number').first().click();
  assert.match(page.url(), /#L\d+$/);
  assert.deepEqual(await page.locator('.steps tbody th').allInnerTexts(), ['source', 'cache', 'install', 'build', 'output']);
  await page.evaluate(() => window.scrollTo(0, 0));
  await judge('deployment');

  session.step('visit what it made');
  const site = await page.getByRole('link', { name: 'Visit', exact: true }).getAttribute('href');
  const visitor = await session.another();
  await visitor.goto(site);
  await visitor.getByText('edition one').waitFor();

  session.step('give the hook a new URL, with both tokens in sight');
  await settings('hooks');
  await page.getByRole('link', { name: 'Manage the hook cms' }).click();
  await judge('hook');
  await page.getByRole('button', { name: 'Rotate the URL' }).click();
  await page.getByText('Copy it now.').waitFor();
  const fresh = await page.locator('[data-copied]').first().innerText();
  assert.notEqual(fresh, url);
  await settings('hooks');
  const ends = (await page.locator('.token code').allInnerTexts()).map((text) => text.slice(-4));
  assert.deepEqual(ends.sort(), [url.slice(-4), fresh.slice(-4)].sort());

  session.step('deploy another edition with the new URL');
  await run('git', ['-C', config.checkout, '-c', 'user.name=Walker', '-c', 'user.email=walker@example.org', 'commit', '-q', '--allow-empty', '-m', 'Say nothing new']);
  await page.goto(`${config.url}projects/harbour`);
  const newer = (await request(fresh)).job;
  await page.locator(`tr[id="${newer.id}"] .state-ready`).waitFor();
  await page.reload();
  await judge('deployments');

  session.step('go back to the first');
  await page.goto(`${config.url}projects/harbour/deployments/${job.id}`);
  await page.getByText('Promote', { exact: true }).first().click();
  await page.locator('details[open]').getByRole('button', { name: 'Promote this deployment' }).click();
  await page.getByText('stays with it until the newest one is promoted').waitFor();
  await settings('addresses');
  await page.getByText('Held', { exact: true }).waitFor();
  await judge('addresses');

  session.step('reach the limit');
  for (const name of ['two', 'three', 'four', 'five']) {
    await page.goto(`${config.url}projects/harbour/settings/hooks`);
    await page.getByRole('link', { name: 'Create a hook' }).first().click();
    await page.getByLabel('Name').fill(name);
    await page.getByRole('button', { name: 'Create the hook' }).click();
    await page.getByText('Copy it now.').waitFor();
  }
  await settings('hooks');
  await page.getByText('5 of 5').first().waitFor();
  assert.equal(await page.getByRole('link', { name: 'Create a hook' }).count(), 0);
  await judge('hooks');

  session.step('see what was requested');
  await settings('triggers');
  await page.getByText('POST').first().waitFor();
  await judge('triggers');

  session.step('revoke the hook');
  await page.goto(`${config.url}projects/harbour/settings/hooks`);
  await page.getByRole('link', { name: 'Manage the hook cms' }).click();
  await page.locator('summary', { hasText: 'Revoke' }).click();
  await page.locator('details[open]').getByRole('button', { name: /Revoke/ }).click();
  await page.getByText('4 of 5').first().waitFor();
  assert.equal((await request(fresh)).status, 410);

  session.step('look at the other settings');
  for (const section of config.sections) {
    await settings(section);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await judge(`settings-${section}`);
  }

  session.step('sign out');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
  await page.goto(`${config.url}projects/harbour`);
  assert.match(page.url(), /\/login\?next=/);
  assert.deepEqual(wrong, []);
  return { ready: [job.id, newer.id] };
}
