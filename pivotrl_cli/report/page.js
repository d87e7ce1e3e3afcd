"use strict";
// Everything that a model wrote reaches the page as text nodes; no markup is made from it.

const COARSE = matchMedia("(pointer: coarse)").matches; // a finger needs larger cells
const ROW = COARSE ? 28 : 22, CELL = COARSE ? 24 : 16, AROUND = 4, TALLEST = 640;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// ---- the grid: only what is in sight is in the document ------------------------------------------------------------

class Strip {
  constructor(root, number) {
    this.number = number;
    this.grid = root.querySelector(".grid");
    this.detail = root.querySelector(".detail");
    this.count = root.querySelector("output");
    this.all = JSON.parse(root.querySelector(".rows").textContent);
    this.packed = root.querySelector(".packed").textContent.split("\n");
    this.all.forEach((row, i) => {
      row.place = i;
      row.kept = row.turns.filter((turn) => turn[2]).length;
      const rates = row.turns.map((turn) => turn[1]).filter((rate) => rate !== null);
      row.mean = rates.length ? rates.reduce((a, b) => a + b) / rates.length : 2;
      row.words = [row.id, row.task, row.domain, ...row.turns.map((turn) => turn[3])].join("\n").toLowerCase();
    });
    this.at = null; // [row, turn] that is chosen
    this.search = root.querySelector("input");
    this.order = root.querySelector("select");
    this.canvas = make("div");
    this.canvas.setAttribute("role", "rowgroup");
    this.grid.style.setProperty("--row", `${ROW}px`);
    this.grid.style.setProperty("--cell", `${CELL}px`);
    this.grid.style.height = `${Math.min(TALLEST, Math.max(2, this.all.length) * ROW + 16)}px`;
    this.grid.append(this.canvas);
    this.search.addEventListener("input", () => this.select());
    this.order.addEventListener("change", () => this.select());
    this.grid.addEventListener("scroll", () => this.later());
    this.grid.addEventListener("click", (event) => this.click(event));
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.detail.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.grid.focus();
    });
    new ResizeObserver(() => this.later()).observe(this.grid);
    this.select();
  }

  select() {
    const wanted = this.search.value.trim().toLowerCase();
    const by = {
      pivots: (a, b) => b.kept - a.kept,
      low: (a, b) => a.mean - b.mean,
      long: (a, b) => b.turns.length - a.turns.length,
    }[this.order.value];
    this.rows = this.all.filter((row) => row.words.includes(wanted));
    if (by) this.rows.sort((a, b) => by(a, b) || a.place - b.place);
    this.at = null;
    const kept = this.rows.reduce((sum, row) => sum + row.kept, 0);
    this.count.textContent = `${this.rows.length.toLocaleString("en")} shown, ${kept.toLocaleString("en")} pivots`;
    this.grid.setAttribute("aria-rowcount", this.rows.length);
    this.grid.removeAttribute("aria-activedescendant");
    this.grid.scrollTop = 0;
    this.draw();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const width = this.grid.clientWidth, height = this.grid.clientHeight;
    this.name = Math.max(90, Math.min(220, Math.round(width * 0.34)));
    this.grid.style.setProperty("--name", `${this.name}px`);
    const longest = this.rows.reduce((most, row) => Math.max(most, row.turns.length), 0);
    const whole = this.name + longest * CELL + 8;
    this.canvas.style.width = `${whole}px`;
    this.canvas.style.height = `${this.rows.length * ROW}px`;
    const first = Math.max(0, Math.floor(this.grid.scrollTop / ROW) - AROUND);
    const last = Math.min(this.rows.length, Math.ceil((this.grid.scrollTop + height) / ROW) + AROUND);
    const left = Math.max(0, Math.floor(this.grid.scrollLeft / CELL) - AROUND);
    const right = Math.ceil((this.grid.scrollLeft + width - this.name) / CELL) + AROUND;
    const lines = [];
    for (let i = first; i < last; i++) lines.push(this.line(i, left, right, whole));
    this.canvas.replaceChildren(...lines);
  }

  line(i, left, right, whole) {
    const row = this.rows[i], line = make("div", "row");
    line.setAttribute("role", "row");
    line.setAttribute("aria-rowindex", i + 1);
    line.style.top = `${i * ROW}px`;
    line.style.width = `${whole}px`;
    const name = make("span", "name", row.task || row.id);
    name.setAttribute("role", "rowheader");
    name.title = [row.task, row.id, row.domain].filter(Boolean).join(", ");
    line.append(name);
    for (let j = left; j < Math.min(right, row.turns.length); j++) line.append(this.cell(i, j));
    return line;
  }

  cell(i, j) {
    const [turn, rate, kept, tool] = this.rows[i].turns[j];
    const here = this.at && this.at[0] === i && this.at[1] === j;
    const shade = rate === null ? "rn" : `r${Math.round(10 * rate)}`;
    const cell = make("div", `cell ${shade}${kept ? " kept" : ""}${here ? " here" : ""}`);
    cell.id = `strip${this.number}-${i}-${j}`;
    cell.setAttribute("role", "gridcell");
    cell.setAttribute("aria-selected", here ? "true" : "false");
    cell.dataset.row = i;
    cell.dataset.turn = j;
    cell.style.left = `${this.name + j * CELL}px`;
    const known = rate === null ? "not scored" : `pass rate ${rate.toFixed(2)}`;
    cell.setAttribute("aria-label", `turn ${turn}, ${tool}, ${known}${kept ? ", pivot" : ""}`);
    return cell;
  }

  click(event) {
    const cell = event.target.closest(".cell");
    if (cell) this.choose(Number(cell.dataset.row), Number(cell.dataset.turn));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / ROW) - 1);
    const [i, j] = this.at || [0, -1];
    const moves = {
      ArrowRight: () => [i, j + 1],
      ArrowLeft: () => [i, j - 1],
      ArrowDown: () => [this.at ? i + 1 : 0, j],
      ArrowUp: () => [i - 1, j],
      PageDown: () => [i + page, j],
      PageUp: () => [i - page, j],
      Home: () => [i, 0],
      End: () => [i, Infinity],
      n: () => this.pivot(i, j, 1),
      p: () => this.pivot(i, j, -1),
    };
    if (event.key === "Enter" && this.at) this.detail.focus();
    else if (moves[event.key]) this.choose(...moves[event.key]());
    else return;
    event.preventDefault();
  }

  pivot(i, j, by) {
    for (let r = i, t = j + by; r >= 0 && r < this.rows.length; ) {
      const turns = this.rows[r].turns;
      for (; t >= 0 && t < turns.length; t += by) if (turns[t][2]) return [r, t];
      r += by;
      if (r >= 0 && r < this.rows.length) t = by > 0 ? 0 : this.rows[r].turns.length - 1;
    }
    return [i, Math.max(j, 0)];
  }

  choose(i, j) {
    const r = Math.max(0, Math.min(this.rows.length - 1, i));
    const t = Math.max(0, Math.min(this.rows[r].turns.length - 1, j));
    this.at = [r, t];
    this.intoSight(r, t);
    this.draw();
    this.grid.setAttribute("aria-activedescendant", `strip${this.number}-${r}-${t}`);
    this.show(this.rows[r], t);
  }

  intoSight(r, t) {
    const grid = this.grid, top = r * ROW, left = t * CELL;
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + ROW > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + ROW - grid.clientHeight;
    if (left < grid.scrollLeft) grid.scrollLeft = left;
    const room = grid.clientWidth - this.name - CELL;
    if (left > grid.scrollLeft + room) grid.scrollLeft = left - room;
  }

  async show(row, t) {
    if (!this.opened || this.opened.place !== row.place) {
      this.opened = { place: row.place, detail: unpack(this.packed[row.place]) };
    }
    const wanted = this.at, { messages, turns } = await this.opened.detail;
    if (wanted === this.at) {
      this.detail.replaceChildren(...about(row, row.turns[t], turns[t], messages));
      this.detail.scrollTop = 0;
    }
  }
}

// ---- one turn ------------------------------------------------------------------------------------------------------

function* about(row, [number, , , tool], turn, messages) {
  yield make("h3", "", `Turn ${number} of ${turn.n_turns}: ${tool}`);
  yield make("p", "muted", [turn.id, row.task, row.domain].filter(Boolean).join(" · "));
  yield make("p", "", rate(turn));
  if (turn.fate) yield make("p", "", turn.fate);
  yield make("h4", "", "State");
  const state = turn.state.flatMap(([from, to]) => messages.slice(from, to));
  yield* history(state);
  yield make("h4", "", "Demonstrated action");
  yield message(messages[turn.action]);
  yield make("h4", "", `Rollouts, by ${turn.verifier}`);
  if (!turn.verdicts.length) yield make("p", "muted", "none");
  for (const verdict of turn.verdicts) yield verdictOf(verdict);
}

function rate(turn) {
  if (turn.rate === null) return [turn.status.replaceAll("_", " "), turn.detail].filter(Boolean).join(": ");
  const ends = turn.low === null ? "" : ` [${turn.low.toFixed(2)}, ${turn.high.toFixed(2)}]`;
  const lost = [
    turn.errors ? `${turn.errors} failed` : "",
    turn.truncated ? `${turn.truncated} cut by the token limit` : "",
  ].filter(Boolean).join(", ");
  return `Pass rate ${turn.rate.toFixed(2)}${ends} of ${turn.n} rollouts${lost ? `; ${lost}` : ""}`;
}

function* history(state) {
  const shown = 3, earlier = state.slice(0, -shown);
  if (earlier.length) {
    const more = make("details");
    more.append(make("summary", "", `${earlier.length} earlier message${earlier.length > 1 ? "s" : ""}`));
    more.addEventListener("toggle", () => more.append(...earlier.map(message)), { once: true });
    yield more;
  }
  for (const one of state.slice(-shown)) yield message(one);
}

function message(one) {
  const box = make("div", `message ${one.role}`);
  box.append(make("b", "", one.name ? `${one.role} ${one.name}` : one.role));
  if (one.reasoning) {
    const hidden = make("details");
    hidden.append(make("summary", "", "reasoning"), make("pre", "", one.reasoning));
    box.append(hidden);
  }
  if (one.content || !one.calls.length) box.append(make("pre", "", one.content || "(nothing)"));
  for (const [name, given] of one.calls) box.append(make("pre", "", `${name} ${given}`));
  return box;
}

function verdictOf({ verdict, texts }) {
  const box = make("details", "verdict");
  const n = texts.reduce((sum, one) => sum + one.n, 0);
  box.open = true;
  box.append(make("summary", "", `${n} × ${verdict}`));
  for (const one of texts) {
    const part = make("div", "message assistant");
    part.append(make("b", "", `${one.n} ×`), make("pre", "", one.text || "(nothing)"));
    if (one.why) part.append(make("div", "muted", one.why));
    box.append(part);
  }
  return box;
}

// ---- what a mark of a chart, or a turn, says under the pointer -----------------------------------------------------

const MARKS = ".drawing [aria-label][aria-roledescription]:not([role='graphics-object'], [aria-roledescription='axis'], [aria-roledescription='legend']), .cell";
const tip = document.getElementById("tip");
document.addEventListener("pointermove", (event) => {
  const mark = event.pointerType === "mouse" && event.target.closest?.(MARKS);
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("aria-label");
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 8 : event.clientY + 18}px`;
});

document.querySelectorAll(".strip").forEach((root, number) => new Strip(root, number));
