import { createApp } from "vue";
import Site from "./Site.vue";
import "./site.css";

createApp(Site).mount("#site");
