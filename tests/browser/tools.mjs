// What scripts/browser.sh installed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const installed = process.env.GRAPNEL_TEST_BROWSER;
if (!installed) throw new Error('GRAPNEL_TEST_BROWSER is not set; run `make test`, which sets it');
const require = createRequire(`${installed}/package.json`);

export const { chromium } = require('playwright-core');

// The source of axe-core, for pages.
export const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
