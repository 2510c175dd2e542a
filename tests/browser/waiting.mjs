// Waiting for what has to come, with a bound that a loaded machine keeps.
import { setTimeout as pause } from 'node:timers/promises';

// Waits until a check holds, and returns what it gave.
export async function until(what, check, seconds = 60) {
  const deadline = Date.now() + seconds * 1_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await pause(50);
  }
}
