// The web page: sessions, the team at work, letters, questions. It is a client like any other:
// it asks the public routes under /c/<token>/ and follows one event stream.
// Everything an agent wrote is put on the page as text, never as markup.

const base = new URL(".", location.href);
const by = (id) => document.getElementById(id);
const view = { session: null, stream: null, texts: new Map(), letters: new Map(), models: new Map(), questions: "", approvals: "" };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function trouble(message) {
  by("trouble").textContent = message || "";
}

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
    options.headers["idempotency-key"] = crypto.randomUUID();
  }
  const answer = await fetch(new URL(path, base), options);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.detail || `the daemon answered ${answer.status}`);
  return value;
}

const attempt = (deed) => (event) => {
  event?.preventDefault();
  trouble("");
  Promise.resolve(deed(event)).catch((error) => trouble(error.message));
};

// --- sessions ---------------------------------------------------------------

function when(instant) {
  const at = new Date(instant);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}

async function listSessions() {
  const { sessions } = await ask("GET", "sessions");
  sessions.sort((one, other) => other.updatedAt.localeCompare(one.updatedAt));
  by("sessions").replaceChildren(...sessions.map((session) => {
    const button = element("button", "", session.title || session.id);
    button.type = "button";
    button.title = session.id;
    button.append(element("time", "", when(session.updatedAt)));
    if (session.id === view.session) button.setAttribute("aria-current", "true");
    button.addEventListener("click", attempt(() => open(session.id)));
    const item = element("li");
    item.append(button);
    return item;
  }));
  return sessions;
}

async function open(session) {
  view.stream?.close();
  view.session = session;
  clear();
  by("why").href = new URL(`sessions/${encodeURIComponent(session)}/trace/causes?format=svg`, base);
  by("why").hidden = false;
  for (const control of by("compose").querySelectorAll("textarea, button")) control.disabled = false;
  const stream = new EventSource(new URL(`sse/${encodeURIComponent(session)}`, base));
  view.stream = stream;
  stream.onmessage = (message) => show(JSON.parse(message.data));
  stream.onerror = () => trouble("The stream was cut; it is being picked up again.");
  stream.onopen = () => trouble("");
  await listSessions();
}

function clear() {
  view.texts.clear();
  view.letters.clear();
  view.models.clear();
  view.questions = view.approvals = "";
  for (const id of ["talk", "agents", "letters"]) by(id).replaceChildren();
}

// --- frames -----------------------------------------------------------------

const onCustom = {
  session_state: showState,
  session_title: (value) => { by("title").textContent = value.title; },
  letter: showLetter,
  stream_reset: clear,
  model_selected: ({ run_id, model, reason }) => view.models.set(run_id, { name: `${model.provider}/${model.model}`, reason }),
  guardrail_fired: ({ agent, guardrail, action, stage, reason }) => {
    if (action !== "block") say("tool", agent, `guardrail ${guardrail} (${action}, ${stage.replace("_", " ")}): ${reason}`);
  },
  approval_requested: ({ agent, tool }) => say("tool", agent, `may ${tool} run?`),
  approval_decided: ({ agent, decision, by, note }) => say("tool", agent, `${decision} by ${by}${note ? `: ${note}` : ""}`),
};

const onFrame = {
  TEXT_MESSAGE_START: (frame) => begin(frame, "text"),
  REASONING_MESSAGE_START: (frame) => begin(frame, "reasoning"),
  TEXT_MESSAGE_CONTENT: extend,
  REASONING_MESSAGE_CONTENT: extend,
  TEXT_MESSAGE_END: finish,
  REASONING_MESSAGE_END: finish,
  TEXT_MESSAGE_CHUNK: (frame) => say("user", `you to ${frame.agent_name}`, frame.delta),
  TOOL_CALL_START: (frame) => {
    view.texts.set(frame.tool_call_id, say("tool", frame.agent_name, `${frame.tool_call_name} `));
  },
  TOOL_CALL_ARGS: (frame) => view.texts.get(frame.tool_call_id)?.lastChild.append(frame.delta),
  TOOL_CALL_END: (frame) => view.texts.get(frame.tool_call_id)?.lastChild.append(` (${frame.status})`),
  RUN_ERROR: (frame) => say("notice", frame.agent_name, frame.message),
  system_message: (frame) => say("notice", frame.agent || "daemon", frame.message),
  CUSTOM: (frame) => onCustom[frame.name]?.(frame.value),
};

function show(frame) {
  const talk = by("talk");
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 40;
  onFrame[frame.type]?.(frame);
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

function say(kind, who, text) {
  const block = element("p", `said ${kind}`);
  block.append(element("b", "", who), element("span", "", text));
  by("talk").append(block);
  return block;
}

function begin(frame, kind) {
  const block = say(kind, frame.agent_name, "");
  block.classList.add("open");
  view.texts.set(frame.message_id, block);
  const model = view.models.get(frame.run_id);
  if (model) block.firstChild.append(Object.assign(element("small", "", model.name), { title: model.reason }));
}

function extend(frame) {
  view.texts.get(frame.message_id)?.lastChild.append(frame.delta);
}

function finish(frame) {
  const block = view.texts.get(frame.message_id);
  block?.classList.remove("open");
  if (frame.aborted) block?.lastChild.append(" [cut off]");
}

function showState(state) {
  by("title").textContent = state.title || state.sessionId;
  by("busy").textContent = state.workState.active ? "working" : "idle";
  const cost = state.costUsd === null ? "cost unknown" : `$${Number(state.costUsd).toFixed(4)}`;
  const { capUsd, spentUsd } = state.budget;
  by("cost").textContent = capUsd === null ? cost : `${cost}, budget $${Number(spentUsd).toFixed(4)} of $${Number(capUsd).toFixed(2)}`;
  by("stop").disabled = !state.workState.active;
  by("agents").replaceChildren(...state.agents.map((agent) => {
    const doing = agent.activeTools.length ? `${agent.status}: ${agent.activeTools.join(", ")}` : agent.status;
    const item = element("li");
    item.append(element("span", "", agent.name), element("span", agent.status, doing));
    return item;
  }));
  showQuestions(state.questions);
  showApprovals(state.approvals);
}

function showLetter(value) {
  const ids = value.letter ? [value.letter.id] : value.letter_ids || [value.letter_id];
  if (value.letter) {
    const { id, from, to, kind, content } = value.letter;
    const item = element("li");
    const short = content.length > 160 ? `${content.slice(0, 160)}\u2026` : content;
    item.append(element("b", "", `${from} to ${to}`), ` ${kind} `, element("i", "", "queued"), element("div", "", short));
    by("letters").prepend(item);
    view.letters.set(id, item);
  }
  for (const id of ids) {
    const receipt = view.letters.get(id)?.querySelector("i");
    if (receipt && !["accepted", "received"].includes(value.op)) receipt.textContent = value.op;
  }
}

// --- questions --------------------------------------------------------------

function showQuestions(questions) {
  const known = questions.map((question) => question.requestId).join();
  if (known === view.questions) return;
  view.questions = known;
  const form = by("questions");
  form.hidden = questions.length === 0;
  form.replaceChildren(...questions.flatMap((question) => {
    const lines = [element("p", "", `${question.agent} asks: ${question.question}`)];
    const answer = (text) => attempt(() => ask("POST", `sessions/${view.session}/messages`, {
      type: "user_input_response", session_id: view.session, request_id: question.requestId, answer: text(),
    }));
    for (const option of question.options) {
      const button = element("button", "", option);
      button.type = "button";
      button.addEventListener("click", answer(() => option));
      lines.push(button);
    }
    if (question.allowFreeText) {
      const field = element("input");
      field.setAttribute("aria-label", question.question);
      const button = element("button", "", "Answer");
      button.type = "button";
      button.addEventListener("click", answer(() => field.value));
      lines.push(field, button);
    }
    return lines;
  }));
}

// --- approvals: what is approved is what is shown, by its digest ------------------

const SCOPES = { once: "Approve once", session: "Approve for this session" };

function showApprovals(approvals) {
  const known = approvals.map((approval) => approval.id).join();
  if (known === view.approvals) return;
  view.approvals = known;
  const form = by("approvals");
  form.hidden = approvals.length === 0;
  form.replaceChildren(...approvals.map((approval) => {
    const box = element("fieldset");
    box.append(element("legend", "", `${approval.agentId} wants to run ${approval.toolName}`));
    for (const reason of approval.reasons) box.append(element("p", "", reason));
    box.append(element("pre", "", approval.shown.join("\n") || "without arguments"));
    if (approval.expiresAt) box.append(element("p", "", `Open until ${when(approval.expiresAt)}; then it counts as denied.`));
    const note = element("input");
    note.placeholder = "Words for the agent";
    note.setAttribute("aria-label", note.placeholder);
    const decide = (text, word, more) => {
      const button = element("button", word, text);
      button.type = "button";
      button.addEventListener("click", attempt(() => ask(
        "POST", `approvals/${encodeURIComponent(approval.id)}/${word}`, { note: note.value, ...more },
      )));
      return button;
    };
    const yes = approval.scopes.filter((scope) => scope in SCOPES).map((scope) => decide(SCOPES[scope], "approve", { scope, digest: approval.digest }));
    const words = element("div", "words");
    words.append(...yes, decide("Deny", "deny", {}), note);
    box.append(words);
    return box;
  }));
}

// --- start ------------------------------------------------------------------

if (base.pathname.startsWith("/c/")) {
  by("locked").hidden = true;
  by("desk").hidden = false;
  for (const id of ["questions", "approvals"]) by(id).addEventListener("submit", (event) => event.preventDefault());
  by("new").addEventListener("click", attempt(async () => open((await ask("POST", "sessions", {})).id)));
  by("stop").addEventListener("click", attempt(() => ask("POST", `sessions/${view.session}/interrupt`, {})));
  by("compose").addEventListener("submit", attempt(async () => {
    const field = by("say");
    const content = field.value.trim();
    if (!content) return;
    await ask("POST", `sessions/${view.session}/messages`, { content });
    field.value = "";
  }));
  attempt(async () => {
    const sessions = await listSessions();
    if (sessions.length) await open(sessions[0].id);
  })();
}
