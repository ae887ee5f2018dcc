// The page Corregir. Answers are kept in the browser until the server has them, and are sent again with the same id.

const $ = (id) => document.getElementById(id);
const desk = $("desk");
const texts = JSON.parse(desk.dataset.texts);
const say = (text, values = {}) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const AHEAD = 3;
const LONGEST_PAUSE_MS = 30_000;
const DRAFT_KEPT_MS = 14 * 24 * 3_600_000;

function makeId() {
  // `crypto.randomUUID` exists on encrypted pages only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// ---- What the browser keeps. Each entry has a key of its own, so that two tabs do not overwrite each other.
class Kept {
  constructor(kind) {
    this.prefix = `habla.${kind}.${desk.dataset.outbox}.`;
    this.memory = new Map(); // for a browser that keeps nothing
  }
  list() {
    const keys = [...this.memory.keys()];
    try {
      keys.push(...Object.keys(localStorage).filter((key) => key.startsWith(this.prefix)));
    } catch { /* the browser keeps nothing */ }
    return [...new Set(keys)].sort().map((key) => ({ key, ...this.read(key) }));
  }
  read(key) {
    try {
      return this.memory.get(key) ?? JSON.parse(localStorage.getItem(key) ?? "null");
    } catch {
      return null;
    }
  }
  add(name, value) {
    try {
      localStorage.setItem(this.prefix + name, JSON.stringify(value));
    } catch {
      this.memory.set(this.prefix + name, value);
    }
  }
  remove(key) {
    this.memory.delete(key);
    try {
      localStorage.removeItem(key);
    } catch { /* the browser keeps nothing */ }
  }
}
const outbox = new Kept("outbox");
const conflicts = new Kept("conflicts");
const refused = new Kept("refused");
const drafts = new Kept("drafts");
let lastNumber = 0;
const nextName = () => {
  lastNumber = Math.max(Date.now(), lastNumber + 1);
  return `${String(lastNumber).padStart(15, "0")}-${makeId()}`;
};

// ---- Sending, one entry at a time and in order.
let sending = null;
let pause = 0;
let retryTimer = 0;
let trouble = "";

async function ask(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  return fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers }, signal: AbortSignal.timeout(20_000) });
}

function send() {
  clearTimeout(retryTimer);
  const all = () => sendAll().catch(() => retryLater("offline"));
  // One tab at a time, where the browser can tell; a second one would only repeat what is already saved.
  sending ??= (navigator.locks ? navigator.locks.request(outbox.prefix, all) : all()).finally(() => {
    sending = null;
    showState();
    if (!trouble && outbox.list().length) send(); // added while the last one was on its way
  });
  return sending;
}

async function sendAll() {
  trouble = "";
  for (let entry; (entry = outbox.list()[0]); ) {
    showState();
    const age = Math.max(0, (Date.now() - entry.at) / 1000);
    const body = entry.undo ? { undoId: entry.answerId } : { ...entry.body, ageSeconds: age };
    const response = await ask(entry.path, body);
    if (response.ok) {
      outbox.remove(entry.key);
      keepConflict(entry, await response.json());
    } else if (response.status === 401) {
      return retryLater("sign-in");
    } else if (response.status >= 500 || response.status === 429 || response.status === 408) {
      return retryLater("offline", Number(response.headers.get("Retry-After")) * 1000);
    } else {
      // The server will never take it: show it, so that nothing is lost unseen.
      if (!entry.undo) refused.add(nextName(), { text: entry.shown });
      outbox.remove(entry.key);
    }
    pause = 0;
  }
  showNotices();
  return undefined;
}

function retryLater(kind, wait = 0) {
  trouble = kind;
  pause = Math.min(LONGEST_PAUSE_MS, Math.max(1000, pause * 2));
  retryTimer = setTimeout(send, Math.max(pause, wait || 0));
}

function keepConflict(entry, saved) {
  for (const other of saved.others ?? []) {
    const theirs = other.status === "unusable" ? texts.unusable[other.reason] ?? other.reason : other.text;
    conflicts.add(nextName(), { answerId: saved.answerId, person: other.person, theirs, yours: entry.shown });
  }
}

// ---- What the person sees of it.
function showState() {
  const waiting = outbox.list().length;
  const clashes = conflicts.list().length;
  let kind = "saved";
  let text = texts.allSaved;
  if (waiting && trouble === "sign-in") [kind, text] = ["sign-in", texts.signIn];
  else if (waiting && (trouble || !navigator.onLine)) [kind, text] = ["offline", texts.offline];
  else if (waiting) [kind, text] = ["waiting", texts.waiting];
  else if (clashes) [kind, text] = ["conflict", texts.conflicts];
  const shown = say(text, { count: waiting || clashes });
  const state = $("state");
  if (state.textContent === shown && state.dataset.kind === kind) return;
  state.dataset.kind = kind;
  state.textContent = shown;
  if (kind === "sign-in") {
    const link = document.createElement("a");
    link.href = "/sign-in?next=/correct";
    link.textContent = shown;
    state.replaceChildren(link);
  }
}

function makeButton(text, action, kind = "second") {
  const button = document.createElement("button");
  button.type = "button";
  button.className = kind;
  button.textContent = text;
  button.addEventListener("click", action);
  return button;
}

function makeNotice(kind, lines, buttons) {
  const item = document.createElement("li");
  item.className = `message ${kind}`;
  for (const line of lines) {
    const paragraph = document.createElement("p");
    paragraph.textContent = line;
    item.append(paragraph);
  }
  const actions = document.createElement("div");
  actions.className = "actions";
  actions.append(...buttons);
  item.append(actions);
  return item;
}

function showNotices() {
  const close = (kept, entry) => { kept.remove(entry.key); showNotices(); };
  const clashes = conflicts.list().map((entry) => makeNotice(
    "wait",
    [say(texts.theirs, { person: entry.person, text: entry.theirs }), say(texts.yours, { text: entry.yours })],
    [
      makeButton(texts.keepMine, () => close(conflicts, entry)),
      makeButton(texts.takeTheirs, () => { queueUndo(entry.answerId); close(conflicts, entry); }),
    ],
  ));
  const lost = refused.list().map((entry) => makeNotice(
    "bad", [say(texts.refused, { text: entry.text })], [makeButton(texts.forget, () => close(refused, entry))],
  ));
  $("notices").replaceChildren(...lost, ...clashes);
  showState();
}

// ---- Audio: the whole clip is in memory before it is shown, so that the network is not needed to play it.
const audio = new Audio();
audio.preservesPitch = true;

async function loadAudio(clip) {
  const response = await ask(`/correct/clips/${clip.handOutId}/audio`);
  if (!response.ok) throw new Error(`audio: ${response.status}`);
  const bytes = await response.arrayBuffer();
  clip.address = URL.createObjectURL(new Blob([bytes], { type: "audio/flac" }));
  const decoded = await new OfflineAudioContext(1, 1, 16_000).decodeAudioData(bytes);
  clip.seconds = decoded.duration;
  clip.peaks = findPeaks(decoded.getChannelData(0), 400);
}

function findPeaks(samples, count) {
  const peaks = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    const end = Math.floor(((at + 1) * samples.length) / count);
    for (let index = Math.floor((at * samples.length) / count); index < end; index++) {
      peaks[at] = Math.max(peaks[at], Math.abs(samples[index]));
    }
  }
  const loudest = Math.max(0.02, ...peaks);
  return peaks.map((each) => each / loudest);
}

function drawWave() {
  const canvas = $("wave");
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale)) [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const peaks = current?.peaks;
  if (!peaks) return;
  const colours = getComputedStyle(document.documentElement);
  const played = audio.currentTime / (current.seconds || 1);
  const bars = Math.max(1, Math.min(peaks.length, Math.floor(width / 4)));
  for (let bar = 0; bar < bars; bar++) {
    const peak = Math.max(...peaks.slice(Math.floor((bar * peaks.length) / bars), Math.ceil(((bar + 1) * peaks.length) / bars)));
    const tall = Math.max(2, peak * (height - 4));
    pen.fillStyle = colours.getPropertyValue(bar / bars < played ? "--accent" : "--soft");
    pen.fillRect((bar * width) / bars, (height - tall) / 2, Math.max(1, width / bars - 1.5), tall);
  }
}

function follow() {
  $("play").textContent = audio.paused ? texts.play : texts.stop;
  if (document.activeElement !== $("position")) $("position").value = String(Math.round((100 * audio.currentTime) / (current?.seconds || 1)));
  drawWave();
  if (!audio.paused) requestAnimationFrame(follow);
}

function play(from = null) {
  if (!current?.address) return;
  if (from !== null) audio.currentTime = Math.max(0, from);
  else if (audio.ended) audio.currentTime = 0;
  audio.playbackRate = speed();
  // A browser may refuse to play before the first click.
  audio.play().catch(() => {});
}
const speed = () => Number(document.querySelector("input[name=speed]:checked").value);
const togglePlay = () => (audio.paused ? play() : audio.pause());
const repeat = () => play(audio.currentTime - 2);
function setSpeed(at) {
  document.querySelectorAll("input[name=speed]")[at].checked = true;
  audio.playbackRate = speed();
}
for (const event of ["play", "pause", "ended", "seeked"]) audio.addEventListener(event, follow);

// ---- The clips.
let current = null;
let ready = [];
let fetching = null;
let last = null;
const done = new Set(); // segments answered since the page was loaded
let progress = null;

function fill() {
  fetching ??= fillOnce().catch(() => showEmpty(texts.cannotLoad, "", 3000)).finally(() => { fetching = null; });
  return fetching;
}

async function fillOnce() {
  if (ready.length < AHEAD) {
    const held = [...done, ...ready.map((each) => each.segmentId), ...(current ? [current.segmentId] : [])];
    const query = new URLSearchParams({ most: String(AHEAD - ready.length) });
    // The newest ones: what the server has already it leaves out itself.
    for (const segment of held.slice(-100)) query.append("exclude", segment);
    const response = await ask(`/correct/clips?${query}`);
    if (response.status === 401) location.assign("/sign-in?next=/correct");
    if (!response.ok) throw new Error(`clips: ${response.status}`);
    const found = await response.json();
    progress = found.progress;
    showProgress();
    ready.push(...found.clips);
  }
  if (!current) await showNext();
  for (const clip of ready) await prepare(clip);
}

async function prepare(clip) {
  clip.loading ??= loadAudio(clip).then(() => true, () => { clip.loading = null; return false; });
  return clip.loading;
}

async function showNext() {
  const clip = ready.shift();
  if (!clip) return showEmpty(texts.done, texts.doneMore, 60_000);
  await show(clip);
  return undefined;
}

let emptyTimer = 0;
function showEmpty(text, more, retryMs) {
  if (current) return;
  $("clip").hidden = true;
  $("empty").hidden = false;
  $("empty-text").textContent = text;
  $("empty-more").textContent = more;
  clearTimeout(emptyTimer);
  if (retryMs) emptyTimer = setTimeout(fill, retryMs);
}

// ---- Who speaks: sent only where the person changed it.
const typedNames = new Set(); // on this page, for the clips that are here already

function showSpeakers(clip, speaker) {
  const named = [...new Set([clip.speaker, ...clip.speakers, ...typedNames])].filter(Boolean);
  const labels = [texts.noSpeaker, ...named, texts.another];
  $("speaker").replaceChildren(...labels.map((label) => new Option(label)));
  $("speaker").selectedIndex = named.indexOf(speaker) + 1;
  $("speaker-name").value = "";
  $("new-speaker").hidden = true;
}

function readSpeaker() {
  const list = $("speaker");
  if (list.selectedIndex === list.length - 1) {
    const name = $("speaker-name").value.trim().replace(/\s+/g, " ");
    if (name) typedNames.add(name);
    return name || desk.dataset.unknown;
  }
  const name = list.selectedIndex ? list.options[list.selectedIndex].text : "";
  if (name === current.speaker) return "";
  return name || desk.dataset.unknown;
}

async function show(clip, text = null, speaker = clip.speaker) {
  current = clip;
  $("empty").hidden = true;
  $("clip").hidden = false;
  const draft = drafts.read(drafts.prefix + clip.segmentId);
  $("text").value = text ?? draft?.text ?? clip.text;
  const notes = clip.isBlind ? [texts.blind] : clip.isSentBack ? [texts.sentBack] : [clip.text ? texts.shown : texts.noText];
  if (clip.people > 1) notes.push(texts.twoPeople);
  $("note").textContent = notes.join(" ");
  $("why").textContent = say(texts.why, { reasons: clip.reasons.join(", ") });
  showSpeakers(clip, speaker);
  toggleReasons(false);
  $("history").open = false;
  audio.pause();
  audio.removeAttribute("src");
  showSaveButton();
  drawWave();
  if (matchMedia("(pointer: fine)").matches) $("text").focus();
  const isLoaded = await prepare(clip);
  if (current !== clip) return;
  $("audio-fault").hidden = isLoaded;
  $("audio-fault").textContent = texts.noAudio;
  if (!isLoaded) return;
  audio.src = clip.address;
  follow();
  if ($("autoplay").checked && !document.hidden) play(0);
}

function showSaveButton() {
  const text = $("text").value.trim();
  $("save").textContent = current?.text && text === current.text.trim() ? texts.confirm : texts.save;
  $("save").disabled = !text;
}

function showProgress() {
  if (!progress) return;
  $("progress").textContent = say(texts.progress, { answered: progress.answered, clips: progress.clips, mine: progress.mineThisWeek });
  $("bar").value = progress.minutes ? Math.min(1, progress.answeredMinutes / progress.minutes) : 0;
}

// ---- Answers.
function answer(status, reason = null) {
  if (!current) return;
  let text = $("text").value.trim();
  if (status === "corrected" && !text) return;
  if (status === "corrected" && current.text && text === current.text.trim()) status = "confirmed";
  if (status !== "corrected") text = "";
  const shown = { unusable: texts.unusable[reason], skipped: texts.skipped, confirmed: texts.confirmed }[status] ?? text;
  const answerId = makeId();
  const speaker = readSpeaker();
  const body = { answerId, status, text, reason, speaker: status === "skipped" ? "" : speaker };
  outbox.add(nextName(), { path: `/correct/clips/${current.handOutId}/answers`, at: Date.now(), shown, answerId, body });
  if (last) URL.revokeObjectURL(last.clip.address);
  last = { answerId, clip: current, text: $("text").value, speaker: speaker || current.speaker, counted: status !== "skipped" };
  if (progress && last.counted) progress = { ...progress, mineThisWeek: progress.mineThisWeek + 1 };
  drafts.remove(drafts.prefix + current.segmentId);
  done.add(current.segmentId);
  $("last").hidden = false;
  $("last-text").textContent = say(texts.last, { text: shown });
  goOn();
}

function goOn() {
  current = null;
  showProgress();
  showNotices();
  showEmpty(texts.loading, "", 0);
  if (ready.length) showNext();
  send().then(fill, fill);
}

function queueUndo(undone) {
  const answerId = makeId();
  outbox.add(nextName(), { path: `/correct/answers/${undone}/undo`, at: Date.now(), shown: texts.withdrawn, answerId, undo: true });
  send();
}

function undoLast() {
  if (!last) return;
  const { answerId, clip, text, speaker, counted } = last;
  last = null;
  $("last").hidden = true;
  if (progress && counted) progress = { ...progress, mineThisWeek: progress.mineThisWeek - 1 };
  done.delete(clip.segmentId);
  if (current) ready.unshift(current);
  for (const entry of conflicts.list()) if (entry.answerId === answerId) conflicts.remove(entry.key);
  queueUndo(answerId);
  showProgress();
  show(clip, text, speaker);
}

function toggleReasons(isOpen = $("reasons").hidden) {
  $("reasons").hidden = !isOpen;
  $("unusable").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) $("reasons").querySelector("button").focus();
}

async function showHistory() {
  if (!$("history").open || !current) return;
  const clip = current;
  const response = await ask(`/correct/clips/${clip.handOutId}/history`);
  const found = response.ok ? await response.json() : [];
  if (current !== clip) return;
  const lines = found.map((each) => {
    const text = each.text || texts.unusable[each.reason] || { skipped: texts.skipped, withdrawn: texts.withdrawn, resumed: texts.withdrawn }[each.status];
    const when = new Date(each.createdAt).toLocaleString(desk.dataset.language, { dateStyle: "medium", timeStyle: "short" });
    return `${each.isMine ? texts.you : each.person}, ${when}: ${text}`;
  });
  if (clip.isBlind) lines.push(texts.hiddenHistory);
  else if (!lines.length) lines.push(texts.nobody);
  $("history-list").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

// ---- Buttons and keys.
$("play").addEventListener("click", togglePlay);
$("repeat").addEventListener("click", repeat);
$("position").addEventListener("input", () => { if (current?.seconds) audio.currentTime = (Number($("position").value) / 100) * current.seconds; });
$("wave").addEventListener("click", (event) => { if (current?.seconds) play((event.offsetX / $("wave").clientWidth) * current.seconds); });
for (const each of document.querySelectorAll("input[name=speed]")) each.addEventListener("change", () => { audio.playbackRate = speed(); });
$("text").addEventListener("input", () => {
  showSaveButton();
  if (current) drafts.add(current.segmentId, { text: $("text").value, at: Date.now() });
});
$("save").addEventListener("click", () => answer("corrected"));
$("skip").addEventListener("click", () => answer("skipped"));
$("unusable").addEventListener("click", () => toggleReasons());
for (const each of $("reasons").querySelectorAll("button")) each.addEventListener("click", () => answer("unusable", each.dataset.reason));
$("undo").addEventListener("click", undoLast);
$("speaker").addEventListener("change", () => {
  $("new-speaker").hidden = $("speaker").selectedIndex !== $("speaker").length - 1;
  if (!$("new-speaker").hidden) $("speaker-name").focus();
});
$("history").addEventListener("toggle", () => showHistory().catch(() => {}));

const ACTIONS = {
  KeyP: togglePlay, Space: togglePlay, KeyR: repeat, KeyS: () => answer("skipped"), KeyU: () => toggleReasons(), KeyZ: undoLast,
  KeyE: () => $("text").focus(), Enter: () => answer("corrected"), NumpadEnter: () => answer("corrected"),
};

function findAction(event) {
  const inText = event.target === $("text") || event.target === $("speaker-name");
  const isEnter = event.code === "Enter" || event.code === "NumpadEnter";
  if (isEnter && (event.ctrlKey || event.metaKey || (inText && !event.shiftKey && !event.altKey))) return ACTIONS.Enter;
  if (event.ctrlKey || event.metaKey) return null;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1];
  if (!event.altKey && (inText || !$("single-keys").checked)) return null;
  if (event.altKey && (isEnter || event.code === "Space" || event.code === "KeyE")) return null;
  // Buttons, lists and links have their own use for these two.
  if ((isEnter || event.code === "Space") && event.target.closest("button, select, summary, a, input")) return null;
  if (event.target.tagName === "SELECT" && !event.altKey) return null;
  if (digit && !$("reasons").hidden) return () => $("reasons").querySelectorAll("button")[digit - 1]?.click();
  if (digit && digit <= 3) return () => setSpeed(digit - 1);
  return ACTIONS[event.code] ?? null;
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat) return;
  if (event.code === "Escape") {
    if (!$("reasons").hidden) { toggleReasons(false); $("unusable").focus(); } else document.activeElement?.blur();
    return;
  }
  const action = findAction(event);
  if (!action || (!current && action !== undoLast)) return;
  event.preventDefault();
  action();
});

for (const name of ["single-keys", "autoplay"]) {
  const settings = new Kept("settings");
  const kept = settings.read(settings.prefix + name);
  if (kept) $(name).checked = kept.on;
  $(name).addEventListener("change", () => settings.add(name, { on: $(name).checked }));
}
addEventListener("online", () => { pause = 0; send().then(fill, fill); });
addEventListener("offline", showState);
addEventListener("storage", showNotices);
addEventListener("resize", drawWave);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawWave);
addEventListener("beforeunload", (event) => { if (outbox.memory.size) event.preventDefault(); });

$("keys").open = matchMedia("(pointer: fine)").matches;
for (const draft of drafts.list()) if (Date.now() - draft.at > DRAFT_KEPT_MS) drafts.remove(draft.key);
showEmpty(texts.loading, "", 0);
showNotices();
send().then(fill, fill);
