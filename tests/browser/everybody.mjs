// Whether everybody can use a page, as far as a program can judge.
import { axeSource } from './tools.mjs';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// Throws when axe finds anything wrong with a page, in light or in dark. Leaves it light.
export async function everybodyCanUse(page) {
  const found = [];
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    found.push(...(await judged(page)).map((wrong) => `${colorScheme}: ${wrong}`));
  }
  if (found.length > 0) throw new Error(`not everybody can use ${page.url()}:\n${found.join('\n')}`);
}

async function judged(page) {
  await inject(page);
  const violations = await page.evaluate(async (rules) => {
    // Colours that are still changing are no colours to judge.
    await new Promise((settled) => requestAnimationFrame(() => requestAnimationFrame(settled)));
    for (const animation of document.getAnimations()) {
      try { animation.finish(); } catch { /* It has no end. */ }
    }
    // It would fetch style sheets again, which the page's policy may forbid.
    const options = { runOnly: { type: 'tag', values: rules }, resultTypes: ['violations'], preload: false };
    return (await window.axe.run(document, options)).violations;
  }, RULES);
  return violations.flatMap(({ id, help, nodes }) => nodes.map(
    (node) => `${id} (${help}): ${node.html.slice(0, 200)}\n    ${node.failureSummary.replaceAll('\n', '\n    ')}`));
}

// Pages' policies forbid scripts that are text to them, but not what a debugger evaluates.
async function inject(page) {
  const debug = await page.context().newCDPSession(page);
  const { exceptionDetails } = await debug.send('Runtime.evaluate', { expression: axeSource });
  await debug.detach();
  if (exceptionDetails) throw new Error(`axe does not load: ${JSON.stringify(exceptionDetails)}`);
}
