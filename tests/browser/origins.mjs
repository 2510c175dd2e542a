// Whom the pages of a scenario may talk to: origins as `http://127.0.0.1:7300`, or with any subdomain, as
// `http://*.localhost:7380`.

export class Origins {
  #exact;
  #below;

  constructor(origins) {
    this.#exact = new Set(origins.filter((origin) => !origin.includes('*')).map((origin) => new URL(origin).origin));
    this.#below = origins.filter((origin) => origin.includes('*')).map((origin) => new URL(origin.replace('*.', '')));
  }

  // Tells whether a page may ask for a URL.
  allow(url) {
    const asked = new URL(url);
    // These are no requests to anybody.
    if (['about:', 'blob:', 'data:'].includes(asked.protocol)) return true;
    return this.#exact.has(asked.origin) || this.#below.some((above) => asked.protocol === above.protocol
      && asked.port === above.port && asked.hostname.endsWith(`.${above.hostname}`));
  }
}

// Returns the rules by which the browser finds no other host at all, in case that it asks behind the page's back.
export function resolverRules(origins) {
  const hosts = new Set(origins.map((origin) => origin.replace(/^[a-z]+:\/\//, '').replace(/:\d+.*$/, '')));
  return ['MAP * ~NOTFOUND', ...[...hosts].map((host) => `EXCLUDE ${host}`)].join(', ');
}
