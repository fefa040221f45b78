/* The log of a run as it happens: every line once, in order, through sleep, lost connections and restarts.

The page's part of the contract:

  <section data-live-log
           data-url="/runs/1/events"    the stream
           data-after="12-345"          the cursor up to which the page holds the log: its last line's, "0-0" if none
           data-open="true"             "false": the run is over (servicing.log.is_over, asked before the lines were
                                        read); nothing is opened
           data-log-url="/runs/1/log"   optional: where earlier lines come from when the oldest had to go
           data-keep="1000">            optional: how many lines the page holds at most
    <p data-live-status role="status"></p>   optional: what is said to the person, politely
    <ol>                                the lines; scrolls by itself (overflow) or with the page
      <li data-earlier>…</li>           optional: the link to what came before
      <li data-cursor="12-345">…</li>   lines as templates/servicing/run_log_lines.html writes them
    </ol>
  </section>

What it gives back:
  - data-after follows what was shown; data-open becomes "false" at the run's end; data-live is "connecting",
    "live", "waiting" (it tries again by itself), "paused" (the page is hidden), "ended" or "closed" (the person may
    not watch any more), for style sheets and tests.
  - body gets the event "run-changed" when counts or targets have changed, at most once a second:
    hx-trigger="run-changed from:body".
Sections that htmx brings later are found; those that it takes away let go of their stream. */

const CHANGED_EVERY = 1000; // ms
const SHOW_EVERY = 50;
const SILENCE = 40_000; // the server says something every 15 s
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30_000;
const UNREAD_EVERY = 3000;
const NEAR_THE_END = 40; // px
const CLOSED = "This log is closed to you. Sign in again to see whether it still is.";

let changedAt = 0;
let changedTimer = null;

/** Tell the page that counts or targets changed: at once, but at most once a second. */
function tellChanged() {
  if (changedTimer !== null) return;
  changedTimer = setTimeout(
    () => {
      changedTimer = null;
      changedAt = Date.now();
      document.body.dispatchEvent(new CustomEvent("run-changed"));
    },
    Math.max(0, changedAt + CHANGED_EVERY - Date.now()),
  );
}

/** Whether cursor `a` comes after `b`: numbers of 64 bits, which JavaScript's own don't hold. */
function isAfter(a, b) {
  const [aTx, aId] = a.split("-").map(BigInt);
  const [bTx, bId] = b.split("-").map(BigInt);
  return aTx === bTx ? aId > bId : aTx > bTx;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** The same as templates/servicing/run_log_lines.html. */
function lineElement(line) {
  const item = element("li", `log-line log-${line.level}`, "");
  item.dataset.cursor = line.id;
  item.dataset.target = line.target;
  const time = element("time", "", line.time);
  time.dateTime = line.at;
  item.append(time, " ");
  if (line.level !== "info") item.append(element("strong", "log-level", line.level), " ");
  item.append(element("bdi", "log-machine", line.machine), " ", element("span", "log-step", line.step.replaceAll("_", " ")), " ");
  item.append(element("bdi", "log-text", line.text));
  return item;
}

class LiveLog {
  constructor(section) {
    this.section = section;
    this.list = section.querySelector("ol");
    this.after = section.dataset.after || "0-0";
    this.seen = this.after; // after it come the lines that are waiting to be shown
    this.waiting = [];
    this.source = null;
    this.failures = 0;
    this.unread = 0;
    this.showTimer = this.retryTimer = this.silenceTimer = this.unreadTimer = null;
    if (this.scroller === this.list) this.goToTheEnd();
  }

  get keep() {
    return Number(this.section.dataset.keep) || 1000;
  }

  get isOpen() {
    return this.section.dataset.open === "true";
  }

  /** Connect, unless there is nothing to connect for. */
  open() {
    clearTimeout(this.retryTimer);
    if (!this.isOpen || this.source || document.hidden || !this.section.isConnected) return;
    this.say("connecting", this.failures ? "Connecting again…" : "");
    const url = new URL(this.section.dataset.url, document.baseURI);
    url.searchParams.set("after", this.seen);
    const source = (this.source = new EventSource(url));
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        if (this.source !== source) return; // what an abandoned stream still says
        this.failures = 0;
        this.watchSilence();
        act(event);
      });
    on("open", () => this.say("live", "Live."));
    on("line", (event) => this.take(JSON.parse(event.data)));
    on("beat", () => {});
    on("changed", tellChanged);
    on("end", () => this.end("ended", "The run has ended."));
    on("cut", () => this.end("closed", CLOSED));
    // EventSource would come back to the old address, or after an HTTP error not at all: we come back ourselves.
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      const isRefused = source.readyState === EventSource.CLOSED;
      this.retry();
      if (isRefused) this.askWhy(url);
    });
    this.watchSilence();
  }

  close() {
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    if (this.source) this.source.close();
    this.source = null;
  }

  retry() {
    this.close();
    if (!this.section.isConnected) return;
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures) * (0.75 + Math.random() / 2);
    this.failures += 1;
    this.say("waiting", "The connection is lost; trying again.");
    this.retryTimer = setTimeout(() => this.open(), wait);
  }

  /** The server refused the stream. An EventSource doesn't tell why: the same address is asked without one. */
  async askWhy(url) {
    let answer;
    try {
      answer = await fetch(url, { method: "HEAD" });
    } catch {
      return; // no connection: the next try finds out
    }
    if (!this.isOpen || this.source) return;
    if (answer.status === 401 || answer.redirected) {
      this.end("closed", "You are signed out.");
      this.leadHere("Sign in again");
    } else if (answer.status === 404) {
      this.end("closed", CLOSED);
    }
  }

  /** A connection may die without a word: then nothing comes any more, not even a beat. */
  watchSilence() {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => this.retry(), SILENCE);
  }

  pause() {
    if (!this.isOpen) return;
    this.close();
    this.say("paused", "");
  }

  end(state, text) {
    this.close();
    this.show();
    this.section.dataset.open = "false";
    this.say(state, text);
    tellChanged();
  }

  take(line) {
    if (!isAfter(line.id, this.seen)) return; // shown, or about to be
    this.seen = line.id;
    this.waiting.push(line);
    // Not by animation frames: they don't come while a window is covered.
    this.showTimer ??= setTimeout(() => this.show(), SHOW_EVERY);
  }

  /** Put what waits into the page, in one go. */
  show() {
    clearTimeout(this.showTimer);
    this.showTimer = null;
    if (!this.section.isConnected) return this.close();
    if (!this.waiting.length) return;
    const follows = this.isAtTheEnd();
    const lines = this.waiting.splice(0);
    // Of a long absence only what the page can hold is made; the rest is trimmed before it was there.
    const skipped = follows && lines.length > this.keep ? lines.splice(0, lines.length - this.keep).length : 0;
    this.list.append(...lines.map(lineElement));
    this.after = this.section.dataset.after = this.seen;
    if (follows) {
      this.trim(skipped);
      this.goToTheEnd();
    } else {
      this.unread += lines.length;
      this.unreadTimer ??= setTimeout(() => this.sayUnread(), UNREAD_EVERY);
    }
  }

  /** The oldest lines go, so that a long run doesn't fill the browser; a link brings them back. */
  trim(skipped = 0) {
    const lines = this.list.querySelectorAll(":scope > li[data-cursor]");
    const surplus = Math.max(0, lines.length - this.keep);
    if (surplus + skipped === 0) return;
    for (let n = 0; n < surplus; n += 1) lines[n].remove();
    this.offerEarlier(lines[surplus].dataset.cursor);
  }

  offerEarlier(cursor) {
    const log = this.section.dataset.logUrl;
    for (const old of this.list.querySelectorAll(":scope > li[data-earlier]")) old.remove();
    if (!log) return;
    const item = element("li", "log-more", "");
    item.dataset.earlier = "";
    const link = element("a", "", "Earlier lines");
    const url = new URL(log, document.baseURI);
    url.searchParams.set("before", cursor);
    link.href = url.pathname + url.search;
    link.setAttribute("hx-get", link.getAttribute("href"));
    link.setAttribute("hx-target", "closest li");
    link.setAttribute("hx-swap", "outerHTML");
    item.append(link);
    this.list.prepend(item);
    globalThis.htmx?.process(item);
  }

  /** What scrolls: the list itself, or the page. */
  get scroller() {
    const overflow = getComputedStyle(this.list).overflowY;
    return overflow === "auto" || overflow === "scroll" ? this.list : document.scrollingElement;
  }

  isAtTheEnd() {
    const scroller = this.scroller;
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_THE_END;
  }

  goToTheEnd() {
    const scroller = this.scroller;
    scroller.scrollTop = scroller.scrollHeight;
  }

  /** The person came back to the end by themselves. */
  scrolled() {
    if (!this.unread || !this.isAtTheEnd()) return;
    this.unread = 0;
    this.say(this.section.dataset.live, "");
    this.trim();
    this.goToTheEnd();
  }

  sayUnread() {
    this.unreadTimer = null;
    if (!this.unread) return;
    this.say(this.section.dataset.live, `${this.unread} new ${this.unread === 1 ? "line" : "lines"} below.`);
  }

  /** A link to this page itself: the server asks for signing in first and then leads back to it. */
  leadHere(text) {
    const status = this.section.querySelector("[data-live-status]");
    if (!status) return;
    const link = element("a", "", text);
    link.href = location.pathname + location.search;
    status.append(" ", link);
  }

  say(state, text) {
    this.section.dataset.live = state;
    const status = this.section.querySelector("[data-live-status]");
    if (status && status.textContent !== text) status.textContent = text;
  }
}

const logs = new Map();

function findLogs() {
  for (const [section, log] of logs) {
    if (section.isConnected) continue;
    log.close();
    logs.delete(section);
  }
  for (const section of document.querySelectorAll("section[data-live-log]")) {
    if (logs.has(section)) continue;
    const log = new LiveLog(section);
    logs.set(section, log);
    log.list.addEventListener("scroll", () => log.scrolled(), { passive: true });
    log.open();
  }
}

function each(act) {
  findLogs();
  for (const log of logs.values()) act(log);
}

document.addEventListener("scroll", () => each((log) => log.scrolled()), { passive: true });
// A hidden page needs no stream, and a browser has six for a site in all.
document.addEventListener("visibilitychange", () => each((log) => (document.hidden ? log.pause() : log.open())));
// Left: the browser may keep the page to come back to, but not with a stream.
window.addEventListener("pagehide", () => each((log) => log.close()));
window.addEventListener("pageshow", () => each((log) => log.open()));
// Another network: what was connected over the old one may be dead without knowing it. Nothing is done on
// "offline", which says nothing about a server on this machine; a stream that breaks says so itself.
window.addEventListener("online", () =>
  each((log) => {
    log.failures = 0;
    log.close();
    log.open();
  }),
);
document.addEventListener("htmx:load", findLogs);
findLogs();
