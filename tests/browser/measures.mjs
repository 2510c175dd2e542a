// What a page costs.
import { readFileSync } from 'node:fs';

// Returns how long after its request the first byte of a page came, in milliseconds.
export async function firstByte(page) {
  return page.evaluate(() => {
    const [navigation] = performance.getEntriesByType('navigation');
    return navigation.responseStart - navigation.requestStart;
  });
}

// Returns the memory that belongs to nobody but the processes that render pages, in bytes. Called after the garbage was
// collected, so that it tells what a page needs.
export async function memory(page) {
  const debug = await page.context().newCDPSession(page);
  await debug.send('HeapProfiler.collectGarbage');
  await debug.detach();
  const browser = await page.context().browser().newBrowserCDPSession();
  const { processInfo } = await browser.send('SystemInfo.getProcessInfo');
  await browser.detach();
  return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => own(id)).reduce((all, one) => all + one, 0);
}

function own(id) {
  const rollup = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
  const kilobytes = [...rollup.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)].map(([, count]) => Number(count));
  return kilobytes.reduce((all, one) => all + one, 0) * 1024;
}
