// Pictures of pages, for docs and for failures.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

// Takes a picture of a page into the directory that GRAPNEL_TEST_SCREENSHOTS names; without it, none. `options` are those of
// Playwright, as `fullPage: true` or `mask`.
export async function shoot(page, name, options = {}) {
  const directory = process.env.GRAPNEL_TEST_SCREENSHOTS;
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`), animations: 'disabled', ...options });
}
