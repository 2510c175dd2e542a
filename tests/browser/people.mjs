// What people do on the dashboard, whichever page is tried.

// Signs in with an API key, and waits until the page after it is there.
export async function signIn(page, url, key) {
  await page.goto(url);
  await page.getByLabel('API key').fill(key);
  const before = page.url();
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((now) => now.href !== before);
}

// Returns what the last copy button copied.
export async function clipboard(page) {
  return page.evaluate(() => navigator.clipboard.readText());
}

// Throws when a page is wider than a narrow screen, so that it would have to be moved sideways.
export async function fitsNarrowScreens(page, width = 360) {
  const before = page.viewportSize();
  await page.setViewportSize({ width, height: 740 });
  const wide = await page.evaluate(() => {
    const seen = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= seen) return [];
    return [...document.body.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > seen)
      .map((element) => element.outerHTML.slice(0, 120));
  });
  await page.setViewportSize(before);
  if (wide.length > 0) throw new Error(`${page.url()} does not fit ${width} pixels:\n${wide.slice(0, 10).join('\n')}`);
}
