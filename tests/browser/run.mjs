// run.mjs SCENARIO: has a browser play a scenario. Standard input holds its configuration, a JSON object; `origins` lists
// what the pages may talk to. What the scenario returns is the last line of standard output, as JSON; how it went is on
// standard error. Exits with 1 when anything was not as expected.
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { Session } from './session.mjs';

const file = resolve(process.argv[2]);
const { default: scenario } = await import(pathToFileURL(file).href);
const session = await Session.open(JSON.parse(await text(process.stdin)));
let failed = false;
try {
  const told = await scenario(session);
  await session.judge();
  console.log(JSON.stringify(told ?? {}));
} catch (error) {
  failed = true;
  console.error(await session.story(error));
} finally {
  await session.close();
}
process.exit(failed ? 1 : 0);
