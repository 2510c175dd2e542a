// A person without a mouse.

// Presses Tab until an element has the focus, and throws when it never gets it, or when nobody would see that it has it.
export async function tabTo(page, locator, most = 100) {
  for (let presses = 0; presses <= most; presses += 1) {
    if (await locator.evaluate((element) => element === document.activeElement)) return seesFocus(page);
    await page.keyboard.press('Tab');
  }
  throw new Error(`${most} times Tab do not lead to ${locator}; the focus is at ${await focused(page)}`);
}

// Goes to an element with Tab and presses a key there.
export async function pressOn(page, locator, key = 'Enter') {
  await tabTo(page, locator);
  await page.keyboard.press(key);
}

// Returns the beginning of the focused element's HTML.
export async function focused(page) {
  return page.evaluate(() => document.activeElement?.outerHTML.slice(0, 160) ?? 'nothing');
}

// Throws when the focused element does not look so.
export async function seesFocus(page) {
  const seen = await page.evaluate(() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
    return element.matches(':focus-visible') && (outlined || style.boxShadow !== 'none');
  });
  if (!seen) throw new Error(`nobody sees that the focus is at ${await focused(page)}`);
}
