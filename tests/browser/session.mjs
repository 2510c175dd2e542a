// A browser of a scenario's own that remembers whatever a page does that it should not: requests to anybody else, errors in
// the console, uncaught errors, violations of its Content-Security-Policy, crashes.
import assert from 'node:assert/strict';
import { resolverRules, Origins } from './origins.mjs';
import { shoot } from './pictures.mjs';
import { chromium } from './tools.mjs';
import { until } from './waiting.mjs';

// As long as a loaded machine may need for one thing, in milliseconds.
const PATIENCE = 60_000;

const FLAGS = ['--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--no-first-run'];

// Chromium says violations in the console too, but not which element is to blame.
const WATCH = () => document.addEventListener('securitypolicyviolation', (violation) => console.error(
  `Content-Security-Policy: ${violation.effectiveDirective} forbids ${violation.blockedURI || 'this'}: ${violation.sample}`));

export class Session {
  #browser;
  #origins;
  #complaints = [];
  #tolerated = [];
  #steps = [];

  // Opens a browser with one empty page.
  static async open(config) {
    const session = new Session();
    session.config = config;
    session.#origins = new Origins(config.origins);
    session.#browser = await chromium.launch({
      executablePath: '/usr/bin/chromium',
      headless: true,
      chromiumSandbox: false,
      args: [...FLAGS, `--host-resolver-rules=${resolverRules(config.origins)}`],
    });
    session.page = await session.another();
    return session;
  }

  // Returns a page of another person's: it shares no cookie with the others. `options` are those of Playwright's contexts,
  // as `javaScriptEnabled: false`, `colorScheme: 'dark'`, `viewport`.
  async another(options = {}) {
    const context = await this.#browser.newContext({
      viewport: { width: 1280, height: 800 },
      locale: 'en-GB',
      timezoneId: 'UTC',
      colorScheme: 'light',
      reducedMotion: 'reduce',
      serviceWorkers: 'block',
      permissions: ['clipboard-read', 'clipboard-write'],
      ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    context.on('request', (request) => this.#asked(request.url(), request.resourceType()));
    context.on('weberror', (failure) => this.#complain(`an error nobody caught: ${failure.error().stack ?? failure.error()}`));
    context.on('console', (message) => {
      if (message.type() === 'error') this.#complain(`the console: ${message.text()} (${message.location().url})`);
    });
    context.on('page', (page) => {
      page.on('websocket', (socket) => this.#asked(socket.url(), 'websocket'));
      page.on('crash', () => this.#complain(`a page crashed: ${page.url()}`));
    });
    await context.addInitScript(WATCH);
    return context.newPage();
  }

  // Says what comes next, for the story of a failure.
  step(name) {
    this.#steps.push(name);
    console.error(`- ${name}`);
  }

  // Does something of which the browser has to complain, as it does of a request that is refused. Complaints from before,
  // and others, still count.
  async complaining(pattern, act) {
    await this.judge();
    const told = await act();
    const heard = () => this.#complaints.some((complaint) => pattern.test(complaint));
    await until(`the browser complains with ${pattern}`, heard);
    this.#complaints = this.#complaints.filter((complaint) => !pattern.test(complaint));
    return told;
  }

  // Lets complaints pass that may come and may not, as of a stream that is cut when the server is stopped.
  tolerate(pattern) {
    this.#tolerated.push(pattern);
  }

  // Throws when the browser had reason to complain so far.
  async judge() {
    // Answers come after the events that were there before.
    await Promise.all(this.#pages().map((page) => page.evaluate(() => 0).catch(() => {})));
    assert.equal(this.#complaints.length, 0, 'the browser complains');
  }

  // Returns how far it came, why it ended, what the browser complained of and what the pages say.
  async story(error) {
    const lines = [`It failed at “${this.#steps.at(-1) ?? 'the beginning'}”: ${error.stack ?? error}`];
    if (this.#complaints.length > 0) lines.push('The browser complains:', ...this.#complaints.map((complaint) => `* ${complaint}`));
    for (const [index, page] of this.#pages().entries()) {
      const seen = page.locator('body').innerText({ timeout: 5_000 }).catch((failure) => `(no text: ${failure.message})`);
      lines.push(`Page ${index + 1} is ${page.url()} and says:`, (await seen).slice(0, 4_000));
      await shoot(page, `failed-${index + 1}`).catch(() => {});
    }
    return lines.join('\n');
  }

  async close() {
    await this.#browser.close();
  }

  #pages() {
    return this.#browser.contexts().flatMap((context) => context.pages());
  }

  #asked(url, kind) {
    if (!this.#origins.allow(url)) this.#complain(`a request elsewhere: ${url} (${kind})`);
  }

  #complain(complaint) {
    if (!this.#tolerated.some((pattern) => pattern.test(complaint))) this.#complaints.push(complaint);
  }
}
