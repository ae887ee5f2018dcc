"use strict";
(() => {
  const PAGE = 25;
  const parse = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = parse("browser-data");
  const [SEGMENT, SESSION, SPEAKER, DURATION, LOUDNESS, REFERENCE, WORDS, AUDIO, SLICES, ERRORS, TEXTS] = Array(11).keys();
  const last = data.models.length - 1;
  const list = document.getElementById("browser-list");
  const count = document.getElementById("browser-count");
  const search = document.getElementById("browser-search");
  const order = document.getElementById("browser-order");
  const filters = document.getElementById("browser-filters");
  const chunks = new Map();
  let shown = [], page = 0, url = null, folded = null;

  // Every text becomes a text node, so a hostile transcript is never interpreted.
  const make = (tag, text = "", css = "", attributes = {}) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (css) made.className = css;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const plain = (text) =>
    typeof text === "string" ? text : text.map((step) => (typeof step === "string" ? step : step[1] || "")).join(" ");

  const ORDERS = {
    errors: ["Most errors", (row) => -row[ERRORS][last]],
    rate: ["Highest share of wrong words", (row) => -row[ERRORS][last] / (row[WORDS] || 1)],
    worse: ["Worse than " + data.models[0].name, (row) => row[ERRORS][0] - row[ERRORS][last]],
    better: ["Better than " + data.models[0].name, (row) => row[ERRORS][last] - row[ERRORS][0]],
    long: ["Longest", (row) => -row[DURATION]],
    short: ["Shortest", (row) => row[DURATION]],
    quiet: ["Quietest", (row) => row[LOUDNESS]],
  };

  const play = (button, row) => {
    const chunk = Math.floor(row[AUDIO] / data.clips_per_chunk);
    if (!chunks.has(chunk)) chunks.set(chunk, parse("browser-audio-" + chunk));
    const bytes = Uint8Array.from(atob(chunks.get(chunk)[row[AUDIO] % data.clips_per_chunk]), (c) => c.charCodeAt(0));
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([bytes], { type: "audio/mpeg" }));
    const open = list.querySelector("audio");
    if (open) open.replaceWith(open.button);
    const player = make("audio", "", "", { controls: "", src: url, "aria-label": "Audio: " + row[REFERENCE] });
    player.button = button;
    button.replaceWith(player);
    player.focus();
    player.play().catch(() => {});
  };

  const drawWords = (text) => {
    const words = make("span", "", "words", { lang: "es" });
    if (!plain(text) && !text.length) words.append(make("span", "(empty)", "soft", { lang: "en" }));
    for (const step of typeof text === "string" ? [text] : text) {
      if (typeof step === "string") words.append(step);
      else if (step[1] === null) words.append(make("del", step[0], "", { title: "deleted" }));
      else if (step[0] === null) words.append(make("ins", step[1], "", { title: "inserted" }));
      else {
        const pair = make("ruby", step[1], "substitute", { title: "substituted" });
        pair.append(make("rp", " ("), make("rt", step[0]), make("rp", ")"));
        words.append(pair);
      }
      words.append(" ");
    }
    return words;
  };

  const drawRow = (row) => {
    const card = make("div", "", "example");
    card.append(make("blockquote", row[REFERENCE] || "(no words)", "", { lang: "es" }));
    const facts = [row[SPEAKER], row[DURATION] + " s", row[LOUDNESS] + " dBFS", "session " + row[SESSION]];
    card.append(make("small", facts.filter(Boolean).join(" · ")));
    const sound = make("div", "", "sound");
    if (row[AUDIO] < 0) sound.append(make("small", "no audio in this file · segment " + row[SEGMENT]));
    else {
      const button = make("button", "▶ Play", "play", { type: "button", "aria-label": "Play: " + row[REFERENCE] });
      button.addEventListener("click", () => play(button, row));
      sound.append(button);
    }
    card.append(sound);
    data.models.forEach((model, at) => {
      const line = make("div", "", "hypothesis");
      const name = make("span", model.name + " ", "name " + model.role);
      name.append(make("small", row[ERRORS][at] + (row[ERRORS][at] === 1 ? " error" : " errors")));
      line.append(name, drawWords(row[TEXTS][at]));
      card.append(line);
    });
    return card;
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(drawRow));
    count.textContent = `${shown.length} of ${data.rows.length} utterances, page ${page + 1} of ${pages}`;
    for (const button of document.querySelectorAll("[data-turn]")) {
      const target = page + Number(button.dataset.turn);
      button.disabled = target < 0 || target >= pages;
    }
  };

  const choose = () => {
    const wanted = [...filters.querySelectorAll("select")].map((each) => Number(each.value));
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    if (words.length && !folded) {
      folded = new Map(data.rows.map((row) => [row, fold([row[SEGMENT], row[REFERENCE], ...row[TEXTS].map(plain)].join("\n"))]));
    }
    const key = ORDERS[order.value][1];
    shown = data.rows
      .filter((row) => wanted.every((value, at) => value < 0 || row[SLICES][at] === value))
      .filter((row) => words.every((word) => folded.get(row).includes(word)))
      .sort((one, other) => key(one) - key(other));
    page = 0;
    draw();
  };

  for (const [value, [label]] of Object.entries(ORDERS)) order.append(make("option", label, "", { value }));
  for (const { label, names } of data.dimensions) {
    const box = make("label", label + " ");
    const select = make("select", "", "", { "aria-label": label });
    select.append(make("option", "all", "", { value: -1 }));
    names.forEach((name, at) => select.append(make("option", name, "", { value: at })));
    select.addEventListener("change", choose);
    box.append(select);
    filters.append(box);
  }
  order.addEventListener("change", choose);
  search.addEventListener("input", choose);
  for (const button of document.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => {
      page += Number(button.dataset.turn);
      draw();
      document.getElementById("utterances").scrollIntoView();
    });
  }
  choose();
})();
