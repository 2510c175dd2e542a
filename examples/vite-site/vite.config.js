import vue from "@vitejs/plugin-vue";
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// The content comes from a CMS that wants a token, where the project's variables name one:
//
//     grapnel env set harbour CMS_URL=https://cms.example.org
//     grapnel env set harbour CMS_TOKEN --secret
//
// and else from the file in this repository.
async function load() {
  const { CMS_URL: url, CMS_TOKEN: token } = process.env;
  if (!url) return JSON.parse(readFileSync("content/site.json", "utf8"));
  const answer = await fetch(new URL("/site.json", url), { headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error(`the CMS at ${url} answers ${answer.status}`);
  return answer.json();
}

const content = await load();

const module = {
  name: "content",
  resolveId: (id) => (id === "virtual:content" ? id : null),
  load: (id) => (id === "virtual:content" ? `export default ${JSON.stringify(content)}` : null),
};

// The title has to stand in the page itself, for readers without scripts and for search engines.
const title = {
  name: "title-from-content",
  transformIndexHtml: (html) =>
    html
      .replaceAll("{{ title }}", content.title)
      .replaceAll("{{ built }}", new Date().toISOString())
      .replaceAll("{{ commit }}", process.env.VERCEL_GIT_COMMIT_SHA ?? "local"),
};

export default defineConfig({
  plugins: [vue(), module, title],
});
