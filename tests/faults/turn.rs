//! The turn that the crash tests run, and the oracle.
//!
//! One step with two commands side by side (`a`, and `b` which takes 300 ms), one step with a file
//! edit, then a final text. Each effect leaves a line that names the turn, so doubling shows.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fake_llm::{Answer, FakeLlm};

/// What the model says at the end.
pub const FINAL_TEXT: &str = "Both commands ran and the file is edited.";

/// What the model says of what was before.
const SUMMARY: &str = "One command was asked for and ran.";

/// What a turn is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two commands side by side, an edit of a file, a text.
    Plain,
    /// Three agents do the work, side by side.
    Family,
    /// One command; then the message is reworded, which asks for another command.
    Edited,
    /// One command; then the history is made shorter.
    Compacted,
}

/// One run of the turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// In every line that the turn writes, and in its message.
    pub id: String,
    /// What it is made of.
    pub kind: Kind,
    /// Of [`models`](Self::models), in their order.
    pub model_ids: Vec<String>,
}

/// The agents of a family.
pub const AGENTS: [&str; 3] = ["x", "y", "z"];

impl Turn {
    /// The turn numbered `number`; makes the file it edits.
    pub fn prepare(root: &Path, number: usize, kind: Kind) -> Result<Self> {
        let turn = Self { id: format!("turn{number:04}"), kind, model_ids: Vec::new() };
        std::fs::write(root.join(turn.file()), "begin\nend\n")?;
        Ok(turn)
    }

    fn file(&self) -> String {
        format!("{}.txt", self.id)
    }

    fn line(&self, tool: &str) -> String {
        format!("{}-{tool}", self.id)
    }

    /// What the user says.
    pub fn text(&self) -> String {
        format!("please do {}", self.id)
    }

    /// What the user says instead.
    pub fn reworded(&self) -> String {
        format!("please do {} otherwise", self.id)
    }

    /// The names of the models that play the turn; the first is the chat's.
    pub fn models(&self) -> Vec<String> {
        let others: &[&str] = match self.kind {
            Kind::Plain | Kind::Compacted => &[],
            Kind::Family => &AGENTS,
            // What is asked at a position does not tell which text of the message it follows.
            Kind::Edited => &["b"],
        };
        let others = others.iter().map(|other| self.line(other));
        std::iter::once(self.id.clone()).chain(others).collect()
    }

    /// The commands of which each runs once.
    const fn commands(&self) -> &[&str] {
        match self.kind {
            Kind::Plain | Kind::Edited => &["a", "b"],
            Kind::Family => &AGENTS,
            Kind::Compacted => &["a"],
        }
    }

    fn shell(&self, tool: &str, around: [&str; 2]) -> Value {
        let [before, after] = around;
        json!({"command": format!("{before}echo {} >> ledger{after}", self.line(tool))})
    }

    /// One step that begins three agents and waits for them; each runs one command.
    fn script_family(&self, model: &FakeLlm) {
        let spawn = |agent: &str| {
            json!({"type": "general", "prompt": format!("please do {}", self.line(agent)),
                "title": self.line(agent), "model": self.line(agent)})
        };
        let [x, y, z] = AGENTS.map(spawn);
        let all =
            Answer::call("spawn_agent", &x).and_call("spawn_agent", &y).and_call("spawn_agent", &z);
        model.play(&self.id, [all, Answer::text(FINAL_TEXT)]);
        for agent in AGENTS {
            let line = self.line(agent);
            let command = json!({"command": format!("echo {line} >> ledger")});
            model.play(&line, [Answer::call("execute", &command), Answer::text("It ran.")]);
        }
    }

    /// What the model of the turn's name answers, step by step.
    pub fn script(&self, model: &FakeLlm) {
        match self.kind {
            Kind::Plain => {}
            Kind::Family => return self.script_family(model),
            Kind::Edited => {
                for (name, tool) in self.models().iter().zip(self.commands()) {
                    let call = Answer::call("execute", &self.shell(tool, ["", ""]));
                    model.play(name, [call, Answer::text(FINAL_TEXT)]);
                }
                return;
            }
            Kind::Compacted => {
                // Long enough for the spans of its beginning to be written meanwhile.
                let call = Answer::call("execute", &self.shell("a", ["", "; sleep 1.3"]));
                model.play(&self.id, [call, Answer::text(FINAL_TEXT), Answer::text(SUMMARY)]);
                return;
            }
        }
        let edit = json!({"files": [{"path": self.file(), "edits": [
            {"old_text": "end\n", "new_text": format!("{}\nend\n", self.line("c"))}]}]});
        let both = Answer::call("execute", &self.shell("a", ["", ""]))
            .and_call("execute", &self.shell("b", ["sleep 0.3; ", ""]));
        model.play(&self.id, [both, Answer::call("edit_files", &edit), Answer::text(FINAL_TEXT)]);
    }

    /// Everything that is not as promised; empty: all is well.
    pub fn breaches(&self, root: &Path, messages: &[Value]) -> Result<Vec<String>> {
        let mut breaches = Vec::new();
        let ledger = std::fs::read_to_string(root.join("ledger")).unwrap_or_default();
        for tool in self.commands() {
            let count = ledger.lines().filter(|line| *line == self.line(tool)).count();
            if count != 1 {
                breaches.push(format!("command {tool} ran {count} times"));
            }
        }
        match self.kind {
            Kind::Plain => {}
            Kind::Family => {
                breaches.extend(self.family_breaches(messages));
                return Ok(breaches);
            }
            Kind::Edited | Kind::Compacted => {
                breaches.extend(self.changed_breaches(messages));
                return Ok(breaches);
            }
        }
        let edited =
            std::fs::read_to_string(root.join(self.file())).context("the edited file is gone")?;
        let expected = format!("begin\n{}\nend\n", self.line("c"));
        if edited != expected {
            breaches.push(format!("the edited file is {edited:?}"));
        }
        breaches.extend(self.history_breaches(messages));
        Ok(breaches)
    }

    /// What is not as promised when keepers were killed, and how many results say that a process was
    /// lost. A command may then have run or not, once at most, and only its own result may say so;
    /// a result that is no error is of a command that ran.
    pub fn breaches_without_keepers(
        &self,
        root: &Path,
        messages: &[Value],
    ) -> Result<(Vec<String>, usize)> {
        let mut errors = Vec::new();
        let parts = messages.iter().filter_map(|m| m["content"].as_array()).flatten();
        for part in parts.filter(|part| part["type"] == "tool_result") {
            let text = part.to_string();
            let says_so = ["lost", "not_started"].iter().any(|state| text.contains(state));
            if part["is_error"] == true || says_so {
                errors.push(text);
            }
        }
        let mut breaches = self.breaches(root, messages)?;
        // Each error accounts for itself, and for one command that did not run.
        let is_excused = |breach: &String| {
            breach.starts_with("a tool failed") && breach.contains("keeper")
                || breach.ends_with("ran 0 times")
        };
        let absent = breaches.iter().filter(|breach| breach.ends_with("ran 0 times")).count();
        if absent > errors.len() {
            breaches.push(format!("{absent} commands did not run and {} say so", errors.len()));
        }
        breaches.retain(|breach| !is_excused(breach));
        Ok((breaches, errors.len()))
    }

    /// What is not as promised in a history that was changed: one branch with the other text, or one
    /// mark behind everything that was said.
    fn changed_breaches(&self, messages: &[Value]) -> Vec<String> {
        let mut breaches = Vec::new();
        let parts = || messages.iter().filter_map(|m| m["content"].as_array()).flatten();
        let kinds: Vec<&str> = parts().filter_map(|part| part["type"].as_str()).collect();
        let mut due = vec!["text", "tool_call", "tool_result", "text"];
        if self.kind == Kind::Compacted {
            due.extend(["notice", "compaction"]);
        }
        if kinds != due {
            breaches.push(format!("the history is {kinds:?}"));
        }
        let asked = if self.kind == Kind::Edited { self.reworded() } else { self.text() };
        let said = [(0, asked.as_str()), (3, FINAL_TEXT)];
        let said = said.map(|(at, due)| (parts().nth(at).map(|part| &part["text"]), due));
        for (text, due) in said {
            if text.is_none_or(|text| text != due) {
                breaches.push(format!("{text:?} stands for {due:?}"));
            }
        }
        if parts().any(|part| part["is_error"] == true) {
            breaches.push("a command failed".to_owned());
        }
        breaches
    }

    /// What is not as promised in the parent's history: three reports, each of work that was done.
    fn family_breaches(&self, messages: &[Value]) -> Vec<String> {
        let mut breaches = Vec::new();
        let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
        if roles != ["user", "assistant", "tool", "assistant"] {
            breaches.push(format!("the history is {roles:?}"));
        }
        let parts = messages.iter().filter_map(|m| m["content"].as_array()).flatten();
        let results: Vec<&Value> = parts.filter(|part| part["type"] == "tool_result").collect();
        let told = results.iter().filter(|part| {
            part["result"]["status"] == "done" && part["result"]["report"] == "It ran."
        });
        if results.len() != AGENTS.len() || told.count() != AGENTS.len() {
            breaches.push(format!("the reports are {results:?}"));
        }
        breaches
    }

    fn history_breaches(&self, messages: &[Value]) -> Vec<String> {
        let mut breaches = Vec::new();
        let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
        if roles != ["user", "assistant", "tool", "assistant", "tool", "assistant"] {
            breaches.push(format!("the history is {roles:?}"));
        }
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for part in messages.iter().filter_map(|m| m["content"].as_array()).flatten() {
            let id = part["tool_call_id"].as_str().unwrap_or_default();
            match part["type"].as_str() {
                Some("tool_call") => {
                    open.entry(id).or_default();
                }
                Some("tool_result") => {
                    *open.entry(id).or_default() += 1;
                    if part["is_error"] == true {
                        breaches.push(format!("a tool failed: {part}"));
                    }
                }
                _ => {}
            }
        }
        if open.len() != 3 || open.values().any(|results| *results != 1) {
            breaches.push(format!("results per tool call: {open:?}"));
        }
        let last =
            messages.last().and_then(|m| m["content"].as_array()).map_or(&[][..], Vec::as_slice);
        let text: String = last.iter().filter_map(|part| part["text"].as_str()).collect();
        if text != FINAL_TEXT {
            breaches.push(format!("the answer is {text:?}"));
        }
        breaches
    }
}

/// Fails with every breach.
pub fn ensure_kept(what: &str, breaches: &[String]) -> Result<()> {
    ensure!(breaches.is_empty(), "{what}:\n  {}", breaches.join("\n  "));
    Ok(())
}
