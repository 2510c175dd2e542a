import vue from "@vitejs/plugin-vue";
import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

const content = JSON.parse(readFileSync("content/site.json", "utf8"));

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
  plugins: [vue(), title],
});
