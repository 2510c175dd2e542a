// Keeps "3 minutes ago" true while a page stays open. The words are those of components.rs.
"use strict";

(() => {
  const units = [[31536000, "year"], [2592000, "month"], [86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

  const ago = (seconds) => {
    const length = Math.abs(seconds);
    if (length <= 5) return "just now";
    const [size, unit] = units.find(([size]) => length >= size);
    const count = Math.floor(length / size);
    const span = `${count} ${unit}${count === 1 ? "" : "s"}`;
    return seconds > 0 ? `${span} ago` : `in ${span}`;
  };

  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const told = ago(Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
      if (time.textContent !== told) time.textContent = told;
    }
  }, 10000);
})();
