// cut-openapi.mjs DESCRIPTION PATH: prints what a description of an interface (OpenAPI 3 or Swagger 2, JSON) says of one
// path, with all that this refers to, as it stands there. A whole description takes its readers long to read.
import { readFileSync } from 'node:fs';

const [file, path] = process.argv.slice(2);
const whole = JSON.parse(readFileSync(file, 'utf8'));
if (!whole.paths[path]) throw new Error(`${file} does not describe ${path}`);

const { paths, components, definitions, responses, tags, 'x-webhooks': _, webhooks: __, ...rest } = whole;
const cut = { ...rest, paths: { [path]: paths[path] } };

const seen = new Set();
const follow = (node) => {
    if (node === null || typeof node !== 'object') return;
    if (typeof node.$ref === 'string' && node.$ref.startsWith('#/') && !seen.has(node.$ref)) {
        seen.add(node.$ref);
        const steps = node.$ref.slice(2).split('/').map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
        const last = steps.pop();
        let [from, to] = [whole, cut];
        for (const step of steps) {
            from = from[step];
            to = to[step] ??= {};
        }
        to[last] = from[last];
        follow(from[last]);
    }
    Object.values(node).forEach(follow);
};
follow(cut);
if (components?.securitySchemes) (cut.components ??= {}).securitySchemes = components.securitySchemes;
console.log(JSON.stringify(cut, null, 1));
